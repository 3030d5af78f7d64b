#include "self_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_file.h"

/* An error may be four times what the exported module's own dtype lost, and a floor. */
#define FACTOR 4.0
#define FLOOR_FLOAT32 1e-6
#define FLOOR_FLOAT64 1e-12
/* What an answer of pipeline.onnx may be off, relative to the largest: exp and sums in float32. */
#define PIPELINE 1e-5

/* One golden set: the files' contents, and tensors that point into them. */
typedef struct {
    int input_count, output_count;
    tensor inputs[CONTRACT_MAX_TENSORS], outputs[CONTRACT_MAX_TENSORS];
    unsigned char *contents[CONTRACT_MAX_TENSORS];
} golden_set;

static void free_set(golden_set *set) {
    for (int place = 0; place < set->input_count + set->output_count; place++) free(set->contents[place]);
    set->input_count = set->output_count = 0;
}

static int read_side(const model *with, const char *folder, const char *side, const tensor_spec *specs,
                     int count, tensor *tensors, unsigned char **contents, int *read, model_error *error) {
    for (*read = 0; *read < count; ++*read) {
        char name[256];
        size_t size;
        snprintf(name, sizeof name, "%s/%s_%d.pb", folder, side, *read);
        contents[*read] = read_bundle_file(with, name, &size, error);
        if (!contents[*read]) return -1;
        tensors[*read] = (tensor){.name = specs[*read].name};
        if (parse_tensor(&contents[*read], size, &tensors[*read], error)) {
            ++*read;
            return -1;
        }
    }
    return 0;
}

static int read_set(const model *with, const graph_spec *graph, const char *folder, golden_set *set, model_error *error) {
    set->input_count = set->output_count = 0;
    if (read_side(with, folder, "input", graph->inputs, graph->input_count, set->inputs, set->contents,
                  &set->input_count, error) ||
        read_side(with, folder, "output", graph->outputs, graph->output_count, set->outputs,
                  set->contents + graph->input_count, &set->output_count, error)) {
        free_set(set);
        return -1;
    }
    return 0;
}

/* Whether the bundle has the golden set; `folder` becomes its name. */
static int has_set(const char *prefix, int number, char folder[64]) {
    char first[128];
    snprintf(folder, 64, "%stest_data_set_%d", prefix, number);
    snprintf(first, sizeof first, "%s/input_0.pb", folder);
    for (size_t place = 0; place < contract_file_count; place++)
        if (!strcmp(contract_files[place].name, first)) return 1;
    return 0;
}

static double difference(const tensor *found, const tensor *truth, double *largest) {
    double error = 0;
    *largest = 0;
    if (found->type != truth->type || found->rank != truth->rank ||
        memcmp(found->dims, truth->dims, (size_t)truth->rank * sizeof *truth->dims))
        return INFINITY;
    for (size_t place = 0; truth->type == DTYPE_STRING && place < element_count(truth); place++)
        if (strcmp(((const char *const *)found->data)[place], ((const char *const *)truth->data)[place])) return INFINITY;
    if (truth->type == DTYPE_STRING) return 0;
    if (truth->type != DTYPE_FLOAT32 && truth->type != DTYPE_FLOAT64)
        return memcmp(found->data, truth->data, element_count(truth) * dtype_size(truth->type)) ? INFINITY : 0;
    for (size_t place = 0, count = element_count(truth); place < count; place++) {
        int is_single = truth->type == DTYPE_FLOAT32;
        double right = is_single ? ((float *)truth->data)[place] : ((double *)truth->data)[place];
        double answer = is_single ? ((float *)found->data)[place] : ((double *)found->data)[place];
        /* Written so that NaN is an error. */
        if (!(fabs(answer - right) <= error)) error = isnan(answer - right) ? INFINITY : fabs(answer - right);
        *largest = fmax(*largest, fabs(right));
    }
    return error;
}

