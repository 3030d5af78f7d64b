#include "model.h"

#include <math.h>
#include <onnxruntime_c_api.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "sha256.h"

typedef struct {
    const graph_spec *spec;
    OrtSession *session;
    const char *input_names[CONTRACT_MAX_TENSORS], *output_names[CONTRACT_MAX_TENSORS];
} graph;

struct model {
    const OrtApi *ort;
    OrtEnv *environment;
    OrtMemoryInfo *memory;
    char folder[4096];
    graph whole, chunks, single;
};

struct stream {
    model *of;
    int64_t batch;
    int is_fresh;
    int64_t sizes[CONTRACT_MAX_AXES];
    /* Read by the next run, and written by it: the two change places. */
    OrtValue *states[CONTRACT_MAX_TENSORS], *next[CONTRACT_MAX_TENSORS];
    OrtValue *answers[CONTRACT_MAX_TENSORS];
    OrtValue *reset;
};

int fail(model_error *error, const char *format, ...) {
    va_list given;
    va_start(given, format);
    vsnprintf(error->text, sizeof error->text, format, given);
    va_end(given);
    return -1;
}

static int succeeded(const OrtApi *ort, OrtStatus *status, model_error *error) {
    if (!status) return 1;
    fail(error, "ONNX Runtime refused: %s", ort->GetErrorMessage(status));
    ort->ReleaseStatus(status);
    return 0;
}

size_t dtype_size(dtype type) {
    switch (type) {
    case DTYPE_FLOAT64: case DTYPE_INT64: case DTYPE_UINT64: return 8;
    case DTYPE_FLOAT32: case DTYPE_INT32: case DTYPE_UINT32: return 4;
    case DTYPE_INT16: case DTYPE_UINT16: return 2;
    default: return 1;
    }
}

size_t element_count(const tensor *of) {
    size_t count = 1;
    for (int axis = 0; axis < of->rank; axis++) count *= (size_t)of->dims[axis];
    return count;
}

const tensor *find_tensor(const tensor *tensors, int count, const char *name) {
    for (int place = 0; place < count; place++)
        if (!strcmp(tensors[place].name, name)) return &tensors[place];
    return NULL;
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
    if (succeeded(ort, ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "model", &made->environment), error) &&
        succeeded(ort, ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &made->memory), error) &&
        !open_graph(made, &made->whole, &model_graph, error) &&
        !open_graph(made, &made->chunks, stream_graph, error) &&
        !open_graph(made, &made->single, step_graph, error)) {
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
    if (closed->memory) ort->ReleaseMemoryInfo(closed->memory);
    if (closed->environment) ort->ReleaseEnv(closed->environment);
    free(closed);
}

/* ---- tensors ---- */

/* A view of the caller's memory. */
static OrtValue *wrap(const model *in, const tensor *given, model_error *error) {
    OrtValue *value = NULL;
    size_t bytes = element_count(given) * dtype_size(given->type);
    if (!succeeded(in->ort, in->ort->CreateTensorWithDataAsOrtValue(
                                in->memory, given->data, bytes, given->dims, (size_t)given->rank,
                                (ONNXTensorElementDataType)given->type, &value), error))
        return NULL;
    return value;
}

static int unwrap(const model *in, OrtValue *value, const tensor_spec *spec, tensor *found, model_error *error) {
    const OrtApi *ort = in->ort;
    OrtTensorTypeAndShapeInfo *shape = NULL;
    memset(found, 0, sizeof *found);
    *found = (tensor){.name = spec->name, .type = spec->type, .rank = spec->rank, .value = value};
    int is_known = succeeded(ort, ort->GetTensorTypeAndShape(value, &shape), error) &&
                   succeeded(ort, ort->GetDimensions(shape, found->dims, (size_t)found->rank), error) &&
                   succeeded(ort, ort->GetTensorMutableData(value, &found->data), error);
    if (shape) ort->ReleaseTensorTypeAndShapeInfo(shape);
    return is_known ? 0 : -1;
}

