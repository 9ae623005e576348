/* Convolution by oneDNN. The weight is stored in the layout that the forward pass in float32 likes best; where a pass likes
 * another, or bfloat16, weights or their gradient are converted for it, which costs little beside the activations. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "nn/layout.h"
#include "nn/onednn/conv.h"

typedef struct conv {
  nn_kernel base;
  nn_device *device;
  bool wants_grad_in;
  od_primitive forward, backward_data, backward_weights;
  /* From the stored weight or to its gradient; empty where layouts and types agree. */
  od_primitive convert_forward, convert_weights, convert_gradient;
  size_t converted_offset;                /* of the weight converted for the forward pass, in scratch_forward */
  size_t weights_offset, gradient_offset; /* of the others, in scratch_backward */
  /* AVX2 has no kernel for the weight gradient of a plain picture unless it has 3 channels: it gets a padded copy. */
  bool pad_picture;
  nn_tensor picture, padded;
  size_t padded_offset; /* in scratch_backward */
  float *mask;          /* of joined groups' weight; else NULL */
  size_t mask_floats;
  /* A batch norm at inference: the weight times its scale, and its shift as bias, made anew for each call, since training goes
   * on between calls. Beside what the convolution takes that is little. */
  const od_weight *stored;
  int64_t folded_channels; /* 0: none */
  double eps;
  size_t scaled_offset, scale_offset, shift_offset; /* in scratch_forward */
} conv;

static void *forward_scratch(const conv *c, size_t offset) { return (char *)c->base.at.scratch_forward + offset; }

static void fold(const conv *c) {
  const nn_bindings *at = &c->base.at;
  float *scale = forward_scratch(c, c->scale_offset), *shift = forward_scratch(c, c->shift_offset);
  for (int64_t i = 0; i < c->folded_channels; ++i) {
    double factor = at->folded_value[NN_WEIGHT][i] / sqrt(at->folded_value[NN_RUNNING_VAR][i] + c->eps);
    double bias = at->value[NN_BIAS] == NULL ? 0 : at->value[NN_BIAS][i];
    scale[i] = (float)factor;
    shift[i] = (float)(at->folded_value[NN_BIAS][i] + factor * (bias - at->folded_value[NN_RUNNING_MEAN][i]));
  }
  od_weight_scale(c->stored, c->folded_channels, scale, at->value[NN_WEIGHT], forward_scratch(c, c->scaled_offset));
}

static gp_status conv_forward(nn_kernel *k) {
  conv *c = (conv *)k;
  gp_status status = GP_OK;
  if (c->folded_channels > 0) fold(c);
  if (c->convert_forward.primitive != NULL) GP_TRY(od_primitive_run(&c->convert_forward, c->device));
  GP_TRY(od_primitive_run(&c->forward, c->device));
cleanup:
  return status;
}

/* Between channels of different groups there is no weight, and what has become of its gradient must not become one. */
static void clear_between_groups(const conv *c) {
  float *gradient = c->base.at.gradient[NN_WEIGHT];
  for (size_t i = 0; i < c->mask_floats; ++i) gradient[i] = c->mask[i] == 0 ? 0 : gradient[i];
}

static gp_status conv_backward(nn_kernel *k) {
  conv *c = (conv *)k;
  gp_status status = GP_OK;
  if (c->pad_picture) {
    nn_copy_tensor(&c->picture, k->at.in_backward[0], &c->padded, (char *)k->at.scratch_backward + c->padded_offset);
  }
  GP_TRY(od_primitive_run(&c->backward_weights, c->device));
  if (c->convert_gradient.primitive != NULL) GP_TRY(od_primitive_run(&c->convert_gradient, c->device));
  clear_between_groups(c);
  if (!c->wants_grad_in) goto cleanup;
  if (c->convert_weights.primitive != NULL) GP_TRY(od_primitive_run(&c->convert_weights, c->device));
  GP_TRY(od_primitive_run(&c->backward_data, c->device));
cleanup:
  return status;
}

