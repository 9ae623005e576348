/* The global average of an activation that is not stored (nn/affine.h). Reading x once, the forward pass keeps for each
 * map what the batch norm's gradients need of it: how many positions the ReLU lets pass, and Σ (x - mean) over these. The
 * backward pass then reads no map at all: the batch norm adds the average's gradient in its own loop. */
#include "base/memory.h"
#include "base/parallel.h"
#include "nn/affine.h"
#include "nn/element.h"
#include "nn/layout.h"
#include "nn/onednn/lanes.h"
#include "nn/onednn/primitive.h"

typedef struct affine_average {
  nn_kernel base;
  nn_tensor in, out;
  od_lanes lanes;
  const od_rows *loops;
} affine_average;

/* saved: [2][batch][c], active and centred. */
static float *saved_of(const affine_average *op, int64_t which, int64_t n) {
  return (float *)op->base.at.saved + (which * op->in.batch + n) * nn_affine_channels(op->lanes.channels);
}

static void forward_group(void *context, int64_t task) {
  const affine_average *op = context;
  const nn_bindings *at = &op->base.at;
  const od_lanes *lanes = &op->lanes;
  int64_t n = task / lanes->groups, group = task % lanes->groups, first = group * lanes->group;
  nn_affine affine = nn_affine_at(at->affine, lanes->channels);
  nn_blocking ob = nn_blocking_of(&op->out);
  float *out = at->out; /* a map of one position: float32 */
  double total[OD_ROW] = {0}, active[OD_ROW] = {0}, centred[OD_ROW] = {0};
  od_average_constants c;
  od_load_lanes(lanes, group, affine.scale, c.scale);
  od_load_lanes(lanes, group, affine.shift, c.shift);
  od_load_lanes(lanes, group, affine.mean, c.mean);
  for (int64_t i = 0; i < lanes->tiles; ++i) {
    od_tile tile = od_tile_at(lanes, n, group, i);
    od_average_sums sums;
    op->loops->average(&c, nn_at_const(op->in.type, at->in[0], tile.offset), tile.span, &sums);
    for (int64_t l = 0; l < tile.span.lanes; ++l) {
      total[l % lanes->group] += sums.total[l];
      active[l % lanes->group] += sums.active[l];
      centred[l % lanes->group] += sums.centred[l];
    }
  }
  for (int64_t l = 0; l < od_channels_of_group(lanes, group); ++l) {
    out[nn_offset(&ob, n, first + l, 0)] = (float)(total[l] / (double)lanes->blocking.positions);
    if (at->saved == NULL) continue;
    saved_of(op, 0, n)[first + l] = (float)active[l];
    saved_of(op, 1, n)[first + l] = (float)centred[l];
  }
}

static gp_status forward(nn_kernel *k) {
  affine_average *op = (affine_average *)k;
  gp_parallel_for(op->in.batch * op->lanes.groups, 0, forward_group, op);
  nn_clear_padding(&op->out, k->at.out);
  return GP_OK;
}

static gp_status backward(nn_kernel *k) {
  affine_average *op = (affine_average *)k;
  nn_affine affine = nn_affine_at(k->at.affine, op->lanes.channels);
  nn_blocking ob = nn_blocking_of(&op->out);
  const float *grad_out = k->at.grad_out;
  for (int64_t c = 0; c < op->lanes.channels; ++c) {
    double sum = 0, centred = 0;
    for (int64_t n = 0; n < op->in.batch; ++n) {
      float share = grad_out[nn_offset(&ob, n, c, 0)] / (float)op->lanes.blocking.positions;
      affine.spread[n * affine.channels + c] += share;
      sum += (double)share * saved_of(op, 0, n)[c];
      centred += (double)share * saved_of(op, 1, n)[c];
    }
    affine.sum[c] += (float)sum;
    affine.centred[c] += (float)centred;
  }
  return GP_OK;
}

static void destroy(nn_kernel *k) { gp_free(k); }

gp_status od_make_affine_average(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  (void)device;
  affine_average *op = NULL;
  gp_status status = GP_ALLOC(&op, 1);
  if (status != GP_OK) return status;
  op->base = (nn_kernel){.forward = forward,
                         .backward = backward,
                         .destroy = destroy,
                         .implementation = "gausspool:affine",
                         .spreads = true};
  op->in = desc->in[0];
  op->out = desc->out;
  op->lanes = od_lanes_of(&op->in);
  op->loops = od_rows_best(op->in.type);
  if (desc->mode == NN_TRAIN)
    op->base.saved_bytes = 2 * (size_t)op->in.batch * (size_t)nn_affine_channels(op->lanes.channels) * sizeof(float);
  *out = &op->base;
  return GP_OK;
}
