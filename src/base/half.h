/* The 16-bit floating-point types: conversion from and to float, rounding to nearest even. Scalar, for every machine; the
 * kernels have vector instructions for the same. */
#ifndef GP_BASE_HALF_H
#define GP_BASE_HALF_H

#include "base/normal.h"

GP_HD static inline float gp_float_of_bfloat16(uint16_t half) { return gp_float_of_bits((uint32_t)half << 16); }

GP_HD static inline uint16_t gp_bfloat16_of_float(float value) {
  uint32_t bits = gp_bits_of_float(value);
  /* A NaN stays one, also where its payload lies in the lower half. */
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FC0u;
  return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

GP_HD static inline float gp_float_of_float16(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7FFFu;
  /* 2^112 moves float16's exponents to float's, subnormal numbers included. */
  uint32_t finite = gp_bits_of_float(gp_float_of_bits(rest << 13) * 0x1p+112f);
  uint32_t quiet = rest > 0x7C00u ? 0x400000u : 0u;
  return gp_float_of_bits(sign | (rest >= 0x7C00u ? 0x7F800000u | rest << 13 | quiet : finite));
}

GP_HD static inline uint16_t gp_float16_of_float(float value) {
  uint32_t bits = gp_bits_of_float(value), sign = bits >> 16 & 0x8000u, rest = bits & 0x7FFFFFFFu;
  if (rest > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (rest >> 13 & 0x3FFu));
  if (rest >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* rounds beyond 65504 */
  if (rest < 0x38800000u) {
    /* Below 2^-14: adding 1/2 rounds to a multiple of 2^-24, which then is in the low bits. */
    uint32_t rounded = gp_bits_of_float(gp_float_of_bits(rest) + 0.5f) - 0x3F000000u;
    return (uint16_t)(sign | rounded);
  }
  rest += 0xFFFu + (rest >> 13 & 1u);
  return (uint16_t)(sign | (rest - 0x38000000u) >> 13);
}

#endif
