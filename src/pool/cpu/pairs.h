/* Windows of 2×2 that step by 2 in memory whose innermost run is columns (NCHW): GP_LANES windows of a row side by side, read
 * where they lie. A row's elements are split into those at even and at odd columns, which are the windows' left and right
 * ones; from there on a window is what it is elsewhere (window.h), its elements in registers. */
#ifndef GP_POOL_CPU_PAIRS_H
#define GP_POOL_CPU_PAIRS_H

#include "pool/cpu/backward.h"
#include "pool/cpu/shuffle.h"

/* Sums over columns are made in as many parts, by column modulo GP_PAIR_SUMS, or by group of four where weights are drawn
 * (plane.h), on every instruction set. */
enum { GP_PAIR_SUMS = 16 };

/* ---- Split and joined ---------------------------------------------------------------------- */

/* Splitting leaves the windows in an order of its own, which costs one shuffle less for each vector than columns' order:
 * gp_sorted() leads from it to columns' order and gp_unsorted() back. */
#if GP_STORAGE == GP_STORAGE_BFLOAT16

/* Two neighbours are the halves of a word of 32 bits, and either is a float once the other is cleared. */
GP_INLINE void gp_load_pairs(const gp_element *from, int windows, vf *even, vf *odd) {
  vu words = {0};
  if (windows == GP_LANES)
    memcpy(&words, from, sizeof words);
  else
#if defined(__AVX512F__)
    words = (vu)_mm512_maskz_loadu_epi32((__mmask16)((1u << windows) - 1), from);
#elif defined(__AVX2__)
    words = (vu)_mm256_maskload_epi32((const int *)(const void *)from, vi_first(windows));
#else
    for (int i = 0; i < windows; ++i) memcpy((uint32_t *)&words + i, from + 2 * i, sizeof(uint32_t));
#endif
  *even = (vf)(words << 16);
  *odd = (vf)(words & 0xFFFF0000u);
}
GP_INLINE void gp_store_pairs(gp_element *to, vf even, vf odd, int windows, bool stream) {
  vu words = vu_of_bfloat16(even) >> 16 | (vu_of_bfloat16(odd) & 0xFFFF0000u);
  if (windows == GP_LANES && stream)
    vf_stream((float *)(void *)to, (vf)words);
  else if (windows == GP_LANES)
    memcpy(to, &words, sizeof words);
  else
#if defined(__AVX512F__)
    _mm512_mask_storeu_epi32(to, (__mmask16)((1u << windows) - 1), (__m512i)words);
#else
    gp_store_pieces(to, &words, windows * 4);
#endif
}
GP_INLINE vf gp_sorted(vf value) { return value; }
GP_INLINE vf gp_unsorted(vf value) { return value; }

#else

