#ifndef PICTURES_H
#define PICTURES_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Pictures of 8 bits a value, grey (PGM, P5) or in colour (PPM, P6), of which the colours then stand
 * one after the other; one, or with `is_clip` any number, one after the other. The values, scaled to
 * 0 .. `maximum`, are to be freed. */
typedef struct {
    int width, height, colours, is_clip;
    double maximum;
} picture_format;

float *read_pictures(const char *content, size_t size, picture_format format, size_t *count, model_error *error);

#ifdef __cplusplus
}
#endif

#endif
