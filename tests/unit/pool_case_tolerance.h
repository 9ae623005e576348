/* How far a float32 computation of a case may lie from the exact one: first-order error analysis, window by window. */
#ifndef POOL_CASE_TOLERANCE_H
#define POOL_CASE_TOLERANCE_H

#include "pool_case.h"

/* `exact` is a case of pool_case_exact, run. Gives for each element of each output the largest error of a computation
 * that rounds each step to float32, before the result is rounded to its own dtype. As large as the outputs, float64. */
void pool_tolerance_make(test_buffer tolerance[POOL_OUTPUTS], const pool_case *exact);

/* Fails where an output of the case, which has been run, lies farther from the exact one than the tolerance and rounding. */
void pool_tolerance_check(const pool_case *pool, const pool_case *exact, const test_buffer tolerance[POOL_OUTPUTS]);

/* Largest error of rounding to the dtype, to nearest. */
double pool_rounding(gp_dtype dtype, double value);

#endif
