/* A oneDNN primitive with its arguments, and the device that it runs on. */
#ifndef GP_NN_ONEDNN_PRIMITIVE_H
#define GP_NN_ONEDNN_PRIMITIVE_H

#include "nn/device.h"
#include "nn/onednn/compat.h"

struct nn_device {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_primitive_attr_t attr; /* scratch memory is the caller's */
  gp_layout preferred;        /* of activations with many channels */
  gp_dtype maps;              /* type of activations with more than one position */
};

/* Zero-initialise. Everything it makes is released by od_primitive_clear(). */
typedef struct od_primitive {
  dnnl_primitive_t primitive;
  dnnl_exec_arg_t *args;
  int32_t count;
  size_t scratch_bytes;
} od_primitive;

/* Makes the primitive with one memory object for each of the DNNL_ARG_* listed (ended by 0) and one for scratch. */
GP_NODISCARD gp_status od_primitive_create(od_primitive *p, const nn_device *device, const_dnnl_primitive_desc_t pd,
                                           const int *arguments);

/* Points an argument at memory; arguments that were not listed are ignored. */
GP_NODISCARD gp_status od_primitive_set(od_primitive *p, int argument, const void *data);

GP_NODISCARD gp_status od_primitive_run(const od_primitive *p, const nn_device *device);
void od_primitive_clear(od_primitive *p);

static inline size_t od_largest(size_t a, size_t b) { return a > b ? a : b; }

/* Bytes of an argument of a primitive. */
GP_NODISCARD gp_status od_argument_bytes(const_dnnl_primitive_desc_t pd, int argument, size_t *bytes);

/* Puts the library's name of the implementation into the kernel's report. */
void od_describe(nn_kernel *kernel, const_dnnl_primitive_desc_t pd);

/* The library's name of a type. */
static inline dnnl_data_type_t od_type(gp_dtype type) { return type == GP_BFLOAT16 ? dnnl_bf16 : dnnl_f32; }

/* Memory descriptor of an activation. */
GP_NODISCARD gp_status od_md_of_tensor(od_md *out, const nn_tensor *tensor);

/* The kernels, one maker per op. */
typedef gp_status (*od_maker)(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_conv(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_batch_norm(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_affine(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_affine_average(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_linear(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_concat(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_elementwise(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_residual(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_dropout(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_average(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_pool(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
gp_status od_make_cross_entropy(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);

/* For an op with one input whose type is not the output's: the maker's kernel over copies, where these are not bfloat16. */
gp_status od_make_mixed(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc, od_maker maker);

/* Storage of convolution weights (nn_device_class). */
gp_status od_weight_layout(nn_device *device, const nn_node *node, const nn_tensor *in, const nn_tensor *out,
                           void **layout, size_t *floats);
void od_free_layout(void *layout);
bool od_folds_batch_norm(const nn_node *node, const void *layout);
gp_status od_weight_read(nn_device *device, const nn_node *node, const void *layout, const float *stored, float *plain);
gp_status od_weight_write(nn_device *device, const nn_node *node, const void *layout, const float *plain,
                          float *stored);

#endif
