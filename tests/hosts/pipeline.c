/* pipeline MODEL TEXT...: the label of each text, one a line. */
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>

static const OrtApi *api;

static void must(OrtStatus *status) {
    if (status) {
        fprintf(stderr, "Error: %s\n", api->GetErrorMessage(status));
        exit(1);
    }
}

int main(int argc, char **argv) {
    const char *inputs[] = {"text"}, *outputs[] = {"label"};
    int64_t rows = argc - 2;
    OrtEnv *environment;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtAllocator *allocator;
    OrtValue *text, *label = NULL;
    api = OrtGetApiBase()->GetApi(17);
    must(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "pipeline", &environment));
    must(api->CreateSessionOptions(&options));
    must(api->CreateSession(environment, argv[1], options, &session));
    must(api->GetAllocatorWithDefaultOptions(&allocator));
    must(api->CreateTensorAsOrtValue(
        allocator, &rows, 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, &text));
    must(api->FillStringTensor(text, (const char *const *)argv + 2, (size_t)rows));
    must(api->Run(session, NULL, inputs, (const OrtValue *const *)&text, 1, outputs, 1, &label));
    for (size_t row = 0; row < (size_t)rows; row++) {
        size_t size;
        must(api->GetStringTensorElementLength(label, row, &size));
        char *word = calloc(size + 1, 1);
        must(api->GetStringTensorElement(label, size, row, word));
        puts(word);
        free(word);
    }
    api->ReleaseValue(label);
    api->ReleaseValue(text);
    api->ReleaseSession(session);
    api->ReleaseSessionOptions(options);
    api->ReleaseEnv(environment);
    return 0;
}
