#include "tensor_file.h"

#include <string.h>

enum { DIMS = 1, DATA_TYPE = 2, RAW_DATA = 9, VARINT = 0, BYTES = 2 };

static int read_varint(const unsigned char **place, const unsigned char *end, uint64_t *number) {
    *number = 0;
    for (int shift = 0; *place < end && shift < 64; shift += 7) {
        unsigned char byte = *(*place)++;
        *number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return 0;
    }
    return -1;
}

static int add_dim(tensor *found, uint64_t size) {
    if (found->rank == CONTRACT_MAX_RANK) return -1;
    found->dims[found->rank++] = (int64_t)size;
    return 0;
}

static int parse(unsigned char *content, size_t size, tensor *found, size_t *bytes) {
    const unsigned char *place = content, *end = content + size;
    while (place < end) {
        uint64_t key, value;
        if (read_varint(&place, end, &key) || read_varint(&place, end, &value)) return -1;
        if ((key & 7) == VARINT) {
            if (key >> 3 == DIMS && add_dim(found, value)) return -1;
            if (key >> 3 == DATA_TYPE) found->type = (dtype)value;
            continue;
        }
        if ((key & 7) != BYTES || value > (uint64_t)(end - place)) return -1;
        const unsigned char *after = place + value;
        if (key >> 3 == RAW_DATA) {
            found->data = content + (place - content);
            *bytes = (size_t)value;
        }
        while (key >> 3 == DIMS && place < after)
            if (read_varint(&place, after, &value) || add_dim(found, value)) return -1;
        place = after;
    }
    return 0;
}

int parse_tensor(unsigned char *content, size_t size, tensor *found, model_error *error) {
    size_t bytes = 0;
    found->rank = 0;
    found->data = content + size;
    if (parse(content, size, found, &bytes) || bytes != element_count(found) * dtype_size(found->type))
        return fail(error, "tensor file must be an ONNX tensor with raw data, it is not.");
    /* The values may stand at any place of the file: move them to where every type may. */
    found->data = memmove(content, found->data, bytes);
    return 0;
}