static void fill(tensor *filled, double value) {
    for (size_t place = 0, count = element_count(filled); place < count; place++) {
        switch (filled->type) {
        case DTYPE_FLOAT32: ((float *)filled->data)[place] = (float)value; break;
        case DTYPE_FLOAT64: ((double *)filled->data)[place] = value; break;
        case DTYPE_INT64: case DTYPE_UINT64: ((int64_t *)filled->data)[place] = (int64_t)value; break;
        case DTYPE_INT32: case DTYPE_UINT32: ((int32_t *)filled->data)[place] = (int32_t)value; break;
        case DTYPE_INT16: case DTYPE_UINT16: ((int16_t *)filled->data)[place] = (int16_t)value; break;
        default: ((int8_t *)filled->data)[place] = (int8_t)value;
        }
    }
}

/* A tensor of ONNX Runtime's own, of the shape that the sizes give. */
static OrtValue *allocate(const model *in, const tensor_spec *spec, const int64_t sizes[], double value, model_error *error) {
    OrtAllocator *allocator;
    OrtValue *made = NULL;
    tensor view = {.rank = spec->rank};
    for (int axis = 0; axis < spec->rank; axis++) {
        int number = spec->dims[axis].axis;
        view.dims[axis] = number == CONTRACT_NONE ? spec->dims[axis].size : sizes[number];
        if (view.dims[axis] < 1) {
            fail(error, "state %s must be given, the size of its axis %d is not known.", spec->name, axis);
            return NULL;
        }
    }
    if (!succeeded(in->ort, in->ort->GetAllocatorWithDefaultOptions(&allocator), error) ||
        !succeeded(in->ort, in->ort->CreateTensorAsOrtValue(allocator, view.dims, (size_t)view.rank,
                                                            (ONNXTensorElementDataType)spec->type, &made), error))
        return NULL;
    if (unwrap(in, made, spec, &view, error)) {
        in->ort->ReleaseValue(made);
        return NULL;
    }
    fill(&view, value);
    return made;
}

static void release(const model *in, OrtValue **values, int count) {
    for (int place = 0; place < count; place++) {
        if (values[place]) in->ort->ReleaseValue(values[place]);
        values[place] = NULL;
    }
}

void tensors_free(model *with, tensor *tensors, int count) {
    for (int place = 0; place < count; place++) {
        if (tensors[place].value) with->ort->ReleaseValue(tensors[place].value);
        tensors[place].value = NULL;
        tensors[place].data = NULL;
    }
}

/* ---- whole sequences ---- */

static int run(const model *with, const graph *of, OrtValue *const *inputs, OrtValue **outputs, model_error *error) {
    const OrtApi *ort = with->ort;
    return succeeded(ort, ort->Run(of->session, NULL, of->input_names, (const OrtValue *const *)inputs,
                                   (size_t)of->spec->input_count, of->output_names,
                                   (size_t)of->spec->output_count, outputs), error) ? 0 : -1;
}

int model_run(model *with, const tensor *inputs, int count, tensor *outputs, model_error *error) {
    const graph_spec *spec = with->whole.spec;
    char skipped[CONTRACT_MAX_TENSORS] = {0};
    int64_t sizes[CONTRACT_MAX_AXES] = {0};
    OrtValue *fed[CONTRACT_MAX_TENSORS] = {0}, *found[CONTRACT_MAX_TENSORS] = {0};
    for (int place = 0; place < spec->state_count; place++) {
        int input = spec->states[place].input;
        skipped[input] = !find_tensor(inputs, count, spec->inputs[input].name);
    }
    int result = check_inputs(spec, skipped, inputs, count, sizes, error);
    for (int place = 0; !result && place < spec->input_count; place++)
        if (!skipped[place]) {
            fed[place] = wrap(with, find_tensor(inputs, count, spec->inputs[place].name), error);
            result = fed[place] ? 0 : -1;
        }
    for (int place = 0; !result && place < spec->state_count; place++) {
        const state_spec *state = &spec->states[place];
        if (!skipped[state->input]) continue;
        fed[state->input] = allocate(with, &spec->inputs[state->input], sizes, state->initial, error);
        result = fed[state->input] ? 0 : -1;
    }
    if (!result) result = run(with, &with->whole, fed, found, error);
    for (int place = 0; !result && place < spec->output_count; place++)
        result = unwrap(with, found[place], &spec->outputs[place], &outputs[place], error);
    release(with, fed, spec->input_count);
    if (result) release(with, found, spec->output_count);
    return result;
}

