#ifndef SELF_TEST_H
#define SELF_TEST_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int outputs, wrong;
    char place[256];
    double error, tolerance; /* of the output that is nearest to its tolerance, or past it */
} test_report;

/* Replay the golden data: whole sequences, then consecutive chunks with the states of this run. */
int self_test(model *with, test_report *report, model_error *error);

#ifdef __cplusplus
}
#endif

#endif
