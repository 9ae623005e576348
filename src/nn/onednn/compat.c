#include "nn/onednn/compat.h"

#include <string.h>

#include "base/status.h"

#if DNNL_VERSION_MAJOR >= 3
#define IS_V3 1
#else
#define IS_V3 0
#endif

gp_status od_check(dnnl_status_t result, const char *what) {
  switch (result) {
    case dnnl_success: return GP_OK;
    case dnnl_out_of_memory: return gp_fail(GP_ERROR_OUT_OF_MEMORY, "oneDNN ran out of memory in %s", what);
    case dnnl_unimplemented: return gp_fail(GP_ERROR_UNSUPPORTED, "oneDNN has no implementation for this %s", what);
    default: return gp_fail(GP_ERROR_LIBRARY, "oneDNN failed in %s with status %d", what, (int)result);
  }
}

/* ---- Memory descriptors ---- */

#if IS_V3

#define MD(md)         ((md)->desc)
#define MD_OR_NULL(md) ((md) == NULL ? NULL : (md)->desc)

gp_status od_md_create_typed(od_md *out, int rank, const int64_t *dims, dnnl_data_type_t type, dnnl_format_tag_t tag) {
  return od_check(dnnl_memory_desc_create_with_tag(&out->desc, rank, dims, type, tag), "memory descriptor");
}

gp_status od_md_of_argument(od_md *out, const_dnnl_primitive_desc_t pd, int argument) {
  const_dnnl_memory_desc_t found = dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, argument);
  if (found == NULL) return gp_fail(GP_ERROR_LIBRARY, "oneDNN: the primitive takes no argument %d", argument);
  return od_check(dnnl_memory_desc_clone(&out->desc, found), "memory descriptor");
}

void od_md_clear(od_md *md) {
  if (md->desc != NULL) dnnl_memory_desc_destroy(md->desc);
  md->desc = NULL;
}

#else

#define MD(md)         (&(md)->desc)
#define MD_OR_NULL(md) ((md) == NULL ? NULL : &(md)->desc)

gp_status od_md_create_typed(od_md *out, int rank, const int64_t *dims, dnnl_data_type_t type, dnnl_format_tag_t tag) {
  return od_check(dnnl_memory_desc_init_by_tag(&out->desc, rank, dims, type, tag), "memory descriptor");
}

gp_status od_md_of_argument(od_md *out, const_dnnl_primitive_desc_t pd, int argument) {
  const dnnl_memory_desc_t *found = dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, argument);
  if (found == NULL) return gp_fail(GP_ERROR_LIBRARY, "oneDNN: the primitive takes no argument %d", argument);
  out->desc = *found;
  return GP_OK;
}

void od_md_clear(od_md *md) { memset(md, 0, sizeof *md); }

#endif

gp_status od_md_create(od_md *out, int rank, const int64_t *dims, dnnl_format_tag_t tag) {
  return od_md_create_typed(out, rank, dims, dnnl_f32, tag);
}

size_t od_md_bytes(const od_md *md) { return dnnl_memory_desc_get_size(MD(md)); }

bool od_md_equal(const od_md *a, const od_md *b) { return dnnl_memory_desc_equal(MD(a), MD(b)) != 0; }

gp_status od_memory_create(dnnl_memory_t *out, const od_md *md, dnnl_engine_t engine) {
  return od_check(dnnl_memory_create(out, MD(md), engine, DNNL_MEMORY_NONE), "memory object");
}

/* ---- The machine ---- */

/* Instruction sets are sums of what they add to one another. */
static bool has_isa(dnnl_cpu_isa_t isa) { return ((int)dnnl_get_effective_cpu_isa() & (int)isa) == (int)isa; }

od_bfloat16 od_bfloat16_support(void) {
#if defined(__x86_64__)
  if (has_isa(dnnl_cpu_isa_avx512_core_bf16)) return OD_BFLOAT16_NATIVE;
  return has_isa(dnnl_cpu_isa_avx512_core) ? OD_BFLOAT16_EMULATED : OD_BFLOAT16_NONE;
#else
  return OD_BFLOAT16_NONE;
#endif
}

/* ---- Attributes ---- */

#if IS_V3
#define APPEND_RELU(ops) dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0)
#else
#define APPEND_RELU(ops) dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0)
#endif

