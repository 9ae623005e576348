/* mu, sigma and weight: broadcast shapes, and the sums their gradients are. */
#ifndef GP_POOL_PARAMS_H
#define GP_POOL_PARAMS_H

#include "pool/shape.h"

/* Elements of a parameter of the plan's shape; for GP_SHAPE_NCHW, padding lanes included. */
size_t gp_param_elements(const gp_pool_plan *plan);

/* Index of (n, c) in a parameter of the plan's shape, which is not GP_SHAPE_NCHW. */
static inline int64_t gp_param_index(const gp_pool_plan *plan, int64_t n, int64_t c) {
  switch (plan->desc.param_shape) {
    case GP_SHAPE_NC: return n * plan->desc.channels + c;
    case GP_SHAPE_C: return c;
    case GP_SHAPE_N: return n;
    default: return 0;
  }
}

/* Element i of an array of float or double. */
static inline double gp_load(const void *array, gp_dtype dtype, int64_t i) {
  return dtype == GP_FLOAT64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}
static inline void gp_store(void *array, gp_dtype dtype, int64_t i, double value) {
  if (dtype == GP_FLOAT64)
    ((double *)array)[i] = value;
  else
    ((float *)array)[i] = (float)value;
}

/* Sums `sums`, [batch][channels] in double, over what the plan's shape broadcasts over and writes the parameter's
 * gradient. The order of the sum is fixed. `gradient` may be NULL. Not for GP_SHAPE_NCHW. */
void gp_param_reduce(const gp_pool_plan *plan, const double *sums, void *gradient);

#endif
