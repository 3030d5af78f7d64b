/* A table -> one sequence of float32 rows, without its batch axis. */
#ifndef TABLE_H
#define TABLE_H

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

/* A CSV text; with a header line the columns are found by name. */
int read_table(const char *text, sequence *read, model_error *error);

/* The inputs of `graph` for one row: `inputs` has room for its input_count tensors, `lengths` for
 * 8 bytes. Gives the number of inputs, or -1. */
int sequence_inputs(const graph_spec *graph, const sequence *from, tensor *inputs, int64_t *lengths,
                    model_error *error);

#ifdef __cplusplus
}
#endif

#endif
