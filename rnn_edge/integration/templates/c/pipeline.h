/* What a person has -> what a person reads, by pipeline.onnx: front end and decoder are inside. */
#ifndef PIPELINE_H
#define PIPELINE_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The inputs of pipeline.onnx for one row, less options and states. It must stay where it is while
 * they are used. */
typedef struct {
    tensor inputs[2];
    int count;
    const char *text;
    int64_t steps;
    void *values;
} one_row;

/* `text` is UTF-8, which ends at its first zero, and must outlive the row. */
int row_of_text(const char *text, one_row *made, model_error *error);

/* For a graph that reads bytes, which must outlive the row; any at all. */
void row_of_bytes(const char *bytes, size_t count, one_row *made);

/* Numbers as the contract has them, step by step; the row takes them over, and frees them. */
int row_of_numbers(float *numbers, size_t count, one_row *made, model_error *error);
void row_free(one_row *freed);

/* What pipeline.onnx gave for row `row`, in JSON, on a line of standard output. */
void print_answer(const tensor *outputs, size_t row);

#ifdef __cplusplus
}
#endif

#endif
