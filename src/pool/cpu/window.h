/* What each form computes over a window, for GP_LANES neighbouring channels at a time. */
#ifndef GP_POOL_CPU_WINDOW_H
#define GP_POOL_CPU_WINDOW_H

#include "pool/cpu/elementary.h"
#include "pool/cpu/storage.h"
#include "pool/cpu/stretch.h"
#include "pool/reference_window.h"

#include <float.h>

/* Elements of a window in registers, at most. */
enum { GP_PARTS_MAX = 4 };

/* The real part of a window. `rows` and `columns` are constants in the straight-line instances. */
typedef struct gp_window {
  ptrdiff_t row, pixel; /* strides in elements */
  int64_t rows, columns;
  float inverse; /* 1/R */
  float zeros;   /* padding elements that R counts */
  /* The elements, [row][column], where they are in registers and not in memory; or NULL. A constant, as the above. */
  const vf *parts;
} gp_window;

GP_INLINE vf gp_element_at(const gp_element *x, const gp_window *window, int64_t i, int64_t j, int count) {
  if (window->parts != NULL) return window->parts[i * window->columns + j];
  return vf_load_element(x + i * window->row + j * window->pixel, count);
}

#define GP_EACH_ELEMENT(window)                \
  for (int64_t i = 0; i < (window)->rows; ++i) \
    for (int64_t j = 0; j < (window)->columns; ++j)

/* ---- Elementary functions of vectors: on local arrays, which nothing aliases, the compiler vectorises the loops ------- */

GP_INLINE vf vf_exp_negative(vf x) {
  float lanes[GP_LANES];
  memcpy(lanes, &x, sizeof lanes);
  for (int i = 0; i < GP_LANES; ++i) lanes[i] = gp_exp_negative(lanes[i]);
  memcpy(&x, lanes, sizeof lanes);
  return x;
}

GP_INLINE vf vf_sigmoid(vf x) {
  float lanes[GP_LANES], value;
  memcpy(lanes, &x, sizeof lanes);
  for (int i = 0; i < GP_LANES; ++i) gp_softplus(lanes[i], &value, &lanes[i]);
  memcpy(&x, lanes, sizeof lanes);
  return x;
}

GP_INLINE vf vf_power_of_fraction(vf x, float power) {
  float lanes[GP_LANES];
  memcpy(lanes, &x, sizeof lanes);
  for (int i = 0; i < GP_LANES; ++i) lanes[i] = gp_power_of_fraction(lanes[i], power);
  memcpy(&x, lanes, sizeof lanes);
  return x;
}

/* ---- Lanes whose sums or squares left the range of float: once more in double ----------------------------------------- */

static __attribute__((noinline, cold)) gp_exact_solution gp_rescue_lane(const void *x, gp_dtype dtype,
                                                                        const gp_window *window) {
  gp_exact_window exact = {.kind = gp_pool_kind_find(GP_POOL_WEIGHTED),
                           .x = x,
                           .dtype = dtype,
                           .row = window->row,
                           .pixel = window->pixel,
                           .rows = window->rows,
                           .columns = window->columns,
                           .divisor = rint(1.0 / (double)window->inverse)};
  return gp_exact_solve(&exact);
}

/* In the lanes of `mask` the mean, and the deviation where that is wanted. */
static __attribute__((noinline, cold)) void gp_rescue_lanes(const void *x, gp_dtype dtype, const gp_window *window,
                                                            int count, vi mask, vf *mean, vf *deviation) {
  for (int lane = 0; lane < count; ++lane) {
    if (!mask[lane]) continue;
    const char *first = (const char *)x + (size_t)lane * gp_dtype_size(dtype);
    gp_exact_solution exact = gp_rescue_lane(first, dtype, window);
    (*mean)[lane] = (float)exact.mean;
    if (deviation != NULL) (*deviation)[lane] = (float)exact.deviation;
  }
}

