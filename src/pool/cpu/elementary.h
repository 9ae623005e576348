/* Exponential, softplus and its derivative, and powers in float, for loops that the compiler vectorises. As
 * base/normal.h: only operations that every instruction set rounds alike, and minimax polynomials. Accuracy
 * (tests/unit/test_pool_elementary.c): within 4 units in the last place where the result is a normal number. NaN stays
 * NaN. */
#ifndef GP_POOL_CPU_ELEMENTARY_H
#define GP_POOL_CPU_ELEMENTARY_H

#include "base/normal.h"

/* e^x for x ≤ 0, subnormal results included. */
static inline float gp_exp_negative(float x) {
  /* Below -104 the result rounds to zero; the comparison leaves NaN alone. */
  x = x < -104.0f ? -104.0f : x;
  /* x = n·ln 2 + r. Adding 1.5·2^23 rounds to an integer; 190 besides makes its low bits the exponent of 2^(n + 63). */
  float shifted = x * 0x1.715476p+0f + (0x1.8p+23f + 190.0f);
  float n = shifted - (0x1.8p+23f + 190.0f);
  float r = x - n * 0x1.62e400p-1f;
  r = r - n * 0x1.7f7d1cp-20f;
  float p = 0x1.6d10fcp-10f;
  p = p * r + 0x1.120b62p-7f;
  p = p * r + 0x1.555520p-5f;
  p = p * r + 0x1.5554dep-3f;
  p = p * r + 0.5f;
  p = r * r * p + r + 1.0f;
  /* 2^n in two factors: n goes down to -150. Only the second product rounds, where the result is subnormal. */
  float power = gp_float_of_bits(gp_bits_of_float(shifted) << 23);
  return p * power * 0x1p-63f;
}

/* softplus(a) = log(1 + e^a) = max(a, 0) + log(1 + t), where t is this. */
static inline float gp_softplus_exp(float a) { return gp_exp_negative(0.0f - fabsf(a)); }

static inline float gp_softplus_value(float a, float t) {
  /* log(1 + t) = 2·artanh(z), z = t/(2 + t) ≤ 1/3 */
  float z = t / (2.0f + t);
  float square = z * z;
  float p = 0x1.dba260p-3f;
  p = p * square + 0x1.bc8cf9p-3f;
  p = p * square + 0x1.24c927p-2f;
  p = p * square + 0x1.9998d4p-2f;
  p = p * square + 0x1.555556p-1f;
  float tail = z * square * p + 2.0f * z;
  return (a > 0.0f ? a : 0.0f) + tail;
}

/* Its derivative 1/(1 + e^-a). */
static inline float gp_softplus_slope(float a, float t) { return (a < 0.0f ? t : 1.0f) / (1.0f + t); }

/* Both. */
static inline void gp_softplus(float a, float *value, float *slope) {
  float t = gp_softplus_exp(a);
  *value = gp_softplus_value(a, t);
  *slope = gp_softplus_slope(a, t);
}

/* x^power for 0 ≤ x ≤ 1 and power ≥ 0; x below the smallest normal number counts as that. */
static inline float gp_power_of_fraction(float x, float power) {
  float normal = x < 0x1p-126f ? 0x1p-126f : x;
  /* gp_log gives nonsense for a NaN, which x - x brings back. */
  return gp_exp_negative(power * gp_log(normal)) + (x - x);
}

#endif
