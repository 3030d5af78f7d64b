/* What model.c, stream.c and tensors.c share, and callers need not see. */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <onnxruntime_c_api.h>

#include "model.h"

typedef struct {
    const graph_spec *spec;
    OrtSession *session;
    const char *input_names[CONTRACT_MAX_TENSORS], *output_names[CONTRACT_MAX_TENSORS];
} graph;

struct model {
    const OrtApi *ort;
    OrtEnv *environment;
    OrtMemoryInfo *memory;
    char folder[4096];
    graph whole, chunks, single, raw; /* raw: pipeline.onnx */
};

/* 1, or 0 with what ONNX Runtime says. */
int succeeded(const OrtApi *ort, OrtStatus *status, model_error *error);

/* A view of the caller's memory; texts are copied. */
OrtValue *wrap(const model *in, const tensor *given, model_error *error);

/* `value` as a tensor of `spec`; texts are copied. */
int unwrap(const model *in, OrtValue *value, const tensor_spec *spec, tensor *found, model_error *error);

/* A tensor of ONNX Runtime's own, of the shape that the sizes of the axes give. */
OrtValue *allocate(const model *in, const tensor_spec *spec, const int64_t sizes[], double value, model_error *error);
void fill(tensor *filled, double value);
void release(const model *in, OrtValue **values, int count);
int run(const model *with, const graph *of, OrtValue *const *inputs, OrtValue **outputs, model_error *error);

#endif
