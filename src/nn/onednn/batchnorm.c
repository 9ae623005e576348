/* Batch normalisation by oneDNN, ReLU fused. In training the batch's mean and variance are kept for the backward
 * pass and move the running ones. */
#include "nn/onednn/batchnorm.h"

#include <math.h>

#include "base/memory.h"
#include "base/status.h"
#include "nn/onednn/primitive.h"
#include "nn/onednn/sync.h"

typedef struct batch_norm {
  nn_kernel base;
  nn_device *device;
  bool train;
  od_primitive forward, backward;
  od_primitive repeat; /* the forward pass with the statistics that it has saved */
  int64_t channels;
  float momentum, unbias, eps;
  od_sync sync; /* with it the primitives take the statistics from us, and for constants */
  size_t sync_forward_offset, sync_backward_offset; /* in the scratch memory of the passes */
  size_t variance_offset, workspace_offset;         /* in saved; the mean is first */
  size_t unwanted_offset; /* in scratch_backward: the input's gradient, which oneDNN always makes, if nobody wants it */
} batch_norm;

gp_status od_check_batch_norm(const nn_kernel_desc *desc) {
  nn_shape shape = desc->out.shape;
  const int64_t batch = desc->sync == NULL ? desc->out.batch : desc->whole_batch;
  if (desc->mode == NN_TRAIN && batch * shape.height * shape.width < 2)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "training needs more than 1 value per channel, the batch has %lld sample of %lldx%lld",
                   (long long)batch, (long long)shape.height, (long long)shape.width);
  return GP_OK;
}

float od_unbias(const nn_kernel_desc *desc) {
  return od_unbias_of((double)desc->out.batch * (double)desc->out.shape.height * (double)desc->out.shape.width);
}

float od_unbias_of(double values) { return (float)(values / (values - 1 > 0 ? values - 1 : 1)); }

void od_follow_statistics(nn_kernel *k, int64_t channels, float momentum, float unbias, const float *mean,
                          const float *variance) {
  float *running_mean = k->at.value[NN_RUNNING_MEAN], *running_var = k->at.value[NN_RUNNING_VAR];
  for (int64_t c = 0; c < channels; ++c) {
    if (!isfinite(mean[c]) || !isfinite(variance[c])) *k->at.loss = NAN;
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c];
    running_var[c] = (1 - momentum) * running_var[c] + momentum * (variance[c] * unbias);
  }
  ++*k->at.batches_tracked;
}

static gp_status bn_forward(nn_kernel *k) {
  batch_norm *bn = (batch_norm *)k;
  gp_status status = GP_OK;
  float *mean = k->at.saved, *variance = (float *)((char *)k->at.saved + bn->variance_offset);
  if (bn->sync.sync != NULL) {
    GP_TRY(od_sync_moments(&bn->sync, k, (char *)k->at.scratch_forward + bn->sync_forward_offset, mean, variance));
    bn->unbias = od_unbias_of(bn->sync.values);
  }
  GP_TRY(od_primitive_run(&bn->forward, bn->device));
  if (bn->train) od_follow_statistics(k, bn->channels, bn->momentum, bn->unbias, mean, variance);
cleanup:
  return status;
}

static gp_status bn_backward(nn_kernel *k) {
  batch_norm *bn = (batch_norm *)k;
  gp_status status = od_primitive_run(&bn->backward, bn->device);
  if (status != GP_OK || bn->sync.sync == NULL) return status;
  const float *mean = k->at.saved, *variance = (const float *)((const char *)k->at.saved + bn->variance_offset);
  return od_sync_gradient(&bn->sync, k, (char *)k->at.scratch_backward + bn->sync_backward_offset, bn->eps, mean,
                          variance, k->at.grad_in[0]);
}

static gp_status bn_repeat(nn_kernel *k) {
  batch_norm *bn = (batch_norm *)k;
  return od_primitive_run(&bn->repeat, bn->device);
}

