/* pipeline MODEL FEED...: what the model gives for each feed, as raw_inputs.py writes tensors. */
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 32, LONGEST = 1 << 16 };

static const OrtApi *api;
static OrtAllocator *allocator;
static char line[LONGEST];
static const struct {
    const char *name;
    ONNXTensorElementDataType type;
} KINDS[] = {
    {"float32", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}, {"int32", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {"int64", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64}, {"string", ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING},
};

static void must(OrtStatus *status) {
    if (!status) return;
    fprintf(stderr, "Error: %s\n", api->GetErrorMessage(status));
    exit(1);
}

/* The bytes of x68 69, in place, ended with a zero. */
static char *from_hex(char *digits) {
    char pair[3] = {0}, *from = digits + 1, *to = digits;
    for (; from[0] > ' ' && from[1] > ' '; from += 2) {
        memcpy(pair, from, 2);
        *to++ = (char)strtol(pair, NULL, 16);
    }
    *to = '\0';
    return digits;
}

static void read_values(FILE *file, OrtValue *into, ONNXTensorElementDataType type, size_t count) {
    void *data = NULL;
    if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) must(api->GetTensorMutableData(into, &data));
    for (size_t place = 0; place < count && fgets(line, LONGEST, file); place++) {
        if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) ((float *)data)[place] = strtof(line, NULL);
        else if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32) ((int32_t *)data)[place] = (int32_t)atoll(line);
        else if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) ((int64_t *)data)[place] = atoll(line);
        else must(api->FillStringTensorElement(into, from_hex(line), place));
    }
}

static size_t read_feed(const char *path, char names[MOST][256], OrtValue *inputs[MOST]) {
    FILE *file = fopen(path, "r");
    size_t count = 0;
    while (file && fgets(line, LONGEST, file)) {
        char kind[16];
        int rank, used;
        int64_t dims[8];
        size_t place = 0, size = 1;
        if (sscanf(line, "%255s %15s %d%n", names[count], kind, &rank, &used) != 3) exit(2);
        for (int axis = 0; axis < rank; axis++) {
            dims[axis] = strtoll(line + used, NULL, 10);
            used += (int)strspn(line + used, " ");
            used += (int)strcspn(line + used, " \n");
            size *= (size_t)dims[axis];
        }
        while (strcmp(KINDS[place].name, kind)) place++;
        must(api->CreateTensorAsOrtValue(allocator, dims, (size_t)rank, KINDS[place].type, &inputs[count]));
        read_values(file, inputs[count++], KINDS[place].type, size);
    }
    if (file) fclose(file);
    return count;
}

static void write_answer(const char *name, OrtValue *answer) {
    OrtTensorTypeAndShapeInfo *info;
    ONNXTensorElementDataType type;
    size_t rank, count, size, place = 0;
    int64_t dims[8];
    void *data = NULL;
    must(api->GetTensorTypeAndShape(answer, &info));
    must(api->GetTensorElementType(info, &type));
    must(api->GetDimensionsCount(info, &rank));
    must(api->GetDimensions(info, dims, rank));
    must(api->GetTensorShapeElementCount(info, &count));
    api->ReleaseTensorTypeAndShapeInfo(info);
    while (KINDS[place].type != type) place++;
    printf("%s %s %zu", name, KINDS[place].name, rank);
    for (size_t axis = 0; axis < rank; axis++) printf(" %lld", (long long)dims[axis]);
    puts("");
    if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) must(api->GetTensorMutableData(answer, &data));
    for (size_t row = 0; row < count; row++) {
        if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) printf("%.9g\n", ((float *)data)[row]);
        if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) printf("%lld\n", (long long)((int64_t *)data)[row]);
        if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) continue;
        must(api->GetStringTensorElementLength(answer, row, &size));
        unsigned char *text = calloc(size + 1, 1);
        must(api->GetStringTensorElement(answer, size, row, text));
        putchar('x');
        for (size_t byte = 0; byte < size; byte++) printf("%02x", text[byte]);
        puts("");
        free(text);
    }
}

int main(int argc, char **argv) {
    OrtEnv *environment;
    OrtSessionOptions *options;
    OrtSession *session;
    size_t output_count;
    api = OrtGetApiBase()->GetApi(17);
    must(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "pipeline", &environment));
    must(api->CreateSessionOptions(&options));
    must(api->CreateSession(environment, argv[1], options, &session));
    must(api->GetAllocatorWithDefaultOptions(&allocator));
    must(api->SessionGetOutputCount(session, &output_count));
    for (int feed = 2; feed < argc; feed++) {
        char names[MOST][256];
        const char *input_names[MOST];
        char *output_names[MOST];
        OrtValue *inputs[MOST], *outputs[MOST] = {0};
        size_t input_count = read_feed(argv[feed], names, inputs);
        for (size_t place = 0; place < input_count; place++) input_names[place] = names[place];
        for (size_t place = 0; place < output_count; place++)
            must(api->SessionGetOutputName(session, place, allocator, &output_names[place]));
        must(api->Run(session, NULL, input_names, (const OrtValue *const *)inputs, input_count,
                      (const char *const *)output_names, output_count, outputs));
        for (size_t place = 0; place < output_count; place++) {
            write_answer(output_names[place], outputs[place]);
            must(api->AllocatorFree(allocator, output_names[place]));
            api->ReleaseValue(outputs[place]);
        }
        for (size_t place = 0; place < input_count; place++) api->ReleaseValue(inputs[place]);
        puts("end string 0");
        puts("x");
    }
    api->ReleaseSession(session);
    api->ReleaseSessionOptions(options);
    api->ReleaseEnv(environment);
    return 0;
}
