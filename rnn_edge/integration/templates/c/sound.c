#include "sound.h"

#include <stdlib.h>
#include <string.h>

enum { INTEGERS = 1, FLOATS = 3, HEAD = 8 };

typedef struct {
    uint32_t format, channels, rate, bits;
} sound_format;

static uint32_t number_at(const unsigned char *place, int bytes) {
    uint32_t number = 0;
    while (bytes--) number = number << 8 | place[bytes];
    return number;
}

static float sample_at(const unsigned char *place, uint32_t format) {
    uint32_t bits = number_at(place, 4);
    float value;
    if (format == INTEGERS) return (float)(int16_t)number_at(place, 2) / 32768.0f;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float *read_samples(const unsigned char *data, size_t size, sound_format found, size_t *count, model_error *error) {
    size_t width = found.bits / 8, step = width * found.channels;
    *count = size / step;
    float *samples = calloc(*count + 1, sizeof *samples);
    if (!samples) fail(error, "memory must suffice, it does not.");
    for (size_t place = 0; samples && place < *count; place++) {
        double sum = 0;
        for (uint32_t channel = 0; channel < found.channels; channel++) {
            unsigned char bytes[4] = {0};
            memcpy(bytes, data + place * step + channel * width, width);
            sum += sample_at(bytes, found.format);
        }
        samples[place] = (float)(sum / found.channels);
    }
    return samples;
}

float *read_sound(const char *content, size_t size, uint32_t rate, size_t *count, model_error *error) {
    const unsigned char *bytes = (const unsigned char *)content;
    sound_format found = {0};
    if (size < 12 || memcmp(content, "RIFF", 4) || memcmp(content + 8, "WAVE", 4)) {
        fail(error, "file must be a sound (WAV), it is not.");
        return NULL;
    }
    for (size_t place = 12; place + HEAD <= size;) {
        const unsigned char *body = bytes + place + HEAD;
        size_t left = size - place - HEAD, length = number_at(bytes + place + 4, 4);
        if (!memcmp(bytes + place, "fmt ", 4) && length >= 16 && left >= 16)
            found = (sound_format){number_at(body, 2), number_at(body + 2, 2), number_at(body + 4, 4), number_at(body + 14, 2)};
        if (!memcmp(bytes + place, "data", 4) && found.channels) {
            int is_known = (found.format == INTEGERS && found.bits == 16) || (found.format == FLOATS && found.bits == 32);
            if (is_known && found.rate == rate)
                return read_samples(body, length < left ? length : left, found, count, error);
            if (is_known) fail(error, "sound must have %u samples a second, got %u.", (unsigned)rate, (unsigned)found.rate);
            else fail(error, "sound must be of 16-bit integers or floats, got format %u of %u bits.", (unsigned)found.format, (unsigned)found.bits);
            return NULL;
        }
        place += HEAD + length + length % 2;
    }
    fail(error, "sound must be whole, it is cut off.");
    return NULL;
}