static gp_status bn_bind(nn_kernel *k) {
  batch_norm *bn = (batch_norm *)k;
  const nn_bindings *at = &k->at;
  char *saved = at->saved;
  gp_status status = GP_OK;
  const void *mean = bn->train ? saved : (const void *)at->value[NN_RUNNING_MEAN];
  const void *variance = bn->train ? saved + bn->variance_offset : (const void *)at->value[NN_RUNNING_VAR];
  od_primitive *all[] = {&bn->forward, &bn->backward, &bn->repeat};
  for (int i = 0; i < 3; ++i) {
    GP_TRY(od_primitive_set(all[i], DNNL_ARG_SRC, at->in[0]));
    GP_TRY(od_primitive_set(all[i], DNNL_ARG_MEAN, mean));
    GP_TRY(od_primitive_set(all[i], DNNL_ARG_VARIANCE, variance));
    GP_TRY(od_primitive_set(all[i], DNNL_ARG_SCALE, at->value[NN_WEIGHT]));
    GP_TRY(od_primitive_set(all[i], DNNL_ARG_SHIFT, at->value[NN_BIAS]));
    if (bn->train) GP_TRY(od_primitive_set(all[i], DNNL_ARG_WORKSPACE, saved + bn->workspace_offset));
  }
  GP_TRY(od_primitive_set(&bn->repeat, DNNL_ARG_DST, at->again));
  GP_TRY(od_primitive_set(&bn->repeat, DNNL_ARG_SCRATCHPAD, at->scratch_repeat));
  GP_TRY(od_primitive_set(&bn->forward, DNNL_ARG_DST, at->out));
  GP_TRY(od_primitive_set(&bn->forward, DNNL_ARG_SCRATCHPAD, at->scratch_forward));
  GP_TRY(od_primitive_set(&bn->backward, DNNL_ARG_DIFF_DST, at->grad_out));
  void *grad_in = at->grad_in[0];
  if (grad_in == NULL && bn->train) grad_in = (char *)at->scratch_backward + bn->unwanted_offset;
  GP_TRY(od_primitive_set(&bn->backward, DNNL_ARG_DIFF_SRC, grad_in));
  GP_TRY(od_primitive_set(&bn->backward, DNNL_ARG_DIFF_SCALE, at->gradient[NN_WEIGHT]));
  GP_TRY(od_primitive_set(&bn->backward, DNNL_ARG_DIFF_SHIFT, at->gradient[NN_BIAS]));
  GP_TRY(od_primitive_set(&bn->backward, DNNL_ARG_SCRATCHPAD, at->scratch_backward));
cleanup:
  return status;
}

static void bn_destroy(nn_kernel *k) {
  batch_norm *bn = (batch_norm *)k;
  od_primitive_clear(&bn->forward);
  od_primitive_clear(&bn->backward);
  od_primitive_clear(&bn->repeat);
  gp_free(bn);
}

/* With ReLU, whose convolution reads an activation that takes as much memory as the batch norm's own input. */
static gp_status make_repeat(batch_norm *bn, const od_md *data, float eps, unsigned flags) {
  gp_status status = GP_OK;
  dnnl_primitive_desc_t pd = NULL;
  GP_TRY(od_batch_norm_forward(&pd, bn->device->engine, dnnl_forward_inference, data, eps,
                               flags | dnnl_use_global_stats, bn->device->attr));
  GP_TRY(od_primitive_create(
      &bn->repeat, bn->device, pd,
      (int[]){DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_MEAN, DNNL_ARG_VARIANCE, DNNL_ARG_SCALE, DNNL_ARG_SHIFT, 0}));
  bn->base.repeat = bn_repeat;
  bn->base.scratch_repeat_bytes = bn->repeat.scratch_bytes;
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  return status;
}

