#include "pictures.h"

#include <stdio.h>
#include <stdlib.h>

/* The bytes of the head of a picture, a head of `format`'s size; 0 with an error else. */
static size_t read_head(const char *content, size_t size, picture_format format, model_error *error) {
    int width, height, head = 0;
    const char *wanted = format.colours == 1 ? "P5 %d %d 255%n" : "P6 %d %d 255%n";
    if (size < 11 || sscanf(content, wanted, &width, &height, &head) != 2 || !head) {
        fail(error, "file must be a picture (P%d, 255), it is not.", format.colours == 1 ? 5 : 6);
        return 0;
    }
    if (width != format.width || height != format.height) {
        fail(error, "picture must be %d x %d pixels, got %d x %d.", format.width, format.height, width, height);
        return 0;
    }
    return (size_t)head + 1;
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
        if (size - place < head + each || (frames && !format.is_clip)) {
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