/* The same from memory or registers. Through copies: what has its address taken does not stay in registers. */
GP_INLINE void gp_rescue(const gp_element *x, const gp_window *window, int count, vi mask, vf *mean, vf *deviation) {
  gp_window shape = *window;
  vf mean_copy = *mean, deviation_copy = deviation != NULL ? *deviation : (vf){0};
  vf *deviation_at = deviation != NULL ? &deviation_copy : NULL;
  if (window->parts == NULL) {
    gp_rescue_lanes(x, (gp_dtype)GP_STORAGE, &shape, count, mask, &mean_copy, deviation_at);
  } else {
    vf parts[GP_PARTS_MAX];
    for (int64_t k = 0; k < window->rows * window->columns; ++k) parts[k] = window->parts[k];
    shape.row = window->columns * GP_LANES;
    shape.pixel = GP_LANES;
    gp_rescue_lanes(parts, GP_FLOAT32, &shape, count, mask, &mean_copy, deviation_at);
  }
  *mean = mean_copy;
  if (deviation != NULL) *deviation = deviation_copy;
}

/* ---- Mean and moments ---------------------------------------------------------------------- */

/* The moments as differences to a shift near the values: x_i - m = (x_i - shift) - offset keeps the digits that a mean of
 * 1e4 would swallow, and a constant window gives exactly its constant and no variance. Sums run along each row and then
 * over the rows: shorter chains of additions than one after the other. */
typedef struct gp_moments {
  vf shift, offset; /* m = shift + offset */
  vf deviation;     /* s */
  vi free;          /* not clamped: v ≥ eps, or NaN */
} gp_moments;

GP_INLINE vf gp_difference(const gp_element *x, const gp_window *window, const gp_moments *moments, int64_t i,
                           int64_t j, int count) {
  return (gp_element_at(x, window, i, j, count) - moments->shift) - moments->offset;
}

GP_INLINE vf gp_sum_of_differences(const gp_element *x, const gp_window *window, vf shift, int count) {
  vf sum = {0};
  for (int64_t i = 0; i < window->rows; ++i) {
    vf row = gp_element_at(x, window, i, 0, count) - shift;
    for (int64_t j = 1; j < window->columns; ++j) row += gp_element_at(x, window, i, j, count) - shift;
    sum = i == 0 ? row : sum + row;
  }
  return sum;
}

GP_INLINE gp_moments gp_window_moments(const gp_element *x, const gp_window *window, float eps, int count) {
  gp_moments moments = {.shift = gp_element_at(x, window, 0, 0, count)};
  vf sum = gp_sum_of_differences(x, window, moments.shift, count);
  /* A padding zero lies -shift away from the shift. */
  if (window->zeros != 0) sum -= window->zeros * moments.shift;
  moments.offset = sum * window->inverse;
  vf squares = {0};
  for (int64_t i = 0; i < window->rows; ++i) {
    vf row = {0};
    for (int64_t j = 0; j < window->columns; ++j) {
      vf difference = gp_difference(x, window, &moments, i, j, count);
      row = j == 0 ? difference * difference : row + difference * difference;
    }
    squares = i == 0 ? row : squares + row;
  }
  if (window->zeros != 0) {
    vf mean = moments.shift + moments.offset;
    squares += window->zeros * (mean * mean);
  }
  vf variance = squares * window->inverse;
  moments.free = ~(variance < eps);
  /* vf_larger gives its second where one is NaN. */
  moments.deviation = vf_sqrt(vf_larger(vf_set(eps), variance));
  vi overflowed = ~(variance <= FLT_MAX);
  if (__builtin_expect(vi_any(overflowed), false)) {
    vf mean = moments.shift + moments.offset;
    gp_rescue(x, window, count, overflowed, &mean, &moments.deviation);
    moments.shift = vf_select(overflowed, (vf){0}, moments.shift);
    moments.offset = vf_select(overflowed, mean, moments.offset);
  }
  return moments;
}

GP_INLINE vf gp_mean_of_sum(const gp_element *x, const gp_window *window, vf sum, int count) {
  vf mean = sum * window->inverse;
  vi overflowed = ~(vf_absolute(mean) <= FLT_MAX);
  if (__builtin_expect(vi_any(overflowed), false)) gp_rescue(x, window, count, overflowed, &mean, NULL);
  return mean;
}

