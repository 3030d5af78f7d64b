/* Tensors of the caller's and of ONNX Runtime's. */
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

size_t dtype_size(dtype type) {
    switch (type) {
    case DTYPE_FLOAT64: case DTYPE_INT64: case DTYPE_UINT64: return 8;
    case DTYPE_FLOAT32: case DTYPE_INT32: case DTYPE_UINT32: return 4;
    case DTYPE_INT16: case DTYPE_UINT16: return 2;
    default: return 1;
    }
}

size_t element_count(const tensor *of) {
    size_t count = 1;
    for (int axis = 0; axis < of->rank; axis++) count *= (size_t)of->dims[axis];
    return count;
}

const tensor *find_tensor(const tensor *tensors, int count, const char *name) {
    for (int place = 0; place < count; place++)
        if (!strcmp(tensors[place].name, name)) return &tensors[place];
    return NULL;
}

/* Pointers to zero-ended UTF-8. */
static OrtValue *wrap_texts(const model *in, const tensor *given, model_error *error) {
    const OrtApi *ort = in->ort;
    OrtAllocator *allocator;
    OrtValue *value = NULL;
    if (!succeeded(ort, ort->GetAllocatorWithDefaultOptions(&allocator), error) ||
        !succeeded(ort, ort->CreateTensorAsOrtValue(allocator, given->dims, (size_t)given->rank,
                                                    ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, &value), error))
        return NULL;
    if (succeeded(ort, ort->FillStringTensor(value, given->data, element_count(given)), error)) return value;
    ort->ReleaseValue(value);
    return NULL;
}

/* In one piece of memory: the pointers, then the texts. */
static int unwrap_texts(const model *in, OrtValue *value, tensor *found, model_error *error) {
    const OrtApi *ort = in->ort;
    size_t count = element_count(found), bytes;
    if (!succeeded(ort, ort->GetStringTensorDataLength(value, &bytes), error)) return -1;
    const char **texts = malloc((count + 1) * sizeof *texts + bytes + count);
    if (!texts) return fail(error, "memory must suffice, it does not.");
    char *place = (char *)(texts + count + 1);
    for (size_t text = 0; text < count; text++) {
        size_t size;
        if (!succeeded(ort, ort->GetStringTensorElementLength(value, text, &size), error) ||
            !succeeded(ort, ort->GetStringTensorElement(value, size, text, place), error)) {
            free(texts);
            return -1;
        }
        texts[text] = place;
        place += size;
        *place++ = '\0';
    }
    found->data = texts;
    return 0;
}

OrtValue *wrap(const model *in, const tensor *given, model_error *error) {
    OrtValue *value = NULL;
    if (given->type == DTYPE_STRING) return wrap_texts(in, given, error);
    size_t bytes = element_count(given) * dtype_size(given->type);
    if (!succeeded(in->ort, in->ort->CreateTensorWithDataAsOrtValue(
                                in->memory, given->data, bytes, given->dims, (size_t)given->rank,
                                (ONNXTensorElementDataType)given->type, &value), error))
        return NULL;
    return value;
}

int unwrap(const model *in, OrtValue *value, const tensor_spec *spec, tensor *found, model_error *error) {
    const OrtApi *ort = in->ort;
    OrtTensorTypeAndShapeInfo *shape = NULL;
    memset(found, 0, sizeof *found);
    *found = (tensor){.name = spec->name, .type = spec->type, .rank = spec->rank, .value = value};
    int is_known = succeeded(ort, ort->GetTensorTypeAndShape(value, &shape), error) &&
                   succeeded(ort, ort->GetDimensions(shape, found->dims, (size_t)found->rank), error);
    if (shape) ort->ReleaseTensorTypeAndShapeInfo(shape);
    if (!is_known) return -1;
    if (spec->type == DTYPE_STRING) return unwrap_texts(in, value, found, error);
    return succeeded(ort, ort->GetTensorMutableData(value, &found->data), error) ? 0 : -1;
}

void fill(tensor *filled, double value) {
    for (size_t place = 0, count = element_count(filled); place < count; place++) {
        switch (filled->type) {
        case DTYPE_FLOAT32: ((float *)filled->data)[place] = (float)value; break;
        case DTYPE_FLOAT64: ((double *)filled->data)[place] = value; break;
        case DTYPE_INT64: case DTYPE_UINT64: ((int64_t *)filled->data)[place] = (int64_t)value; break;
        case DTYPE_INT32: case DTYPE_UINT32: ((int32_t *)filled->data)[place] = (int32_t)value; break;
        case DTYPE_INT16: case DTYPE_UINT16: ((int16_t *)filled->data)[place] = (int16_t)value; break;
        default: ((int8_t *)filled->data)[place] = (int8_t)value;
        }
    }
}

OrtValue *allocate(const model *in, const tensor_spec *spec, const int64_t sizes[], double value, model_error *error) {
    OrtAllocator *allocator;
    OrtValue *made = NULL;
    tensor view = {.rank = spec->rank};
    for (int axis = 0; axis < spec->rank; axis++) {
        int number = spec->dims[axis].axis;
        view.dims[axis] = number == CONTRACT_NONE ? spec->dims[axis].size : sizes[number];
        if (view.dims[axis] < 1) {
            fail(error, "state %s must be given, the size of its axis %d is not known.", spec->name, axis);
            return NULL;
        }
    }
    if (!succeeded(in->ort, in->ort->GetAllocatorWithDefaultOptions(&allocator), error) ||
        !succeeded(in->ort, in->ort->CreateTensorAsOrtValue(allocator, view.dims, (size_t)view.rank,
                                                            (ONNXTensorElementDataType)spec->type, &made), error))
        return NULL;
    if (unwrap(in, made, spec, &view, error)) {
        in->ort->ReleaseValue(made);
        return NULL;
    }
    fill(&view, value);
    return made;
}

void release(const model *in, OrtValue **values, int count) {
    for (int place = 0; place < count; place++) {
        if (values[place]) in->ort->ReleaseValue(values[place]);
        values[place] = NULL;
    }
}

void tensors_free(model *with, tensor *tensors, int count) {
    for (int place = 0; place < count; place++) {
        if (tensors[place].type == DTYPE_STRING && tensors[place].value) free(tensors[place].data);
        if (tensors[place].value) with->ort->ReleaseValue(tensors[place].value);
        tensors[place].value = NULL;
        tensors[place].data = NULL;
    }
}
