/* Elements of activations, which are of type GP_FLOAT32 or GP_BFLOAT16: computed with as float, rounded to nearest even when
 * they are stored. */
#ifndef GP_NN_ELEMENT_H
#define GP_NN_ELEMENT_H

#include <gausspool/gausspool.h>

#include "base/half.h"

/* Element i; for loops that are not worth more. */
static inline float nn_load(gp_dtype type, const void *from, int64_t i) {
  return type == GP_BFLOAT16 ? gp_float_of_bfloat16(((const uint16_t *)from)[i]) : ((const float *)from)[i];
}

static inline void nn_store(gp_dtype type, void *to, int64_t i, float value) {
  if (type == GP_BFLOAT16)
    ((uint16_t *)to)[i] = gp_bfloat16_of_float(value);
  else
    ((float *)to)[i] = value;
}

/* The address of element i. */
static inline void *nn_at(gp_dtype type, void *base, int64_t i) {
  return (char *)base + i * (int64_t)gp_dtype_size(type);
}
static inline const void *nn_at_const(gp_dtype type, const void *base, int64_t i) {
  return (const char *)base + i * (int64_t)gp_dtype_size(type);
}

/* `count` elements as floats: those themselves, or copied into `buffer`. */
const float *nn_floats(gp_dtype type, const void *from, size_t count, float *buffer);

/* Puts `count` floats there. They may be there already. */
void nn_put_floats(gp_dtype type, void *to, const float *from, size_t count);

/* A loop dst[i] = f(a[i], b[i]) over floats; b may be NULL, if it does not need it. */
typedef void (*nn_loop)(float *dst, const float *a, const float *b, size_t count);

/* Runs it over elements of this type, in parallel. dst may be a or b if it may so for the loop. */
void nn_run_loop(nn_loop loop, gp_dtype type, void *dst, const void *a, const void *b, size_t elements);

#endif
