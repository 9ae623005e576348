/* Concatenation along the channels by oneDNN; its backward pass copies the parts out. */
#include "base/memory.h"
#include "base/status.h"
#include "nn/layout.h"
#include "nn/onednn/primitive.h"

typedef struct concat {
  nn_kernel base;
  nn_device *device;
  int32_t count;
  nn_tensor in[NN_MAX_INPUTS], out;
  od_primitive forward;
} concat;

static gp_status concat_forward(nn_kernel *k) {
  concat *c = (concat *)k;
  return od_primitive_run(&c->forward, c->device);
}

static gp_status concat_backward(nn_kernel *k) {
  concat *c = (concat *)k;
  int64_t first = 0;
  for (int32_t i = 0; i < c->count; ++i) {
    int64_t channels = c->in[i].shape.channels;
    if (k->at.grad_in[i] != NULL) {
      nn_copy_channels(&c->out, k->at.grad_out, first, &c->in[i], k->at.grad_in[i], 0, channels);
      nn_clear_padding(&c->in[i], k->at.grad_in[i]);
    }
    first += channels;
  }
  return GP_OK;
}

static gp_status concat_bind(nn_kernel *k) {
  concat *c = (concat *)k;
  gp_status status = GP_OK;
  GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_DST, k->at.out));
  GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_SCRATCHPAD, k->at.scratch_forward));
  for (int32_t i = 0; i < c->count; ++i) GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_MULTIPLE_SRC + i, k->at.in[i]));
cleanup:
  return status;
}

static void concat_destroy(nn_kernel *k) {
  concat *c = (concat *)k;
  od_primitive_clear(&c->forward);
  gp_free(c);
}

gp_status od_make_concat(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  gp_status status = GP_OK;
  concat *c = NULL;
  od_md dst = {0}, sources[NN_MAX_INPUTS] = {0};
  int arguments[NN_MAX_INPUTS + 2] = {DNNL_ARG_DST};
  dnnl_primitive_desc_t pd = NULL;
  GP_TRY(GP_ALLOC(&c, 1));
  c->base = (nn_kernel){
      .bind = concat_bind, .forward = concat_forward, .backward = concat_backward, .destroy = concat_destroy};
  c->device = device;
  c->count = desc->node->input_count;
  c->out = desc->out;
  GP_TRY(od_md_of_tensor(&dst, &desc->out));
  for (int32_t i = 0; i < c->count; ++i) {
    c->in[i] = desc->in[i];
    GP_TRY(od_md_of_tensor(&sources[i], &desc->in[i]));
    arguments[i + 1] = DNNL_ARG_MULTIPLE_SRC + i;
  }
  GP_TRY(od_concat(&pd, device->engine, &dst, c->count, sources, device->attr));
  GP_TRY(od_primitive_create(&c->forward, device, pd, arguments));
  od_describe(&c->base, pd);
  c->base.scratch_forward_bytes = c->forward.scratch_bytes;
  *out = &c->base;
  c = NULL;
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  od_md_clear(&dst);
  for (int32_t i = 0; i < NN_MAX_INPUTS; ++i) od_md_clear(&sources[i]);
  if (c != NULL) concat_destroy(&c->base);
  return status;
}
