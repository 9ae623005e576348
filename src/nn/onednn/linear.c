/* Linear layer by oneDNN's inner product, on plain two-dimensional operands. Its weight is stored as PyTorch stores it;
 * a map with several positions is first put into PyTorch's order, as floats. */
#include "base/memory.h"
#include "base/status.h"
#include "nn/onednn/primitive.h"

typedef struct linear {
  nn_kernel base;
  nn_device *device;
  bool wants_grad_in;
  od_primitive forward, backward_data, backward_weights;
  od_primitive flatten, unflatten; /* empty where the input is so already */
  size_t flat_bytes;
} linear;

static gp_status linear_forward(nn_kernel *k) {
  linear *l = (linear *)k;
  gp_status status = GP_OK;
  if (l->flatten.primitive != NULL) GP_TRY(od_primitive_run(&l->flatten, l->device));
  GP_TRY(od_primitive_run(&l->forward, l->device));
cleanup:
  return status;
}

static gp_status linear_backward(nn_kernel *k) {
  linear *l = (linear *)k;
  gp_status status = GP_OK;
  GP_TRY(od_primitive_run(&l->backward_weights, l->device));
  if (!l->wants_grad_in) goto cleanup;
  GP_TRY(od_primitive_run(&l->backward_data, l->device));
  if (l->unflatten.primitive != NULL) GP_TRY(od_primitive_run(&l->unflatten, l->device));
cleanup:
  return status;
}

/* The flat input is kept in `saved`, the flat gradient at the end of the backward scratch. */
static gp_status linear_bind(nn_kernel *k) {
  linear *l = (linear *)k;
  const nn_bindings *at = &k->at;
  gp_status status = GP_OK;
  bool flat = l->flatten.primitive != NULL;
  const void *in = flat ? at->saved : (const void *)at->in[0];
  char *scratch = at->scratch_backward;
  void *grad_in = flat && l->wants_grad_in && scratch != NULL
                      ? (void *)(scratch + k->scratch_backward_bytes - l->flat_bytes)
                      : (void *)at->grad_in[0];
  GP_TRY(od_primitive_set(&l->flatten, DNNL_ARG_FROM, at->in[0]));
  GP_TRY(od_primitive_set(&l->flatten, DNNL_ARG_TO, at->saved));
  GP_TRY(od_primitive_set(&l->flatten, DNNL_ARG_SCRATCHPAD, at->scratch_forward));
  GP_TRY(od_primitive_set(&l->forward, DNNL_ARG_SRC, in));
  GP_TRY(od_primitive_set(&l->forward, DNNL_ARG_WEIGHTS, at->value[NN_WEIGHT]));
  GP_TRY(od_primitive_set(&l->forward, DNNL_ARG_BIAS, at->value[NN_BIAS]));
  GP_TRY(od_primitive_set(&l->forward, DNNL_ARG_DST, at->out));
  GP_TRY(od_primitive_set(&l->forward, DNNL_ARG_SCRATCHPAD, at->scratch_forward));
  GP_TRY(od_primitive_set(&l->backward_weights, DNNL_ARG_SRC, in));
  GP_TRY(od_primitive_set(&l->backward_weights, DNNL_ARG_DIFF_DST, at->grad_out));
  GP_TRY(od_primitive_set(&l->backward_weights, DNNL_ARG_DIFF_WEIGHTS, at->gradient[NN_WEIGHT]));
  GP_TRY(od_primitive_set(&l->backward_weights, DNNL_ARG_DIFF_BIAS, at->gradient[NN_BIAS]));
  GP_TRY(od_primitive_set(&l->backward_weights, DNNL_ARG_SCRATCHPAD, scratch));
  GP_TRY(od_primitive_set(&l->backward_data, DNNL_ARG_DIFF_SRC, grad_in));
  GP_TRY(od_primitive_set(&l->backward_data, DNNL_ARG_WEIGHTS, at->value[NN_WEIGHT]));
  GP_TRY(od_primitive_set(&l->backward_data, DNNL_ARG_DIFF_DST, at->grad_out));
  GP_TRY(od_primitive_set(&l->backward_data, DNNL_ARG_SCRATCHPAD, scratch));
  GP_TRY(od_primitive_set(&l->unflatten, DNNL_ARG_FROM, grad_in));
  GP_TRY(od_primitive_set(&l->unflatten, DNNL_ARG_TO, at->grad_in[0]));
  GP_TRY(od_primitive_set(&l->unflatten, DNNL_ARG_SCRATCHPAD, scratch));
cleanup:
  return status;
}

static void linear_destroy(nn_kernel *k) {
  linear *l = (linear *)k;
  od_primitive_clear(&l->forward);
  od_primitive_clear(&l->backward_data);
  od_primitive_clear(&l->backward_weights);
  od_primitive_clear(&l->flatten);
  od_primitive_clear(&l->unflatten);
  gp_free(l);
}

