/* The loops over pixels that take time, compiled for several instruction sets; all give the same bytes.
 * Pixels are RGBX: four bytes each, the fourth without meaning. */
#ifndef GP_DATA_PIXELS_H
#define GP_DATA_PIXELS_H

#include <stddef.h>
#include <stdint.h>

enum {
  DATA_WEIGHT_BITS = 22
}; /* fraction of a resizing weight: 32, less 8 of a pixel, less 2 for sign and overshoot */

typedef struct data_row_filter {
  const int32_t *first, *used, *weight;
  int32_t taps, count;
} data_row_filter;

typedef struct data_pixels {
  /* `rows` rows of filter->count pixels each, stride bytes apart: pixel i is Σ_k weight[i·taps + k]·src[first[i] + k]
   * over k < used[i]. */
  void (*resize_rows)(uint8_t *dst, size_t dst_stride, const uint8_t *src, size_t src_stride, int32_t rows,
                      const data_row_filter *filter);

  /* Of any number of channels: byte i is Σ_k weight[k]·src[k·stride + i] over k < used. */
  void (*resize_column)(uint8_t *dst, const uint8_t *src, size_t stride, const int32_t *weight, int32_t used,
                        size_t bytes);

  /* x → from + factor·(x - from) in float, cut off to 0 … 255, its fraction dropped. In place. */
  void (*blend_value)(uint8_t *pixels, size_t count, uint8_t from, float factor);
  /* The same with each pixel's own luma as `from`. */
  void (*blend_luma)(uint8_t *pixels, size_t count, float factor);
  uint64_t (*luma_sum)(const uint8_t *pixels, size_t count);
} data_pixels;

/* For gp_isa_current(). */
const data_pixels *data_pixels_get(void);

/* L = 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point; grey stays what it is, as the weights add up to 65536. */
static inline uint8_t data_luma(const uint8_t *rgb) {
  return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

#endif
