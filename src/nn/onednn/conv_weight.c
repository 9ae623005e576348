/* Storage of a convolution's weight: the layout that the forward pass in float32 likes best, and copies from and to PyTorch's order. */
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "nn/onednn/conv.h"

/* A weight's dimensions: groups, and those of a group, [out][in][rows][columns]. */
typedef struct weight_shape {
  int64_t dims[5];
} weight_shape;

static weight_shape shape_of(const nn_node *node, int32_t joined) {
  const int64_t *shape = node->params[NN_WEIGHT].shape;
  int64_t groups = node->as.conv.groups / joined;
  return (weight_shape){{groups, shape[0] / groups, shape[1] * joined, shape[2], shape[3]}};
}

static gp_status describe_any(od_md *out, const nn_node *node, int32_t joined, gp_dtype type) {
  weight_shape s = shape_of(node, joined);
  if (s.dims[0] > 1) return od_md_create_typed(out, 5, s.dims, od_type(type), dnnl_format_tag_any);
  return od_md_create_typed(out, 4, s.dims + 1, od_type(type), dnnl_format_tag_any);
}

/* In PyTorch's order. */
static gp_status describe_plain(od_md *out, const nn_node *node, int32_t joined) {
  weight_shape s = shape_of(node, joined);
  if (s.dims[0] > 1) return od_md_create(out, 5, s.dims, dnnl_goihw);
  return od_md_create(out, 4, s.dims + 1, dnnl_oihw);
}

gp_status od_conv_shapes_create(od_conv_shapes *s, const nn_node *node, int32_t joined, const nn_tensor *in,
                                const nn_tensor *out) {
  const nn_conv_desc *d = &node->as.conv;
  gp_status status = GP_OK;
  /* Right padding can be less than left where the last window does not reach it; oneDNN takes the same on both sides as
   * long as the output size agrees, which the shape rule (rounding down) ensures. */
  for (int i = 0; i < 2; ++i) {
    s->window.stride[i] = d->stride;
    s->window.dilation[i] = d->dilation - 1;
    s->window.padding[i] = d->padding;
  }
  GP_TRY(od_md_of_tensor(&s->src, in));
  GP_TRY(od_md_of_tensor(&s->dst, out));
  GP_TRY(describe_any(&s->any_weights, node, joined, in->type));
  GP_TRY(describe_any(&s->any_gradient, node, joined, GP_FLOAT32));
  GP_TRY(od_md_create(&s->bias, 1, node->params[NN_WEIGHT].shape, dnnl_x));
cleanup:
  return status;
}

void od_conv_shapes_clear(od_conv_shapes *s) {
  od_md_clear(&s->src);
  od_md_clear(&s->dst);
  od_md_clear(&s->any_weights);
  od_md_clear(&s->any_gradient);
  od_md_clear(&s->bias);
}

/* How many groups to join. Groups of one channel have kernels of their own in the library. */
static int32_t groups_to_join(const nn_node *node, const nn_tensor *in, const nn_tensor *out) {
  int64_t groups = node->as.conv.groups, channels = in->shape.channels / groups;
  int64_t block = in->layout == GP_NCHW16C ? 16 : in->layout == GP_NCHW8C ? 8 : 0;
  bool fits = in->layout == out->layout && out->shape.channels == in->shape.channels && channels > 1 &&
              channels < block && block % channels == 0 && groups % (block / channels) == 0;
  return fits ? (int32_t)(block / channels) : 1;
}

/* Whether output channels lie in blocks of `block`, outermost, and innermost within such a block. `numbers` holds for each float
 * its channel's number from 1, or 0. */
static bool lies_in_blocks(const float *numbers, int64_t floats, int64_t channels, int64_t block) {
  int64_t blocks = (channels + block - 1) / block, run = floats / blocks;
  if (floats % blocks != 0 || run % block != 0) return false;
  for (int64_t i = 0; i < floats; ++i)
    if (numbers[i] != 0 && numbers[i] != (float)(i / run * block + i % block + 1)) return false;
  return true;
}

