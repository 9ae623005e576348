/* Compiled for each instruction set, with OD_ROWS the name of its table. A row is one vector in the compiler's own vector
 * type, which it splits where the machine's are shorter; the results are the same. */
#include "nn/onednn/rows.h"

#include <string.h>

enum { PIVOT_ROWS = 16 };

typedef float row __attribute__((vector_size(OD_ROW * sizeof(float))));
typedef int32_t mask __attribute__((vector_size(OD_ROW * sizeof(int32_t))));

extern const od_rows OD_ROWS;

/* Lanes past the last are zero. */
static inline row load(const float *from, int64_t lanes) {
  row r = {0};
  if (lanes == OD_ROW)
    memcpy(&r, from, sizeof r);
  else
    memcpy(&r, from, (size_t)lanes * sizeof(float));
  return r;
}

static inline void store(float *to, row r, int64_t lanes) {
  if (lanes == OD_ROW)
    memcpy(to, &r, sizeof r);
  else
    memcpy(to, &r, (size_t)lanes * sizeof(float));
}

/* The row where `keep`, elsewhere zero. */
static inline row only(mask keep, row r) { return (row)(keep & (mask)r); }

static inline void moments_of(const float *x, od_span span, int64_t lanes, od_moment_sums *out) {
  row pivot = {0}, sum = {0}, squares = {0};
  int64_t first = span.rows < PIVOT_ROWS ? span.rows : PIVOT_ROWS;
  for (int64_t i = 0; i < first; ++i) pivot += load(x + i * span.step, lanes);
  pivot /= (float)first;
  for (int64_t i = 0; i < span.rows; ++i) {
    row distance = load(x + i * span.step, lanes) - pivot;
    sum += distance;
    squares += distance * distance;
  }
  store(out->pivot, pivot, OD_ROW);
  store(out->sum, sum, OD_ROW);
  store(out->squares, squares, OD_ROW);
}

static inline void average_of(const od_average_constants *c, const float *x, od_span span, int64_t lanes,
                              od_average_sums *out) {
  row scale = load(c->scale, OD_ROW), shift = load(c->shift, OD_ROW), mean = load(c->mean, OD_ROW);
  row total = {0}, centred = {0};
  mask active = {0};
  for (int64_t i = 0; i < span.rows; ++i) {
    row value = load(x + i * span.step, lanes), y = value * scale + shift;
    mask passes = y > 0;
    total += only(~(y < 0), y);
    active -= passes; /* a mask is -1 where it holds */
    centred += only(passes, value - mean);
  }
  store(out->total, total, OD_ROW);
  store(out->active, __builtin_convertvector(active, row), OD_ROW);
  store(out->centred, centred, OD_ROW);
}

static inline void gradient_of(const od_gradient_constants *c, float *grad_x, const float *grad_out, const float *x,
                               od_span span, int64_t lanes) {
  row scale = load(c->scale, OD_ROW), shift = load(c->shift, OD_ROW), mean = load(c->mean, OD_ROW);
  row slope = load(c->slope, OD_ROW), offset = load(c->offset, OD_ROW), spread = load(c->spread, OD_ROW);
  for (int64_t i = 0; i < span.rows; ++i) {
    row value = load(x + i * span.step, lanes), gradient = load(grad_out + i * span.step, lanes);
    gradient += offset + only(value * scale + shift > 0, spread) + slope * (value - mean);
    store(grad_x + i * span.step, gradient, lanes);
  }
}

/* Whole rows, the usual case, have a loop of their own. */
static void moments(const float *x, od_span span, od_moment_sums *out) {
  if (span.lanes == OD_ROW)
    moments_of(x, span, OD_ROW, out);
  else
    moments_of(x, span, span.lanes, out);
}

static void average(const od_average_constants *c, const float *x, od_span span, od_average_sums *out) {
  if (span.lanes == OD_ROW)
    average_of(c, x, span, OD_ROW, out);
  else
    average_of(c, x, span, span.lanes, out);
}

static void gradient(const od_gradient_constants *c, float *grad_x, const float *grad_out, const float *x,
                     od_span span) {
  if (span.lanes == OD_ROW)
    gradient_of(c, grad_x, grad_out, x, span, OD_ROW);
  else
    gradient_of(c, grad_x, grad_out, x, span, span.lanes);
}

const od_rows OD_ROWS = {moments, average, gradient};
