#include "front_end.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int has_memory(const void *memory, model_error *error) {
    return memory ? 1 : (fail(error, "memory must suffice, it does not."), 0);
}

/* ---- characters ---- */

static uint32_t next_code_point(const unsigned char **place) {
    uint32_t first = *(*place)++;
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    uint32_t code_point = more ? first & (0x3fu >> more) : first;
    while (more-- && (**place & 0xc0) == 0x80) code_point = code_point << 6 | (*(*place)++ & 0x3f);
    return code_point;
}

static int by_code_point(const void *a, const void *b) {
    uint32_t one = ((const character_spec *)a)->code_point, other = ((const character_spec *)b)->code_point;
    return (one > other) - (one < other);
}

int read_characters(const char *text, sequence *read, model_error *error) {
    const unsigned char *place = (const unsigned char *)text;
    int64_t *ids = malloc((strlen(text) + 1) * sizeof *ids);
    if (!*text) {
        free(ids);
        return fail(error, "text must hold at least one character, got none.");
    }
    if (!has_memory(ids, error)) return -1;
    *read = (sequence){.type = DTYPE_INT64, .data = ids};
    while (*place) {
        character_spec wanted = {next_code_point(&place), 0};
        const character_spec *found = bsearch(&wanted, vocabulary, vocabulary_size, sizeof wanted, by_code_point);
        ids[read->frames++] = found ? found->id : unknown_id;
    }
    read->count = (size_t)read->frames;
    return 0;
}

/* ---- rows of numbers ---- */

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
    if (!has_memory(rows, error)) return -1;
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

/* ---- images ---- */

int read_pgm(const unsigned char *content, size_t size, int width, int height, double maximum,
             sequence *read, model_error *error) {
    int found_width, found_height, head = 0;
    size_t count = (size_t)width * (size_t)height;
    if (sscanf((const char *)content, "P5 %d %d 255%n", &found_width, &found_height, &head) != 2 || !head)
        return fail(error, "file must be a PGM image (P5, 255), it is not.");
    if (found_width != width || found_height != height)
        return fail(error, "image must be %d x %d pixels, got %d x %d.", width, height, found_width, found_height);
    if (size != (size_t)head + 1 + count) return fail(error, "image must be whole, it is not.");
    float *pixels = malloc(count * sizeof *pixels);
    if (!has_memory(pixels, error)) return -1;
    for (size_t place = 0; place < count; place++)
        pixels[place] = (float)(content[(size_t)head + 1 + place] / 255.0 * maximum);
    *read = (sequence){DTYPE_FLOAT32, height, count, pixels};
    return 0;
}

/* ---- tensors ---- */

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
