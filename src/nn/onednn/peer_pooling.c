#include "nn/onednn/peer_pooling.h"

#include "base/memory.h"
#include "base/status.h"
#include "nn/onednn/primitive.h"

struct nn_peer_pool {
  nn_device *device;
  od_primitive forward, backward, infer;
  void *workspace; /* places of the maxima */
  void *scratch;
};

static gp_status describe_tensor(od_md *out, const gp_pool_desc *pool, int64_t height, int64_t width) {
  static const dnnl_format_tag_t tags[] = {
      [GP_NCHW] = dnnl_nchw, [GP_NHWC] = dnnl_nhwc, [GP_NCHW8C] = dnnl_nChw8c, [GP_NCHW16C] = dnnl_nChw16c};
  static const dnnl_data_type_t types[] = {
      [GP_FLOAT32] = dnnl_f32, [GP_FLOAT64] = dnnl_data_type_undef, [GP_BFLOAT16] = dnnl_bf16, [GP_FLOAT16] = dnnl_f16};
  const int64_t dims[] = {pool->batch, pool->channels, height, width};
  if (types[pool->dtype] == dnnl_data_type_undef) return gp_fail(GP_ERROR_UNSUPPORTED, "oneDNN has no float64");
  return od_md_create_typed(out, 4, dims, types[pool->dtype], tags[pool->layout]);
}

/* One pass: the primitive, with its arguments' memory. */
static gp_status make_pass(nn_peer_pool *peer, od_primitive *pass, const_dnnl_primitive_desc_t pd,
                           const nn_peer_pool_desc *desc, const int *arguments) {
  gp_status status = GP_OK;
  GP_TRY(od_primitive_create(pass, peer->device, pd, arguments));
  GP_TRY(od_primitive_set(pass, DNNL_ARG_SRC, desc->x));
  GP_TRY(od_primitive_set(pass, DNNL_ARG_DST, desc->y));
  GP_TRY(od_primitive_set(pass, DNNL_ARG_DIFF_DST, desc->grad_y));
  GP_TRY(od_primitive_set(pass, DNNL_ARG_DIFF_SRC, desc->grad_x));
  GP_TRY(od_primitive_set(pass, DNNL_ARG_WORKSPACE, peer->workspace));
cleanup:
  return status;
}

static gp_status make_scratch(nn_peer_pool *peer) {
  gp_status status = GP_OK;
  od_primitive *passes[] = {&peer->forward, &peer->backward, &peer->infer};
  size_t bytes = 0;
  for (int i = 0; i < 3; ++i) bytes = od_largest(bytes, passes[i]->scratch_bytes);
  GP_TRY(gp_alloc(&peer->scratch, bytes, 1));
  for (int i = 0; i < 3; ++i) GP_TRY(od_primitive_set(passes[i], DNNL_ARG_SCRATCHPAD, peer->scratch));
cleanup:
  return status;
}

static gp_status make_passes(nn_peer_pool *peer, const nn_peer_pool_desc *desc) {
  const gp_pool_desc *pool = desc->pool;
  const bool max = pool->kind == GP_POOL_MAX;
  const dnnl_alg_kind_t algorithm = max                                       ? dnnl_pooling_max
                                    : pool->pad_count == GP_COUNT_INCLUDE_PAD ? dnnl_pooling_avg_include_padding
                                                                              : dnnl_pooling_avg_exclude_padding;
  const od_pool_window window = {.kernel = {pool->kernel[0], pool->kernel[1]},
                                 .stride = {pool->stride[0], pool->stride[1]},
                                 .padding = {pool->padding[0], pool->padding[1]}};
  static const int forward_arguments[] = {DNNL_ARG_SRC, DNNL_ARG_DST, 0};
  static const int max_arguments[] = {DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WORKSPACE, 0};
  static const int backward_arguments[] = {DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_SRC, 0};
  static const int max_backward_arguments[] = {DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_SRC, DNNL_ARG_WORKSPACE, 0};
  gp_status status = GP_OK;
  od_md src = {0}, dst = {0};
  dnnl_primitive_desc_t forward = NULL, backward = NULL, infer = NULL;
  const_dnnl_primitive_attr_t attr = peer->device->attr;
  dnnl_engine_t engine = peer->device->engine;
  int64_t height = 0, width = 0;
  GP_TRY(gp_pool_output_size(pool, &height, &width));
  GP_TRY(describe_tensor(&src, pool, pool->height, pool->width));
  GP_TRY(describe_tensor(&dst, pool, height, width));
  GP_TRY(od_pool_forward(&forward, engine, dnnl_forward_training, algorithm, &src, &dst, &window, attr));
  GP_TRY(od_pool_forward(&infer, engine, dnnl_forward_inference, algorithm, &src, &dst, &window, attr));
  GP_TRY(od_pool_backward(&backward, engine, algorithm, &src, &dst, &window, forward, attr));
  if (max) {
    size_t bytes = 0;
    GP_TRY(od_argument_bytes(forward, DNNL_ARG_WORKSPACE, &bytes));
    GP_TRY(gp_alloc(&peer->workspace, bytes, 1));
  }
  GP_TRY(make_pass(peer, &peer->forward, forward, desc, max ? max_arguments : forward_arguments));
  GP_TRY(make_pass(peer, &peer->backward, backward, desc, max ? max_backward_arguments : backward_arguments));
  GP_TRY(make_pass(peer, &peer->infer, infer, desc, forward_arguments));
  GP_TRY(make_scratch(peer));
cleanup:
  od_md_clear(&src);
  od_md_clear(&dst);
  if (forward != NULL) dnnl_primitive_desc_destroy(forward);
  if (backward != NULL) dnnl_primitive_desc_destroy(backward);
  if (infer != NULL) dnnl_primitive_desc_destroy(infer);
  return status;
}

gp_status nn_peer_pool_create(nn_peer_pool **out, const nn_peer_pool_desc *desc) {
  gp_status status = GP_OK;
  nn_peer_pool *peer = NULL;
  *out = NULL;
  GP_TRY(GP_ALLOC(&peer, 1));
  GP_TRY(nn_device_onednn.create(&peer->device, GP_FLOAT32));
  GP_TRY(make_passes(peer, desc));
  *out = peer;
  peer = NULL;
cleanup:
  nn_peer_pool_destroy(&peer);
  return status;
}

void nn_peer_pool_destroy(nn_peer_pool **peer_pointer) {
  nn_peer_pool *peer = *peer_pointer;
  if (peer == NULL) return;
  od_primitive_clear(&peer->forward);
  od_primitive_clear(&peer->backward);
  od_primitive_clear(&peer->infer);
  gp_free(peer->workspace);
  gp_free(peer->scratch);
  nn_device_onednn.destroy(&peer->device);
  gp_free(peer);
  *peer_pointer = NULL;
}

gp_status nn_peer_pool_forward(nn_peer_pool *peer) { return od_primitive_run(&peer->forward, peer->device); }

gp_status nn_peer_pool_backward(nn_peer_pool *peer) { return od_primitive_run(&peer->backward, peer->device); }

gp_status nn_peer_pool_infer(nn_peer_pool *peer) { return od_primitive_run(&peer->infer, peer->device); }