GP_INLINE vf gp_window_mean(const gp_element *x, const gp_window *window, int count) {
  vf sum = {0};
  for (int64_t i = 0; i < window->rows; ++i) {
    vf row = gp_element_at(x, window, i, 0, count);
    for (int64_t j = 1; j < window->columns; ++j) row += gp_element_at(x, window, i, j, count);
    sum = i == 0 ? row : sum + row;
  }
  return gp_mean_of_sum(x, window, sum, count);
}

/* ---- Extrema ------------------------------------------------------------------------------- */

/* The first maximum and which element of the window it is, counted along rows. As in PyTorch a NaN beats all before. */
GP_INLINE vf gp_window_max(const gp_element *x, const gp_window *window, int count, vi *index) {
  vf best = gp_element_at(x, window, 0, 0, count);
  vi where = {0};
  GP_EACH_ELEMENT(window) {
    vf value = gp_element_at(x, window, i, j, count);
    vi better = (value > best) | (value != value);
    best = vf_select(better, value, best);
    where = (vi)vf_select(better, (vf)((int32_t)(i * window->columns + j) - (vi){0}), (vf)where);
  }
  *index = where;
  return best;
}

/* max(x_i, 0), NaN left out. */
GP_INLINE vf gp_window_positive_max(const gp_element *x, const gp_window *window, int count) {
  vf best = {0};
  GP_EACH_ELEMENT(window) best = vf_larger(gp_element_at(x, window, i, j, count), best);
  return best;
}

/* max |x_i|, NaN left out. */
GP_INLINE vf gp_window_norm_max(const gp_element *x, const gp_window *window, int count) {
  vf best = {0};
  GP_EACH_ELEMENT(window) best = vf_larger(vf_absolute(gp_element_at(x, window, i, j, count)), best);
  return best;
}

/* ---- Softmax-weighted mean (maximum entropy, SoftPool) ------------------------------------- */

/* Exponents are taken relative to the x_i of the largest; halves keep differences of huge numbers finite. */
typedef struct gp_softmax {
  vf peak;  /* that x_i */
  vf total; /* Σ exp(λ·(x_i - peak)) */
  vf half;  /* (y - peak)/2 */
} gp_softmax;

GP_INLINE vf gp_softmax_half(vf x, vf peak) { return x * 0.5f - peak * 0.5f; }

GP_INLINE vf gp_softmax_term(vf half, vf lambda) {
  vf exponent = 2.0f * lambda * half;
  /* At most 0, but for rounding; a NaN stays. */
  return vf_exp_negative(vf_select(exponent > 0.0f, (vf){0}, exponent));
}

GP_INLINE gp_softmax gp_window_softmax(const gp_element *x, const gp_window *window, vf lambda, int count) {
  vf largest = gp_element_at(x, window, 0, 0, count), least = largest;
  GP_EACH_ELEMENT(window) {
    vf value = gp_element_at(x, window, i, j, count);
    largest = vf_select(value > largest, value, largest);
    least = vf_select(value < least, value, least);
  }
  gp_softmax softmax = {.peak = vf_select(lambda < 0.0f, least, largest)};
  vf sum = {0};
  for (int64_t i = 0; i < window->rows; ++i) {
    vf row_total = {0}, row_sum = {0};
    for (int64_t j = 0; j < window->columns; ++j) {
      vf half = gp_softmax_half(gp_element_at(x, window, i, j, count), softmax.peak);
      vf term = gp_softmax_term(half, lambda);
      row_total += term;
      row_sum += term * half;
    }
    softmax.total += row_total;
    sum += row_sum;
  }
  softmax.half = sum / softmax.total;
  return softmax;
}

/* ---- Probabilities in proportion (stochastic pooling) -------------------------------------- */

/* Weights p_i·total: max(x_i, 0)/peak, or 1 where no element is positive. */
typedef struct gp_chances {
  vf peak;
  vi none; /* no element is positive */
  vf total;
} gp_chances;