GP_INLINE void gp_load_pairs(const gp_element *from, int windows, vf *even, vf *odd) {
  vf a, b;
  if (windows == GP_LANES) {
    a = vf_load_element(from, GP_LANES);
    b = vf_load_element(from + GP_LANES, GP_LANES);
  } else {
    int first = 2 * windows < GP_LANES ? 2 * windows : GP_LANES;
    a = vf_load_element(from, first);
    b = 2 * windows > first ? vf_load_element(from + GP_LANES, 2 * windows - first) : (vf){0};
  }
#if defined(__AVX512F__)
  *even = GP_SHUFFLE(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30);
  *odd = GP_SHUFFLE(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
#elif defined(__AVX2__)
  *even = GP_SHUFFLE(a, b, 0, 2, 8, 10, 4, 6, 12, 14);
  *odd = GP_SHUFFLE(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
#else
  *even = GP_SHUFFLE(a, b, 0, 2, 4, 6);
  *odd = GP_SHUFFLE(a, b, 1, 3, 5, 7);
#endif
}
GP_INLINE void gp_store_pairs(gp_element *to, vf even, vf odd, int windows, bool stream) {
  vf a = gp_low_singles(even, odd), b = gp_high_singles(even, odd);
  if (windows == GP_LANES && stream) {
    vf_stream_element(to, a);
    vf_stream_element(to + GP_LANES, b);
  } else if (windows == GP_LANES) {
    vf_store_element(to, a, GP_LANES);
    vf_store_element(to + GP_LANES, b, GP_LANES);
  } else {
    int first = 2 * windows < GP_LANES ? 2 * windows : GP_LANES;
    vf_store_element(to, a, first);
    if (2 * windows > first) vf_store_element(to + GP_LANES, b, 2 * windows - first);
  }
}
GP_INLINE vf gp_sorted(vf value) {
#if defined(__AVX512F__)
  return GP_SHUFFLE(value, value, 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
#elif defined(__AVX2__)
  return GP_SHUFFLE(value, value, 0, 1, 4, 5, 2, 3, 6, 7);
#else
  return value;
#endif
}
GP_INLINE vf gp_unsorted(vf value) {
#if defined(__AVX512F__)
  return GP_SHUFFLE(value, value, 0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
#else
  return gp_sorted(value);
#endif
}

#endif

/* The first `windows` lanes, zeros in the others. */
GP_INLINE vf gp_first_windows(vf value, int windows) {
  static const int32_t mask[2 * GP_LANES] = {
#if GP_LANES_LOG > 3
    -1,
    -1,
    -1,
    -1,
    -1,
    -1,
    -1,
    -1,
#endif
#if GP_LANES_LOG > 2
    -1,
    -1,
    -1,
    -1,
#endif
    -1,
    -1,
    -1,
    -1,
  };
  if (windows == GP_LANES) return value;
  vi first;
  memcpy(&first, mask + GP_LANES - windows, sizeof first);
  return (vf)((vi)value & first);
}

/* How many bytes ahead of what is being read a plane is asked for: what the hardware's own prefetch, which stops at every page,
 * does not see. */
enum { GP_PAIRS_AHEAD = 16384 };

/* Asks for as many elements as a vector of windows takes from a row, `ahead` bytes on. */
GP_INLINE void gp_fetch_pairs(const gp_element *from, int elements, int64_t ahead) {
  const char *piece = (const char *)from + ahead;
  for (int64_t byte = 0; byte < elements * (int64_t)sizeof(gp_element); byte += 64) __builtin_prefetch(piece + byte);
}

/* The elements of `windows` windows from column `column` of a line on. */
GP_INLINE void gp_load_windows(const gp_stretch *stretch, int64_t line, int64_t column, int windows,
                               vf parts[GP_PARTS_MAX]) {
  const gp_element *x = (const gp_element *)stretch->x + line * stretch->x_line + 2 * column;
  gp_fetch_pairs(x, 2 * GP_LANES, GP_PAIRS_AHEAD);
  gp_fetch_pairs(x + stretch->x_row, 2 * GP_LANES, GP_PAIRS_AHEAD);
  gp_load_pairs(x, windows, &parts[0], &parts[1]);
  gp_load_pairs(x + stretch->x_row, windows, &parts[2], &parts[3]);
}

GP_INLINE gp_window gp_pair_window(const gp_stretch *stretch, const vf *parts) {
  return (gp_window){.rows = 2, .columns = 2, .inverse = stretch->inverse, .parts = parts};
}

/* Adds to the sums, or to the column's own. */
GP_INLINE void gp_add_to_columns(float *to, int64_t step, int64_t column, int windows, vf value) {
  to += step == 0 ? column % GP_PAIR_SUMS : column;
  vf_store(to, vf_load(to, GP_LANES) + gp_first_windows(gp_sorted(value), windows), GP_LANES);
}

/* ---- Forward ------------------------------------------------------------------------------- */

GP_INLINE void forward_pairs_at(const gp_stretch *stretch, gp_form form, int64_t line, int64_t column, int windows) {
  vf parts[GP_PARTS_MAX];
  gp_load_windows(stretch, line, column, windows, parts);
  const gp_window window = gp_pair_window(stretch, parts);
  vf weight = {0};
  if (stretch->weight != NULL)
    weight = vf_load(stretch->weight + line * stretch->weight_line + column * stretch->weight_step, GP_LANES);
  if (stretch->weight_step != 0) weight = gp_unsorted(weight);
  vf value = forward_window(stretch, form, NULL, &window, (const float *)&weight, 0, GP_LANES);
  if (stretch->sum_y != NULL) gp_add_to_columns(stretch->sum_y, 0, column, windows, value);
  gp_element *y = (gp_element *)stretch->y + line * stretch->y_line + column;
  if (windows == GP_LANES && stretch->stream)
    vf_stream_element(y, gp_sorted(value));
  else
    vf_store_element(y, gp_sorted(value), windows);
}

/* ---- Backward ------------------------------------------------------------------------------ */

GP_INLINE void backward_pairs_at(const gp_stretch *stretch, gp_form form, int64_t line, int64_t column, int windows) {
  vf parts[GP_PARTS_MAX], grads[GP_PARTS_MAX] = {{0}}, weight = {0}, grad_weight = {0};
  if (form != GP_FORM_MEAN) gp_load_windows(stretch, line, column, windows, parts); /* the mean's gradient needs no x */
  const gp_window window = gp_pair_window(stretch, parts);
  struct backward_at at = {.stretch = stretch, .window = &window, .count = GP_LANES, .size = 2};
  const gp_element *grad_y = (const gp_element *)stretch->grad_y + line * stretch->grad_y_line + column;
  gp_fetch_pairs(grad_y, GP_LANES, GP_PAIRS_AHEAD / 4);
  at.grad_y = gp_unsorted(vf_load_element(grad_y, windows));
  if (stretch->grad_average_y != NULL) at.grad_y += vf_load(stretch->grad_average_y, GP_LANES);
  if (stretch->weight != NULL)
    weight = vf_load(stretch->weight + line * stretch->weight_line + column * stretch->weight_step, GP_LANES);
  if (stretch->weight_step != 0) weight = gp_unsorted(weight);
  at.weight = (const float *)&weight;
  at.grad_weight = (float *)&grad_weight;
  at.grad_x = stretch->grad_x;
  at.grad_parts = grads;
  at.add = vf_load(stretch->add_x, GP_LANES);
  backward_window(&at, form, true);
  if (stretch->grad_weight != NULL)
    gp_add_to_columns(stretch->grad_weight + line * stretch->grad_weight_line, stretch->grad_weight_step, column,
                      windows, grad_weight);
  if (stretch->grad_x == NULL) return;
  gp_element *grad_x = (gp_element *)stretch->grad_x + line * stretch->grad_x_line + 2 * column;
  gp_store_pairs(grad_x, grads[0], grads[1], windows, stretch->stream);
  gp_store_pairs(grad_x + stretch->grad_x_row, grads[2], grads[3], windows, stretch->stream);
}

/* ---- Stretches ----------------------------------------------------------------------------- */

/* A copy, as in forward_stretch(); all vectors of windows but a row's last are whole, and their number of lanes a constant. */
#define EACH_WINDOWS(name, at, form)                                                                               \
  static void name(const gp_stretch *shared) {                                                                     \
    const gp_stretch stretch = *shared;                                                                            \
    for (int64_t line = 0; line < stretch.lines; ++line) {                                                         \
      int64_t column = 0;                                                                                          \
      for (; column + GP_LANES <= stretch.count; column += GP_LANES) at(&stretch, (form), line, column, GP_LANES); \
      if (column < stretch.count) at(&stretch, (form), line, column, (int)(stretch.count - column));               \
    }                                                                                                              \
  }

#define PAIRS(name, form)                                    \
  EACH_WINDOWS(forward_pairs_##name, forward_pairs_at, form) \
  EACH_WINDOWS(backward_pairs_##name, backward_pairs_at, form)

PAIRS(gaussian, GP_FORM_GAUSSIAN)
PAIRS(mean, GP_FORM_MEAN)
PAIRS(max, GP_FORM_MAX)
PAIRS(softmax, GP_FORM_SOFTMAX)
PAIRS(expected, GP_FORM_EXPECTED)
PAIRS(picked, GP_FORM_PICKED)
PAIRS(mixed, GP_FORM_MIXED)
PAIRS(lp, GP_FORM_LP)

#endif
