#include "data/resize.h"

#include "base/memory.h"
#include "base/status.h"

#include <string.h>

enum { MAX_SIDE = 65535 }; /* of a result, so that a needle of an image does not become gigabytes */
enum { PRECISION = 22 };   /* fraction bits of the weights: 32, less 8 of a pixel, less 2 for sign and overshoot */

/* For each position of the result along one axis: the first input it takes, how many, and their weights. */
typedef struct axis_filter {
  int32_t taps;    /* most inputs of any position */
  int32_t *first;  /* [size] */
  int32_t *count;  /* [size] */
  int32_t *weight; /* [size][taps], fixed point, sum 1 */
  double *exact;   /* [taps], scratch */
} axis_filter;

static void axis_filter_free(axis_filter *filter) {
  gp_free(filter->first);
  gp_free(filter->count);
  gp_free(filter->weight);
  gp_free(filter->exact);
}

/* Weights of result position i: a triangle around its centre in the input, normalised over what lies inside. */
static void fill_weights(axis_filter *filter, int32_t i, int32_t from, double scale, double width) {
  double centre = (i + 0.5) * scale, inverse = 1.0 / width;
  int32_t low = (int32_t)(centre - width + 0.5), high = (int32_t)(centre + width + 0.5);
  if (centre - width + 0.5 < 0.0) low = 0;
  if (high > from) high = from;
  double sum = 0.0;
  for (int32_t k = 0; k < high - low; ++k) {
    double distance = (low + k - centre + 0.5) * inverse;
    if (distance < 0.0) distance = -distance;
    filter->exact[k] = distance < 1.0 ? 1.0 - distance : 0.0;
    sum += filter->exact[k];
  }
  int32_t *weight = filter->weight + (size_t)i * (size_t)filter->taps;
  for (int32_t k = 0; k < high - low; ++k) weight[k] = (int32_t)(filter->exact[k] / sum * (1 << PRECISION) + 0.5);
  filter->first[i] = low;
  filter->count[i] = high - low;
}

static gp_status axis_filter_init(axis_filter *filter, int32_t from, int32_t to) {
  double scale = (double)from / to;
  double width = scale > 1.0 ? scale : 1.0; /* half the triangle's base; wider when shrinking: antialiasing */
  int32_t taps = 2 * ((int32_t)width + 1) + 1;
  size_t weights = 0;
  gp_status status = GP_OK;
  filter->taps = taps;
  GP_TRY(gp_mul_size(&weights, (size_t)to, (size_t)taps));
  GP_TRY(GP_ALLOC(&filter->first, (size_t)to));
  GP_TRY(GP_ALLOC(&filter->count, (size_t)to));
  GP_TRY(GP_ALLOC(&filter->weight, weights));
  GP_TRY(GP_ALLOC(&filter->exact, (size_t)taps));
  for (int32_t i = 0; i < to; ++i) fill_weights(filter, i, from, scale, width);
cleanup:
  return status;
}

/* Σ weight·x over `count` inputs `step` bytes apart, rounded. Weights are not negative and add up to 1 but for their
 * own rounding, so only the upper bound needs care. */
static uint8_t weighted_sum(const uint8_t *x, size_t step, const int32_t *weight, int32_t count) {
  uint32_t sum = 1u << (PRECISION - 1);
  for (int32_t k = 0; k < count; ++k) sum += x[(size_t)k * step] * (uint32_t)weight[k];
  sum >>= PRECISION;
  return (uint8_t)(sum > 255 ? 255 : sum);
}

static void resize_rows(data_image *dst, const data_image *src, const axis_filter *filter) {
  size_t channels = (size_t)src->channels;
  for (int32_t y = 0; y < src->height; ++y) {
    const uint8_t *row = src->pixels + (size_t)y * (size_t)src->width * channels;
    uint8_t *out = dst->pixels + (size_t)y * (size_t)dst->width * channels;
    for (int32_t x = 0; x < dst->width; ++x) {
      const int32_t *weight = filter->weight + (size_t)x * (size_t)filter->taps;
      const uint8_t *first = row + (size_t)filter->first[x] * channels;
      for (size_t c = 0; c < channels; ++c) *out++ = weighted_sum(first + c, channels, weight, filter->count[x]);
    }
  }
}

