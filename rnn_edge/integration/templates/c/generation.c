#include "generation.h"

#include <string.h>

#include "pipeline.h"

/* A reader sees the text grow; a run of the whole loop for each of so many costs nothing more. */
enum { PIECE = 16 };

/* The last character of `text`, or "" of none. */
static const char *last_character(const char *text) {
    const char *place = text + strlen(text);
    while (place > text && (*--place & 0xc0) == 0x80) {
    }
    return place;
}

/* The last of the ids that were written, as a byte: it may be a part of a character. */
static char last_byte(const tensor *ids) {
    return (char)(((const int64_t *)ids->data)[element_count(ids) - 1] - byte_offset);
}

/* The bytes of `text`, behind the byte `before`, up to the line break that ends a tune. */
static size_t size_before_end(const char *text, char before) {
    const char *place = text;
    for (; *place; before = *place++)
        if (writes_tunes && *place == '\n' && before == '\n') break;
    return (size_t)(place - text);
}

int generate(model *with, const char *prompt, sampling how, void (*write)(const char *, size_t), model_error *error) {
    const graph_spec *graph = pipeline_graph;
    tensor held[2][CONTRACT_MAX_TENSORS], inputs[CONTRACT_MAX_TENSORS];
    tensor *before = NULL;
    int result = 0, turn = 0, reads_bytes = graph->inputs[0].type == DTYPE_UINT8;
    char byte, last = *prompt ? prompt[strlen(prompt) - 1] : '\0';
    if (how.length < 1) return fail(error, "length must be at least 1, got %d.", how.length);
    for (int left = how.length; !result && left > 0; left -= PIECE, turn = !turn) {
        one_row read;
        int64_t most = left < PIECE ? left : PIECE;
        const tensor options[] = {
            {.name = "max_new", .type = DTYPE_INT64, .data = &most},
            {.name = "temperature", .type = DTYPE_FLOAT32, .data = &how.temperature},
            {.name = "top_k", .type = DTYPE_INT64, .data = &how.top_k},
            {.name = "top_p", .type = DTYPE_FLOAT32, .data = &how.top_p},
            {.name = "seed", .type = DTYPE_INT64, .rank = 1, .dims = {1}, .data = &how.seed},
        };
        /* The seed is a state: at first the caller's, then what the run before has left. */
        int count = (int)(sizeof options / sizeof *options) - (before ? 1 : 0);
        if (before && reads_bytes) row_of_bytes(&byte, 1, &read);
        else result = row_of_text(prompt, &read, error);
        if (result) break;
        memcpy(inputs, options, (size_t)count * sizeof *inputs);
        for (int place = 0; place < read.count; place++) inputs[count++] = read.inputs[place];
        for (int place = 0; before && place < graph->state_count; place++) {
            inputs[count] = before[graph->states[place].output];
            inputs[count++].name = graph->inputs[graph->states[place].input].name;
        }
        result = pipeline_run(with, inputs, count, held[turn], error);
        row_free(&read);
        if (!result) {
            const char *text = ((const char *const *)find_tensor(held[turn], graph->output_count, "text")->data)[0];
            size_t size = size_before_end(text, last);
            write(text, size);
            if (size) last = text[size - 1];
            if (text[size]) left = 0;
        }
        if (before) tensors_free(with, before, graph->output_count);
        before = result ? NULL : held[turn];
        if (before && reads_bytes) byte = last_byte(find_tensor(before, graph->output_count, "generated"));
        else if (before) prompt = last_character(((const char *const *)find_tensor(before, graph->output_count, "text")->data)[0]);
    }
    if (before) tensors_free(with, before, graph->output_count);
    return result;
}
