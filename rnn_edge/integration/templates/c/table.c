#include "table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int is_end(char c) { return !c || c == '\n' || c == '\r'; }

static int is_mark(char c) { return c == ',' || c == ';' || c == '\t'; }

/* Cut a line into fields without blanks around them; gives their number. */
static int split(const char **text, const char *fields[], size_t lengths[], int most) {
    int count = 0;
    const char *place = *text;
    while (count < most) {
        while (*place == ' ') place++;
        const char *start = place;
        while (!is_end(*place) && !is_mark(*place)) place++;
        const char *end = place;
        while (end > start && end[-1] == ' ') end--;
        fields[count] = start;
        lengths[count++] = (size_t)(end - start);
        if (!is_mark(*place)) break;
        place++;
    }
    while (!is_end(*place)) place++;
    while (*place == '\n' || *place == '\r') place++;
    *text = place;
    return count;
}

static int parse_number(const char *field, size_t length, float *number) {
    char *end;
    *number = strtof(field, &end);
    return length && end == field + length && isfinite(*number);
}

static int find_columns(const char *fields[], const size_t lengths[], int count, int places[], model_error *error) {
    for (size_t column = 0; column < column_count; column++) {
        places[column] = -1;
        for (int place = 0; place < count; place++)
            if (strlen(columns[column]) == lengths[place] && !memcmp(columns[column], fields[place], lengths[place]))
                places[column] = place;
        if (places[column] < 0 && count == 1 && column_count == 1) places[column] = 0;
        if (places[column] < 0) return fail(error, "columns must include %s, they do not.", columns[column]);
    }
    return 0;
}

enum { MOST_FIELDS = 1024 };

int read_table(const char *text, sequence *read, model_error *error) {
    const char *fields[MOST_FIELDS];
    size_t lengths[MOST_FIELDS], room = 1;
    int places[MOST_FIELDS];
    float number;
    for (const char *c = text; *c; c++) room += *c == '\n' || *c == '\r';
    while (*text == '\n' || *text == '\r') text++;
    float *rows = malloc(room * column_count * sizeof *rows);
    if (!rows) return fail(error, "memory must suffice, it does not.");
    *read = (sequence){.type = DTYPE_FLOAT32, .data = rows};
    for (size_t column = 0; column < column_count; column++) places[column] = (int)column;
    for (int line = 1; *text; line++) {
        int count = split(&text, fields, lengths, MOST_FIELDS), has_header = 0;
        for (int place = 0; line == 1 && place < count; place++)
            has_header |= !parse_number(fields[place], lengths[place], &number);
        if (has_header && find_columns(fields, lengths, count, places, error)) goto failed;
        if (!has_header && line == 1 && (size_t)count != column_count) {
            fail(error, "rows must have %zu numbers, got %d.", column_count, count);
            goto failed;
        }
        for (size_t column = 0; !has_header && column < column_count; column++) {
            if (places[column] >= count || !parse_number(fields[places[column]], lengths[places[column]], &number)) {
                fail(error, "line %d, field %d must be a number, it is not.", line, places[column] + 1);
                goto failed;
            }
            rows[read->count++] = number;
        }
        read->frames += !has_header;
    }
    if (read->frames) return 0;
    fail(error, "text must hold rows of numbers, it has none.");
failed:
    free(rows);
    read->data = NULL;
    return -1;
}

int sequence_inputs(const graph_spec *graph, const sequence *from, tensor *inputs, int64_t *lengths,
                    model_error *error) {
    int count = 0, axis = graph->time_axis;
    for (int place = 0; place < graph->input_count; place++) {
        if (graph->inputs[place].lengths_of != CONTRACT_NONE) axis = graph->inputs[place].lengths_of;
    }
    for (int place = 0; axis == CONTRACT_NONE && place < graph->axis_count; place++)
        if (!strcmp(graph->axes[place].name, "sequence")) axis = place;
    for (int place = 0; place < graph->input_count; place++) {
        const tensor_spec *spec = &graph->inputs[place];
        int is_held = place == graph->reset;
        for (int state = 0; state < graph->state_count; state++) is_held |= graph->states[state].input == place;
        if (is_held) continue;
        tensor *made = &inputs[count++];
        *made = (tensor){.name = spec->name, .type = from->type, .rank = spec->rank, .data = from->data};
        for (int dim = 0; dim < spec->rank; dim++) {
            int number = spec->dims[dim].axis;
            made->dims[dim] = number == CONTRACT_NONE ? spec->dims[dim].size : number == axis ? from->frames : 1;
        }
        if (spec->lengths_of != CONTRACT_NONE) {
            made->type = spec->type;
            made->data = lengths;
            if (spec->type == DTYPE_INT32) *(int32_t *)lengths = (int32_t)from->frames;
            else *lengths = from->frames;
        } else if (element_count(made) != from->count) {
            return fail(error, "%s must hold %zu values, got %zu.", spec->name, element_count(made), from->count);
        }
    }
    return count;
}
