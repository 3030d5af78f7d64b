#ifndef CHECK_H
#define CHECK_H

#include "model.h"

/* Every input of `graph` but those marked in `skipped` must be among `inputs` and fit; no other may
 * be there. `sizes` holds the sizes of axes that are known, 0 for others, and is completed. */
int check_inputs(const graph_spec *graph, const char *skipped, const tensor *inputs, int count,
                 int64_t sizes[CONTRACT_MAX_AXES], model_error *error);

#endif
