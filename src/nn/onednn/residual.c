/* A sum and its ReLU in training, a residual block's end: our own loops, bound by memory.
 *
 * The backward pass needs of the output only where it is positive. That is kept as a bit for each element, so that the output
 * itself need not be, and the pass reads a 32nd of it. The gradient may come in two parts, which are added on the way. */
#include <stdint.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vectorize.h"
#include "nn/element.h"
#include "nn/onednn/primitive.h"

/* Bits are laid out for vectors: of a group's elements, number row·LANES + lane has bit `row` of word `lane`. (A row of 16 or
 * less, the compiler would unroll whole instead of making vectors of it.) */
enum { LANES = 64, ROWS = 32, GROUP = ROWS * LANES };
enum { CHUNK = 4 * GROUP }; /* elements a task; its operands fit the second-level cache */

typedef struct residual {
  nn_kernel base;
  gp_dtype type;
  size_t elements; /* of the tensor, padding lanes included */
} residual;

/* Of one group. */
typedef struct operands {
  float *dst;
  const float *a, *b; /* backward b may be NULL */
  uint32_t *positive;
} operands;

typedef void (*group_fn)(const operands *o, size_t count);

/* Over the whole tensors, which are of this type. */
typedef struct pass {
  group_fn fn;
  gp_dtype type;
  size_t elements;
  void *dst;
  const void *a, *b;
  uint32_t *positive;
} pass;

/* What memory holds as another type is floats for as long as a group takes. */
static void pass_group(const pass *p, size_t first, size_t count) {
  float dst[GROUP], a[GROUP], b[GROUP];
  const int64_t at = (int64_t)first;
  void *to = nn_at(p->type, p->dst, at);
  operands group = {.dst = p->type == GP_FLOAT32 ? to : dst,
                    .a = nn_floats(p->type, nn_at_const(p->type, p->a, at), count, a),
                    .positive = p->positive + first / GROUP * LANES};
  if (p->b != NULL) group.b = nn_floats(p->type, nn_at_const(p->type, p->b, at), count, b);
  p->fn(&group, count);
  nn_put_floats(p->type, to, group.dst, count);
}

static void pass_chunk(void *context, int64_t task) {
  const pass *p = context;
  size_t begin = (size_t)task * CHUNK, end = begin + CHUNK < p->elements ? begin + CHUNK : p->elements;
  for (size_t i = begin; i < end; i += GROUP) pass_group(p, i, end - i < GROUP ? end - i : GROUP);
}

static gp_status run(pass p) {
  gp_parallel_for((int64_t)((p.elements + CHUNK - 1) / CHUNK), 0, pass_chunk, &p);
  return GP_OK;
}

/* A row's loops are written once and made twice: for whole rows the count is known to the compiler. NaN stays NaN, as in
 * PyTorch: it fails the comparison. */
static inline void add_row(const operands *o, size_t at, uint32_t bit, size_t lanes) {
  float *restrict dst = o->dst + at;
  const float *a = o->a + at, *b = o->b + at;
  uint32_t *restrict positive = o->positive;
  for (size_t i = 0; i < lanes; ++i) {
    float sum = a[i] + b[i];
    dst[i] = sum < 0 ? 0 : sum;
    positive[i] |= sum > 0 ? bit : 0;
  }
}

static void add_group(const operands *o, size_t count) {
  size_t row = 0;
  memset(o->positive, 0, LANES * sizeof *o->positive);
  for (; (row + 1) * LANES <= count; ++row) add_row(o, row * LANES, (uint32_t)1 << row, LANES);
  if (row * LANES < count) add_row(o, row * LANES, (uint32_t)1 << row, count - row * LANES);
}

/* In place where dst is a part of the gradient, so without restrict. */
static inline void gradient_row(const operands *o, size_t at, uint32_t bit, size_t lanes, bool addend) {
  float *dst = o->dst + at;
  const float *a = o->a + at, *b = addend ? o->b + at : a;
  const uint32_t *positive = o->positive;
  GP_INDEPENDENT
  for (size_t i = 0; i < lanes; ++i) {
    float g = addend ? a[i] + b[i] : a[i]; /* read in any case: a choice of values, not of loads, is vectorised */
    dst[i] = positive[i] & bit ? g : 0;
  }
}

static inline void gradient_rows(const operands *o, size_t count, bool addend) {
  size_t row = 0;
  for (; (row + 1) * LANES <= count; ++row) gradient_row(o, row * LANES, (uint32_t)1 << row, LANES, addend);
  if (row * LANES < count) gradient_row(o, row * LANES, (uint32_t)1 << row, count - row * LANES, addend);
}

static void gradient_group(const operands *o, size_t count) { gradient_rows(o, count, false); }
static void sum_gradient_group(const operands *o, size_t count) { gradient_rows(o, count, true); }

static gp_status forward(nn_kernel *k) {
  const residual *r = (const residual *)k;
  return run((pass){add_group, r->type, r->elements, k->at.out, k->at.in[0], k->at.in[1], k->at.saved});
}

static gp_status backward(nn_kernel *k) {
  const residual *r = (const residual *)k;
  group_fn fn = k->at.grad_out_addend == NULL ? gradient_group : sum_gradient_group;
  return run((pass){fn, r->type, r->elements, k->at.grad_in[0], k->at.grad_out, k->at.grad_out_addend, k->at.saved});
}

static void destroy(nn_kernel *k) { gp_free(k); }

gp_status od_make_residual(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  (void)device;
  residual *r = NULL;
  gp_status status = GP_ALLOC(&r, 1);
  if (status != GP_OK) return status;
  r->type = desc->out.type;
  r->elements = nn_tensor_elements(&desc->out);
  r->base = (nn_kernel){.forward = forward,
                        .backward = backward,
                        .destroy = destroy,
                        .implementation = "gausspool",
                        .saved_bytes = (r->elements + GROUP - 1) / GROUP * LANES * sizeof(uint32_t),
                        .pass_through = true,
                        .changes_grad = true,
                        .takes_addend = true};
  *out = &r->base;
  return GP_OK;
}
