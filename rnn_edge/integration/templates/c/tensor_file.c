#include "tensor_file.h"

#include <stdlib.h>
#include <string.h>

enum { DIMS = 1, DATA_TYPE = 2, TEXTS = 6, RAW_DATA = 9, VARINT = 0, BYTES = 2 };

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

/* `texts`, where it is not NULL, has room for their pointers and, zero-ended, for themselves. */
static int parse(unsigned char *content, size_t size, tensor *found, size_t *bytes, const char **texts, size_t count) {
    char *room = (char *)(texts + count);
    size_t seen = 0;
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
        if (texts && key >> 3 == TEXTS) {
            if (seen == count) return -1;
            memcpy(room, place, (size_t)value);
            room[value] = '\0';
            texts[seen++] = room;
            room += value + 1;
        }
        while (key >> 3 == DIMS && place < after)
            if (read_varint(&place, after, &value) || add_dim(found, value)) return -1;
        place = after;
    }
    return texts && seen != count ? -1 : 0;
}

static int parse_texts(unsigned char **content, size_t size, tensor *found, model_error *error) {
    size_t count = element_count(found), bytes;
    if (count > size) return fail(error, "tensor file must hold all its texts, it does not.");
    /* A text has a key and a length before it: room for its end too. */
    const char **texts = malloc(count * sizeof *texts + size + 1);
    if (!texts) return fail(error, "memory must suffice, it does not.");
    tensor again = {.rank = 0};
    if (parse(*content, size, &again, &bytes, texts, count)) {
        free(texts);
        return fail(error, "tensor file must hold all its texts, it does not.");
    }
    free(*content);
    *content = (unsigned char *)texts;
    found->data = texts;
    return 0;
}

int parse_tensor(unsigned char **content, size_t size, tensor *found, model_error *error) {
    size_t bytes = 0;
    found->rank = 0;
    found->data = *content + size;
    int is_read = !parse(*content, size, found, &bytes, NULL, 0);
    if (is_read && found->type == DTYPE_STRING) return parse_texts(content, size, found, error);
    if (!is_read || bytes != element_count(found) * dtype_size(found->type))
        return fail(error, "tensor file must be an ONNX tensor with raw data, it is not.");
    /* The values may stand at any place of the file: move them to where every type may. */
    found->data = memmove(*content, found->data, bytes);
    return 0;
}
