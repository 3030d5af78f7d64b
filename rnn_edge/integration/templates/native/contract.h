/* What the graphs take and give, as bundle.json says it; contract.c holds the values. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CONTRACT_FORMAT_VERSION 1
#define CONTRACT_MAX_RANK 8
#define CONTRACT_MAX_AXES 8
#define CONTRACT_MAX_TENSORS 256
#define CONTRACT_NONE (-1)

/* Numbers as ONNX and ONNX Runtime have them. */
typedef enum {
    DTYPE_FLOAT32 = 1, DTYPE_UINT8 = 2, DTYPE_INT8 = 3, DTYPE_UINT16 = 4, DTYPE_INT16 = 5,
    DTYPE_INT32 = 6, DTYPE_INT64 = 7, DTYPE_STRING = 8, DTYPE_BOOL = 9, DTYPE_FLOAT64 = 11,
    DTYPE_UINT32 = 12, DTYPE_UINT64 = 13
} dtype;

/* A dynamic axis; maximum 0: any size. */
typedef struct {
    const char *name;
    int64_t minimum, maximum;
} axis_spec;

/* A fixed size, or the number of an axis. */
typedef struct {
    int64_t size;
    int axis;
} dim_spec;

typedef struct {
    const char *name;
    dtype type;
    int rank;
    dim_spec dims[CONTRACT_MAX_RANK];
    double minimum, maximum; /* of the values */
    int lengths_of;          /* the axis whose valid length this tensor holds */
    int splits;              /* the axis along which rows of these sizes stand one after the other */
    int has_default;         /* an app without a wish gives `fallback` */
    double fallback;
    double noise;            /* of an output: what its dtype lost at the export */
} tensor_spec;

/* An input that takes what an output gave in the call before. */
typedef struct {
    int input, output, batch_axis;
    double initial;
} state_spec;

typedef struct {
    const char *file;
    const tensor_spec *inputs, *outputs;
    const axis_spec *axes;
    const state_spec *states;
    int input_count, output_count, axis_count, state_count;
    int time_axis; /* of a graph that takes chunks */
    int reset;     /* the input that is true for rows that start anew */
} graph_spec;

typedef struct {
    const char *name, *sha256;
} file_spec;

extern const graph_spec model_graph;
extern const graph_spec *const stream_graph; /* NULL: whole sequences only */
extern const graph_spec *const step_graph;   /* NULL: stream_graph takes single frames too */
extern const graph_spec *const pipeline_graph; /* NULL: front end and decoder are the program's */
extern const file_spec contract_files[];
extern const size_t contract_file_count;

/* Of a model of bytes: what is added to each. */
extern const int64_t byte_offset;

/* Whether a text that it writes is a tune, which ends at an empty line. */
extern const int writes_tunes;

/* Of rows of numbers: the columns of a table, and what the numbers of an answer are. */
extern const char *const columns[];
extern const size_t column_count;
extern const char *const names[];
extern const size_t name_count;

#ifdef __cplusplus
}
#endif

#endif
