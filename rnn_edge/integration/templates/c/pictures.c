#include "pictures.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1000000 };

/* The number at `*place`, behind blanks and comments; -1 of none. */
static int next_number(const char **place) {
    const char *start = *place;
    int number = 0;
    while (isspace((unsigned char)*start) || *start == '#')
        if (*start++ == '#') start += strcspn(start, "\n");
    const char *end = start;
    for (; isdigit((unsigned char)*end) && number <= LARGEST; end++) number = 10 * number + (*end - '0');
    if (start == *place || end == start) return -1;
    *place = end;
    return number;
}

/* The bytes of the head of a picture, a head of `format`'s size; 0 with an error else. */
static size_t read_head(const char *content, size_t size, picture_format format, model_error *error) {
    const char *place = content + 2;
    const char magic[] = {'P', format.colours == 1 ? '5' : '6'};
    int width = -1, height = -1, maximum = -1;
    if (size > sizeof magic && !memcmp(content, magic, sizeof magic)) {
        width = next_number(&place);
        height = next_number(&place);
        maximum = next_number(&place);
    }
    if (width < 0 || height < 0 || maximum != 255 || !isspace((unsigned char)*place)) {
        fail(error, "file must be a picture (%.2s, 255), it is not.", magic);
        return 0;
    }
    if (width != format.width || height != format.height) {
        fail(error, "picture must be %d x %d pixels, got %d x %d.", format.width, format.height, width, height);
        return 0;
    }
    return (size_t)(place - content) + 1;
}

float *read_pictures(const char *content, size_t size, picture_format format, size_t *count, model_error *error) {
    size_t pixels = (size_t)format.width * (size_t)format.height, colours = (size_t)format.colours, each = pixels * colours;
    float *values = malloc((size / each + 1) * each * sizeof *values);
    size_t frames = 0;
    if (!values) {
        fail(error, "memory must suffice, it does not.");
        return NULL;
    }
    for (size_t place = 0; place < size || !frames; frames++) {
        size_t head = read_head(content + place, size - place, format, error);
        if (!head) goto failed;
        if (size - place < head || size - place - head < each || (frames && !format.is_clip)) {
            fail(error, frames && !format.is_clip ? "file must hold one picture, it holds more." : "picture must be whole, it is not.");
            goto failed;
        }
        const unsigned char *bytes = (const unsigned char *)content + place + head;
        for (size_t pixel = 0; pixel < each; pixel++)
            values[frames * each + (pixel % colours) * pixels + pixel / colours] = (float)(bytes[pixel] / 255.0 * format.maximum);
        place += head + each;
    }
    *count = frames * each;
    return values;
failed:
    free(values);
    return NULL;
}
