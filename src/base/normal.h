/* Standard normal numbers from Philox words, by Box and Muller's transform (1958).
 *
 * Only + - *, sqrtf and integer operations, each rounded once (the build forbids contraction to fma): a scalar loop, an
 * auto-vectorised one and every instruction set give the same bits. The polynomials are minimax fits.
 * Within 1e-6 of the same transform of the same uniform numbers in double (tests/unit/test_base.c). The uniform under the
 * root is a float, so that radii below 0.01 are multiples of a few 1e-4. The largest magnitude is sqrt(64·ln 2) = 6.67. */
#ifndef GP_BASE_NORMAL_H
#define GP_BASE_NORMAL_H

#include "base/philox.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

GP_HD static inline float gp_float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

GP_HD static inline uint32_t gp_bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* -log(x·2^-scale)/2 of a normal, positive x, from its bits; scale is a constant. The factor -1/2 makes the first two terms of
 * the series g and g², without factors of their own. */
GP_HD static inline float gp_minus_half_log(uint32_t bits, uint32_t scale) {
  /* x·2^-scale = 2^e·(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); g = -f/2. */
  uint32_t above = bits - (0x3F3504F3u + (scale << 23));
  float exponent = (float)((int32_t)above >> 23);
  float g = 0.5f - gp_float_of_bits((above & 0x7FFFFFu) + 0x3EB504F3u);
  /* -log(1 + f)/2 = g + g² + g³·p(f), whose coefficients here are those of p times (-2)^k. */
  float p = 0x1.43b246p+5f;
  p = p * g + 0x1.02815p+5f;
  p = p * g + 0x1.0a33ecp+4f;
  p = p * g + 0x1.231ce6p+3f;
  p = p * g + 0x1.54d03ep+2f;
  p = p * g + 0x1.999f14p+1f;
  p = p * g + 0x1.0000cep+1f;
  p = p * g + 0x1.555554p+0f;
  float square = g * g;
  float tail = square * g * p + square;
  /* ln 2 in two parts; the first has few enough bits for exponent·part to be exact. */
  tail = tail - exponent * 0x1.7f7d1cp-21f;
  return (g + tail) - exponent * 0x1.62e400p-2f;
}

/* Natural logarithm of a normal, positive x. */
GP_HD static inline float gp_log(float x) { return -2.0f * gp_minus_half_log(gp_bits_of_float(x), 0); }

/* Twice the sine and cosine of 2π·turn/2^32. */
GP_HD static inline void gp_sincos_turn(uint32_t turn, float *sine, float *cosine) {
  /* The nearest quarter turn is in the two highest bits of `nearest`; what is left: t quarter turns, t in [-1/2, 1/2). */
  uint32_t nearest = turn + 0x20000000u;
  float t = (float)(int32_t)(turn << 2) * 0x1p-32f;
  float z = t * t;
  float s = -0x1.2d9b40p-7f;
  s = s * z + 0x1.465ec4p-3f;
  s = s * z - 0x1.4abbbap+0f;
  s = s * z + 0x1.921fb4p+1f;
  s = s * t;
  float c = 0x1.db6492p-10f;
  c = c * z - 0x1.55cb98p-5f;
  c = c * z + 0x1.03c1eap-1f;
  c = c * z - 0x1.3bd3ccp+1f;
  c = c * z + 2.0f;
  /* Quarter 0: (s, c), 1: (c, -s), 2: (-s, -c), 3: (-c, s). */
  bool swap = (int32_t)(nearest << 1) < 0;
  uint32_t sine_bits = gp_bits_of_float(swap ? c : s), cosine_bits = gp_bits_of_float(swap ? s : c);
  *sine = gp_float_of_bits(sine_bits ^ (nearest & 0x80000000u));
  *cosine = gp_float_of_bits(cosine_bits ^ ((nearest + 0x40000000u) & 0x80000000u));
}

/* Half the radius of a pair of normals, from a uniform word. */
GP_HD static inline float gp_half_radius(uint32_t word) {
  /* Uniform on (0, 1], times 2^31: from 31 bits so that the conversion is a signed one, which every vector unit has. */
  float uniform = (float)(int32_t)(word >> 1) + 0.5f;
  /* At uniform = 1 the logarithm is 0, and its sign here is plus. */
  return sqrtf(gp_minus_half_log(gp_bits_of_float(uniform), 31));
}

/* The pair from half its radius and another uniform word. */
GP_HD static inline void gp_normals_at(float half_radius, uint32_t angle_word, float *first, float *second) {
  float sine, cosine;
  gp_sincos_turn(angle_word, &sine, &cosine);
  *first = half_radius * cosine;
  *second = half_radius * sine;
}

/* Two independent normals from two uniform words. */
GP_HD static inline void gp_normal2(uint32_t radius_word, uint32_t angle_word, float *first, float *second) {
  gp_normals_at(gp_half_radius(radius_word), angle_word, first, second);
}

/* Four independent standard normals from one block. */
GP_HD static inline void gp_normal4(gp_philox_block block, float out[4]) {
  gp_normal2(block.word[0], block.word[1], &out[0], &out[1]);
  gp_normal2(block.word[2], block.word[3], &out[2], &out[3]);
}

#endif
