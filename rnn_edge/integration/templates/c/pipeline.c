#include "pipeline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -1 where no character stands in UTF-8. */
static int32_t next_code_point(const unsigned char **place) {
    static const int32_t LEAST[] = {0, 0x80, 0x800, 0x10000};
    int32_t first = *(*place)++;
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    int32_t code_point = more ? first & (0x3f >> more) : first;
    if (first >= 0xf8 || (!more && first >= 0x80)) return -1;
    for (int left = more; left--; (*place)++) {
        if ((**place & 0xc0) != 0x80) return -1;
        code_point = code_point << 6 | (**place & 0x3f);
    }
    int is_surrogate = code_point >= 0xd800 && code_point < 0xe000;
    return code_point < LEAST[more] || code_point > 0x10ffff || is_surrogate ? -1 : code_point;
}

static int require_utf8(const char *text, model_error *error) {
    const unsigned char *place = (const unsigned char *)text;
    while (*place)
        if (next_code_point(&place) < 0)
            return fail(error, "text must be UTF-8, before byte %ld it is not.", (long)((const char *)place - text));
    return 0;
}

/* One dimension of `steps`, and their number beside it. */
static void add_steps(one_row *made) {
    const tensor_spec *sizes = &pipeline_graph->inputs[1];
    made->inputs[0].dims[0] = made->steps;
    made->inputs[1] = (tensor){.name = sizes->name, .type = sizes->type, .rank = 1, .dims = {1}, .data = &made->steps};
    made->count = 2;
}

void row_of_bytes(const char *bytes, size_t count, one_row *made) {
    const tensor_spec *spec = &pipeline_graph->inputs[0];
    *made = (one_row){.text = bytes, .count = 1, .steps = (int64_t)count};
    /* The graph only reads them. */
    made->inputs[0] = (tensor){.name = spec->name, .type = spec->type, .rank = 1, .data = (void *)(uintptr_t)bytes};
    add_steps(made);
}

int row_of_text(const char *text, one_row *made, model_error *error) {
    const tensor_spec *spec = &pipeline_graph->inputs[0];
    if (require_utf8(text, error)) return -1;
    *made = (one_row){.text = text, .count = 1};
    made->inputs[0] = (tensor){.name = spec->name, .type = spec->type, .rank = 1, .dims = {1}, .data = &made->text};
    if (spec->type == DTYPE_STRING) return 0;
    if (spec->type == DTYPE_UINT8) {
        row_of_bytes(text, strlen(text), made);
        return 0;
    }
    int32_t *points = malloc((strlen(text) + 1) * sizeof *points);
    if (!points) return fail(error, "memory must suffice, it does not.");
    const unsigned char *place = (const unsigned char *)text;
    while (*place) points[made->steps++] = next_code_point(&place);
    made->values = made->inputs[0].data = points;
    add_steps(made);
    return 0;
}

int row_of_numbers(float *numbers, size_t count, one_row *made, model_error *error) {
    const tensor_spec *spec = &pipeline_graph->inputs[0];
    int has_sizes = pipeline_graph->input_count > 1;
    size_t width = 1;
    *made = (one_row){.values = numbers, .count = 1};
    tensor *given = &made->inputs[0];
    *given = (tensor){.name = spec->name, .type = spec->type, .rank = spec->rank, .dims = {1}, .data = numbers};
    for (int axis = 1; axis < spec->rank; axis++) {
        given->dims[axis] = spec->dims[axis].size;
        if (spec->dims[axis].axis == CONTRACT_NONE) width *= (size_t)spec->dims[axis].size;
    }
    made->steps = (int64_t)(count / width);
    if (count % width) return fail(error, "rows of %s must hold %zu numbers a step, they do not.", spec->name, width);
    if (has_sizes) add_steps(made);
    for (int axis = 1; axis < spec->rank; axis++)
        if (spec->dims[axis].axis != CONTRACT_NONE) given->dims[axis] = made->steps;
    return 0;
}

void row_free(one_row *freed) {
    free(freed->values);
    freed->values = NULL;
}

/* ---- answers ---- */

static void print_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') printf("\\%c", byte);
        else if (byte < 32) printf("\\u%04x", byte);
        else putchar(byte);
    }
    putchar('"');
}

static void print_value(const tensor *of, size_t place) {
    if (of->type == DTYPE_STRING) {
        print_text(((const char *const *)of->data)[place]);
    } else if (of->type == DTYPE_FLOAT32) {
        float value = ((const float *)of->data)[place];
        if (isfinite(value)) printf("%.9g", value);
        else printf("null");
    } else {
        printf("%lld", (long long)((const int64_t *)of->data)[place]);
    }
}

/* The part from `first` on, `axis` and those behind it; of axis 1 no more than `steps`. */
static void print_part(const tensor *of, int axis, size_t first, int64_t steps) {
    size_t width = 1;
    if (axis == of->rank) {
        print_value(of, first);
        return;
    }
    for (int behind = axis + 1; behind < of->rank; behind++) width *= (size_t)of->dims[behind];
    int64_t size = axis == 1 && steps < of->dims[axis] ? steps : of->dims[axis];
    putchar('[');
    for (int64_t place = 0; place < size; place++) {
        if (place) printf(", ");
        print_part(of, axis + 1, first + (size_t)place * width, steps);
    }
    putchar(']');
}

void print_answer(const tensor *outputs, size_t row) {
    const tensor *lengths = NULL;
    for (int place = 0; place < pipeline_graph->output_count; place++)
        if (pipeline_graph->outputs[place].lengths_of != CONTRACT_NONE) lengths = &outputs[place];
    int64_t steps = lengths ? ((const int64_t *)lengths->data)[row] : INT64_MAX;
    const char *mark = "{";
    for (int place = 0; place < pipeline_graph->output_count; place++) {
        const tensor *output = &outputs[place];
        if (output == lengths) continue;
        printf("%s\"%s\": ", mark, output->name);
        size_t width = element_count(output) / (size_t)output->dims[0];
        print_part(output, 1, row * width, steps);
        mark = ", ";
    }
    puts("}");
    fflush(stdout);
}
