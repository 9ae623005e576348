#include "nn/layout.h"

#include <string.h>

#include "base/parallel.h"
#include "nn/element.h"

typedef struct copy {
  nn_blocking from, to;
  gp_dtype from_type, to_type;
  const void *src;
  void *dst;
  int64_t src_first, dst_first, channels;
} copy;

static const void *src_at(const copy *c, int64_t n, int64_t channel) {
  return nn_at_const(c->from_type, c->src, nn_offset(&c->from, n, c->src_first + channel, 0));
}

static void *dst_at(const copy *c, int64_t n, int64_t channel) {
  return nn_at(c->to_type, c->dst, nn_offset(&c->to, n, c->dst_first + channel, 0));
}

/* `count` elements that lie side by side. */
static void copy_run(const copy *c, const void *src, void *dst, int64_t count) {
  if (c->from_type == c->to_type)
    memcpy(dst, src, (size_t)count * gp_dtype_size(c->to_type));
  else if (c->to_type == GP_FLOAT32)
    nn_floats(c->from_type, src, (size_t)count, dst);
  else
    nn_put_floats(c->to_type, dst, src, (size_t)count);
}

/* One channel between blocks of different sizes: an instance for each pair of types. */
static inline void copy_strided(const copy *c, gp_dtype from_type, const void *src, gp_dtype to_type, void *dst) {
  for (int64_t i = 0; i < c->from.positions; ++i)
    nn_store(to_type, dst, i * c->to.block, nn_load(from_type, src, i * c->from.block));
}

/* All channels of one sample. */
static void copy_sample(void *context, int64_t n) {
  const copy *c = context;
  const bool plain = c->from.block == 1 && c->to.block == 1, narrows = c->to_type == GP_BFLOAT16;
  for (int64_t channel = 0; channel < c->channels; ++channel) {
    const void *src = src_at(c, n, channel);
    void *dst = dst_at(c, n, channel);
    if (plain)
      copy_run(c, src, dst, c->from.positions);
    else if (c->from_type == GP_FLOAT32 && !narrows)
      copy_strided(c, GP_FLOAT32, src, GP_FLOAT32, dst);
    else if (c->from_type == GP_FLOAT32)
      copy_strided(c, GP_FLOAT32, src, GP_BFLOAT16, dst);
    else if (narrows)
      copy_strided(c, GP_BFLOAT16, src, GP_BFLOAT16, dst);
    else
      copy_strided(c, GP_BFLOAT16, src, GP_FLOAT32, dst);
  }
}

/* Whole blocks of one sample, when both sides have the same ones. */
static void copy_blocks(void *context, int64_t n) {
  const copy *c = context;
  copy_run(c, src_at(c, n, 0), dst_at(c, n, 0), c->channels * c->from.positions);
}

void nn_copy_channels(const nn_tensor *src_desc, const void *src, int64_t src_first, const nn_tensor *dst_desc,
                      void *dst, int64_t dst_first, int64_t channels) {
  copy c = {.from = nn_blocking_of(src_desc),
            .to = nn_blocking_of(dst_desc),
            .from_type = src_desc->type,
            .to_type = dst_desc->type,
            .src = src,
            .dst = dst,
            .src_first = src_first,
            .dst_first = dst_first,
            .channels = channels};
  int64_t block = c.from.block;
  bool whole = block == c.to.block && src_first % block == 0 && dst_first % block == 0 && channels % block == 0;
  gp_parallel_for(src_desc->batch, 0, whole ? copy_blocks : copy_sample, &c);
}

void nn_copy_tensor(const nn_tensor *src_desc, const void *src, const nn_tensor *dst_desc, void *dst) {
  nn_copy_channels(src_desc, src, 0, dst_desc, dst, 0, src_desc->shape.channels);
  nn_clear_padding(dst_desc, dst);
}

void nn_clear_padding(const nn_tensor *desc, void *data) {
  nn_blocking b = nn_blocking_of(desc);
  int64_t used = desc->shape.channels % b.block;
  if (used == 0) return;
  for (int64_t n = 0; n < desc->batch; ++n) {
    int64_t last = ((n + 1) * b.blocks - 1) * b.positions * b.block;
    for (int64_t i = 0; i < b.positions; ++i)
      memset(nn_at(desc->type, data, last + i * b.block + used), 0,
             (size_t)(b.block - used) * gp_dtype_size(desc->type));
  }
}

bool nn_same_order(const nn_tensor *a, const nn_tensor *b) {
  nn_blocking p = nn_blocking_of(a), q = nn_blocking_of(b);
  if (a->type != b->type) return false;
  if (p.block == q.block) return true;
  /* With one position, blocks without padding lie as single channels do. */
  int64_t channels = a->shape.channels;
  return p.positions == 1 && channels % p.block == 0 && channels % q.block == 0;
}
