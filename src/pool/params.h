/* mu, sigma and weight: broadcast shapes, and the sums their gradients are. */
#ifndef GP_POOL_PARAMS_H
#define GP_POOL_PARAMS_H

#include "base/half.h"
#include "pool/shape.h"

/* Elements of a parameter of the plan's shape; for GP_SHAPE_NCHW, padding lanes included; for GP_LINK_GATE, all masks. */
size_t gp_param_elements(const gp_pool_plan *plan);

/* Index of (n, c) in a parameter of the plan's shape, which is not GP_SHAPE_NCHW; in units of gp_param_values(). */
static inline int64_t gp_param_index(const gp_pool_plan *plan, int64_t n, int64_t c) {
  switch (plan->desc.param_shape) {
    case GP_SHAPE_NC: return n * plan->desc.channels + c;
    case GP_SHAPE_C: return c;
    case GP_SHAPE_N: return n;
    default: return 0;
  }
}

/* Values that belong to one place of the parameter: 1, or for GP_LINK_GATE one for each element of the kernel. */
static inline int64_t gp_param_values(const gp_pool_plan *plan) {
  return plan->kind->link == GP_LINK_GATE ? (int64_t)plan->desc.kernel[0] * plan->desc.kernel[1] : 1;
}

/* Element i of an array. */
static inline double gp_load(const void *array, gp_dtype dtype, int64_t i) {
  switch (dtype) {
    case GP_FLOAT64: return ((const double *)array)[i];
    case GP_BFLOAT16: return (double)gp_float_of_bfloat16(((const uint16_t *)array)[i]);
    case GP_FLOAT16: return (double)gp_float_of_float16(((const uint16_t *)array)[i]);
    default: return (double)((const float *)array)[i];
  }
}
static inline void gp_store(void *array, gp_dtype dtype, int64_t i, double value) {
  switch (dtype) {
    case GP_FLOAT64: ((double *)array)[i] = value; break;
    case GP_BFLOAT16: ((uint16_t *)array)[i] = gp_bfloat16_of_float((float)value); break;
    case GP_FLOAT16: ((uint16_t *)array)[i] = gp_float16_of_float((float)value); break;
    default: ((float *)array)[i] = (float)value; break;
  }
}

/* Sums `sums`, [batch][channels][values] in double, over what the plan's shape broadcasts over and writes the parameter's
 * gradient. The order of the sum is fixed. `gradient` may be NULL. Not for GP_SHAPE_NCHW. */
void gp_param_reduce(const gp_pool_plan *plan, const double *sums, void *gradient);

/* As gp_param_reduce for the gradient of an array of [channels]: scale or shift. */
void gp_channel_reduce(const gp_pool_plan *plan, const double *sums, void *gradient);

#endif