static void compare(const graph_spec *graph, const char *folder, const tensor *found, const tensor *truth, test_report *report) {
    for (int place = 0; place < graph->output_count; place++) {
        double largest, error = difference(&found[place], &truth[place], &largest);
        int is_double = truth[place].type == DTYPE_FLOAT64;
        double rounding = largest * ldexp(1, is_double ? -53 : -24);
        double tolerance = FACTOR * fmax(graph->outputs[place].noise, rounding) +
                           (is_double ? FLOOR_FLOAT64 : FLOOR_FLOAT32) +
                           (graph == pipeline_graph ? PIPELINE * fmax(1, largest) : 0);
        report->wrong += !(error <= tolerance);
        if (report->outputs++ && error / tolerance <= report->error / report->tolerance) continue;
        report->error = error;
        report->tolerance = tolerance;
        snprintf(report->place, sizeof report->place, "%s of %s", graph->outputs[place].name, folder);
    }
}

static int replay_whole(model *with, const graph_spec *graph, test_report *report, model_error *error) {
    char folder[64];
    golden_set set;
    tensor found[CONTRACT_MAX_TENSORS];
    int is_raw = graph == pipeline_graph;
    for (int number = 0; has_set(is_raw ? "pipeline/" : "", number, folder); number++) {
        if (read_set(with, graph, folder, &set, error)) return -1;
        int result = (is_raw ? pipeline_run : model_run)(with, set.inputs, set.input_count, found, error);
        if (!result) {
            compare(graph, folder, found, set.outputs, report);
            tensors_free(with, found, graph->output_count);
        }
        free_set(&set);
        if (result) return -1;
    }
    return 0;
}

/* The inputs that a push takes, or the states. */
static int pick(const golden_set *set, int states, tensor *picked) {
    const graph_spec *graph = stream_graph;
    int count = 0;
    for (int input = 0; input < graph->input_count; input++) {
        int is_state = 0;
        for (int place = 0; place < graph->state_count; place++) is_state |= graph->states[place].input == input;
        if (states ? is_state : !is_state && input != graph->reset) picked[count++] = set->inputs[input];
    }
    return count;
}

static int64_t rows_of(const golden_set *set) {
    for (int place = 0; place < stream_graph->state_count; place++) {
        const state_spec *state = &stream_graph->states[place];
        if (state->batch_axis != CONTRACT_NONE) return set->inputs[state->input].dims[state->batch_axis];
    }
    return set->inputs[0].dims[0];
}

static int push_set(stream **running, model *with, const golden_set *set, tensor *found, model_error *error) {
    tensor picked[CONTRACT_MAX_TENSORS];
    if (!*running) {
        if (stream_open(running, with, rows_of(set), error)) return -1;
        int is_fresh = stream_graph->reset != CONTRACT_NONE && *(char *)set->inputs[stream_graph->reset].data;
        int count = pick(set, 1, picked);
        if (count && !is_fresh && stream_resume(*running, picked, count, error)) return -1;
    }
    return stream_push(*running, picked, pick(set, 0, picked), found, error);
}

static int replay_chunks(model *with, test_report *report, model_error *error) {
    char folder[64];
    golden_set set;
    stream *running = NULL;
    tensor found[CONTRACT_MAX_TENSORS];
    int result = 0;
    for (int number = 0; !result && has_set("stream/", number, folder); number++) {
        if (read_set(with, stream_graph, folder, &set, error)) {
            result = -1;
            break;
        }
        result = push_set(&running, with, &set, found, error);
        if (!result) compare(stream_graph, folder, found, set.outputs, report);
        free_set(&set);
    }
    stream_close(running);
    return result;
}

int self_test(model *with, test_report *report, model_error *error) {
    memset(report, 0, sizeof *report);
    if (replay_whole(with, &model_graph, report, error)) return -1;
    if (pipeline_graph && replay_whole(with, pipeline_graph, report, error)) return -1;
    return stream_graph ? replay_chunks(with, report, error) : 0;
}
