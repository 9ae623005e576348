/* Concatenation along the channels by oneDNN; its backward pass copies the parts out. */
#include "base/memory.h"
#include "base/status.h"
#include "nn/onednn/primitive.h"

typedef struct concat {
  nn_kernel base;
  nn_device *device;
  int32_t count;
  od_primitive forward;
  od_primitive parts[NN_MAX_INPUTS]; /* empty where no gradient is wanted */
} concat;

static gp_status concat_forward(nn_kernel *k) {
  concat *c = (concat *)k;
  return od_primitive_run(&c->forward, c->device);
}

static gp_status concat_backward(nn_kernel *k) {
  concat *c = (concat *)k;
  gp_status status = GP_OK;
  for (int32_t i = 0; i < c->count; ++i)
    if (c->parts[i].primitive != NULL) GP_TRY(od_primitive_run(&c->parts[i], c->device));
cleanup:
  return status;
}

static gp_status concat_bind(nn_kernel *k) {
  concat *c = (concat *)k;
  gp_status status = GP_OK;
  GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_DST, k->at.out));
  GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_SCRATCHPAD, k->at.scratch_forward));
  for (int32_t i = 0; i < c->count; ++i) {
    GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_MULTIPLE_SRC + i, k->at.in[i]));
    GP_TRY(od_primitive_set(&c->parts[i], DNNL_ARG_FROM, k->at.grad_out));
    GP_TRY(od_primitive_set(&c->parts[i], DNNL_ARG_TO, k->at.grad_in[i]));
    GP_TRY(od_primitive_set(&c->parts[i], DNNL_ARG_SCRATCHPAD, k->at.scratch_backward));
  }
cleanup:
  return status;
}

static void concat_destroy(nn_kernel *k) {
  concat *c = (concat *)k;
  od_primitive_clear(&c->forward);
  for (int32_t i = 0; i < c->count; ++i) od_primitive_clear(&c->parts[i]);
  gp_free(c);
}

static gp_status make_part(concat *c, int32_t i, const nn_tensor *in, const od_md *sum, const od_md *src,
                           int64_t first_channel) {
  gp_status status = GP_OK;
  od_md part = {0};
  dnnl_primitive_desc_t pd = NULL;
  int64_t dims[] = {in->batch, in->shape.channels, in->shape.height, in->shape.width};
  status = od_md_part(&part, sum, dims, (int64_t[]){0, first_channel, 0, 0});
  if (status != GP_OK)
    GP_TRY(gp_fail_in(status, "input %d begins at channel %lld, which is not a multiple of the layout's block", i,
                      (long long)first_channel));
  GP_TRY(od_reorder(&pd, c->device->engine, &part, src, c->device->attr));
  GP_TRY(od_primitive_create(&c->parts[i], c->device, pd, (int[]){DNNL_ARG_FROM, DNNL_ARG_TO, 0}));
  if (c->parts[i].scratch_bytes > c->base.scratch_backward_bytes)
    c->base.scratch_backward_bytes = c->parts[i].scratch_bytes;
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  od_md_clear(&part);
  return status;
}

gp_status od_make_concat(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  gp_status status = GP_OK;
  concat *c = NULL;
  od_md dst = {0}, sources[NN_MAX_INPUTS] = {0};
  int arguments[NN_MAX_INPUTS + 2] = {DNNL_ARG_DST};
  int64_t first_channel = 0;
  dnnl_primitive_desc_t pd = NULL;
  GP_TRY(GP_ALLOC(&c, 1));
  c->base = (nn_kernel){
      .bind = concat_bind, .forward = concat_forward, .backward = concat_backward, .destroy = concat_destroy};
  c->device = device;
  c->count = desc->node->input_count;
  GP_TRY(od_md_of_tensor(&dst, &desc->out));
  for (int32_t i = 0; i < c->count; ++i) {
    GP_TRY(od_md_of_tensor(&sources[i], &desc->in[i]));
    arguments[i + 1] = DNNL_ARG_MULTIPLE_SRC + i;
  }
  GP_TRY(od_concat(&pd, device->engine, &dst, c->count, sources, device->attr));
  GP_TRY(od_primitive_create(&c->forward, device, pd, arguments));
  od_describe(&c->base, pd);
  c->base.scratch_forward_bytes = c->forward.scratch_bytes;
  for (int32_t i = 0; i < c->count; ++i) {
    if (desc->wants_grad[i]) GP_TRY(make_part(c, i, &desc->in[i], &dst, &sources[i], first_channel));
    first_channel += desc->in[i].shape.channels;
  }
  *out = &c->base;
  c = NULL;
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  od_md_clear(&dst);
  for (int32_t i = 0; i < NN_MAX_INPUTS; ++i) od_md_clear(&sources[i]);
  if (c != NULL) concat_destroy(&c->base);
  return status;
}
