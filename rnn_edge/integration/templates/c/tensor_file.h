/* ONNX's TensorProto (input_0.pb), as far as golden data need it. */
#ifndef TENSOR_FILE_H
#define TENSOR_FILE_H

#include "model.h"

/* Read dims, type and values from a file's content, which `found` then points into; of texts the
 * content becomes another piece of memory. It is to be freed. */
int parse_tensor(unsigned char **content, size_t size, tensor *found, model_error *error);

#endif
