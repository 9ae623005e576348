/* The operator, called in the activations' own layout. */
#include <stdio.h>

#include "base/memory.h"
#include "base/philox.h"
#include "base/status.h"
#include "nn/affine.h"
#include "nn/layout.h"
#include "nn/onednn/primitive.h"

typedef struct pool {
  nn_kernel base;
  gp_pool_desc desc;
  nn_pool_places places;
  uint64_t stream;
  /* The operator keeps its input's layout and type. Where the output's are others (maps of one position are plain and
   * float32), the result goes through scratch memory; own_out describes it there. */
  nn_tensor out, own_out;
  bool convert;
  size_t own_gradient_offset; /* in scratch_backward */
} pool;

/* Each pooling of a net draws under a key of its own, each step at an offset of its own. */
static void set_draws(pool *p) {
  const nn_step_desc *step = p->base.at.step;
  p->desc.seed = gp_mix_seed(step->seed, p->stream);
  p->desc.call_offset = step->step;
  p->desc.first_sample = step->first_sample;
}

/* All NULL where the input is stored. */
static nn_affine affine_of(const pool *p) {
  void *memory = p->base.at.affine;
  return memory == NULL ? (nn_affine){0} : nn_affine_at(memory, p->desc.channels);
}

/* Of a kind without such a parameter, NULL. The weight is another node's or the pooling's own. */
typedef struct guides {
  const float *mu, *sigma, *weight;
  float *grad_mu, *grad_sigma, *grad_weight;
} guides;

static guides guides_of(const pool *p) {
  const nn_bindings *at = &p->base.at;
  guides g = {0};
  if (p->places.mu > 0) {
    g.mu = at->in[p->places.mu];
    g.grad_mu = at->grad_in[p->places.mu];
  }
  if (p->places.sigma > 0) {
    g.sigma = at->in[p->places.sigma];
    g.grad_sigma = at->grad_in[p->places.sigma];
  }
  g.weight = p->places.weight > 0 ? at->in[p->places.weight] : at->value[NN_WEIGHT];
  g.grad_weight = p->places.weight > 0 ? at->grad_in[p->places.weight] : at->gradient[NN_WEIGHT];
  return g;
}

static gp_status forward(nn_kernel *k) {
  pool *p = (pool *)k;
  nn_affine affine = affine_of(p);
  guides given = guides_of(p);
  set_draws(p);
  gp_pool_forward_args args = {.x = k->at.in[0],
                               .scale = affine.scale,
                               .shift = affine.shift,
                               .mu = given.mu,
                               .sigma = given.sigma,
                               .weight = given.weight,
                               .y = p->convert ? k->at.scratch_forward : k->at.out};
  gp_status status = gp_pool_forward(&p->desc, &args);
  if (status != GP_OK || !p->convert) return status;
  nn_copy_tensor(&p->own_out, args.y, &p->out, k->at.out);
  return GP_OK;
}

static gp_status backward(nn_kernel *k) {
  pool *p = (pool *)k;
  nn_affine affine = affine_of(p);
  guides given = guides_of(p);
  set_draws(p);
  gp_pool_backward_args args = {.x = k->needs_input ? k->at.in[0] : NULL,
                                .scale = affine.scale,
                                .shift = affine.shift,
                                .grad_scale = affine.grad_scale,
                                .grad_shift = affine.grad_shift,
                                .mu = given.mu,
                                .sigma = given.sigma,
                                .weight = given.weight,
                                .grad_mu = given.grad_mu,
                                .grad_sigma = given.grad_sigma,
                                .grad_weight = given.grad_weight,
                                .grad_y = k->at.grad_out,
                                .grad_x = k->at.grad_in[0],
                                .accumulate = k->at.accumulate[0],
                                .workspace = k->at.scratch_backward};
  if (p->convert) {
    void *gradient = (char *)k->at.scratch_backward + p->own_gradient_offset;
    nn_copy_tensor(&p->out, k->at.grad_out, &p->own_out, gradient);
    args.grad_y = gradient;
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
  p->base = (nn_kernel){.forward = forward, .backward = backward, .destroy = destroy, .accumulates = true};
  p->base.needs_input = d->kind != GP_POOL_AVERAGE || desc->reads_affine;
  snprintf(p->base.implementation, sizeof p->base.implementation, "gausspool:%s", gp_cpu_isa());
  p->stream = (uint64_t)desc->index;
  p->places = nn_pool_places_of(d);
  p->desc = nn_pool_operation(d, in->shape);
  p->desc.dtype = in->type;
  p->desc.layout = in->layout;
  p->desc.batch = in->batch;
  if (desc->mode != NN_TRAIN) p->desc.stochasticity = GP_STOCHASTIC_NONE;
  p->out = p->own_out = desc->out;
  p->own_out.layout = in->layout;
  p->own_out.type = in->type;
  p->convert = !nn_same_order(&p->own_out, &p->out);
  if (p->convert) p->base.scratch_forward_bytes = nn_tensor_bytes(&p->own_out);
  if (desc->mode == NN_TRAIN) {
    GP_TRY(gp_pool_backward_workspace(&p->desc, &p->base.scratch_backward_bytes));
    p->own_gradient_offset = gp_align_up(p->base.scratch_backward_bytes);
    if (p->convert) p->base.scratch_backward_bytes = p->own_gradient_offset + nn_tensor_bytes(&p->own_out);
  }
  *out = &p->base;
  p = NULL;
cleanup:
  gp_free(p);
  return status;
}
