/* Compiled once for each instruction set, as DATA_PIXELS. Integers throughout, or single float operations, so that every
 * set gives the same bytes. */
#include "data/pixels.h"

#include <string.h>

typedef uint8_t bytes4 __attribute__((vector_size(4)));
typedef int32_t ints4 __attribute__((vector_size(16)));

static inline ints4 load_pixel(const uint8_t *pixel) {
  bytes4 bytes;
  memcpy(&bytes, pixel, sizeof bytes);
  return __builtin_convertvector(bytes, ints4);
}

/* Weights are not negative and add up to 1 but for their own rounding, so only the upper bound needs care. */
static inline void store_pixel(uint8_t *pixel, ints4 sum) {
  sum >>= DATA_WEIGHT_BITS;
  const ints4 over = sum > 255;
  const bytes4 bytes = __builtin_convertvector((sum & ~over) | (255 & over), bytes4);
  memcpy(pixel, &bytes, sizeof bytes);
}

static void resize_row(uint8_t *dst, const uint8_t *src, const int32_t *first, const int32_t *used,
                       const int32_t *weight, int32_t taps, int32_t count) {
  for (int32_t i = 0; i < count; ++i, weight += taps, dst += 4) {
    const uint8_t *pixel = src + 4 * (size_t)first[i];
    ints4 sum = {1 << (DATA_WEIGHT_BITS - 1), 1 << (DATA_WEIGHT_BITS - 1), 1 << (DATA_WEIGHT_BITS - 1), 0};
    for (int32_t k = 0; k < used[i]; ++k, pixel += 4) sum += load_pixel(pixel) * weight[k];
    store_pixel(dst, sum);
  }
}

enum { BLOCK = 32 }; /* bytes of a row whose sums stay in registers */

static inline void resize_block(uint8_t *dst, const uint8_t *src, size_t stride, const int32_t *weight, int32_t used,
                                size_t bytes) {
  int32_t sum[BLOCK];
  for (size_t i = 0; i < bytes; ++i) sum[i] = 1 << (DATA_WEIGHT_BITS - 1);
  for (int32_t k = 0; k < used; ++k, src += stride)
    for (size_t i = 0; i < bytes; ++i) sum[i] += src[i] * weight[k];
  for (size_t i = 0; i < bytes; ++i) {
    const int32_t value = sum[i] >> DATA_WEIGHT_BITS;
    dst[i] = (uint8_t)(value > 255 ? 255 : value);
  }
}

static void resize_column(uint8_t *dst, const uint8_t *src, size_t stride, const int32_t *weight, int32_t used,
                          size_t bytes) {
  size_t i = 0;
  for (; i + BLOCK <= bytes; i += BLOCK) resize_block(dst + i, src + i, stride, weight, used, BLOCK);
  if (i < bytes) resize_block(dst + i, src + i, stride, weight, used, bytes - i);
}

static inline uint8_t blend(int32_t from, int32_t x, float factor) {
  const float value = (float)from + factor * (float)(x - from);
  return (uint8_t)(int32_t)(value <= 0.0f ? 0.0f : value >= 255.0f ? 255.0f : value);
}

static void blend_value(uint8_t *pixels, size_t count, uint8_t from, float factor) {
  for (size_t i = 0; i < 4 * count; ++i) pixels[i] = blend(from, pixels[i], factor);
}

static void blend_luma(uint8_t *pixels, size_t count, float factor) {
  for (size_t i = 0; i < count; ++i) {
    uint8_t *pixel = pixels + 4 * i;
    const int32_t luma = data_luma(pixel);
    for (int c = 0; c < 4; ++c) pixel[c] = blend(luma, pixel[c], factor);
  }
}

static uint64_t luma_sum(const uint8_t *pixels, size_t count) {
  uint64_t sum = 0;
  /* In stretches whose sum fits 32 bits, which more lanes can add up. */
  for (size_t first = 0; first < count; first += 4096) {
    const size_t end = first + 4096 < count ? first + 4096 : count;
    uint32_t part = 0;
    for (size_t i = first; i < end; ++i) part += data_luma(pixels + 4 * i);
    sum += part;
  }
  return sum;
}

const data_pixels DATA_PIXELS = {resize_row, resize_column, blend_value, blend_luma, luma_sum};