/* Asks the library where the output channels are: it lays out a weight that holds their numbers. */
static gp_status find_channels(nn_device *device, const nn_node *node, od_weight *weight, size_t floats) {
  static const int64_t candidates[] = {16, 8, 32, 48, 64, 1};
  const int64_t *shape = node->params[NN_WEIGHT].shape, channels = shape[0];
  int64_t each = shape[1] * shape[2] * shape[3];
  gp_status status = GP_OK;
  float *plain = NULL, *stored = NULL;
  GP_TRY(GP_ALLOC(&plain, (size_t)(channels * each)));
  GP_TRY(GP_ALLOC(&stored, floats));
  for (int64_t i = 0; i < channels * each; ++i) plain[i] = (float)(i / each + 1);
  GP_TRY(od_weight_write(device, node, weight, plain, stored));
  for (size_t k = 0; k < sizeof candidates / sizeof candidates[0] && weight->block == 0; ++k)
    if (lies_in_blocks(stored, (int64_t)floats, channels, candidates[k])) weight->block = candidates[k];
  if (weight->block > 0) weight->run = (int64_t)floats / ((channels + weight->block - 1) / weight->block);
cleanup:
  gp_free(plain);
  gp_free(stored);
  return status;
}

bool od_folds_batch_norm(const nn_node *node, const void *layout) {
  (void)node;
  return ((const od_weight *)layout)->block > 0;
}

enum { MOST_BLOCK = 64 };

typedef struct scaling {
  const od_weight *weight;
  int64_t channels;
  const float *factors, *stored;
  float *dst;
} scaling;

static void scale_block(void *context, int64_t index) {
  const scaling *s = context;
  int64_t block = s->weight->block, run = s->weight->run;
  float factors[MOST_BLOCK] = {0};
  for (int64_t l = 0; l < block && index * block + l < s->channels; ++l) factors[l] = s->factors[index * block + l];
  const float *stored = s->stored + index * run;
  float *dst = s->dst + index * run;
  if (block == 1) {
    for (int64_t i = 0; i < run; ++i) dst[i] = stored[i] * factors[0];
    return;
  }
  for (int64_t i = 0; i < run; i += block)
    for (int64_t l = 0; l < block; l += 8) /* a constant number, for the vectoriser */
      for (int64_t k = l; k < l + 8; ++k) dst[i + k] = stored[i + k] * factors[k];
}

void od_weight_scale(const od_weight *weight, int64_t channels, const float *factors, const float *stored, float *dst) {
  scaling s = {weight, channels, factors, stored, dst};
  gp_parallel_for((channels + weight->block - 1) / weight->block, 0, scale_block, &s);
}

gp_status od_weight_layout(nn_device *device, const nn_node *node, const nn_tensor *in, const nn_tensor *out,
                           void **layout, size_t *floats) {
  gp_status status = GP_OK;
  od_conv_shapes shapes = {0};
  od_weight *weight = NULL;
  dnnl_primitive_desc_t pd = NULL;
  *layout = NULL;
  GP_TRY(GP_ALLOC(&weight, 1));
  weight->joined = groups_to_join(node, in, out);
  nn_tensor float_in = *in, float_out = *out;
  float_in.type = float_out.type = GP_FLOAT32;
  GP_TRY(od_conv_shapes_create(&shapes, node, weight->joined, &float_in, &float_out));
  GP_TRY(od_conv_forward(&pd, device->engine, dnnl_forward_training, &shapes.src, &shapes.any_weights,
                         node->as.conv.bias ? &shapes.bias : NULL, &shapes.dst, &shapes.window, device->attr));
  GP_TRY(od_md_of_argument(&weight->md, pd, DNNL_ARG_WEIGHTS));
  *floats = od_md_bytes(&weight->md) / sizeof(float);
  GP_TRY(find_channels(device, node, weight, *floats));
  *layout = weight;
  weight = NULL;
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  od_free_layout(weight);
  od_conv_shapes_clear(&shapes);
  return status;
}

void od_free_layout(void *layout) {
  od_weight *weight = layout;
  if (weight != NULL) od_md_clear(&weight->md);
  gp_free(weight);
}

