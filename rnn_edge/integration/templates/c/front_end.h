/* What a person has -> one sequence, without its batch axis: int64 ids or float32 rows. */
#ifndef FRONT_END_H
#define FRONT_END_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    dtype type;
    int64_t frames;
    size_t count; /* of values */
    void *data;   /* to be freed */
} sequence;

/* A text, one id a character (UTF-8). */
int read_characters(const char *text, sequence *read, model_error *error);

/* A CSV text; with a header line the columns are found by name. */
int read_table(const char *text, sequence *read, model_error *error);

/* A grey image, PGM (P5) of `width` x `height`, scaled to 0 .. `maximum`. */
int read_pgm(const unsigned char *content, size_t size, int width, int height, double maximum,
             sequence *read, model_error *error);

/* The inputs of `graph` for one row: `inputs` has room for its input_count tensors, `lengths` for
 * 8 bytes. Gives the number of inputs, or -1. */
int sequence_inputs(const graph_spec *graph, const sequence *from, tensor *inputs, int64_t *lengths,
                    model_error *error);

#ifdef __cplusplus
}
#endif

#endif
