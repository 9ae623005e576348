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
#include <string.h>

static inline float gp_float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t gp_bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* Natural logarithm of a normal, positive x. */
static inline float gp_log(float x) {
  /* x = 2^e·(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)). */
  uint32_t bits = gp_bits_of_float(x);
  int32_t e = (int32_t)(bits - 0x3F3504F3u) >> 23;
  float f = gp_float_of_bits(bits - ((uint32_t)e << 23)) - 1.0f;
  float exponent = (float)e;
  /* log(1 + f) = f - f²/2 + f³·p(f) */
  float p = -0x1.43b246p-4f;
  p = p * f + 0x1.02814fp-3f;
  p = p * f - 0x1.0a33ebp-3f;
  p = p * f + 0x1.231ce6p-3f;
  p = p * f - 0x1.54d03ep-3f;
  p = p * f + 0x1.999f15p-3f;
  p = p * f - 0x1.0000cep-2f;
  p = p * f + 0x1.555554p-2f;
  float square = f * f;
  float tail = square * f * p - 0.5f * square;
  /* ln 2 in two parts; the first has few enough bits for exponent·part to be exact. */
  tail = tail + exponent * 0x1.7f7d1cp-20f;
  return exponent * 0x1.62e400p-1f + (f + tail);
}

/* Sine and cosine of 2π·turn/2^32. */
static inline void gp_sincos_turn(uint32_t turn, float *sine, float *cosine) {
  /* The nearest quarter turn, and what is left: t quarter turns, t in [-1/2, 1/2). */
  uint32_t quarter = (turn + 0x20000000u) >> 30;
  float t = (float)(int32_t)(turn << 2) * 0x1p-32f;
  float z = t * t;
  float s = -0x1.2d9b40p-8f;
  s = s * z + 0x1.465ec4p-4f;
  s = s * z - 0x1.4abbbap-1f;
  s = s * z + 0x1.921fb5p+0f;
  s = s * t;
  float c = 0x1.db6492p-11f;
  c = c * z - 0x1.55cb98p-6f;
  c = c * z + 0x1.03c1eap-2f;
  c = c * z - 0x1.3bd3ccp+0f;
  c = c * z + 1.0f;
  /* Quarter 0: (s, c), 1: (c, -s), 2: (-s, -c), 3: (-c, s). */
  uint32_t swap = 0u - (quarter & 1u);
  uint32_t sine_bits = gp_bits_of_float(s), cosine_bits = gp_bits_of_float(c);
  uint32_t difference = (sine_bits ^ cosine_bits) & swap;
  *sine = gp_float_of_bits((sine_bits ^ difference) ^ ((quarter & 2u) << 30));
  *cosine = gp_float_of_bits((cosine_bits ^ difference) ^ (((quarter + 1u) & 2u) << 30));
}

/* Two independent normals from two uniform words. */
static inline void gp_normal2(uint32_t radius_word, uint32_t angle_word, float *first, float *second) {
  /* Uniform on (0, 1], from 31 bits so that the conversion is a signed one, which every vector unit has. */
  float uniform = ((float)(int32_t)(radius_word >> 1) + 0.5f) * 0x1p-31f;
  /* At uniform = 1 the logarithm is +0, and the radius must not be sqrt(-0). */
  float radius = sqrtf(0.0f - 2.0f * gp_log(uniform));
  float sine, cosine;
  gp_sincos_turn(angle_word, &sine, &cosine);
  *first = radius * cosine;
  *second = radius * sine;
}

/* Four independent standard normals from one block. */
static inline void gp_normal4(gp_philox_block block, float out[4]) {
  gp_normal2(block.word[0], block.word[1], &out[0], &out[1]);
  gp_normal2(block.word[2], block.word[3], &out[2], &out[3]);
}

#endif