static gp_status reorder(nn_device *device, const od_md *from_md, const od_md *to_md, const float *from, float *to) {
  gp_status status = GP_OK;
  dnnl_primitive_desc_t pd = NULL;
  od_primitive reorder = {0};
  void *scratch = NULL;
  GP_TRY(od_reorder(&pd, device->engine, from_md, to_md, device->attr));
  GP_TRY(od_primitive_create(&reorder, device, pd, (int[]){DNNL_ARG_FROM, DNNL_ARG_TO, 0}));
  GP_TRY(gp_alloc(&scratch, reorder.scratch_bytes, 1));
  GP_TRY(od_primitive_set(&reorder, DNNL_ARG_FROM, from));
  GP_TRY(od_primitive_set(&reorder, DNNL_ARG_TO, to));
  GP_TRY(od_primitive_set(&reorder, DNNL_ARG_SCRATCHPAD, scratch));
  GP_TRY(od_primitive_run(&reorder, device));
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  od_primitive_clear(&reorder);
  gp_free(scratch);
  return status;
}

/* The part of a joined weight's row, [joined][in][rows][columns], that is output channel o's own weight. */
typedef struct row_part {
  int64_t offset, floats;
} row_part;

static row_part part_of_row(const nn_node *node, int32_t joined, int64_t o) {
  const int64_t *shape = node->params[NN_WEIGHT].shape;
  int64_t group = o / (shape[0] / node->as.conv.groups), floats = shape[1] * shape[2] * shape[3];
  return (row_part){(o * joined + group % joined) * floats, floats};
}

static size_t joined_floats(const nn_node *node, int32_t joined) {
  const int64_t *shape = node->params[NN_WEIGHT].shape;
  return (size_t)(shape[0] * shape[1] * shape[2] * shape[3]) * (size_t)joined;
}

gp_status od_weight_read(nn_device *device, const nn_node *node, const void *layout, const float *stored,
                         float *plain) {
  const od_weight *weight = layout;
  gp_status status = GP_OK;
  od_md md = {0};
  float *wide = NULL;
  GP_TRY(describe_plain(&md, node, weight->joined));
  if (weight->joined == 1) {
    GP_TRY(reorder(device, &weight->md, &md, stored, plain));
    goto cleanup;
  }
  GP_TRY(GP_ALLOC(&wide, joined_floats(node, weight->joined)));
  GP_TRY(reorder(device, &weight->md, &md, stored, wide));
  for (int64_t o = 0; o < node->params[NN_WEIGHT].shape[0]; ++o) {
    row_part part = part_of_row(node, weight->joined, o);
    memcpy(plain + o * part.floats, wide + part.offset, (size_t)part.floats * sizeof(float));
  }
cleanup:
  od_md_clear(&md);
  gp_free(wide);
  return status;
}

gp_status od_weight_write(nn_device *device, const nn_node *node, const void *layout, const float *plain,
                          float *stored) {
  const od_weight *weight = layout;
  gp_status status = GP_OK;
  od_md md = {0};
  float *wide = NULL;
  GP_TRY(describe_plain(&md, node, weight->joined));
  if (weight->joined == 1) {
    GP_TRY(reorder(device, &md, &weight->md, plain, stored));
    goto cleanup;
  }
  GP_TRY(GP_ALLOC(&wide, joined_floats(node, weight->joined))); /* zeros */
  for (int64_t o = 0; o < node->params[NN_WEIGHT].shape[0]; ++o) {
    row_part part = part_of_row(node, weight->joined, o);
    memcpy(wide + part.offset, plain + o * part.floats, (size_t)part.floats * sizeof(float));
  }
  GP_TRY(reorder(device, &md, &weight->md, wide, stored));
cleanup:
  od_md_clear(&md);
  gp_free(wide);
  return status;
}

gp_status od_weight_mask(nn_device *device, const nn_node *node, const od_weight *stored, float **mask,
                         size_t *floats) {
  gp_status status = GP_OK;
  size_t plain_floats = joined_floats(node, 1);
  float *ones = NULL;
  *floats = od_md_bytes(&stored->md) / sizeof(float);
  GP_TRY(GP_ALLOC(mask, *floats));
  GP_TRY(GP_ALLOC(&ones, plain_floats));
  for (size_t i = 0; i < plain_floats; ++i) ones[i] = 1;
  GP_TRY(od_weight_write(device, node, stored, ones, *mask));
cleanup:
  gp_free(ones);
  return status;
}
