/* A window's moments and maximum, for GP_LANES neighbouring channels at a time. */
#ifndef GP_POOL_CPU_WINDOW_H
#define GP_POOL_CPU_WINDOW_H

#include "pool/cpu/simd.h"
#include "pool/shape.h"

#include <float.h>
#include <math.h>

/* The real part of a window. `rows` and `columns` are constants in the straight-line instances. */
typedef struct gp_window {
  ptrdiff_t row, pixel; /* strides in elements */
  int64_t rows, columns;
  float inverse; /* 1/R */
  float zeros;   /* padding elements that R counts */
  float eps;
} gp_window;

/* The moments as differences to a shift near the values: x_i - m = (x_i - shift) - offset keeps the digits that a mean of
 * 1e4 would swallow, and a constant window gives exactly its constant and no variance. */
typedef struct gp_moments {
  vf shift, offset; /* m = shift + offset */
  vf deviation;     /* s */
  vi free;          /* not clamped: v ≥ eps, or NaN */
} gp_moments;

/* The moments of one lane in double, for where squares or sums leave the range of float. */
static __attribute__((noinline, cold)) void gp_rescue_lane(const float *x, const gp_window *window, float *mean,
                                                           float *deviation) {
  double inverse = 1.0 / rint(1.0 / (double)window->inverse), sum = 0, squares = 0;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) sum += (double)x[i * window->row + j * window->pixel];
  double m = sum * inverse;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double difference = (double)x[i * window->row + j * window->pixel] - m;
      squares += difference * difference;
    }
  double variance = (squares + (double)window->zeros * m * m) * inverse;
  *mean = (float)m;
  *deviation = (float)sqrt(variance);
}

static __attribute__((noinline, cold)) void gp_rescue_moments(const float *x, const gp_window *window, int count,
                                                              vi overflowed, gp_moments *moments) {
  for (int lane = 0; lane < count; ++lane) {
    if (!overflowed[lane]) continue;
    float mean, deviation;
    gp_rescue_lane(x + lane, window, &mean, &deviation);
    moments->shift[lane] = 0.0f;
    moments->offset[lane] = mean;
    moments->deviation[lane] = deviation;
  }
}

static __attribute__((noinline, cold)) vf gp_rescue_mean(const float *x, const gp_window *window, int count,
                                                         vi overflowed, vf mean) {
  for (int lane = 0; lane < count; ++lane) {
    float deviation, better;
    gp_rescue_lane(x + lane, window, &better, &deviation);
    if (overflowed[lane]) mean[lane] = better;
  }
  return mean;
}

/* Lanes that are infinite or NaN. */
GP_INLINE vi gp_not_finite(vf value) { return ~((value <= FLT_MAX) & (value >= -FLT_MAX)); }

GP_INLINE gp_moments gp_window_moments(const float *x, gp_window window, int count) {
  gp_moments moments = {.shift = vf_load(x, count)};
  vf sum = {0};
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j)
      sum += vf_load(x + i * window.row + j * window.pixel, count) - moments.shift;
  /* A padding zero lies -shift away from the shift. */
  if (window.zeros != 0) sum -= window.zeros * moments.shift;
  moments.offset = sum * window.inverse;
  vf squares = {0};
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      vf difference = (vf_load(x + i * window.row + j * window.pixel, count) - moments.shift) - moments.offset;
      squares += difference * difference;
    }
  if (window.zeros != 0) {
    vf mean = moments.shift + moments.offset;
    squares += window.zeros * (mean * mean);
  }
  vf variance = squares * window.inverse;
  vi clamped = variance < window.eps;
  moments.free = ~clamped;
  moments.deviation = vf_sqrt(vf_select(clamped, vf_set(window.eps), variance));
  vi overflowed = ~(variance <= FLT_MAX);
  if (__builtin_expect(vi_any(overflowed), false)) {
    /* Through copies: what has its address taken does not stay in registers. */
    gp_window shape = window;
    gp_moments rescued = moments;
    gp_rescue_moments(x, &shape, count, overflowed, &rescued);
    moments = rescued;
  }
  return moments;
}

GP_INLINE vf gp_window_mean(const float *x, gp_window window, int count) {
  vf sum = {0};
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j) sum += vf_load(x + i * window.row + j * window.pixel, count);
  vf mean = sum * window.inverse;
  vi overflowed = gp_not_finite(mean);
  if (__builtin_expect(vi_any(overflowed), false)) {
    gp_window shape = window;
    mean = gp_rescue_mean(x, &shape, count, overflowed, mean);
  }
  return mean;
}

/* The first maximum and which element of the window it is, counted along rows. As in PyTorch a NaN beats all before. */
GP_INLINE vf gp_window_max(const float *x, gp_window window, int count, vi *index) {
  vf best = vf_load(x, count);
  vi where = {0};
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      vf value = vf_load(x + i * window.row + j * window.pixel, count);
      vi better = (value > best) | (value != value);
      best = vf_select(better, value, best);
      where = (vi)vf_select(better, (vf)((int32_t)(i * window.columns + j) - (vi){0}), (vf)where);
    }
  *index = where;
  return best;
}

/* The windows of one output row: what the row settles, and which columns have full windows. */
typedef struct gp_window_row {
  gp_pool_span span;
  gp_window window; /* columns, inverse and zeros are set for each stretch of columns */
} gp_window_row;

GP_INLINE gp_window_row gp_window_row_at(const gp_pool_plan *plan, const gp_pool_plane *in, int64_t row) {
  gp_window_row result = {.span = gp_pool_span_at(&plan->desc, 0, row)};
  result.window = (gp_window){
      .row = in->row, .pixel = in->pixel, .rows = result.span.end - result.span.begin, .eps = (float)plan->desc.eps};
  return result;
}

GP_INLINE gp_window gp_window_at(const gp_window_row *row, const gp_pool_span *columns) {
  gp_window window = row->window;
  window.columns = columns->end - columns->begin;
  double divisor = (double)row->span.divisor * (double)columns->divisor;
  window.inverse = (float)(1.0 / divisor);
  window.zeros = (float)(divisor - (double)window.rows * (double)window.columns);
  return window;
}

/* Output columns [begin, end) whose windows lie wholly inside the input. */
typedef struct gp_inner_columns {
  int64_t begin, end;
} gp_inner_columns;

static inline gp_inner_columns gp_inner_columns_of(const gp_pool_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  int64_t stride = desc->stride[1], padding = desc->padding[1];
  int64_t begin = (padding + stride - 1) / stride;
  int64_t room = desc->width + padding - desc->kernel[1];
  int64_t end = room < 0 ? 0 : room / stride + 1;
  if (begin > plan->out_width) begin = plan->out_width;
  if (end > plan->out_width) end = plan->out_width;
  return (gp_inner_columns){begin, end < begin ? begin : end};
}

#endif
