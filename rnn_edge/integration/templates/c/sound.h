#ifndef SOUND_H
#define SOUND_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A WAV file of integers or floats, `rate` samples a second; several channels are
 * mixed down to one. The samples are to be freed. */
float *read_sound(const char *content, size_t size, uint32_t rate, size_t *count, model_error *error);

#ifdef __cplusplus
}
#endif

#endif