static void resize_columns(data_image *dst, const data_image *src, const axis_filter *filter) {
  size_t row_bytes = (size_t)src->width * (size_t)src->channels;
  for (int32_t y = 0; y < dst->height; ++y) {
    const uint8_t *first = src->pixels + (size_t)filter->first[y] * row_bytes;
    const int32_t *weight = filter->weight + (size_t)y * (size_t)filter->taps;
    uint8_t *out = dst->pixels + (size_t)y * row_bytes;
    for (size_t i = 0; i < row_bytes; ++i) out[i] = weighted_sum(first + i, row_bytes, weight, filter->count[y]);
  }
}

gp_status data_resize(data_image *dst, const data_image *src, int32_t height, int32_t width) {
  data_image between = {0};
  axis_filter filter_x = {0}, filter_y = {0};
  const data_image *rows_done = src;
  gp_status status = GP_OK;
  if (src->pixels == NULL || src->height < 1 || src->width < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "resize: the image is empty (%d x %d pixels)", src->height, src->width);
  if (height < 1 || width < 1 || height > MAX_SIDE || width > MAX_SIDE)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "resize: %d x %d to %d x %d pixels: sides must be 1 to %d", src->height,
                   src->width, height, width, MAX_SIDE);
  GP_TRY(data_image_reserve(dst, height, width, src->channels));
  if (width != src->width) {
    bool last = height == src->height;
    if (!last) GP_TRY(data_image_reserve(&between, src->height, width, src->channels));
    GP_TRY(axis_filter_init(&filter_x, src->width, width));
    resize_rows(last ? dst : &between, src, &filter_x);
    rows_done = last ? dst : &between;
  }
  if (height != src->height) {
    GP_TRY(axis_filter_init(&filter_y, src->height, height));
    resize_columns(dst, rows_done, &filter_y);
  }
  if (rows_done == src && height == src->height)
    memcpy(dst->pixels, src->pixels, (size_t)height * (size_t)width * (size_t)src->channels);
cleanup:
  axis_filter_free(&filter_x);
  axis_filter_free(&filter_y);
  data_image_free(&between);
  return status;
}

gp_status data_resize_shorter(data_image *dst, const data_image *src, int32_t side) {
  if (side < 1 || src->height < 1 || src->width < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "resize: an image of %d x %d pixels to a shorter side of %d", src->height,
                   src->width, side);
  bool tall = src->height > src->width;
  int64_t longer = tall ? src->height : src->width, shorter = tall ? src->width : src->height;
  int64_t scaled = side * longer / shorter;
  if (scaled > INT32_MAX)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "resize: an image of %d x %d pixels is too narrow for a shorter side of %d", src->height, src->width,
                   side);
  return data_resize(dst, src, tall ? (int32_t)scaled : side, tall ? side : (int32_t)scaled);
}

gp_status data_centre_crop(data_image *image, int32_t height, int32_t width) {
  if (height < 1 || width < 1 || height > image->height || width > image->width)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "centre crop: %d x %d pixels cannot be cut out of %d x %d", height, width,
                   image->height, image->width);
  size_t channels = (size_t)image->channels;
  size_t top = (size_t)data_centre_offset(image->height, height),
         left = (size_t)data_centre_offset(image->width, width);
  size_t row_bytes = (size_t)width * channels;
  for (size_t y = 0; y < (size_t)height; ++y) {
    const uint8_t *from = image->pixels + ((y + top) * (size_t)image->width + left) * channels;
    memmove(image->pixels + y * row_bytes, from, row_bytes);
  }
  image->height = height;
  image->width = width;
  return GP_OK;
}

gp_status data_fit(data_image *dst, const data_image *src, int32_t height, int32_t width) {
  gp_status status = GP_OK;
  if (height < 1 || width < 1 || src->height < 1 || src->width < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "fit: an image of %d x %d pixels to %d x %d", src->height, src->width,
                   height, width);
  /* The side that must grow most, or shrink least, sets the scale; the other is at least its target then. */
  int64_t by_height = (int64_t)height * src->width, by_width = (int64_t)width * src->height;
  bool height_rules = by_height >= by_width;
  int64_t scaled = height_rules ? by_height / src->height : by_width / src->width;
  if (scaled > INT32_MAX)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "fit: an image of %d x %d pixels is too narrow for %d x %d", src->height,
                   src->width, height, width);
  GP_TRY(data_resize(dst, src, height_rules ? height : (int32_t)scaled, height_rules ? (int32_t)scaled : width));
  GP_TRY(data_centre_crop(dst, height, width));
cleanup:
  return status;
}
