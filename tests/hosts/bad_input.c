/* Tensors that do not fit, each refused with a message; a stream is then as it was. */
#include <math.h>
#include <stdio.h>

#include "model.h"

int main(void) {
    static float numbers[8] = {0.5f, -0.25f};
    static float gaps[2] = {0.5f, NAN};
    int64_t length[2] = {2, 2}, zero[1] = {0}, long_one[1] = {3};
    model *with;
    stream *running;
    model_error error;
    tensor out[CONTRACT_MAX_TENSORS];
    if (model_open(&with, "bundle", &error)) return 1;
    const tensor good = {"values", DTYPE_FLOAT32, 3, {1, 2, 1}, numbers, NULL};
    const tensor lengths = {"lengths", DTYPE_INT64, 1, {1}, length, NULL};
    const tensor pairs[][2] = {
        {{"values", DTYPE_FLOAT64, 3, {1, 2, 1}, numbers, NULL}, lengths},
        {{"values", DTYPE_FLOAT32, 2, {1, 2}, numbers, NULL}, lengths},
        {{"values", DTYPE_FLOAT32, 3, {0, 2, 1}, numbers, NULL}, {"lengths", DTYPE_INT64, 1, {0}, length, NULL}},
        {{"values", DTYPE_FLOAT32, 3, {1, 0, 1}, numbers, NULL}, lengths},
        {{"values", DTYPE_FLOAT32, 3, {2, 2, 1}, numbers, NULL}, lengths},
        {{"values", DTYPE_FLOAT32, 3, {1, 2, 1}, gaps, NULL}, lengths},
        {{"value", DTYPE_FLOAT32, 3, {1, 2, 1}, numbers, NULL}, lengths},
        {good, {"lengths", DTYPE_INT64, 1, {1}, zero, NULL}},
        {good, {"lengths", DTYPE_INT64, 1, {1}, long_one, NULL}},
    };
    for (size_t place = 0; place < sizeof pairs / sizeof *pairs; place++)
        puts(model_run(with, pairs[place], 2, out, &error) ? error.text : "ran");
    puts(stream_open(&running, with, 0, &error) ? error.text : "ran");
    if (stream_open(&running, with, 1, &error)) return 1;
    const tensor chunks[] = {
        {"values", DTYPE_FLOAT32, 3, {1, 0, 1}, numbers, NULL},
        {"values", DTYPE_FLOAT32, 3, {1, 1, 2}, numbers, NULL},
        {"values", DTYPE_FLOAT32, 3, {2, 1, 1}, numbers, NULL},
        {"values", DTYPE_INT64, 3, {1, 1, 1}, length, NULL},
        {"values", DTYPE_FLOAT32, 3, {1, 1, 1}, gaps + 1, NULL},
    };
    for (size_t place = 0; place < sizeof chunks / sizeof *chunks; place++)
        puts(stream_push(running, &chunks[place], 1, out, &error) ? error.text : "ran");
    for (int frame = 0; frame < 2; frame++) {
        tensor chunk = {"values", DTYPE_FLOAT32, 3, {1, 1, 1}, numbers + frame, NULL};
        if (stream_push(running, &chunk, 1, out, &error)) return 1;
        printf("%.9g\n", *(float *)out[0].data);
    }
    stream_close(running);
    model_close(with);
    return 0;
}
