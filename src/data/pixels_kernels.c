/* Compiled once for each instruction set, as DATA_PIXELS. Integers throughout, or single float operations, so that every
 * set gives the same bytes. */
#include "data/pixels.h"

#include <string.h>

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint16_t shorts8 __attribute__((vector_size(16)));
typedef uint32_t words4 __attribute__((vector_size(16)));
typedef int32_t ints4 __attribute__((vector_size(16)));

/* Four bytes as integers. Interleaved with zeros, which every instruction set can; compilers take conversions of so short
 * vectors apart. */
static inline ints4 load_pixel(const uint8_t *pixel) {
  uint32_t word;
  memcpy(&word, pixel, sizeof word);
  const bytes16 bytes = (bytes16)(words4){word}, zeros = {0};
  const shorts8 shorts =
      (shorts8)__builtin_shufflevector(bytes, zeros, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  return (ints4)__builtin_shufflevector(shorts, (shorts8)zeros, 0, 8, 1, 9, 2, 10, 3, 11);
}

/* Weights are not negative and add up to 1 but for their own rounding, so only the upper bound needs care. */
static inline void store_pixel(uint8_t *pixel, ints4 sum) {
  sum >>= DATA_WEIGHT_BITS;
  const ints4 over = sum > 255;
  const bytes16 bytes = (bytes16)((sum & ~over) | (255 & over));
  const words4 word = (words4)__builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  memcpy(pixel, &word, sizeof(uint32_t));
}

enum { GROUP = 4 }; /* rows at a time, which share the weights and the loop over them */

static inline void resize_group(uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int rows,
                                const data_row_filter *filter) {
  const int32_t *weight = filter->weight;
  const int32_t half = 1 << (DATA_WEIGHT_BITS - 1);
  for (int32_t i = 0; i < filter->count; ++i, weight += filter->taps, dst += 4) {
    const uint8_t *pixel = src + 4 * (size_t)filter->first[i];
    ints4 sum[GROUP];
    for (int r = 0; r < rows; ++r) sum[r] = (ints4){half, half, half, half};
    for (int32_t k = 0; k < filter->used[i]; ++k, pixel += 4)
      for (int r = 0; r < rows; ++r) sum[r] += load_pixel(pixel + (size_t)r * src_stride) * weight[k];
    for (int r = 0; r < rows; ++r) store_pixel(dst + (size_t)r * dst_stride, sum[r]);
  }
}

static void resize_rows(uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int32_t rows,
                        const data_row_filter *filter) {
  int32_t y = 0;
  for (; y + GROUP <= rows; y += GROUP, dst += GROUP * dst_stride, src += GROUP * src_stride)
    resize_group(dst, dst_stride, src, src_stride, GROUP, filter);
  for (; y < rows; ++y, dst += dst_stride, src += src_stride) resize_group(dst, dst_stride, src, src_stride, 1, filter);
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
  float value = (float)from + factor * (float)(x - from);
  value = value > 0.0f ? value : 0.0f;
  value = value < 255.0f ? value : 255.0f;
  return (uint8_t)(int32_t)value;
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

const data_pixels DATA_PIXELS = {resize_rows, resize_column, blend_value, blend_luma, luma_sum};
