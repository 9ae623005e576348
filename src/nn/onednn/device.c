/* The oneDNN device: engine, stream, layouts, and the table of kernels. */
#include <stdio.h>

#include "base/memory.h"
#include "base/status.h"
#include "nn/onednn/primitive.h"

/* Asks the library which layout it likes for the output of a common convolution. */
static gp_status probe_layout(nn_device *device) {
  static const int64_t image[] = {16, 64, 28, 28}, window[] = {64, 64, 3, 3};
  static const dnnl_format_tag_t tags[] = {dnnl_nChw16c, dnnl_nChw8c, dnnl_nhwc};
  static const gp_layout layouts[] = {GP_NCHW16C, GP_NCHW8C, GP_NHWC};
  static const od_window same = {.stride = {1, 1}, .padding = {1, 1}};
  const dnnl_data_type_t type = od_type(device->maps);
  gp_status status = GP_OK;
  od_md any = {0}, weights = {0}, chosen = {0}, candidate = {0};
  dnnl_primitive_desc_t pd = NULL;
  device->preferred = GP_NCHW;
  GP_TRY(od_md_create_typed(&any, 4, image, type, dnnl_format_tag_any));
  GP_TRY(od_md_create_typed(&weights, 4, window, type, dnnl_format_tag_any));
  GP_TRY(od_conv_forward(&pd, device->engine, dnnl_forward_training, &any, &weights, NULL, &any, &same, device->attr));
  GP_TRY(od_md_of_argument(&chosen, pd, DNNL_ARG_DST));
  for (int i = 0; i < 3 && device->preferred == GP_NCHW; ++i) {
    od_md_clear(&candidate);
    GP_TRY(od_md_create_typed(&candidate, 4, image, type, tags[i]));
    if (od_md_equal(&candidate, &chosen)) device->preferred = layouts[i];
  }
cleanup:
  if (pd != NULL) dnnl_primitive_desc_destroy(pd);
  od_md_clear(&any);
  od_md_clear(&weights);
  od_md_clear(&chosen);
  od_md_clear(&candidate);
  return status;
}

static void destroy(nn_device **device_pointer) {
  nn_device *device = *device_pointer;
  if (device == NULL) return;
  if (device->attr != NULL) dnnl_primitive_attr_destroy(device->attr);
  if (device->stream != NULL) dnnl_stream_destroy(device->stream);
  if (device->engine != NULL) dnnl_engine_destroy(device->engine);
  gp_free(device);
  *device_pointer = NULL;
}

static gp_status check_type(gp_dtype maps) {
  if (maps == GP_FLOAT32) return GP_OK;
  if (maps != GP_BFLOAT16)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "precision: expected float32 or bfloat16, found type %d", (int)maps);
  if (od_bfloat16_support() != OD_BFLOAT16_NONE) return GP_OK;
  return gp_fail(GP_ERROR_UNSUPPORTED,
                 "precision bfloat16: expected a processor with AVX-512 for %s, found one that it has no bfloat16 "
                 "convolutions for: use float32",
                 nn_backend());
}

static gp_status create(nn_device **out, gp_dtype maps) {
  gp_status status = GP_OK;
  nn_device *device = NULL;
  GP_TRY(check_type(maps));
  GP_TRY(GP_ALLOC(&device, 1));
  device->maps = maps;
  GP_TRY(od_check(dnnl_engine_create(&device->engine, dnnl_cpu, 0), "making a CPU engine"));
  GP_TRY(od_check(dnnl_stream_create(&device->stream, device->engine, dnnl_stream_default_flags), "making a stream"));
  GP_TRY(od_check(dnnl_primitive_attr_create(&device->attr), "making attributes"));
  GP_TRY(od_check(dnnl_primitive_attr_set_scratchpad_mode(device->attr, dnnl_scratchpad_mode_user), "attributes"));
  GP_TRY(probe_layout(device));
  *out = device;
  device = NULL;
cleanup:
  destroy(&device);
  return status;
}

/* Pictures (few channels) and 1×1 maps are plain, everything else as the library likes it. What is computed on 1×1 maps is small
 * and guides or decides: it is float32. */
static nn_tensor tensor(const nn_device *device, nn_shape shape, int64_t batch) {
  bool one = shape.height == 1 && shape.width == 1, plain = shape.channels < 8 || one;
  return (nn_tensor){batch, shape, plain ? GP_NCHW : device->preferred, one ? GP_FLOAT32 : device->maps};
}

static gp_status make_add(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  bool marked = desc->fuse_relu && desc->mode == NN_TRAIN;
  return marked ? od_make_residual(out, device, desc) : od_make_elementwise(out, device, desc);
}

static gp_status kernel(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  static const od_maker makers[NN_OP_COUNT] = {
      [NN_OP_CONV] = od_make_conv,
      [NN_OP_BATCH_NORM] = od_make_batch_norm,
      [NN_OP_RELU] = od_make_elementwise,
      [NN_OP_SIGMOID] = od_make_elementwise,
      [NN_OP_DROPOUT] = od_make_dropout,
      [NN_OP_ADD] = make_add,
      [NN_OP_CONCAT] = od_make_concat,
      [NN_OP_LINEAR] = od_make_linear,
      [NN_OP_GLOBAL_AVG_POOL] = od_make_average,
      [NN_OP_ADAPTIVE_AVG_POOL] = od_make_average,
      [NN_OP_POOL] = od_make_pool,
      [NN_OP_CROSS_ENTROPY] = od_make_cross_entropy,
  };
  *out = NULL;
  return makers[desc->node->op](out, device, desc);
}

const nn_device_class nn_device_onednn = {
    .create = create,
    .destroy = destroy,
    .tensor = tensor,
    .weight_layout = od_weight_layout,
    .free_layout = od_free_layout,
    .weight_read = od_weight_read,
    .weight_write = od_weight_write,
    .kernel = kernel,
    .folds_batch_norm = od_folds_batch_norm,
    .applies_affine = true,
};

const char *nn_precision_warning(nn_precision precision) {
  if (precision != NN_BFLOAT16 || od_bfloat16_support() != OD_BFLOAT16_EMULATED) return NULL;
  return "precision bfloat16: this processor has no bfloat16 instructions (avx512_bf16), others stand in for them: "
         "expect "
         "it to take two to three times as long as float32, in less memory";
}

const char *nn_backend(void) {
  static _Thread_local char text[64];
  const dnnl_version_t *v = dnnl_version();
  snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
  return text;
}
