#include "generation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "front_end.h"

/* Numbers from 0 to 1 (Mulberry32): the same from a seed in every language. */
static double uniform(uint32_t *state) {
    *state += 0x6d2b79f5u;
    uint32_t mixed = (*state ^ *state >> 15) * (*state | 1);
    mixed ^= mixed + (mixed ^ mixed >> 7) * (mixed | 61);
    return (mixed ^ mixed >> 14) / 4294967296.0;
}

/* Whether fewer than `most` logits stand before this one, the larger and the earlier first. */
static int is_among(const double *logits, size_t place, int most) {
    int before = 0;
    for (size_t other = 0; other < name_count; other++)
        before += logits[other] > logits[place] || (logits[other] == logits[place] && other < place);
    return before < most;
}

static size_t choose(double *logits, double *powers, sampling how, uint32_t *random) {
    size_t best = 0, last = 0;
    double sum = 0, reached = 0;
    for (size_t place = 1; place < name_count; place++)
        if (logits[place] > logits[best]) best = place;
    if (how.temperature == 0) return best;
    for (size_t place = 0; place < name_count; place++) {
        int is_kept = !how.top_k || is_among(logits, place, how.top_k);
        powers[place] = is_kept ? exp((logits[place] - logits[best]) / how.temperature) : 0;
        sum += powers[place];
    }
    double target = uniform(random);
    for (size_t place = 0; place < name_count; place++) {
        reached += powers[place] / sum;
        if (reached > target) return place;
        if (powers[place] > 0) last = place;
    }
    return last;
}

int generate(model *with, const char *prompt, sampling how, void (*write)(const char *), model_error *error) {
    sequence text;
    stream *running;
    uint32_t random = how.seed;
    int64_t id = 0, lengths[1];
    tensor inputs[CONTRACT_MAX_TENSORS], outputs[CONTRACT_MAX_TENSORS];
    if (how.length < 1 || !(how.temperature >= 0) || how.top_k < 0)
        return fail(error, "length must be at least 1, temperature and top-k 0 or more; they are not.");
    if (read_characters(prompt, &text, error)) return -1;
    if (stream_open(&running, with, 1, error)) {
        free(text.data);
        return -1;
    }
    double *logits = malloc(2 * name_count * sizeof *logits);
    int result = logits ? 0 : fail(error, "memory must suffice, it does not.");
    sequence next = text;
    for (int count = 0; !result && count < how.length; count++) {
        int given = sequence_inputs(stream_graph, &next, inputs, lengths, error);
        result = given < 0 || stream_push(running, inputs, given, outputs, error) ? -1 : 0;
        if (result) break;
        /* The last step's. */
        const float *found = (const float *)outputs[0].data + element_count(&outputs[0]) - name_count;
        for (size_t place = 0; place < name_count; place++) logits[place] = found[place];
        for (size_t place = 0; place < never_count; place++) logits[never[place]] = -INFINITY;
        id = (int64_t)choose(logits, logits + name_count, how, &random);
        write(names[id]);
        next = (sequence){DTYPE_INT64, 1, 1, &id};
    }
    free(logits);
    free(text.data);
    stream_close(running);
    return result;
}
