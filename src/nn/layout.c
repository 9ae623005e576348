#include "nn/layout.h"

#include <string.h>

#include "base/parallel.h"

typedef struct copy {
  nn_blocking from, to;
  const float *src;
  float *dst;
  int64_t src_first, dst_first, channels;
} copy;

/* All channels of one sample. */
static void copy_sample(void *context, int64_t n) {
  const copy *c = context;
  for (int64_t channel = 0; channel < c->channels; ++channel) {
    const float *src = c->src + nn_offset(&c->from, n, c->src_first + channel, 0);
    float *dst = c->dst + nn_offset(&c->to, n, c->dst_first + channel, 0);
    if (c->from.block == 1 && c->to.block == 1) {
      memcpy(dst, src, (size_t)c->from.positions * sizeof(float));
      continue;
    }
    for (int64_t i = 0; i < c->from.positions; ++i) dst[i * c->to.block] = src[i * c->from.block];
  }
}

/* Whole blocks of one sample, when both sides have the same ones. */
static void copy_blocks(void *context, int64_t n) {
  const copy *c = context;
  memcpy(c->dst + nn_offset(&c->to, n, c->dst_first, 0), c->src + nn_offset(&c->from, n, c->src_first, 0),
         (size_t)(c->channels * c->from.positions) * sizeof(float));
}

void nn_copy_channels(const nn_tensor *src_desc, const float *src, int64_t src_first, const nn_tensor *dst_desc,
                      float *dst, int64_t dst_first, int64_t channels) {
  copy c = {nn_blocking_of(src_desc), nn_blocking_of(dst_desc), src, dst, src_first, dst_first, channels};
  int64_t block = c.from.block;
  bool whole = block == c.to.block && src_first % block == 0 && dst_first % block == 0 && channels % block == 0;
  gp_parallel_for(src_desc->batch, 0, whole ? copy_blocks : copy_sample, &c);
}

void nn_clear_padding(const nn_tensor *desc, float *data) {
  nn_blocking b = nn_blocking_of(desc);
  int64_t used = desc->shape.channels % b.block;
  if (used == 0) return;
  for (int64_t n = 0; n < desc->batch; ++n) {
    float *last = data + ((n + 1) * b.blocks - 1) * b.positions * b.block;
    for (int64_t i = 0; i < b.positions; ++i)
      memset(last + i * b.block + used, 0, (size_t)(b.block - used) * sizeof(float));
  }
}

bool nn_same_order(const nn_tensor *a, const nn_tensor *b) {
  nn_blocking p = nn_blocking_of(a), q = nn_blocking_of(b);
  if (p.block == q.block) return true;
  /* With one position, blocks without padding lie as single channels do. */
  int64_t channels = a->shape.channels;
  return p.positions == 1 && channels % p.block == 0 && channels % q.block == 0;
}