gp_status od_attr_relu(dnnl_primitive_attr_t *out) {
  static const char what[] = "attributes";
  gp_status status = GP_OK;
  dnnl_post_ops_t ops = NULL;
  dnnl_primitive_attr_t attr = NULL;
  *out = NULL;
  GP_TRY(od_check(dnnl_post_ops_create(&ops), what));
  GP_TRY(od_check(APPEND_RELU(ops), what));
  GP_TRY(od_check(dnnl_primitive_attr_create(&attr), what));
  GP_TRY(od_check(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), what));
  GP_TRY(od_check(dnnl_primitive_attr_set_post_ops(attr, ops), what));
  *out = attr;
  attr = NULL;
cleanup:
  if (attr != NULL) dnnl_primitive_attr_destroy(attr);
  if (ops != NULL) dnnl_post_ops_destroy(ops);
  return status;
}

/* ---- Primitive descriptors ---- */

#if IS_V3
/* One call each. */
#define MAKE(what, pd_call, desc_type, desc_call, hint) return od_check(pd_call, what)
#else
/* First the operation's description, then the primitive's. */
#define MAKE(what, pd_call, desc_type, desc_call, hint) \
  desc_type description;                                \
  gp_status status = od_check(desc_call, what);         \
  if (status != GP_OK) return status;                   \
  return od_check(dnnl_primitive_desc_create(out, &description, attr, engine, hint), what)
#endif

gp_status od_conv_forward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_prop_kind_t kind, const od_md *src,
                          const od_md *weights, const od_md *bias, const od_md *dst, const od_window *window,
                          const_dnnl_primitive_attr_t attr) {
  MAKE("convolution",
       dnnl_convolution_forward_primitive_desc_create(out, engine, kind, dnnl_convolution_direct, MD(src), MD(weights),
                                                      MD_OR_NULL(bias), MD(dst), window->stride, window->dilation,
                                                      window->padding, window->padding, attr),
       dnnl_convolution_desc_t,
       dnnl_dilated_convolution_forward_desc_init(&description, kind, dnnl_convolution_direct, MD(src), MD(weights),
                                                  MD_OR_NULL(bias), MD(dst), window->stride, window->dilation,
                                                  window->padding, window->padding),
       NULL);
}

gp_status od_conv_backward_data(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *diff_src,
                                const od_md *weights, const od_md *diff_dst, const od_window *window,
                                const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr) {
  MAKE("convolution's input gradient",
       dnnl_convolution_backward_data_primitive_desc_create(out, engine, dnnl_convolution_direct, MD(diff_src),
                                                            MD(weights), MD(diff_dst), window->stride, window->dilation,
                                                            window->padding, window->padding, hint, attr),
       dnnl_convolution_desc_t,
       dnnl_dilated_convolution_backward_data_desc_init(&description, dnnl_convolution_direct, MD(diff_src),
                                                        MD(weights), MD(diff_dst), window->stride, window->dilation,
                                                        window->padding, window->padding),
       hint);
}

gp_status od_conv_backward_weights(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *src,
                                   const od_md *diff_weights, const od_md *diff_bias, const od_md *diff_dst,
                                   const od_window *window, const_dnnl_primitive_desc_t hint,
                                   const_dnnl_primitive_attr_t attr) {
  MAKE("convolution's weight gradient",
       dnnl_convolution_backward_weights_primitive_desc_create(
           out, engine, dnnl_convolution_direct, MD(src), MD(diff_weights), MD_OR_NULL(diff_bias), MD(diff_dst),
           window->stride, window->dilation, window->padding, window->padding, hint, attr),
       dnnl_convolution_desc_t,
       dnnl_dilated_convolution_backward_weights_desc_init(
           &description, dnnl_convolution_direct, MD(src), MD(diff_weights), MD_OR_NULL(diff_bias), MD(diff_dst),
           window->stride, window->dilation, window->padding, window->padding),
       hint);
}

gp_status od_batch_norm_forward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_prop_kind_t kind,
                                const od_md *data, float eps, unsigned flags, const_dnnl_primitive_attr_t attr) {
  MAKE("batch normalisation",
       dnnl_batch_normalization_forward_primitive_desc_create(out, engine, kind, MD(data), MD(data), eps, flags, attr),
       dnnl_batch_normalization_desc_t,
       dnnl_batch_normalization_forward_desc_init(&description, kind, MD(data), eps, flags), NULL);
}

gp_status od_batch_norm_backward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *data, float eps,
                                 unsigned flags, const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr) {
  MAKE("batch normalisation's gradient",
       dnnl_batch_normalization_backward_primitive_desc_create(out, engine, dnnl_backward, MD(data), MD(data), MD(data),
                                                               eps, flags, hint, attr),
       dnnl_batch_normalization_desc_t,
       dnnl_batch_normalization_backward_desc_init(&description, dnnl_backward, MD(data), MD(data), eps, flags), hint);
}

