/* Chunks: states and their turns. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "runtime.h"

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