/* Reorders between the map and PyTorch's flattening of it. */
static gp_status make_flattening(linear *l, const nn_tensor *in, bool backward) {
  static const int arguments[] = {DNNL_ARG_FROM, DNNL_ARG_TO, 0};
  gp_status status = GP_OK;
  od_md blocked = {0}, plain = {0};
  dnnl_primitive_desc_t pd = NULL, back_pd = NULL;
  nn_tensor flat = *in;
  flat.layout = GP_NCHW;
  flat.type = GP_FLOAT32;
  if (in->layout == GP_NCHW && in->type == GP_FLOAT32) goto cleanup;
  GP_TRY(od_md_of_tensor(&blocked, in));
  GP_TRY(od_md_of_tensor(&plain, &flat));
  l->flat_bytes = gp_align_up(od_md_bytes(&plain));
  l->base.saved_bytes = l->flat_bytes;
  GP_TRY(od_reorder(&pd, l->device->engine, &blocked, &plain, l->device->attr));
  GP_TRY(od_primitive_create(&l->flatten, l->device, pd, arguments));
  if (!backward) goto cleanup;
  GP_TRY(od_reorder(&back_pd, l->device->engine, &plain, &blocked, l->device->attr));
  GP_TRY(od_primitive_create(&l->unflatten, l->device, back_pd, arguments));
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  if (back_pd != NULL) dnnl_primitive_desc_destroy(back_pd);
  od_md_clear(&blocked);
  od_md_clear(&plain);
  return status;
}

typedef struct linear_shapes {
  od_md src, weights, bias, dst;
} linear_shapes;

static gp_status make_shapes(linear_shapes *s, const nn_kernel_desc *desc) {
  gp_status status = GP_OK;
  int64_t batch = desc->out.batch, out = desc->out.shape.channels, in = nn_shape_elements(desc->in[0].shape);
  GP_TRY(od_md_create(&s->src, 2, (int64_t[]){batch, in}, dnnl_ab));
  GP_TRY(od_md_create(&s->weights, 2, (int64_t[]){out, in}, dnnl_ab));
  GP_TRY(od_md_create(&s->bias, 1, (int64_t[]){out}, dnnl_x));
  GP_TRY(od_md_create(&s->dst, 2, (int64_t[]){batch, out}, dnnl_ab));
cleanup:
  return status;
}

static void clear_shapes(linear_shapes *s) {
  od_md_clear(&s->src);
  od_md_clear(&s->weights);
  od_md_clear(&s->bias);
  od_md_clear(&s->dst);
}

static gp_status make_backward(linear *l, const linear_shapes *s, bool bias, const_dnnl_primitive_desc_t hint) {
  nn_device *device = l->device;
  gp_status status = GP_OK;
  dnnl_primitive_desc_t pd = NULL, data_pd = NULL;
  GP_TRY(od_linear_backward_weights(&pd, device->engine, &s->src, &s->weights, bias ? &s->bias : NULL, &s->dst, hint,
                                    device->attr));
  GP_TRY(od_primitive_create(
      &l->backward_weights, device, pd,
      (int[]){DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, bias ? DNNL_ARG_DIFF_BIAS : 0, 0}));
  if (l->wants_grad_in) {
    GP_TRY(od_linear_backward_data(&data_pd, device->engine, &s->src, &s->weights, &s->dst, hint, device->attr));
    GP_TRY(od_primitive_create(&l->backward_data, device, data_pd,
                               (int[]){DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST, 0}));
  }
  size_t scratch = od_largest(l->backward_weights.scratch_bytes, l->backward_data.scratch_bytes);
  scratch = od_largest(scratch, l->unflatten.scratch_bytes);
  l->base.scratch_backward_bytes = gp_align_up(scratch) + (l->wants_grad_in ? l->flat_bytes : 0);
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  if (data_pd != NULL) dnnl_primitive_desc_destroy(data_pd);
  return status;
}

gp_status od_make_linear(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  gp_status status = GP_OK;
  linear *l = NULL;
  linear_shapes shapes = {0};
  dnnl_primitive_desc_t pd = NULL;
  bool train = desc->mode == NN_TRAIN, bias = !desc->node->as.linear.no_bias;
  GP_TRY(GP_ALLOC(&l, 1));
  l->base = (nn_kernel){
      .bind = linear_bind, .forward = linear_forward, .backward = linear_backward, .destroy = linear_destroy};
  l->device = device;
  l->wants_grad_in = desc->wants_grad[0];
  GP_TRY(make_shapes(&shapes, desc));
  GP_TRY(od_linear_forward(&pd, device->engine, train ? dnnl_forward_training : dnnl_forward_inference, &shapes.src,
                           &shapes.weights, bias ? &shapes.bias : NULL, &shapes.dst, device->attr));
  GP_TRY(od_primitive_create(&l->forward, device, pd,
                             (int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, bias ? DNNL_ARG_BIAS : 0, 0}));
  od_describe(&l->base, pd);
  GP_TRY(make_flattening(l, &desc->in[0], train && l->wants_grad_in));
  l->base.needs_input = l->flat_bytes == 0; /* otherwise the flat copy is kept */
  l->base.scratch_forward_bytes = od_largest(l->forward.scratch_bytes, l->flatten.scratch_bytes);
  if (train) GP_TRY(make_backward(l, &shapes, bias, pd));
  *out = &l->base;
  l = NULL;
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  clear_shapes(&shapes);
  if (l != NULL) linear_destroy(&l->base);
  return status;
}
