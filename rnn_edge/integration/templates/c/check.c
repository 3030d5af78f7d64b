#include "check.h"

#include <math.h>
#include <string.h>

static int check_shape(const graph_spec *graph, const tensor_spec *spec, const tensor *given,
                       int64_t sizes[CONTRACT_MAX_AXES], model_error *error) {
    if (given->type != spec->type)
        return fail(error, "dtype of %s must be %d as ONNX counts, got %d.", spec->name, spec->type,
                    given->type);
    if (given->rank != spec->rank)
        return fail(error, "%s must have %d axes, got %d.", spec->name, spec->rank, given->rank);
    for (int place = 0; place < spec->rank; place++) {
        int64_t size = given->dims[place];
        int number = spec->dims[place].axis;
        if (number == CONTRACT_NONE) {
            if (size != spec->dims[place].size)
                return fail(error, "axis %d of %s must have size %lld, got %lld.", place, spec->name,
                            (long long)spec->dims[place].size, (long long)size);
            continue;
        }
        const axis_spec *axis = &graph->axes[number];
        if (size < axis->minimum)
            return fail(error, "axis %s of %s must be at least %lld, got %lld.", axis->name,
                        spec->name, (long long)axis->minimum, (long long)size);
        if (axis->maximum && size > axis->maximum)
            return fail(error, "axis %s of %s must be at most %lld, got %lld.", axis->name,
                        spec->name, (long long)axis->maximum, (long long)size);
        if (sizes[number] && sizes[number] != size)
            return fail(error, "axis %s of %s must have size %lld, got %lld.", axis->name,
                        spec->name, (long long)sizes[number], (long long)size);
        sizes[number] = size;
    }
    return 0;
}

static double value_at(const tensor *of, size_t place) {
    switch (of->type) {
    case DTYPE_FLOAT32: return ((const float *)of->data)[place];
    case DTYPE_FLOAT64: return ((const double *)of->data)[place];
    case DTYPE_INT64: return (double)((const int64_t *)of->data)[place];
    case DTYPE_UINT64: return (double)((const uint64_t *)of->data)[place];
    case DTYPE_INT32: return ((const int32_t *)of->data)[place];
    case DTYPE_UINT32: return ((const uint32_t *)of->data)[place];
    case DTYPE_INT16: return ((const int16_t *)of->data)[place];
    case DTYPE_UINT16: return ((const uint16_t *)of->data)[place];
    case DTYPE_INT8: return ((const int8_t *)of->data)[place];
    default: return ((const uint8_t *)of->data)[place];
    }
}

static int check_values(const graph_spec *graph, const tensor_spec *spec, const tensor *given,
                        const int64_t sizes[CONTRACT_MAX_AXES], model_error *error) {
    double least = spec->minimum, most = spec->maximum, sum = 0;
    if (spec->type == DTYPE_STRING) return 0;
    if (spec->lengths_of != CONTRACT_NONE) {
        least = fmax(least, 1);
        if (sizes[spec->lengths_of]) most = fmin(most, (double)sizes[spec->lengths_of]);
    }
    for (size_t place = 0, count = element_count(given); place < count; place++) {
        double value = value_at(given, place);
        if (!isfinite(value))
            return fail(error, "%s[%zu] must be finite, got %g.", spec->name, place, value);
        if (value < least)
            return fail(error, "%s[%zu] must be at least %g, got %g.", spec->name, place, least, value);
        if (value > most)
            return fail(error, "%s[%zu] must be at most %g, got %g.", spec->name, place, most, value);
        sum += value;
    }
    if (spec->splits != CONTRACT_NONE && sum != (double)sizes[spec->splits])
        return fail(error, "%s must add up to the %lld %s, they add up to %g.", spec->name,
                    (long long)sizes[spec->splits], graph->axes[spec->splits].name, sum);
    return 0;
}

int check_inputs(const graph_spec *graph, const char *skipped, const tensor *inputs, int count,
                 int64_t sizes[CONTRACT_MAX_AXES], model_error *error) {
    int found = 0;
    for (int place = 0; place < graph->input_count; place++) {
        const tensor *given = find_tensor(inputs, count, graph->inputs[place].name);
        if (skipped[place]) continue;
        if (!given)
            return fail(error, "input %s must be given, it is missing.", graph->inputs[place].name);
        if (check_shape(graph, &graph->inputs[place], given, sizes, error)) return -1;
        found++;
    }
    if (found < count) return fail(error, "inputs must be %d, those of the contract, got %d.", found, count);
    for (int place = 0; place < graph->input_count; place++) {
        const tensor *given = find_tensor(inputs, count, graph->inputs[place].name);
        if (!skipped[place] && check_values(graph, &graph->inputs[place], given, sizes, error)) return -1;
    }
    return 0;
}
