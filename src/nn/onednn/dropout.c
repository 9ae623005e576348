/* Inverted dropout (Srivastava et al. 2014): elements are kept with probability 1 - p and divided by it. Draws count
 * by the element's logical position, so layout and batch split do not matter; backward draws them again. */
#include <math.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/philox.h"
#include "nn/element.h"
#include "nn/layout.h"
#include "nn/onednn/primitive.h"

typedef struct dropout {
  nn_kernel base;
  nn_tensor tensor;
  uint64_t stream;
  float scale;
  uint32_t threshold; /* words below it drop their element */
} dropout;

typedef struct pass {
  const dropout *op;
  const void *from;
  void *to;
} pass;

/* One channel of one sample: [h·w]. */
static void mask_channel(void *context, int64_t task) {
  const pass *p = context;
  const dropout *d = p->op;
  const nn_step_desc *step = d->base.at.step;
  const gp_dtype type = d->tensor.type;
  nn_blocking b = nn_blocking_of(&d->tensor);
  int64_t channels = d->tensor.shape.channels, n = task / channels, channel = task % channels;
  uint64_t first = (uint64_t)((step->first_sample + n) * channels + channel) * (uint64_t)b.positions;
  uint64_t key = gp_mix_seed(step->seed, d->stream);
  gp_philox_block block = {{0}};
  for (int64_t i = 0; i < b.positions; ++i) {
    uint64_t element = first + (uint64_t)i;
    if (i == 0 || element % 4 == 0)
      block = gp_philox(key, (uint32_t)(element / 4), (uint32_t)((element / 4) >> 32), step->step, 0);
    int64_t at = nn_offset(&b, n, channel, i);
    nn_store(type, p->to, at, block.word[element % 4] < d->threshold ? 0 : nn_load(type, p->from, at) * d->scale);
  }
}

static gp_status run(const dropout *d, const void *from, void *to) {
  pass p = {d, from, to};
  gp_parallel_for(d->tensor.batch * d->tensor.shape.channels, 0, mask_channel, &p);
  nn_clear_padding(&d->tensor, to);
  return GP_OK;
}

static gp_status forward(nn_kernel *k) { return run((const dropout *)k, k->at.in[0], k->at.out); }

static gp_status backward(nn_kernel *k) { return run((const dropout *)k, k->at.grad_out, k->at.grad_in[0]); }

static void destroy(nn_kernel *k) { gp_free(k); }

gp_status od_make_dropout(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  (void)device;
  dropout *d = NULL;
  gp_status status = GP_ALLOC(&d, 1);
  if (status != GP_OK) return status;
  double probability = desc->node->as.dropout;
  d->base = (nn_kernel){.forward = forward,
                        .backward = backward,
                        .destroy = destroy,
                        .implementation = "gausspool",
                        .pass_through = true,
                        .changes_grad = true};
  d->tensor = desc->out;
  d->stream = (uint64_t)desc->index;
  d->scale = (float)(1 / (1 - probability));
  d->threshold = (uint32_t)floor(probability * 0x1p32);
  *out = &d->base;
  return GP_OK;
}
