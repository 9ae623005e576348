/* Batch normalisation and ReLU that are not stored (nn/affine.h): the forward pass makes scale and shift, the readers
 * apply them. With g the gradient of the activation where the ReLU lets it pass, x̂ = (x - mean)·inverse and M values per
 * channel, the backward pass is one loop over x and what the pooling left in grad_out, scale·g:
 *
 *   grad_weight = Σ g·x̂,  grad_bias = Σ g,  grad_x = scale·(g - grad_bias/M - x̂·grad_weight/M). */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "nn/affine.h"
#include "nn/element.h"
#include "nn/onednn/batchnorm.h"
#include "nn/onednn/lanes.h"
#include "nn/onednn/moments.h"
#include "nn/onednn/primitive.h"
#include "nn/onednn/sync.h"

typedef struct affine {
  nn_kernel base;
  nn_tensor tensor;
  od_lanes lanes;
  const od_rows *loops;
  bool train, wants_grad;
  double eps;
  float momentum, unbias;
  od_sync sync;
} affine;

static void fill(const affine *op, const float *mean, const float *variance) {
  const nn_bindings *at = &op->base.at;
  nn_affine out = nn_affine_at(at->saved, op->lanes.channels);
  for (int64_t c = 0; c < op->lanes.channels; ++c) {
    double inverse = 1 / sqrt(variance[c] + op->eps), scale = at->value[NN_WEIGHT][c] * inverse;
    out.scale[c] = (float)scale;
    out.shift[c] = (float)(at->value[NN_BIAS][c] - scale * mean[c]);
    out.mean[c] = mean[c];
    out.inverse[c] = (float)inverse;
  }
}

static gp_status forward(nn_kernel *k) {
  affine *op = (affine *)k;
  nn_affine out = nn_affine_at(k->at.saved, op->lanes.channels);
  gp_status status = GP_OK;
  memset(k->at.saved, 0, k->saved_bytes);
  if (!op->train) {
    fill(op, k->at.value[NN_RUNNING_MEAN], k->at.value[NN_RUNNING_VAR]);
    return GP_OK;
  }
  /* The sums of the backward pass have their places free until then. */
  float *mean = out.centred, *variance = out.sum;
  if (op->sync.sync == NULL) {
    od_moments(&op->tensor, k->at.in[0], k->at.scratch_forward, mean, variance);
  } else {
    GP_TRY(od_sync_moments(&op->sync, k, k->at.scratch_forward, mean, variance));
    op->unbias = od_unbias_of(op->sync.values);
  }
  fill(op, mean, variance);
  od_follow_statistics(k, op->lanes.channels, op->momentum, op->unbias, mean, variance);
  memset(mean, 0, (size_t)out.channels * sizeof(float));
  memset(variance, 0, (size_t)out.channels * sizeof(float));
cleanup:
  return status;
}

typedef struct gradient {
  const affine *op;
  nn_affine at;
  const float *slope, *offset;
} gradient;

static void gradient_group(void *context, int64_t task) {
  const gradient *g = context;
  const nn_bindings *at = &g->op->base.at;
  const od_lanes *lanes = &g->op->lanes;
  const gp_dtype type = g->op->tensor.type;
  int64_t n = task / lanes->groups, group = task % lanes->groups;
  od_gradient_constants c;
  od_load_lanes(lanes, group, g->at.scale, c.scale);
  od_load_lanes(lanes, group, g->at.shift, c.shift);
  od_load_lanes(lanes, group, g->at.mean, c.mean);
  od_load_lanes(lanes, group, g->slope, c.slope);
  od_load_lanes(lanes, group, g->offset, c.offset);
  od_load_lanes(lanes, group, g->at.spread + n * g->at.channels, c.spread);
  for (int64_t l = 0; l < OD_ROW; ++l) c.spread[l] *= c.scale[l];
  for (int64_t i = 0; i < lanes->tiles; ++i) {
    od_tile tile = od_tile_at(lanes, n, group, i);
    g->op->loops->gradient(&c, nn_at(type, at->grad_in[0], tile.offset), nn_at_const(type, at->grad_out, tile.offset),
                           nn_at_const(type, at->in[0], tile.offset), tile.span);
  }
}

static gp_status backward(nn_kernel *k) {
  affine *op = (affine *)k;
  nn_affine at = nn_affine_at(k->at.saved, op->lanes.channels);
  gradient g = {.op = op, .at = at, .slope = at.grad_scale, .offset = at.grad_shift};
  const bool alone = op->sync.sync == NULL;
  const double own = (double)op->tensor.batch * (double)op->lanes.blocking.positions;
  const double values = alone ? own : op->sync.values;
  double *sums = k->at.scratch_backward; /* [c][2]: of g·x̂ and g */
  for (int64_t c = 0; c < op->lanes.channels; ++c) {
    double centred = at.grad_scale[c] - (double)at.mean[c] * at.grad_shift[c] + at.centred[c];
    sums[2 * c] = centred * at.inverse[c];
    sums[2 * c + 1] = (double)at.grad_shift[c] + at.sum[c];
    k->at.gradient[NN_WEIGHT][c] = (float)sums[2 * c];
    k->at.gradient[NN_BIAS][c] = (float)sums[2 * c + 1];
  }
  gp_status status = alone ? GP_OK : od_sync_gradient_sums(&op->sync, k, sums, 2 * op->lanes.channels);
  if (status != GP_OK) return status;
  /* What the pooling left has served: the loop's constants take its places. */
  for (int64_t c = 0; c < op->lanes.channels; ++c) {
    at.grad_scale[c] = (float)(-at.scale[c] * sums[2 * c] / values * at.inverse[c]);
    at.grad_shift[c] = (float)(-at.scale[c] * sums[2 * c + 1] / values);
  }
  if (op->wants_grad) gp_parallel_for(op->tensor.batch * op->lanes.groups, 0, gradient_group, &g);
  return GP_OK;
}

static void destroy(nn_kernel *k) { gp_free(k); }

gp_status od_make_affine(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  (void)device;
  affine *op = NULL;
  gp_status status = GP_OK;
  bool train = desc->mode == NN_TRAIN;
  GP_TRY(od_check_batch_norm(desc));
  GP_TRY(GP_ALLOC(&op, 1));
  op->base = (nn_kernel){.forward = forward,
                         .backward = backward,
                         .destroy = destroy,
                         .implementation = "gausspool:affine",
                         .needs_input = true,
                         .pass_through = true,
                         .changes_grad = true};
  op->tensor = desc->in[0];
  op->lanes = od_lanes_of(&op->tensor);
  op->loops = od_rows_best(op->tensor.type);
  op->train = train;
  op->wants_grad = desc->wants_grad[0];
  op->eps = (float)desc->node->as.batch_norm.eps;
  op->momentum = (float)desc->node->as.batch_norm.momentum;
  op->unbias = od_unbias(desc);
  op->base.saved_bytes = nn_affine_floats(op->lanes.channels, train ? op->tensor.batch : 0) * sizeof(float);
  op->sync = od_sync_of(desc);
  if (train) {
    const size_t synchronised = od_sync_forward_bytes(&op->sync);
    op->base.scratch_forward_bytes = synchronised > 0 ? synchronised : od_moments_bytes(&op->tensor);
    op->base.scratch_backward_bytes = 2 * (size_t)op->lanes.channels * sizeof(double);
  }
  *out = &op->base;
cleanup:
  return status;
}
