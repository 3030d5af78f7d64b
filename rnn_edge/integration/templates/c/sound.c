#include "sound.h"

#include <stdlib.h>
#include <string.h>

enum { INTEGERS = 1, FLOATS = 3, EXTENSIBLE = 0xfffe, HEAD = 8, LEAST = 16, EXTENDED = 40, WIDEST = 8 };

/* What follows the format in the identifier that an extensible header has in its place. */
static const unsigned char KNOWN[] = {0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71};

/* Samples of `width` bytes each. */
typedef struct {
    uint32_t format, channels, rate, bits;
    size_t width;
} sound_format;

static uint64_t number_at(const unsigned char *place, size_t bytes) {
    uint64_t number = 0;
    while (bytes--) number = number << 8 | place[bytes];
    return number;
}

static double float_at(const unsigned char *place, size_t width) {
    uint64_t bits = number_at(place, width);
    uint32_t few = (uint32_t)bits;
    double value;
    float less;
    memcpy(&value, &bits, sizeof value);
    memcpy(&less, &few, sizeof less);
    return width == sizeof value ? value : (double)less;
}

/* From -1 to 1. Those of 8 bits have no sign. */
static double sample_at(const unsigned char *place, const sound_format *found) {
    if (found->format == FLOATS) return float_at(place, found->width);
    if (found->width == 1) return (place[0] - 128) / 128.0;
    uint32_t upper = (uint32_t)number_at(place, found->width) << (32 - 8 * found->width);
    double value = upper;
    return (upper >> 31 ? value - 4294967296.0 : value) / 2147483648.0;
}

static float *read_samples(const unsigned char *data, size_t size, sound_format found, size_t *count, model_error *error) {
    size_t step = found.width * found.channels;
    *count = size / step;
    float *samples = calloc(*count + 1, sizeof *samples);
    if (!samples) fail(error, "memory must suffice, it does not.");
    for (size_t place = 0; samples && place < *count; place++) {
        double sum = 0;
        for (uint32_t channel = 0; channel < found.channels; channel++)
            sum += sample_at(data + place * step + channel * found.width, &found);
        samples[place] = (float)(sum / found.channels);
    }
    return samples;
}

static int read_format(const unsigned char *body, size_t length, uint32_t rate, sound_format *found, model_error *error) {
    *found = (sound_format){(uint32_t)number_at(body, 2), (uint32_t)number_at(body + 2, 2), (uint32_t)number_at(body + 4, 4), (uint32_t)number_at(body + 14, 2), 0};
    if (found->format == EXTENSIBLE && length >= EXTENDED && !memcmp(body + EXTENDED - sizeof KNOWN, KNOWN, sizeof KNOWN))
        found->format = (uint32_t)number_at(body + 24, 2);
    found->width = (found->bits + 7) / 8;
    int is_known = (found->format == INTEGERS && found->width >= 1 && found->width <= 4) ||
                   (found->format == FLOATS && (found->width == 4 || found->width == WIDEST));
    if (!is_known || !found->channels)
        return fail(error, "sound must be of integers or floats, got %u channels of format %u of %u bits.",
                    (unsigned)found->channels, (unsigned)found->format, (unsigned)found->bits);
    if (found->rate != rate)
        return fail(error, "sound must have %u samples a second, got %u. Resample it.", (unsigned)rate, (unsigned)found->rate);
    return 0;
}

float *read_sound(const char *content, size_t size, uint32_t rate, size_t *count, model_error *error) {
    const unsigned char *bytes = (const unsigned char *)content;
    sound_format found = {0};
    if (size < 12 || memcmp(content, "RIFF", 4) || memcmp(content + 8, "WAVE", 4)) {
        fail(error, "file must be a sound (WAV), it is not.");
        return NULL;
    }
    for (size_t place = 12; place <= size && size - place >= HEAD;) {
        const unsigned char *body = bytes + place + HEAD;
        size_t left = size - place - HEAD, length = (size_t)number_at(bytes + place + 4, 4);
        if (length > left) length = left;
        if (!memcmp(bytes + place, "fmt ", 4) && length >= LEAST && read_format(body, length, rate, &found, error)) return NULL;
        if (!memcmp(bytes + place, "data", 4) && found.channels) return read_samples(body, length, found, count, error);
        place += HEAD + length + length % 2;
    }
    fail(error, "sound must be whole, it is cut off.");
    return NULL;
}