GP_INLINE vf gp_chance(vf x, const gp_chances *chances) {
  vf part = vf_select(x <= 0.0f, (vf){0}, x / chances->peak);
  return vf_select(chances->none & (x == x), vf_set(1.0f), part);
}

GP_INLINE gp_chances gp_window_chances(const gp_element *x, const gp_window *window, int count) {
  gp_chances chances = {.peak = gp_window_positive_max(x, window, count)};
  chances.none = chances.peak == 0.0f;
  GP_EACH_ELEMENT(window) chances.total += gp_chance(gp_element_at(x, window, i, j, count), &chances);
  return chances;
}

/* Σ p_i·x_i over the positive peak, or where there is none the mean. */
GP_INLINE vf gp_window_expectation(const gp_element *x, const gp_window *window, const gp_chances *chances, int count) {
  vf sum = {0};
  for (int64_t i = 0; i < window->rows; ++i) {
    vf row = {0};
    for (int64_t j = 0; j < window->columns; ++j) {
      vf value = gp_element_at(x, window, i, j, count);
      vf chance = gp_chance(value, chances);
      row += vf_select(chances->none, value / chances->total, chance * chance);
    }
    sum += row;
  }
  return vf_select(chances->none, sum, sum / chances->total * chances->peak);
}

/* The element drawn, and its index along rows; NaN, and the index -1, where there is one in the window. */
GP_INLINE vf gp_window_pick(const gp_element *x, const gp_window *window, const gp_chances *chances, vf uniform,
                            int count, vi *index) {
  vf threshold = uniform * chances->total, sum = {0}, value = chances->total;
  vi where = (vi){0} - 1;
  GP_EACH_ELEMENT(window) {
    vf element = gp_element_at(x, window, i, j, count);
    sum += gp_chance(element, chances);
    vi here = (sum > threshold) & (where < 0);
    value = vf_select(here, element, value);
    where = (vi)vf_select(here, (vf)((int32_t)(i * window->columns + j) - (vi){0}), (vf)where);
  }
  vi lost = chances->total != chances->total;
  *index = where | lost;
  return vf_select(lost, chances->total, value);
}

/* ---- Gate ---------------------------------------------------------------------------------- */

GP_INLINE vf gp_window_gate(const gp_element *x, const gp_window *window, const gp_stretch *stretch, int lane,
                            int count) {
  vf sum = {0};
  GP_EACH_ELEMENT(window)
  sum += vf_load(stretch->mask + i * stretch->mask_row + j * stretch->mask_pixel + lane, GP_LANES) *
         gp_element_at(x, window, i, j, count);
  return vf_sigmoid(sum);
}

/* ---- Lp norm ------------------------------------------------------------------------------- */

typedef struct gp_norm {
  vf peak;  /* max |x_i| */
  vf ratio; /* y/peak, at least 1 but for rounding */
} gp_norm;

/* |x|/peak in [0, 1]: 1 for the peak itself, infinity included. */
GP_INLINE vf gp_norm_part(vf x, vf peak) {
  vf size = vf_absolute(x);
  return vf_select(size == peak, vf_set(1.0f), size / peak);
}

GP_INLINE gp_norm gp_window_norm(const gp_element *x, const gp_window *window, float norm, float factor, int count) {
  gp_norm result = {.peak = gp_window_norm_max(x, window, count)};
  vf sum = {0};
  for (int64_t i = 0; i < window->rows; ++i) {
    vf row = {0};
    for (int64_t j = 0; j < window->columns; ++j) {
      vf part = gp_norm_part(gp_element_at(x, window, i, j, count), result.peak);
      row += norm == 2.0f ? part * part : vf_power_of_fraction(part, norm);
    }
    sum += row;
  }
  if (norm == 2.0f) {
    result.ratio = factor * vf_sqrt(sum);
  } else {
    /* The power function takes fractions only. */
    vf elements = (float)(window->rows * window->columns) - (vf){0};
    float root = gp_power_of_fraction(1.0f / (float)(window->rows * window->columns), 1.0f / norm);
    result.ratio = factor / root * vf_power_of_fraction(sum / elements, 1.0f / norm);
  }
  return result;
}

#endif