/* ---- streams ---- */

static int batch_axis(const graph_spec *spec) {
    for (int place = 0; place < spec->state_count; place++) {
        const state_spec *state = &spec->states[place];
        if (state->batch_axis != CONTRACT_NONE)
            return spec->inputs[state->input].dims[state->batch_axis].axis;
    }
    return CONTRACT_NONE;
}

int stream_open(stream **opened, model *with, int64_t batch, model_error *error) {
    *opened = NULL;
    const graph_spec *spec = with->chunks.spec;
    if (!spec) return fail(error, "model must have a stream graph to take chunks, it looks ahead.");
    if (batch < 1) return fail(error, "batch must be at least 1, got %lld.", (long long)batch);
    stream *made = calloc(1, sizeof *made);
    if (!made) return fail(error, "memory must suffice, it does not.");
    made->of = with;
    made->batch = batch;
    made->is_fresh = 1;
    if (batch_axis(spec) != CONTRACT_NONE) made->sizes[batch_axis(spec)] = batch;
    *opened = made;
    return 0;
}

void stream_close(stream *closed) {
    if (!closed) return;
    release(closed->of, closed->states, CONTRACT_MAX_TENSORS);
    release(closed->of, closed->next, CONTRACT_MAX_TENSORS);
    release(closed->of, closed->answers, CONTRACT_MAX_TENSORS);
    release(closed->of, &closed->reset, 1);
    free(closed);
}

void stream_reset(stream *with) { with->is_fresh = 1; }

/* Both sets of states, and the reset flags, for the sizes that the first chunk has. */
static int prepare(stream *with, const int64_t sizes[], model_error *error) {
    const graph_spec *spec = with->of->chunks.spec;
    for (int place = 0; place < spec->state_count; place++) {
        const state_spec *state = &spec->states[place];
        const tensor_spec *input = &spec->inputs[state->input];
        if (!with->states[place]) with->states[place] = allocate(with->of, input, sizes, state->initial, error);
        if (!with->next[place]) with->next[place] = allocate(with->of, input, sizes, 0, error);
        if (!with->states[place] || !with->next[place]) return -1;
    }
    if (spec->reset != CONTRACT_NONE && !with->reset) {
        with->reset = allocate(with->of, &spec->inputs[spec->reset], sizes, 1, error);
        if (!with->reset) return -1;
    }
    return 0;
}

static int begin(stream *with, model_error *error) {
    const graph_spec *spec = with->of->chunks.spec;
    tensor view;
    for (int place = 0; with->is_fresh && place < spec->state_count; place++) {
        const state_spec *state = &spec->states[place];
        if (unwrap(with->of, with->states[place], &spec->inputs[state->input], &view, error)) return -1;
        fill(&view, state->initial);
    }
    if (spec->reset == CONTRACT_NONE) return 0;
    if (unwrap(with->of, with->reset, &spec->inputs[spec->reset], &view, error)) return -1;
    fill(&view, with->is_fresh);
    return 0;
}

static void mark_held(const graph_spec *spec, char skipped[CONTRACT_MAX_TENSORS]) {
    for (int place = 0; place < spec->state_count; place++) skipped[spec->states[place].input] = 1;
    if (spec->reset != CONTRACT_NONE) skipped[spec->reset] = 1;
}

