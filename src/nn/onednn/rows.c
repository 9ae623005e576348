/* Compiled for each instruction set and type of elements, with OD_ROWS the name of its table. A row is one vector in the compiler's own vector
 * type, which it splits where the machine's are shorter; the results are the same. */
#include "nn/onednn/rows.h"

#include <string.h>

#include "base/half.h"

enum { PIVOT_ROWS = 16 };

#if defined(OD_BFLOAT16)
typedef uint16_t element;
#else
typedef float element;
#endif

typedef float row __attribute__((vector_size(OD_ROW * sizeof(float))));
typedef int32_t mask __attribute__((vector_size(OD_ROW * sizeof(int32_t))));

extern const od_rows OD_ROWS;

static inline row constants(const float *from) {
  row r;
  memcpy(&r, from, sizeof r);
  return r;
}

static inline void put(float *to, row r) { memcpy(to, &r, sizeof r); }

#if defined(OD_BFLOAT16)
typedef uint32_t words __attribute__((vector_size(OD_ROW * sizeof(uint32_t))));
typedef element elements __attribute__((vector_size(OD_ROW * sizeof(element))));

static inline row widened(elements e) { return (row)(__builtin_convertvector(e, words) << 16); }

/* As gp_bfloat16_of_float(). */
static inline elements narrowed(row r) {
  words bits = (words)r, nan = (words)((bits & 0x7FFFFFFFu) > 0x7F800000u);
  words rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  return __builtin_convertvector((nan & 0x7FC0u) | (~nan & rounded), elements);
}
#else
typedef row elements;
static inline row widened(elements e) { return e; }
static inline elements narrowed(row r) { return r; }
#endif

/* Lanes past the last are zero. */
static inline row load(const element *from, int64_t lanes) {
  elements e = {0};
  if (lanes == OD_ROW)
    memcpy(&e, from, sizeof e);
  else
    memcpy(&e, from, (size_t)lanes * sizeof(element));
  return widened(e);
}

static inline void store(element *to, row r, int64_t lanes) {
  elements e = narrowed(r);
  if (lanes == OD_ROW)
    memcpy(to, &e, sizeof e);
  else
    memcpy(to, &e, (size_t)lanes * sizeof(element));
}

/* The row where `keep`, elsewhere zero. */
static inline row only(mask keep, row r) { return (row)(keep & (mask)r); }

static inline void moments_of(const element *x, od_span span, int64_t lanes, od_moment_sums *out) {
  row pivot = {0}, sum = {0}, squares = {0};
  int64_t first = span.rows < PIVOT_ROWS ? span.rows : PIVOT_ROWS;
  for (int64_t i = 0; i < first; ++i) pivot += load(x + i * span.step, lanes);
  pivot /= (float)first;
  for (int64_t i = 0; i < span.rows; ++i) {
    row distance = load(x + i * span.step, lanes) - pivot;
    sum += distance;
    squares += distance * distance;
  }
  put(out->pivot, pivot);
  put(out->sum, sum);
  put(out->squares, squares);
}

static inline void average_of(const od_average_constants *c, const element *x, od_span span, int64_t lanes,
                              od_average_sums *out) {
  row scale = constants(c->scale), shift = constants(c->shift), mean = constants(c->mean);
  row total = {0}, centred = {0};
  mask active = {0};
  for (int64_t i = 0; i < span.rows; ++i) {
    row value = load(x + i * span.step, lanes), y = value * scale + shift;
    mask passes = y > 0;
    total += only(~(y < 0), y);
    active -= passes; /* a mask is -1 where it holds */
    centred += only(passes, value - mean);
  }
  put(out->total, total);
  put(out->active, __builtin_convertvector(active, row));
  put(out->centred, centred);
}

static inline void gradient_of(const od_gradient_constants *c, element *grad_x, const element *grad_out,
                               const element *x, od_span span, int64_t lanes) {
  row scale = constants(c->scale), shift = constants(c->shift), mean = constants(c->mean);
  row slope = constants(c->slope), offset = constants(c->offset), spread = constants(c->spread);
  for (int64_t i = 0; i < span.rows; ++i) {
    row value = load(x + i * span.step, lanes), gradient = load(grad_out + i * span.step, lanes);
    gradient += offset + only(value * scale + shift > 0, spread) + slope * (value - mean);
    store(grad_x + i * span.step, gradient, lanes);
  }
}

/* Whole rows, the usual case, have a loop of their own. */
static void moments(const void *x, od_span span, od_moment_sums *out) {
  if (span.lanes == OD_ROW)
    moments_of(x, span, OD_ROW, out);
  else
    moments_of(x, span, span.lanes, out);
}

static void average(const od_average_constants *c, const void *x, od_span span, od_average_sums *out) {
  if (span.lanes == OD_ROW)
    average_of(c, x, span, OD_ROW, out);
  else
    average_of(c, x, span, span.lanes, out);
}

static void gradient(const od_gradient_constants *c, void *grad_x, const void *grad_out, const void *x, od_span span) {
  if (span.lanes == OD_ROW)
    gradient_of(c, grad_x, grad_out, x, span, OD_ROW);
  else
    gradient_of(c, grad_x, grad_out, x, span, span.lanes);
}

const od_rows OD_ROWS = {moments, average, gradient};
