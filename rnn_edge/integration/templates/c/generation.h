/* Continue a text with the model, one character after the other. */
#ifndef GENERATION_H
#define GENERATION_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int length;         /* characters to write */
    double temperature; /* 0: always the likeliest character */
    int top_k;          /* only that many of the likeliest; 0: all */
    uint32_t seed;      /* gives the same text again */
} sampling;

/* Calls `write` with each character that follows `prompt`. */
int generate(model *with, const char *prompt, sampling how, void (*write)(const char *), model_error *error);

#ifdef __cplusplus
}
#endif

#endif
