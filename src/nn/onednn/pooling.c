/* The operator, called in the activations' own layout. */
#include <stdio.h>

#include "base/memory.h"
#include "base/philox.h"
#include "base/status.h"
#include "nn/onednn/primitive.h"

typedef struct pool {
  nn_kernel base;
  gp_pool_desc desc;
  uint64_t stream;
  bool wants_grad_in;
} pool;

/* Each pooling of a net draws under a key of its own, each step at an offset of its own. */
static void set_draws(pool *p) {
  const nn_step_desc *step = p->base.at.step;
  p->desc.seed = gp_mix_seed(step->seed, p->stream);
  p->desc.call_offset = step->step;
  p->desc.first_sample = step->first_sample;
}

static gp_status forward(nn_kernel *k) {
  pool *p = (pool *)k;
  set_draws(p);
  gp_pool_forward_args args = {.x = k->at.in[0], .y = k->at.out};
  if (p->desc.kind == GP_POOL_WEIGHTED) {
    args.weight = k->at.in[1];
  } else {
    args.mu = k->at.in[1];
    args.sigma = k->at.in[2];
  }
  return gp_pool_forward(&p->desc, &args);
}

static gp_status backward(nn_kernel *k) {
  pool *p = (pool *)k;
  set_draws(p);
  gp_pool_backward_args args = {.x = k->at.in[0],
                                .grad_y = k->at.grad_out,
                                .grad_x = k->at.grad_in[0],
                                .accumulate = k->at.accumulate[0],
                                .workspace = k->at.scratch_backward};
  if (p->desc.kind == GP_POOL_WEIGHTED) {
    args.weight = k->at.in[1];
    args.grad_weight = k->at.grad_in[1];
  } else {
    args.mu = k->at.in[1];
    args.sigma = k->at.in[2];
    args.grad_mu = k->at.grad_in[1];
    args.grad_sigma = k->at.grad_in[2];
  }
  return gp_pool_backward(&p->desc, &args);
}

static void destroy(nn_kernel *k) { gp_free(k); }

gp_status od_make_pool(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  (void)device;
  const nn_pool_desc *d = &desc->node->as.pool;
  const nn_tensor *in = &desc->in[0];
  gp_status status = GP_OK;
  pool *p = NULL;
  GP_TRY(GP_ALLOC(&p, 1));
  p->base = (nn_kernel){
      .forward = forward, .backward = backward, .destroy = destroy, .needs_input = true, .accumulates = true};
  snprintf(p->base.implementation, sizeof p->base.implementation, "gausspool:%s", gp_cpu_isa());
  p->stream = (uint64_t)desc->index;
  p->desc = (gp_pool_desc){.kind = d->kind,
                           .dtype = GP_FLOAT32,
                           .layout = in->layout,
                           .batch = in->batch,
                           .channels = in->shape.channels,
                           .height = in->shape.height,
                           .width = in->shape.width,
                           .kernel = {d->kernel, d->kernel},
                           .stride = {d->stride, d->stride},
                           .padding = {d->padding, d->padding},
                           .ceil_mode = d->ceil_mode,
                           .pad_count = d->pad_count,
                           .eps = d->eps,
                           .param_shape = GP_SHAPE_NC,
                           .stochasticity = desc->mode == NN_TRAIN ? d->stochasticity : GP_STOCHASTIC_NONE};
  /* A pooling down to 1×1 makes a plain map of a blocked one; the orders agree unless lanes are padded. */
  if (desc->out.layout != in->layout && desc->out.shape.channels % nn_blocking_of(in).block != 0)
    GP_TRY(gp_fail(GP_ERROR_UNSUPPORTED, "pooling %lld channels down to 1x1: the channels must be a multiple of %lld",
                   (long long)in->shape.channels, (long long)nn_blocking_of(in).block));
  if (desc->mode == NN_TRAIN) GP_TRY(gp_pool_backward_workspace(&p->desc, &p->base.scratch_backward_bytes));
  *out = &p->base;
  p = NULL;
cleanup:
  gp_free(p);
  return status;
}
