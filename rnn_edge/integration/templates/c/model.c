#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "runtime.h"
#include "sha256.h"

int fail(model_error *error, const char *format, ...) {
    va_list given;
    va_start(given, format);
    vsnprintf(error->text, sizeof error->text, format, given);
    va_end(given);
    return -1;
}

int succeeded(const OrtApi *ort, OrtStatus *status, model_error *error) {
    if (!status) return 1;
    fail(error, "ONNX Runtime refused: %s", ort->GetErrorMessage(status));
    ort->ReleaseStatus(status);
    return 0;
}

/* ---- files ---- */

static unsigned char *read_file(const char *folder, const char *name, size_t *size, model_error *error) {
    char path[4400];
    unsigned char *content = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file && !fseek(file, 0, SEEK_END)) {
        long length = ftell(file);
        rewind(file);
        /* One more byte, so that a text can be ended. */
        if (length >= 0) content = calloc((size_t)length + 1, 1);
        *size = (size_t)length;
        if (content && fread(content, 1, *size, file) != *size) {
            free(content);
            content = NULL;
        }
    }
    if (file) fclose(file);
    if (!content) fail(error, "%s must be there, it cannot be read.", path);
    return content;
}

unsigned char *read_bundle_file(const model *with, const char *name, size_t *size, model_error *error) {
    char hex[65];
    for (size_t place = 0; place < contract_file_count; place++) {
        if (strcmp(contract_files[place].name, name)) continue;
        unsigned char *content = read_file(with->folder, name, size, error);
        if (!content) return NULL;
        sha256_hex(content, *size, hex);
        if (!strcmp(hex, contract_files[place].sha256)) return content;
        fail(error, "%s must be the file that this program was written for, its SHA-256 differs.", name);
        free(content);
        return NULL;
    }
    fail(error, "%s must be a file of the bundle, it is not.", name);
    return NULL;
}

static int check_format(const char *folder, model_error *error) {
    size_t size;
    char *content = (char *)read_file(folder, "bundle.json", &size, error);
    if (!content) return -1;
    const char *found = strstr(content, "\"format_version\":");
    long version = found ? strtol(found + strlen("\"format_version\":"), NULL, 10) : 0;
    free(content);
    if (version == CONTRACT_FORMAT_VERSION) return 0;
    return fail(error, "format_version of bundle.json must be %d, got %ld. Write this program again.",
                CONTRACT_FORMAT_VERSION, version);
}

/* ---- graphs ---- */

static int check_tensor(const model *with, const OrtTypeInfo *info, const char *name,
                        const tensor_spec *spec, model_error *error) {
    const OrtApi *ort = with->ort;
    const OrtTensorTypeAndShapeInfo *shape = NULL;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t rank = 0;
    if (!succeeded(ort, ort->CastTypeInfoToTensorInfo(info, &shape), error)) return -1;
    if (shape && (!succeeded(ort, ort->GetTensorElementType(shape, &type), error) ||
                  !succeeded(ort, ort->GetDimensionsCount(shape, &rank), error)))
        return -1;
    if (strcmp(name, spec->name) || (int)type != (int)spec->type || (int)rank != spec->rank)
        return fail(error, "tensor must be %s of type %d with %d axes, the file has %s of type %d with %zu.",
                    spec->name, spec->type, spec->rank, name, (int)type, rank);
    return 0;
}

static int check_agreement(const model *with, const graph *of, model_error *error) {
    const OrtApi *ort = with->ort;
    const graph_spec *spec = of->spec;
    size_t inputs, outputs;
    OrtAllocator *allocator;
    if (!succeeded(ort, ort->SessionGetInputCount(of->session, &inputs), error) ||
        !succeeded(ort, ort->SessionGetOutputCount(of->session, &outputs), error) ||
        !succeeded(ort, ort->GetAllocatorWithDefaultOptions(&allocator), error))
        return -1;
    if ((int)inputs != spec->input_count || (int)outputs != spec->output_count)
        return fail(error, "%s must have %d inputs and %d outputs, got %zu and %zu.", spec->file,
                    spec->input_count, spec->output_count, inputs, outputs);
    for (size_t place = 0; place < inputs + outputs; place++) {
        int is_input = place < inputs;
        size_t index = is_input ? place : place - inputs;
        OrtTypeInfo *info = NULL;
        char *name = NULL;
        int result = -1;
        if (succeeded(ort, is_input ? ort->SessionGetInputName(of->session, index, allocator, &name)
                                    : ort->SessionGetOutputName(of->session, index, allocator, &name),
                      error) &&
            succeeded(ort, is_input ? ort->SessionGetInputTypeInfo(of->session, index, &info)
                                    : ort->SessionGetOutputTypeInfo(of->session, index, &info),
                      error))
            result = check_tensor(with, info, name, is_input ? &spec->inputs[index] : &spec->outputs[index], error);
        if (info) ort->ReleaseTypeInfo(info);
        if (name) allocator->Free(allocator, name);
        if (result) return -1;
    }
    return 0;
}

