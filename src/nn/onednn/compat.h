/* oneDNN 2.x and 3.x behind one set of functions. 2.x describes memory and operations by structs, 3.x by handles
 * and by one call per primitive descriptor. */
#ifndef GP_NN_ONEDNN_COMPAT_H
#define GP_NN_ONEDNN_COMPAT_H

#include <gausspool/gausspool.h>
#include <oneapi/dnnl/dnnl.h>

/* A memory descriptor: how a tensor lies in memory. Zero-initialise; od_md_clear() releases it. */
typedef struct od_md {
  dnnl_memory_desc_t desc;
} od_md;

/* oneDNN 2.x insists on batch norm's shift as an argument of its backward pass, 3.x does not know it there. 0: none. */
enum { OD_BATCH_NORM_BACKWARD_SHIFT = DNNL_VERSION_MAJOR < 3 ? DNNL_ARG_SHIFT : 0 };

/* Turns a failed oneDNN call into GP_ERROR_LIBRARY (or GP_ERROR_OUT_OF_MEMORY, GP_ERROR_UNSUPPORTED). */
GP_NODISCARD gp_status od_check(dnnl_status_t result, const char *what);

/* float32, `rank` dimensions, in the order of `tag` (dnnl_format_tag_any lets a primitive choose). */
GP_NODISCARD gp_status od_md_create(od_md *out, int rank, const int64_t *dims, dnnl_format_tag_t tag);
/* The same of another data type. */
GP_NODISCARD gp_status od_md_create_typed(od_md *out, int rank, const int64_t *dims, dnnl_data_type_t type,
                                          dnnl_format_tag_t tag);
/* What a primitive takes as its argument DNNL_ARG_*; a zero-sized descriptor when it takes none. */
GP_NODISCARD gp_status od_md_of_argument(od_md *out, const_dnnl_primitive_desc_t pd, int argument);
void od_md_clear(od_md *md);
size_t od_md_bytes(const od_md *md);
bool od_md_equal(const od_md *a, const od_md *b);

GP_NODISCARD gp_status od_memory_create(dnnl_memory_t *out, const od_md *md, dnnl_engine_t engine);

/* Attributes of a primitive whose scratch memory is the caller's and which applies ReLU to its output. The caller destroys
 * *out. */
GP_NODISCARD gp_status od_attr_relu(dnnl_primitive_attr_t *out);

/* How the library computes with bfloat16 on this machine. */
typedef enum od_bfloat16 {
  OD_BFLOAT16_NONE = 0, /* not at all */
  OD_BFLOAT16_EMULATED, /* by other instructions, which takes longer than float32 */
  OD_BFLOAT16_NATIVE,
} od_bfloat16;
od_bfloat16 od_bfloat16_support(void);

/* The window of a convolution, in oneDNN's terms (dilation 0 is none). */
typedef struct od_window {
  dnnl_dims_t stride, dilation, padding;
} od_window;

/* Primitive descriptors. `bias` may be NULL; `hint` is the forward pass's. The caller destroys *out. */
GP_NODISCARD gp_status od_conv_forward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_prop_kind_t kind,
                                       const od_md *src, const od_md *weights, const od_md *bias, const od_md *dst,
                                       const od_window *window, const_dnnl_primitive_attr_t attr);
GP_NODISCARD gp_status od_conv_backward_data(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *diff_src,
                                             const od_md *weights, const od_md *diff_dst, const od_window *window,
                                             const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr);
GP_NODISCARD gp_status od_conv_backward_weights(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *src,
                                                const od_md *diff_weights, const od_md *diff_bias,
                                                const od_md *diff_dst, const od_window *window,
                                                const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr);
GP_NODISCARD gp_status od_batch_norm_forward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_prop_kind_t kind,
                                             const od_md *data, float eps, unsigned flags,
                                             const_dnnl_primitive_attr_t attr);
GP_NODISCARD gp_status od_batch_norm_backward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *data,
                                              float eps, unsigned flags, const_dnnl_primitive_desc_t hint,
                                              const_dnnl_primitive_attr_t attr);
GP_NODISCARD gp_status od_linear_forward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_prop_kind_t kind,
                                         const od_md *src, const od_md *weights, const od_md *bias, const od_md *dst,
                                         const_dnnl_primitive_attr_t attr);
GP_NODISCARD gp_status od_linear_backward_data(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *diff_src,
                                               const od_md *weights, const od_md *diff_dst,
                                               const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr);
GP_NODISCARD gp_status od_linear_backward_weights(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *src,
                                                  const od_md *diff_weights, const od_md *diff_bias,
                                                  const od_md *diff_dst, const_dnnl_primitive_desc_t hint,
                                                  const_dnnl_primitive_attr_t attr);
/* A pooling's window; what its padding is on one side it is on the other. */
typedef struct od_pool_window {
  dnnl_dims_t kernel, stride, padding;
} od_pool_window;
GP_NODISCARD gp_status od_pool_forward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_prop_kind_t kind,
                                       dnnl_alg_kind_t algorithm, const od_md *src, const od_md *dst,
                                       const od_pool_window *window, const_dnnl_primitive_attr_t attr);
GP_NODISCARD gp_status od_pool_backward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_alg_kind_t algorithm,
                                        const od_md *diff_src, const od_md *diff_dst, const od_pool_window *window,
                                        const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr);
GP_NODISCARD gp_status od_reorder(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *from, const od_md *to,
                                  const_dnnl_primitive_attr_t attr);
/* Joins along dimension 1; at most 64 sources. */
GP_NODISCARD gp_status od_concat(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *dst, int count,
                                 const od_md *sources, const_dnnl_primitive_attr_t attr);

#endif
