#include "data/resize.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/pixels.h"

#include <math.h>
#include <string.h>

enum { MAX_SIDE = 65535 }; /* of a result, so that a needle of an image does not become gigabytes */

/* ---- Filters --------------------------------------------------------------------------------- */

static void filter_free(data_axis_filter *filter) {
  gp_free(filter->first);
  gp_free(filter->used);
  gp_free(filter->weight);
  gp_free(filter->exact);
  *filter = (data_axis_filter){0};
}

/* Half the triangle's base in inputs: 1, and more when shrinking (antialiasing). */
static double support_of(const data_axis *axis) {
  const double scale = axis->extent / axis->to;
  return scale > 1.0 ? scale : 1.0;
}

/* Inputs under the triangle of result position i, counted from axis->low. */
typedef struct reach {
  double centre;
  int32_t low, high;
} reach;

static reach reach_of(const data_axis *axis, int32_t i, double support) {
  const double centre = (axis->start - axis->low) + (i + 0.5) * (axis->extent / axis->to);
  const double low = centre - support + 0.5, high = centre + support + 0.5;
  const int32_t size = axis->high - axis->low;
  reach found = {.centre = centre, .low = low < 0.0 ? 0 : (int32_t)low, .high = high < size ? (int32_t)high : size};
  /* A stretch may begin or end a fraction of a pixel outside: there is one input at least all the same. */
  if (found.low > size - 1) found.low = size - 1;
  if (found.high <= found.low) found.high = found.low + 1;
  return found;
}

void data_axis_reach(const data_axis *axis, int32_t *low, int32_t *high) {
  const double support = support_of(axis);
  *low = axis->low + reach_of(axis, axis->first, support).low;
  *high = axis->low + reach_of(axis, axis->first + axis->count - 1, support).high;
}

/* Weights of result position i: a triangle around its centre in the input, normalised over what lies inside. */
static void fill_weights(data_axis_filter *filter, const data_axis *axis, int32_t i, double support) {
  const reach at = reach_of(axis, axis->first + i, support);
  const int32_t used = at.high - at.low;
  double sum = 0.0, inverse = 1.0 / support;
  for (int32_t k = 0; k < used; ++k) {
    const double distance = fabs((at.low + k - at.centre + 0.5) * inverse);
    filter->exact[k] = distance < 1.0 ? 1.0 - distance : 0.0;
    sum += filter->exact[k];
  }
  int32_t *weight = filter->weight + (size_t)i * (size_t)filter->taps;
  if (sum == 0.0) sum = filter->exact[0] = 1.0;
  for (int32_t k = 0; k < used; ++k) weight[k] = (int32_t)(filter->exact[k] / sum * (1 << DATA_WEIGHT_BITS) + 0.5);
  filter->first[i] = axis->low + at.low;
  filter->used[i] = used;
}

static gp_status grow(void **array, size_t *room, size_t count, size_t size) {
  if (count <= *room) return GP_OK;
  gp_free(*array);
  *room = 0;
  gp_status status = gp_alloc(array, count, size);
  if (status == GP_OK) *room = count;
  return status;
}

static gp_status make_filter(data_axis_filter *filter, const data_axis *axis) {
  gp_status status = GP_OK;
  const double support = support_of(axis);
  const size_t taps = 2 * ((size_t)support + 1) + 1;
  size_t weights = 0, positions = filter->positions;
  filter->taps = (int32_t)taps;
  GP_TRY(gp_mul_size(&weights, (size_t)axis->count, taps));
  GP_TRY(grow((void **)&filter->first, &positions, (size_t)axis->count, sizeof *filter->first));
  GP_TRY(grow((void **)&filter->used, &filter->positions, (size_t)axis->count, sizeof *filter->used));
  GP_TRY(grow((void **)&filter->weight, &filter->weights, weights, sizeof *filter->weight));
  GP_TRY(grow((void **)&filter->exact, &filter->tap_room, taps, sizeof *filter->exact));
  for (int32_t i = 0; i < axis->count; ++i) fill_weights(filter, axis, i, support);
cleanup:
  /* Half grown: begun anew next time. */
  if (status != GP_OK) filter_free(filter);
  return status;
}

/* ---- Passes ---------------------------------------------------------------------------------- */

/* The row pass for other than four channels. */
static void resize_row(uint8_t *dst, const uint8_t *src, size_t channels, const data_axis_filter *filter,
                       int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    const int32_t *weight = filter->weight + (size_t)i * (size_t)filter->taps;
    const uint8_t *first = src + (size_t)filter->first[i] * channels;
    for (size_t c = 0; c < channels; ++c) {
      uint32_t sum = 1u << (DATA_WEIGHT_BITS - 1);
      for (int32_t k = 0; k < filter->used[i]; ++k) sum += first[(size_t)k * channels + c] * (uint32_t)weight[k];
      sum >>= DATA_WEIGHT_BITS;
      *dst++ = (uint8_t)(sum > 255 ? 255 : sum);
    }
  }
}