/* Whether the graph for single frames takes these sizes: it may have fixed the batch too. */
static int is_single_frame(const model *with, const int64_t sizes[]) {
    const graph_spec *single = with->single.spec, *chunks = with->chunks.spec;
    if (!single) return 0;
    for (int place = 0; place < single->input_count; place++)
        for (int dim = 0; dim < single->inputs[place].rank; dim++) {
            dim_spec narrow = single->inputs[place].dims[dim], wide = chunks->inputs[place].dims[dim];
            if (narrow.axis == CONTRACT_NONE && wide.axis != CONTRACT_NONE && sizes[wide.axis] != narrow.size)
                return 0;
        }
    return 1;
}

int stream_push(stream *with, const tensor *inputs, int count, tensor *outputs, model_error *error) {
    model *of = with->of;
    const graph_spec *spec = of->chunks.spec;
    char skipped[CONTRACT_MAX_TENSORS] = {0};
    int64_t sizes[CONTRACT_MAX_AXES];
    OrtValue *fed[CONTRACT_MAX_TENSORS] = {0}, *found[CONTRACT_MAX_TENSORS] = {0};
    memcpy(sizes, with->sizes, sizeof sizes);
    mark_held(spec, skipped);
    if (check_inputs(spec, skipped, inputs, count, sizes, error) || prepare(with, sizes, error) ||
        begin(with, error))
        return -1;
    int result = 0;
    for (int place = 0; !result && place < spec->input_count; place++)
        if (!skipped[place]) {
            fed[place] = wrap(of, find_tensor(inputs, count, spec->inputs[place].name), error);
            result = fed[place] ? 0 : -1;
        }
    if (spec->reset != CONTRACT_NONE) fed[spec->reset] = with->reset;
    for (int place = 0; place < spec->state_count; place++) {
        fed[spec->states[place].input] = with->states[place];
        found[spec->states[place].output] = with->next[place];
    }
    if (!result) result = run(of, is_single_frame(of, sizes) ? &of->single : &of->chunks, fed, found, error);
    for (int place = 0; place < spec->input_count; place++)
        if (!skipped[place]) release(of, &fed[place], 1);
    if (result) return -1;
    release(of, with->answers, spec->output_count);
    for (int place = 0; place < spec->state_count; place++) {
        OrtValue *read = with->states[place];
        with->states[place] = with->next[place];
        with->next[place] = read;
    }
    with->is_fresh = 0;
    memcpy(with->answers, found, sizeof found);
    for (int place = 0; place < spec->output_count; place++)
        if (unwrap(of, found[place], &spec->outputs[place], &outputs[place], error)) result = -1;
    for (int place = 0; place < spec->state_count; place++) with->answers[spec->states[place].output] = NULL;
    return result;
}

int stream_resume(stream *with, const tensor *states, int count, model_error *error) {
    const graph_spec *spec = with->of->chunks.spec;
    char skipped[CONTRACT_MAX_TENSORS];
    int64_t sizes[CONTRACT_MAX_AXES];
    memset(skipped, 1, sizeof skipped);
    memcpy(sizes, with->sizes, sizeof sizes);
    for (int place = 0; place < spec->state_count; place++) skipped[spec->states[place].input] = 0;
    if (check_inputs(spec, skipped, states, count, sizes, error) || prepare(with, sizes, error)) return -1;
    for (int place = 0; place < spec->state_count; place++) {
        const tensor_spec *input = &spec->inputs[spec->states[place].input];
        const tensor *given = find_tensor(states, count, input->name);
        tensor view;
        if (unwrap(with->of, with->states[place], input, &view, error)) return -1;
        memcpy(view.data, given->data, element_count(given) * dtype_size(given->type));
    }
    with->is_fresh = 0;
    return 0;
}
