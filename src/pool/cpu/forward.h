/* Forward over a stretch: x is read once and y written once; a window's elements stay in registers or the nearest cache. */
#ifndef GP_POOL_CPU_FORWARD_H
#define GP_POOL_CPU_FORWARD_H

#include "pool/cpu/window.h"

/* Asks for what the same column of the next rows will read. The hardware's own prefetch does not see that far. */
GP_INLINE void gp_fetch_ahead(const gp_stretch *stretch, int64_t line, int64_t column) {
  if (stretch->ahead == NULL) return;
  const char *first = stretch->ahead + line * stretch->ahead_line + column * stretch->ahead_step;
  for (int row = 0; row < stretch->ahead_rows; ++row)
    for (int pixel = 0; pixel < stretch->ahead_pixels; ++pixel) {
      const char *piece = first + row * stretch->ahead_row + pixel * stretch->ahead_pixel;
      for (int64_t byte = 0; byte < stretch->ahead_bytes; byte += 64) __builtin_prefetch(piece + byte);
    }
}

GP_INLINE gp_window gp_stretch_window(const gp_stretch *stretch, int size) {
  gp_window window = {.row = stretch->x_row,
                      .pixel = stretch->x_pixel,
                      .rows = stretch->rows,
                      .columns = stretch->columns,
                      .inverse = stretch->inverse,
                      .zeros = stretch->zeros};
  /* A whole window of the straight-line sizes has no padding in it. */
  if (size > 0) window.rows = window.columns = size, window.zeros = 0;
  return window;
}

GP_INLINE vf forward_window(const gp_stretch *stretch, gp_form form, const gp_element *x, const gp_window *window,
                            const float *weight, int lane, int count) {
  vi index;
  if (form == GP_FORM_MEAN) return gp_window_mean(x, window, count);
  if (form == GP_FORM_MAX) return gp_window_max(x, window, count, &index);
  if (form == GP_FORM_LP) {
    gp_norm norm = gp_window_norm(x, window, stretch->norm, stretch->lp_factor, count);
    return norm.peak * norm.ratio;
  }
  if (form == GP_FORM_EXPECTED) {
    gp_chances chances = gp_window_chances(x, window, count);
    return gp_window_expectation(x, window, &chances, count);
  }
  if (form == GP_FORM_GATED) {
    vf gate = gp_window_gate(x, window, stretch, lane, count);
    return gate * gp_window_max(x, window, count, &index) + (1.0f - gate) * gp_window_mean(x, window, count);
  }
  vf w = vf_load(weight, count);
  if (form == GP_FORM_MIXED)
    return w * gp_window_max(x, window, count, &index) + (1.0f - w) * gp_window_mean(x, window, count);
  if (form == GP_FORM_PICKED) {
    gp_chances chances = gp_window_chances(x, window, count);
    return gp_window_pick(x, window, &chances, w, count, &index);
  }
  if (form == GP_FORM_SOFTMAX) {
    gp_softmax softmax = gp_window_softmax(x, window, w, count);
    return 2.0f * (softmax.peak * 0.5f + softmax.half);
  }
  gp_moments moments = gp_window_moments(x, window, stretch->eps, count);
  return moments.shift + (moments.offset + w * moments.deviation);
}

GP_INLINE void put_output(bool stream, vf value, gp_element *y, float *sum_y, int count) {
  if (sum_y != NULL) vf_store(sum_y, vf_load(sum_y, GP_LANES) + value, GP_LANES);
  if (count == GP_LANES && stream)
    vf_stream_element(y, value);
  else
    vf_store_element(y, value, count);
}

GP_INLINE void forward_lanes(const gp_stretch *stretch, gp_form form, bool stream, const gp_element *x,
                             const gp_window *window, const float *weight, gp_element *y, float *sum_y, int lane,
                             int count) {
  vf value = forward_window(stretch, form, x + lane, window, weight + lane, lane, count);
  put_output(stream, value, y + lane, sum_y == NULL ? NULL : sum_y + lane, count);
}

/* Windows of more elements are read side by side, MEAN_VECTORS vectors of each element, or half of that: one vector after the
 * other, a window that does not stay in the nearest cache would come from memory in the smallest of pieces. */
enum { LARGE_WINDOW = 64, MEAN_VECTORS = 8 };

/* Elements of a large window that are asked for ahead. */
enum { MEAN_AHEAD = 16 };