static gp_status make_primitives(batch_norm *bn, const nn_kernel_desc *desc) {
  /* The workspace (the ReLU's mask) comes last, so that lists without it are their own beginning. */
  const bool workspace = bn->train && desc->fuse_relu;
  const int forward[] = {DNNL_ARG_SRC,
                         DNNL_ARG_DST,
                         DNNL_ARG_MEAN,
                         DNNL_ARG_VARIANCE,
                         DNNL_ARG_SCALE,
                         DNNL_ARG_SHIFT,
                         workspace ? DNNL_ARG_WORKSPACE : 0,
                         0};
  const int optional[] = {workspace ? DNNL_ARG_WORKSPACE : 0, OD_BATCH_NORM_BACKWARD_SHIFT};
  const int backward[] = {DNNL_ARG_SRC,
                          DNNL_ARG_MEAN,
                          DNNL_ARG_VARIANCE,
                          DNNL_ARG_SCALE,
                          DNNL_ARG_DIFF_SRC,
                          DNNL_ARG_DIFF_DST,
                          DNNL_ARG_DIFF_SCALE,
                          DNNL_ARG_DIFF_SHIFT,
                          optional[optional[0] == 0],
                          optional[0] == 0 ? 0 : optional[1],
                          0};
  gp_status status = GP_OK;
  od_md data = {0};
  dnnl_primitive_desc_t pd = NULL, backward_pd = NULL;
  size_t channel_bytes = gp_align_up((size_t)bn->channels * sizeof(float)), workspace_bytes = 0;
  float eps = (float)desc->node->as.batch_norm.eps;
  unsigned flags = dnnl_use_scale | dnnl_use_shift;
  if (desc->fuse_relu) flags |= dnnl_fuse_norm_relu;
  if (!bn->train || bn->sync.sync != NULL) flags |= dnnl_use_global_stats;
  GP_TRY(od_md_of_tensor(&data, &desc->in[0]));
  GP_TRY(od_batch_norm_forward(&pd, bn->device->engine, bn->train ? dnnl_forward_training : dnnl_forward_inference,
                               &data, eps, flags, bn->device->attr));
  GP_TRY(od_primitive_create(&bn->forward, bn->device, pd, forward));
  od_describe(&bn->base, pd);
  bn->sync_forward_offset = gp_align_up(bn->forward.scratch_bytes);
  bn->base.scratch_forward_bytes = bn->sync_forward_offset + od_sync_forward_bytes(&bn->sync);
  if (!bn->train) goto cleanup;
  if (workspace) GP_TRY(od_argument_bytes(pd, DNNL_ARG_WORKSPACE, &workspace_bytes));
  bn->variance_offset = channel_bytes;
  bn->workspace_offset = 2 * channel_bytes;
  bn->base.saved_bytes = bn->workspace_offset + workspace_bytes;
  GP_TRY(od_batch_norm_backward(&backward_pd, bn->device->engine, &data, eps, flags, pd, bn->device->attr));
  GP_TRY(od_primitive_create(&bn->backward, bn->device, backward_pd, backward));
  if (desc->fuse_relu) GP_TRY(make_repeat(bn, &data, eps, flags));
  bn->sync_backward_offset = gp_align_up(bn->backward.scratch_bytes);
  bn->unwanted_offset = gp_align_up(bn->sync_backward_offset + od_sync_backward_bytes(&bn->sync));
  bn->base.scratch_backward_bytes = bn->unwanted_offset + (desc->wants_grad[0] ? 0 : nn_tensor_bytes(&desc->in[0]));
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  if (backward_pd != NULL) dnnl_primitive_desc_destroy(backward_pd);
  od_md_clear(&data);
  return status;
}

gp_status od_make_batch_norm(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  gp_status status = GP_OK;
  batch_norm *bn = NULL;
  if (desc->unstored) return od_make_affine(out, device, desc);
  GP_TRY(od_check_batch_norm(desc));
  GP_TRY(GP_ALLOC(&bn, 1));
  bn->base = (nn_kernel){
      .bind = bn_bind, .forward = bn_forward, .backward = bn_backward, .destroy = bn_destroy, .needs_input = true};
  bn->device = device;
  bn->train = desc->mode == NN_TRAIN;
  bn->channels = desc->out.shape.channels;
  bn->momentum = (float)desc->node->as.batch_norm.momentum;
  bn->unbias = od_unbias(desc);
  bn->eps = (float)desc->node->as.batch_norm.eps;
  bn->sync = od_sync_of(desc);
  GP_TRY(make_primitives(bn, desc));
  *out = &bn->base;
  bn = NULL;
cleanup:
  if (bn != NULL) bn_destroy(&bn->base);
  return status;
}