static int open_graph(model *in, graph *opened, const graph_spec *spec, model_error *error) {
    const OrtApi *ort = in->ort;
    OrtSessionOptions *options = NULL;
    size_t size;
    if (!spec) return 0;
    opened->spec = spec;
    for (int place = 0; place < spec->input_count; place++)
        opened->input_names[place] = spec->inputs[place].name;
    for (int place = 0; place < spec->output_count; place++)
        opened->output_names[place] = spec->outputs[place].name;
    unsigned char *content = read_bundle_file(in, spec->file, &size, error);
    if (!content) return -1;
    /* Small models gain nothing from more threads. */
    int is_open = succeeded(ort, ort->CreateSessionOptions(&options), error) &&
                  succeeded(ort, ort->SetIntraOpNumThreads(options, 1), error) &&
                  succeeded(ort, ort->CreateSessionFromArray(in->environment, content, size, options, &opened->session), error);
    if (options) ort->ReleaseSessionOptions(options);
    free(content);
    return is_open ? check_agreement(in, opened, error) : -1;
}

int model_open(model **opened, const char *folder, model_error *error) {
    *opened = NULL;
    const OrtApi *ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (!ort) return fail(error, "ONNX Runtime must have API %d, it is older.", ORT_API_VERSION);
    if (check_format(folder, error)) return -1;
    model *made = calloc(1, sizeof *made);
    if (!made) return fail(error, "memory must suffice, it does not.");
    made->ort = ort;
    snprintf(made->folder, sizeof made->folder, "%s", folder);
    /* What it refuses comes back as an error: it need not be told twice. */
    if (succeeded(ort, ort->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "model", &made->environment), error) &&
        succeeded(ort, ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &made->memory), error) &&
        !open_graph(made, &made->whole, &model_graph, error) &&
        !open_graph(made, &made->chunks, stream_graph, error) &&
        !open_graph(made, &made->single, step_graph, error) &&
        !open_graph(made, &made->raw, pipeline_graph, error)) {
        *opened = made;
        return 0;
    }
    model_close(made);
    return -1;
}

void model_close(model *closed) {
    if (!closed) return;
    const OrtApi *ort = closed->ort;
    if (closed->whole.session) ort->ReleaseSession(closed->whole.session);
    if (closed->chunks.session) ort->ReleaseSession(closed->chunks.session);
    if (closed->single.session) ort->ReleaseSession(closed->single.session);
    if (closed->raw.session) ort->ReleaseSession(closed->raw.session);
    if (closed->memory) ort->ReleaseMemoryInfo(closed->memory);
    if (closed->environment) ort->ReleaseEnv(closed->environment);
    free(closed);
}

/* ---- whole sequences ---- */

int run(const model *with, const graph *of, OrtValue *const *inputs, OrtValue **outputs, model_error *error) {
    const OrtApi *ort = with->ort;
    return succeeded(ort, ort->Run(of->session, NULL, of->input_names, (const OrtValue *const *)inputs,
                                   (size_t)of->spec->input_count, of->output_names,
                                   (size_t)of->spec->output_count, outputs), error) ? 0 : -1;
}

static int run_graph(model *with, const graph *of, const tensor *inputs, int count, tensor *outputs, model_error *error) {
    const graph_spec *spec = of->spec;
    char skipped[CONTRACT_MAX_TENSORS] = {0};
    double instead[CONTRACT_MAX_TENSORS] = {0};
    int64_t sizes[CONTRACT_MAX_AXES] = {0};
    OrtValue *fed[CONTRACT_MAX_TENSORS] = {0}, *found[CONTRACT_MAX_TENSORS] = {0};
    for (int place = 0; place < spec->input_count; place++) {
        skipped[place] = spec->inputs[place].has_default && !find_tensor(inputs, count, spec->inputs[place].name);
        instead[place] = spec->inputs[place].fallback;
    }
    for (int place = 0; place < spec->state_count; place++) {
        int input = spec->states[place].input;
        skipped[input] = !find_tensor(inputs, count, spec->inputs[input].name);
        instead[input] = spec->states[place].initial;
    }
    int result = check_inputs(spec, skipped, inputs, count, sizes, error);
    for (int place = 0; !result && place < spec->input_count; place++) {
        const tensor_spec *input = &spec->inputs[place];
        fed[place] = skipped[place] ? allocate(with, input, sizes, instead[place], error)
                                    : wrap(with, find_tensor(inputs, count, input->name), error);
        result = fed[place] ? 0 : -1;
    }
    if (!result) result = run(with, of, fed, found, error);
    release(with, fed, spec->input_count);
    int done = 0;
    while (!result && done < spec->output_count) {
        result = unwrap(with, found[done], &spec->outputs[done], &outputs[done], error);
        if (!result) done++;
    }
    if (!result) return 0;
    tensors_free(with, outputs, done);
    release(with, found + done, spec->output_count - done);
    return -1;
}

int model_run(model *with, const tensor *inputs, int count, tensor *outputs, model_error *error) {
    return run_graph(with, &with->whole, inputs, count, outputs, error);
}

int pipeline_run(model *with, const tensor *inputs, int count, tensor *outputs, model_error *error) {
    if (!pipeline_graph) return fail(error, "the bundle must have a pipeline graph that this program reads, it has none.");
    return run_graph(with, &with->raw, inputs, count, outputs, error);
}