/* Rows first … first + dst->height - 1 of src. */
static void resize_rows(data_image *dst, const data_image *src, int32_t first, const data_axis_filter *filter) {
  const size_t channels = (size_t)src->channels;
  const size_t in_bytes = (size_t)src->width * channels, out_bytes = (size_t)dst->width * channels;
  const uint8_t *in = src->pixels + (size_t)first * in_bytes;
  if (channels == 4) {
    const data_row_filter rows = {filter->first, filter->used, filter->weight, filter->taps, dst->width};
    data_pixels_get()->resize_rows(dst->pixels, out_bytes, in, in_bytes, dst->height, &rows);
    return;
  }
  for (int32_t y = 0; y < dst->height; ++y)
    resize_row(dst->pixels + (size_t)y * out_bytes, in + (size_t)y * in_bytes, channels, filter, dst->width);
}

static void resize_columns(data_image *dst, const data_image *src, const data_axis_filter *filter) {
  const data_pixels *pixels = data_pixels_get();
  const size_t row_bytes = (size_t)src->width * (size_t)src->channels;
  for (int32_t y = 0; y < dst->height; ++y)
    pixels->resize_column(dst->pixels + (size_t)y * row_bytes, src->pixels + (size_t)filter->first[y] * row_bytes,
                          row_bytes, filter->weight + (size_t)y * (size_t)filter->taps, filter->used[y], row_bytes);
}

static gp_status check_axis(const char *name, const data_axis *axis, int32_t held_from, int32_t held) {
  if (!(axis->extent > 0) || axis->low < 0 || axis->high <= axis->low || axis->to < 1 || axis->to > MAX_SIDE ||
      axis->first < 0 || axis->count < 1 || axis->first > axis->to - axis->count || !(fabs(axis->start) < 1e9) ||
      !(axis->extent < 1e9))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "resize: %s: %g pixels from %g on (of %d to %d) to %d, of them %d from %d on: sides must be 1 to %d",
                   name, axis->extent, axis->start, axis->low, axis->high, axis->to, axis->count, axis->first,
                   MAX_SIDE);
  int32_t low = 0, high = 0;
  data_axis_reach(axis, &low, &high);
  if (low >= held_from && high <= held_from + held) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "resize: %s: inputs %d to %d are needed, %d to %d are there", name, low,
                 high, held_from, held_from + held);
}

void data_resizer_free(data_resizer *resizer) {
  if (resizer == NULL) return;
  filter_free(&resizer->x);
  filter_free(&resizer->y);
  data_image_free(&resizer->between);
}

gp_status data_resize_part(data_image *dst, const data_image *src, int32_t top, int32_t left, const data_axis *y,
                           const data_axis *x, data_resizer *resizer) {
  gp_status status = GP_OK;
  int32_t low = 0, high = 0;
  if (src->pixels == NULL || src->height < 1 || src->width < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "resize: the image is empty (%d x %d pixels)", src->height, src->width);
  GP_TRY(check_axis("height", y, top, src->height));
  GP_TRY(check_axis("width", x, left, src->width));
  data_axis_reach(y, &low, &high);
  GP_TRY(data_image_reserve(&resizer->between, high - low, x->count, src->channels));
  GP_TRY(data_image_reserve(dst, y->count, x->count, src->channels));
  GP_TRY(make_filter(&resizer->x, x));
  GP_TRY(make_filter(&resizer->y, y));
  for (int32_t i = 0; i < x->count; ++i) resizer->x.first[i] -= left;
  for (int32_t i = 0; i < y->count; ++i) resizer->y.first[i] -= low;
  resize_rows(&resizer->between, src, low - top, &resizer->x);
  resize_columns(dst, &resizer->between, &resizer->y);
cleanup:
  return status;
}

/* ---- Whole images ---------------------------------------------------------------------------- */

gp_status data_resize(data_image *dst, const data_image *src, int32_t height, int32_t width) {
  data_resizer resizer = {0};
  gp_status status = GP_OK;
  const data_axis y = {.extent = src->height, .high = src->height, .to = height, .count = height};
  const data_axis x = {.extent = src->width, .high = src->width, .to = width, .count = width};
  if (src->pixels == NULL || src->height < 1 || src->width < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "resize: the image is empty (%d x %d pixels)", src->height, src->width);
  if (height < 1 || width < 1 || height > MAX_SIDE || width > MAX_SIDE)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "resize: %d x %d to %d x %d pixels: sides must be 1 to %d", src->height,
                   src->width, height, width, MAX_SIDE);
  GP_TRY(data_resize_part(dst, src, 0, 0, &y, &x, &resizer));
cleanup:
  data_resizer_free(&resizer);
  return status;
}

gp_status data_shorter_size(int32_t *new_height, int32_t *new_width, int32_t height, int32_t width, int32_t side) {
  if (side < 1 || height < 1 || width < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "resize: an image of %d x %d pixels to a shorter side of %d", height,
                   width, side);
  const bool tall = height > width;
  const int64_t longer = tall ? height : width, shorter = tall ? width : height;
  const int64_t scaled = side * longer / shorter;
  if (scaled > MAX_SIDE)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "resize: an image of %d x %d pixels is too narrow for a shorter side of %d", height, width, side);
  *new_height = tall ? (int32_t)scaled : side;
  *new_width = tall ? side : (int32_t)scaled;
  return GP_OK;
}

gp_status data_resize_shorter(data_image *dst, const data_image *src, int32_t side) {
  int32_t height = 0, width = 0;
  gp_status status = data_shorter_size(&height, &width, src->height, src->width, side);
  return status == GP_OK ? data_resize(dst, src, height, width) : status;
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