gp_status od_linear_forward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_prop_kind_t kind, const od_md *src,
                            const od_md *weights, const od_md *bias, const od_md *dst,
                            const_dnnl_primitive_attr_t attr) {
  MAKE("linear layer",
       dnnl_inner_product_forward_primitive_desc_create(out, engine, kind, MD(src), MD(weights), MD_OR_NULL(bias),
                                                        MD(dst), attr),
       dnnl_inner_product_desc_t,
       dnnl_inner_product_forward_desc_init(&description, kind, MD(src), MD(weights), MD_OR_NULL(bias), MD(dst)), NULL);
}

gp_status od_linear_backward_data(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *diff_src,
                                  const od_md *weights, const od_md *diff_dst, const_dnnl_primitive_desc_t hint,
                                  const_dnnl_primitive_attr_t attr) {
  MAKE("linear layer's input gradient",
       dnnl_inner_product_backward_data_primitive_desc_create(out, engine, MD(diff_src), MD(weights), MD(diff_dst),
                                                              hint, attr),
       dnnl_inner_product_desc_t,
       dnnl_inner_product_backward_data_desc_init(&description, MD(diff_src), MD(weights), MD(diff_dst)), hint);
}

gp_status od_linear_backward_weights(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *src,
                                     const od_md *diff_weights, const od_md *diff_bias, const od_md *diff_dst,
                                     const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr) {
  MAKE("linear layer's weight gradient",
       dnnl_inner_product_backward_weights_primitive_desc_create(out, engine, MD(src), MD(diff_weights),
                                                                 MD_OR_NULL(diff_bias), MD(diff_dst), hint, attr),
       dnnl_inner_product_desc_t,
       dnnl_inner_product_backward_weights_desc_init(&description, MD(src), MD(diff_weights), MD_OR_NULL(diff_bias),
                                                     MD(diff_dst)),
       hint);
}

/* Undilated: 0 between the kernel's elements. */
gp_status od_pool_forward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_prop_kind_t kind,
                          dnnl_alg_kind_t algorithm, const od_md *src, const od_md *dst, const od_pool_window *window,
                          const_dnnl_primitive_attr_t attr) {
  MAKE("pooling",
       dnnl_pooling_forward_primitive_desc_create(out, engine, kind, algorithm, MD(src), MD(dst), window->stride,
                                                  window->kernel, (dnnl_dims_t){0}, window->padding, window->padding,
                                                  attr),
       dnnl_pooling_desc_t,
       dnnl_pooling_forward_desc_init(&description, kind, algorithm, MD(src), MD(dst), window->stride, window->kernel,
                                      window->padding, window->padding),
       NULL);
}

gp_status od_pool_backward(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_alg_kind_t algorithm,
                           const od_md *diff_src, const od_md *diff_dst, const od_pool_window *window,
                           const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr) {
  MAKE("pooling's gradient",
       dnnl_pooling_backward_primitive_desc_create(out, engine, algorithm, MD(diff_src), MD(diff_dst), window->stride,
                                                   window->kernel, (dnnl_dims_t){0}, window->padding, window->padding,
                                                   hint, attr),
       dnnl_pooling_desc_t,
       dnnl_pooling_backward_desc_init(&description, algorithm, MD(diff_src), MD(diff_dst), window->stride,
                                       window->kernel, window->padding, window->padding),
       hint);
}

gp_status od_reorder(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *from, const od_md *to,
                     const_dnnl_primitive_attr_t attr) {
  return od_check(dnnl_reorder_primitive_desc_create(out, MD(from), engine, MD(to), engine, attr), "reorder");
}

gp_status od_concat(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const od_md *dst, int count, const od_md *sources,
                    const_dnnl_primitive_attr_t attr) {
  enum { MOST = 64 };
  if (count > MOST) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "concat of %d inputs, at most %d", count, MOST);
#if IS_V3
  const_dnnl_memory_desc_t list[MOST];
  for (int i = 0; i < count; ++i) list[i] = sources[i].desc;
  return od_check(dnnl_concat_primitive_desc_create(out, engine, dst->desc, count, 1, list, attr), "concat");
#else
  dnnl_memory_desc_t list[MOST];
  for (int i = 0; i < count; ++i) list[i] = sources[i].desc;
  return od_check(dnnl_concat_primitive_desc_create(out, &dst->desc, count, 1, list, attr, engine), "concat");
#endif
}
