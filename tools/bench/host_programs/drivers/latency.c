/* latency BUNDLE: for each count on standard input, run so many steps and print microseconds each. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model.h"

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

int main(int count, char **arguments) {
    static float frame[1 << 16];
    model_error error = {{0}};
    model *with;
    stream *running;
    tensor inputs[CONTRACT_MAX_TENSORS], outputs[CONTRACT_MAX_TENSORS];
    int given = 0;
    long steps;
    if (count != 2 || model_open(&with, arguments[1], &error) || stream_open(&running, with, 1, &error))
        return fprintf(stderr, "%s\n", error.text);
    for (int place = 0; place < stream_graph->input_count; place++) {
        const tensor_spec *spec = &stream_graph->inputs[place];
        int is_held = place == stream_graph->reset;
        for (int state = 0; state < stream_graph->state_count; state++)
            is_held |= stream_graph->states[state].input == place;
        if (is_held) continue;
        tensor *made = &inputs[given++];
        *made = (tensor){.name = spec->name, .type = spec->type, .rank = spec->rank, .data = frame};
        for (int dim = 0; dim < spec->rank; dim++)
            made->dims[dim] = spec->dims[dim].axis == CONTRACT_NONE ? spec->dims[dim].size : 1;
    }
    while (scanf("%ld", &steps) == 1) {
        double start = now();
        for (long step = 0; step < steps; step++)
            if (stream_push(running, inputs, given, outputs, &error)) return fprintf(stderr, "%s\n", error.text);
        printf("%.4f\n", (now() - start) / (double)steps);
        fflush(stdout);
    }
    stream_close(running);
    model_close(with);
    return 0;
}