/* As gp_window_mean, of `vectors`, a constant. */
GP_INLINE void forward_means(const gp_element *x, const gp_window *window, int vectors, gp_element *y, float *sum_y) {
  vf sum[MEAN_VECTORS] = {{0}};
  for (int64_t i = 0; i < window->rows; ++i) {
    const gp_element *element = x + i * window->row;
    vf row[MEAN_VECTORS];
    for (int k = 0; k < vectors; ++k) row[k] = vf_load_element(element + k * GP_LANES, GP_LANES);
    for (int64_t j = 1; j < window->columns; ++j) {
      element += window->pixel;
      for (int k = 0; k < vectors; ++k) {
        const gp_element *at = element + k * GP_LANES;
        __builtin_prefetch(at + MEAN_AHEAD * window->pixel);
        row[k] += vf_load_element(at, GP_LANES);
      }
    }
    for (int k = 0; k < vectors; ++k) sum[k] = i == 0 ? row[k] : sum[k] + row[k];
  }
  for (int k = 0; k < vectors; ++k) {
    int lane = k * GP_LANES;
    put_output(false, gp_mean_of_sum(x + lane, window, sum[k], GP_LANES), y + lane, sum_y == NULL ? NULL : sum_y + lane,
               GP_LANES);
  }
}

/* Lanes of a large window that are done. */
GP_INLINE int forward_large_means(const gp_element *x, const gp_window *window, int lanes, gp_element *y,
                                  float *sum_y) {
  int lane = 0;
  for (; lane + MEAN_VECTORS * GP_LANES <= lanes; lane += MEAN_VECTORS * GP_LANES)
    forward_means(x + lane, window, MEAN_VECTORS, y + lane, sum_y == NULL ? NULL : sum_y + lane);
  if (lane + MEAN_VECTORS / 2 * GP_LANES > lanes) return lane;
  forward_means(x + lane, window, MEAN_VECTORS / 2, y + lane, sum_y == NULL ? NULL : sum_y + lane);
  return lane + MEAN_VECTORS / 2 * GP_LANES;
}

/* A copy whose address goes nowhere: what is stored to the tensors cannot change it, and it stays in registers. `size`, a
 * constant, is the straight-line window's, or 0; so is `stream`. */
GP_INLINE void forward_stretch(const gp_stretch *shared, gp_form form, bool stream, int size) {
  const gp_stretch stretch = *shared;
  const gp_window window = gp_stretch_window(&stretch, size);
  for (int64_t line = 0; line < stretch.lines; ++line) {
    const gp_element *x = (const gp_element *)stretch.x + line * stretch.x_line;
    const float *weight = stretch.weight + line * stretch.weight_line;
    gp_element *y = (gp_element *)stretch.y + line * stretch.y_line;
    float *sum_y = stretch.sum_y == NULL ? NULL : stretch.sum_y + line * stretch.sum_y_line;
    for (int64_t column = 0; column < stretch.count; ++column) {
      gp_fetch_ahead(&stretch, line, column);
      int lane = 0;
      if (form == GP_FORM_MEAN && size == 0 && window.rows * window.columns > LARGE_WINDOW)
        lane = forward_large_means(x, &window, stretch.lanes, y, sum_y);
      for (; lane + GP_LANES <= stretch.lanes; lane += GP_LANES)
        forward_lanes(&stretch, form, stream, x, &window, weight, y, sum_y, lane, GP_LANES);
      if (lane < stretch.lanes)
        forward_lanes(&stretch, form, stream, x, &window, weight, y, sum_y, lane, stretch.lanes - lane);
      x += stretch.x_step;
      y += stretch.y_step;
      weight += stretch.weight_step;
    }
  }
}

#define FORWARD(name, form, size)                      \
  static void name(const gp_stretch *stretch) {        \
    if (stretch->stream)                               \
      forward_stretch(stretch, (form), true, (size));  \
    else                                               \
      forward_stretch(stretch, (form), false, (size)); \
  }

FORWARD(forward_gaussian_2x2, GP_FORM_GAUSSIAN, 2)
FORWARD(forward_gaussian_3x3, GP_FORM_GAUSSIAN, 3)
FORWARD(forward_gaussian, GP_FORM_GAUSSIAN, 0)
FORWARD(forward_mean_2x2, GP_FORM_MEAN, 2)
FORWARD(forward_mean_3x3, GP_FORM_MEAN, 3)
FORWARD(forward_mean, GP_FORM_MEAN, 0)
FORWARD(forward_max_2x2, GP_FORM_MAX, 2)
FORWARD(forward_max_3x3, GP_FORM_MAX, 3)
FORWARD(forward_max, GP_FORM_MAX, 0)
FORWARD(forward_softmax_2x2, GP_FORM_SOFTMAX, 2)
FORWARD(forward_softmax, GP_FORM_SOFTMAX, 0)
FORWARD(forward_expected, GP_FORM_EXPECTED, 0)
FORWARD(forward_picked, GP_FORM_PICKED, 0)
FORWARD(forward_mixed_2x2, GP_FORM_MIXED, 2)
FORWARD(forward_mixed, GP_FORM_MIXED, 0)
FORWARD(forward_gated, GP_FORM_GATED, 0)
FORWARD(forward_lp, GP_FORM_LP, 0)

#endif
