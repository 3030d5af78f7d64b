/* Continue a text with a language model: pipeline.onnx writes it, a few characters a run. */
#ifndef GENERATION_H
#define GENERATION_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int length;        /* characters to write */
    float temperature; /* 0: always the likeliest character */
    int64_t top_k;     /* only that many of the likeliest; 0: all */
    float top_p;       /* only the likeliest that have this share together; 1: all */
    int64_t seed;      /* gives the same text in every program of this bundle */
} sampling;

/* Calls `write` with the text that follows `prompt`, part by part, `size` bytes each; an empty prompt starts
 * a line. A tune ends before an empty line. */
int generate(model *with, const char *prompt, sampling how, void (*write)(const char *text, size_t size),
             model_error *error);

#ifdef __cplusplus
}
#endif

#endif