static gp_status bind_forward(conv *c) {
  const nn_bindings *at = &c->base.at;
  gp_status status = GP_OK;
  const void *weights = at->value[NN_WEIGHT], *bias = at->value[NN_BIAS];
  if (c->folded_channels > 0) {
    weights = forward_scratch(c, c->scaled_offset);
    bias = forward_scratch(c, c->shift_offset);
  }
  if (c->convert_forward.primitive != NULL) {
    GP_TRY(od_primitive_set(&c->convert_forward, DNNL_ARG_FROM, weights));
    weights = forward_scratch(c, c->converted_offset);
    GP_TRY(od_primitive_set(&c->convert_forward, DNNL_ARG_TO, weights));
    GP_TRY(od_primitive_set(&c->convert_forward, DNNL_ARG_SCRATCHPAD, at->scratch_forward));
  }
  GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_SRC, at->in[0]));
  GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_WEIGHTS, weights));
  GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_BIAS, bias));
  GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_DST, at->out));
  GP_TRY(od_primitive_set(&c->forward, DNNL_ARG_SCRATCHPAD, at->scratch_forward));
cleanup:
  return status;
}

static gp_status conv_bind(nn_kernel *k) {
  conv *c = (conv *)k;
  const nn_bindings *at = &k->at;
  char *scratch = at->scratch_backward;
  gp_status status = GP_OK;
  const void *weights = at->value[NN_WEIGHT], *gradient = at->gradient[NN_WEIGHT];
  GP_TRY(bind_forward(c));
  if (c->convert_weights.primitive != NULL) {
    GP_TRY(od_primitive_set(&c->convert_weights, DNNL_ARG_FROM, weights));
    weights = scratch + c->weights_offset;
    GP_TRY(od_primitive_set(&c->convert_weights, DNNL_ARG_TO, weights));
    GP_TRY(od_primitive_set(&c->convert_weights, DNNL_ARG_SCRATCHPAD, scratch));
  }
  GP_TRY(od_primitive_set(&c->backward_data, DNNL_ARG_DIFF_SRC, at->grad_in[0]));
  GP_TRY(od_primitive_set(&c->backward_data, DNNL_ARG_WEIGHTS, weights));
  GP_TRY(od_primitive_set(&c->backward_data, DNNL_ARG_DIFF_DST, at->grad_out));
  GP_TRY(od_primitive_set(&c->backward_data, DNNL_ARG_SCRATCHPAD, scratch));
  if (c->convert_gradient.primitive != NULL) {
    GP_TRY(od_primitive_set(&c->convert_gradient, DNNL_ARG_TO, gradient));
    gradient = scratch + c->gradient_offset;
    GP_TRY(od_primitive_set(&c->convert_gradient, DNNL_ARG_FROM, gradient));
    GP_TRY(od_primitive_set(&c->convert_gradient, DNNL_ARG_SCRATCHPAD, scratch));
  }
  const void *picture = c->pad_picture ? scratch + c->padded_offset : at->in_backward[0];
  GP_TRY(od_primitive_set(&c->backward_weights, DNNL_ARG_SRC, picture));
  GP_TRY(od_primitive_set(&c->backward_weights, DNNL_ARG_DIFF_WEIGHTS, gradient));
  GP_TRY(od_primitive_set(&c->backward_weights, DNNL_ARG_DIFF_BIAS, at->gradient[NN_BIAS]));
  GP_TRY(od_primitive_set(&c->backward_weights, DNNL_ARG_DIFF_DST, at->grad_out));
  GP_TRY(od_primitive_set(&c->backward_weights, DNNL_ARG_SCRATCHPAD, scratch));
cleanup:
  return status;
}

static void conv_destroy(nn_kernel *k) {
  conv *c = (conv *)k;
  od_primitive_clear(&c->forward);
  od_primitive_clear(&c->backward_data);
  od_primitive_clear(&c->backward_weights);
  od_primitive_clear(&c->convert_forward);
  od_primitive_clear(&c->convert_weights);
  od_primitive_clear(&c->convert_gradient);
  gp_free(c->mask);
  gp_free(c);
}

