/* Compiled for each instruction set, with NN_BFLOAT16 the name of its table. */
#include "nn/bfloat16.h"

#include "base/half.h"

extern const nn_bfloat16 NN_BFLOAT16;

static void widen(float *restrict to, const uint16_t *restrict from, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = gp_float_of_bfloat16(from[i]);
}

static void narrow(uint16_t *restrict to, const float *restrict from, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = gp_bfloat16_of_float(from[i]);
}

const nn_bfloat16 NN_BFLOAT16 = {widen, narrow};
