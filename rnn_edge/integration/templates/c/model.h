/* A bundle over ONNX Runtime's C API: whole sequences with model_run, chunks with stream_push.
 *
 * Functions return 0, or -1 with a message in `error`. ONNX Runtime ends the process on an empty
 * batch or sequence and makes numbers of NaN, so every tensor is checked before it is run. */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "contract.h"

#ifdef __cplusplus
extern "C" {
#endif

struct OrtValue;

typedef struct {
    char text[512];
} model_error;

/* What goes in points to memory of the caller's; what comes out belongs to `value`. The data of
 * texts are pointers to zero-ended UTF-8. */
typedef struct {
    const char *name;
    dtype type;
    int rank;
    int64_t dims[CONTRACT_MAX_RANK];
    void *data;
    struct OrtValue *value;
} tensor;

typedef struct model model;
typedef struct stream stream;

/* Load the bundle in `folder`; its files must be those that this program was written for. */
int model_open(model **opened, const char *folder, model_error *error);
void model_close(model *closed);

/* Run whole sequences: `inputs` by name, states may be left out; `outputs` has room for
 * model_graph.output_count tensors, to be given to tensors_free. */
int model_run(model *with, const tensor *inputs, int count, tensor *outputs, model_error *error);

/* The same of pipeline.onnx, with pipeline_graph->output_count outputs: options may be left out. */
int pipeline_run(model *with, const tensor *inputs, int count, tensor *outputs, model_error *error);
void tensors_free(model *with, tensor *tensors, int count);

/* A stream of `batch` rows side by side. `with` must stay open until stream_close. */
int stream_open(stream **opened, model *with, int64_t batch, model_error *error);
void stream_close(stream *closed);

/* Run the next frames: the graph's inputs without states and reset. `outputs` has room for
 * stream_graph->output_count tensors; they stay valid until the next push. Nothing is copied: the
 * graph reads the caller's memory, and the states that it wrote are what it reads next. A refused
 * push leaves the stream as it was. */
int stream_push(stream *with, const tensor *inputs, int count, tensor *outputs, model_error *error);

/* The next push begins a new sequence. */
void stream_reset(stream *with);

/* Go on from these states: all state inputs by name; they are copied. */
int stream_resume(stream *with, const tensor *states, int count, model_error *error);

const tensor *find_tensor(const tensor *tensors, int count, const char *name);
size_t dtype_size(dtype type);
size_t element_count(const tensor *of);
int fail(model_error *error, const char *format, ...);

/* The content of a file of the bundle, checked against its SHA-256; to be freed. */
unsigned char *read_bundle_file(const model *with, const char *name, size_t *size, model_error *error);

#ifdef __cplusplus
}
#endif

#endif