/* A conversion between how a weight is stored and how a primitive wants it, if they differ. */
static gp_status make_conversion(od_primitive *out, nn_device *device, const od_md *from, const od_md *to) {
  if (od_md_equal(from, to)) return GP_OK;
  dnnl_primitive_desc_t pd = NULL;
  gp_status status = GP_OK;
  GP_TRY(od_reorder(&pd, device->engine, from, to, device->attr));
  GP_TRY(od_primitive_create(out, device, pd, (int[]){DNNL_ARG_FROM, DNNL_ARG_TO, 0}));
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  return status;
}

static bool is_reference(const_dnnl_primitive_desc_t pd) {
  const char *name = NULL;
  return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success && name != NULL &&
         strncmp(name, "ref", 3) == 0;
}

/* Puts a faster descriptor over a padded picture in place of a scalar one, if there is one. */
static gp_status avoid_reference(conv *c, const od_conv_shapes *s, bool bias, const_dnnl_primitive_desc_t hint,
                                 dnnl_primitive_desc_t *pd) {
  gp_status status = GP_OK;
  od_md src = {0};
  dnnl_primitive_desc_t padded_pd = NULL;
  if (!is_reference(*pd) || c->picture.layout != GP_NCHW || c->device->preferred == GP_NCHW) goto cleanup;
  c->padded = c->picture;
  c->padded.layout = c->device->preferred;
  GP_TRY(od_md_of_tensor(&src, &c->padded));
  GP_TRY(od_conv_backward_weights(&padded_pd, c->device->engine, &src, &s->any_gradient, bias ? &s->bias : NULL,
                                  &s->dst, &s->window, hint, c->device->attr));
  if (is_reference(padded_pd)) goto cleanup;
  dnnl_primitive_desc_destroy(*pd);
  *pd = padded_pd;
  padded_pd = NULL;
  c->pad_picture = true;
cleanup:
  if (padded_pd != NULL) dnnl_primitive_desc_destroy(padded_pd);
  od_md_clear(&src);
  return status;
}

static gp_status make_backward(conv *c, const od_conv_shapes *s, const od_md *stored, bool bias,
                               const_dnnl_primitive_desc_t hint) {
  static const int weights_arguments[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, 0};
  static const int bias_arguments[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS, 0};
  static const int data_arguments[] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST, 0};
  nn_device *device = c->device;
  gp_status status = GP_OK;
  dnnl_primitive_desc_t pd = NULL, data_pd = NULL;
  od_md gradient = {0}, weights = {0};
  GP_TRY(od_conv_backward_weights(&pd, device->engine, &s->src, &s->any_gradient, bias ? &s->bias : NULL, &s->dst,
                                  &s->window, hint, device->attr));
  GP_TRY(avoid_reference(c, s, bias, hint, &pd));
  GP_TRY(od_primitive_create(&c->backward_weights, device, pd, bias ? bias_arguments : weights_arguments));
  GP_TRY(od_md_of_argument(&gradient, pd, DNNL_ARG_DIFF_WEIGHTS));
  GP_TRY(make_conversion(&c->convert_gradient, device, &gradient, stored));
  if (c->wants_grad_in) {
    GP_TRY(od_conv_backward_data(&data_pd, device->engine, &s->src, &s->any_weights, &s->dst, &s->window, hint,
                                 device->attr));
    GP_TRY(od_primitive_create(&c->backward_data, device, data_pd, data_arguments));
    GP_TRY(od_md_of_argument(&weights, data_pd, DNNL_ARG_WEIGHTS));
    GP_TRY(make_conversion(&c->convert_weights, device, stored, &weights));
  }
  size_t scratch = od_largest(c->backward_data.scratch_bytes, c->backward_weights.scratch_bytes);
  scratch = od_largest(scratch, od_largest(c->convert_weights.scratch_bytes, c->convert_gradient.scratch_bytes));
  c->gradient_offset = gp_align_up(scratch);
  c->weights_offset =
      c->gradient_offset + (c->convert_gradient.primitive == NULL ? 0 : gp_align_up(od_md_bytes(&gradient)));
  c->base.scratch_backward_bytes =
      c->weights_offset + (c->convert_weights.primitive == NULL ? 0 : gp_align_up(od_md_bytes(&weights)));
  c->padded_offset = c->base.scratch_backward_bytes;
  if (c->pad_picture) c->base.scratch_backward_bytes += nn_tensor_bytes(&c->padded);
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  if (data_pd != NULL) dnnl_primitive_desc_destroy(data_pd);
  od_md_clear(&gradient);
  od_md_clear(&weights);
  return status;
}

