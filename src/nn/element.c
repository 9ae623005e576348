#include "nn/element.h"

#include <string.h>

#include "base/parallel.h"
#include "nn/bfloat16.h"

const float *nn_floats(gp_dtype type, const void *from, size_t count, float *buffer) {
  if (type == GP_FLOAT32) return from;
  nn_bfloat16_best()->widen(buffer, from, count);
  return buffer;
}

void nn_put_floats(gp_dtype type, void *to, const float *from, size_t count) {
  if (type == GP_BFLOAT16)
    nn_bfloat16_best()->narrow(to, from, count);
  else if (to != from)
    memmove(to, from, count * sizeof(float));
}

enum {
  CHUNK = 8192, /* elements a task; three operands of floats fit the first-level caches */
  PIECE = 1024, /* as floats at a time where memory holds another type */
};

typedef struct pass {
  nn_loop loop;
  gp_dtype type;
  void *dst;
  const void *a, *b;
  size_t elements;
} pass;

static void run_pieces(const pass *p, size_t begin, size_t end) {
  float dst[PIECE], a[PIECE], b[PIECE];
  for (; begin < end; begin += PIECE) {
    size_t count = end - begin < PIECE ? end - begin : PIECE;
    int64_t at = (int64_t)begin;
    nn_floats(p->type, nn_at_const(p->type, p->a, at), count, a);
    if (p->b != NULL) nn_floats(p->type, nn_at_const(p->type, p->b, at), count, b);
    p->loop(dst, a, p->b == NULL ? NULL : b, count);
    nn_put_floats(p->type, nn_at(p->type, p->dst, at), dst, count);
  }
}

static void run_chunk(void *context, int64_t task) {
  const pass *p = context;
  size_t begin = (size_t)task * CHUNK;
  size_t end = p->elements - begin < CHUNK ? p->elements : begin + CHUNK;
  if (p->type == GP_FLOAT32)
    p->loop((float *)p->dst + begin, (const float *)p->a + begin, p->b == NULL ? NULL : (const float *)p->b + begin,
            end - begin);
  else
    run_pieces(p, begin, end);
}

void nn_run_loop(nn_loop loop, gp_dtype type, void *dst, const void *a, const void *b, size_t elements) {
  pass p = {loop, type, dst, a, b, elements};
  gp_parallel_for((int64_t)((elements + CHUNK - 1) / CHUNK), 0, run_chunk, &p);
}