/* The forward primitive, with what is folded into it. */
static gp_status make_forward(conv *c, const nn_kernel_desc *desc, const od_conv_shapes *shapes,
                              dnnl_primitive_desc_t *pd) {
  nn_device *device = c->device;
  gp_status status = GP_OK;
  bool folded = desc->folded != NULL, bias = desc->node->as.conv.bias || folded;
  const od_md *wanted = desc->in[0].type == GP_FLOAT32 ? &c->stored->md : &shapes->any_weights;
  size_t vector = gp_align_up((size_t)desc->out.shape.channels * sizeof(float));
  dnnl_primitive_attr_t attr = NULL;
  od_md weights = {0};
  if (desc->fuse_relu) GP_TRY(od_attr_relu(&attr));
  GP_TRY(od_conv_forward(pd, device->engine, desc->mode == NN_TRAIN ? dnnl_forward_training : dnnl_forward_inference,
                         &shapes->src, wanted, bias ? &shapes->bias : NULL, &shapes->dst, &shapes->window,
                         attr != NULL ? attr : device->attr));
  GP_TRY(od_primitive_create(&c->forward, device, *pd,
                             (int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, bias ? DNNL_ARG_BIAS : 0, 0}));
  od_describe(&c->base, *pd);
  GP_TRY(od_md_of_argument(&weights, *pd, DNNL_ARG_WEIGHTS));
  GP_TRY(make_conversion(&c->convert_forward, device, &c->stored->md, &weights));
  c->converted_offset = gp_align_up(od_largest(c->forward.scratch_bytes, c->convert_forward.scratch_bytes));
  c->base.scratch_forward_bytes =
      c->convert_forward.primitive == NULL ? c->forward.scratch_bytes : c->converted_offset + od_md_bytes(&weights);
  if (!folded) goto cleanup;
  c->folded_channels = desc->out.shape.channels;
  c->eps = desc->folded->as.batch_norm.eps;
  c->scaled_offset = gp_align_up(c->base.scratch_forward_bytes);
  c->scale_offset = c->scaled_offset + gp_align_up(od_md_bytes(&c->stored->md));
  c->shift_offset = c->scale_offset + vector;
  c->base.scratch_forward_bytes = c->shift_offset + vector;
cleanup:
  if (attr != NULL) dnnl_primitive_attr_destroy(attr);
  od_md_clear(&weights);
  return status;
}

gp_status od_make_conv(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  gp_status status = GP_OK;
  conv *c = NULL;
  od_conv_shapes shapes = {0};
  dnnl_primitive_desc_t pd = NULL;
  bool bias = desc->node->as.conv.bias, train = desc->mode == NN_TRAIN;
  const od_weight *stored = desc->weight_layout;
  if (desc->in[0].type != desc->out.type) return od_make_mixed(out, device, desc, od_make_conv);
  GP_TRY(GP_ALLOC(&c, 1));
  c->base = (nn_kernel){.bind = conv_bind,
                        .forward = conv_forward,
                        .backward = conv_backward,
                        .destroy = conv_destroy,
                        .needs_input = true,
                        .takes_again = true};
  c->device = device;
  c->picture = desc->in[0];
  c->wants_grad_in = desc->wants_grad[0];
  GP_TRY(od_conv_shapes_create(&shapes, desc->node, stored->joined, &desc->in[0], &desc->out));
  c->stored = stored;
  GP_TRY(make_forward(c, desc, &shapes, &pd));
  if (train) GP_TRY(make_backward(c, &shapes, &stored->md, bias, pd));
  if (train && stored->joined > 1) GP_TRY(od_weight_mask(device, desc->node, stored, &c->mask, &c->mask_floats));
  *out = &c->base;
  c = NULL;
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  od_conv_shapes_clear(&shapes);
  if (c != NULL) conv_destroy(&c->base);
  return status;
}
