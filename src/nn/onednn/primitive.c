#include "nn/onednn/primitive.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"

static gp_status add_argument(od_primitive *p, const nn_device *device, const_dnnl_primitive_desc_t pd, int argument) {
  od_md md = {0};
  gp_status status = GP_OK;
  GP_TRY(od_md_of_argument(&md, pd, argument));
  dnnl_exec_arg_t *arg = &p->args[p->count];
  GP_TRY(od_memory_create(&arg->memory, &md, device->engine));
  arg->arg = argument;
  ++p->count;
cleanup:
  od_md_clear(&md);
  return status;
}

gp_status od_argument_bytes(const_dnnl_primitive_desc_t pd, int argument, size_t *bytes) {
  od_md md = {0};
  gp_status status = od_md_of_argument(&md, pd, argument);
  *bytes = status == GP_OK ? od_md_bytes(&md) : 0;
  od_md_clear(&md);
  return status;
}

gp_status od_primitive_create(od_primitive *p, const nn_device *device, const_dnnl_primitive_desc_t pd,
                              const int *arguments) {
  gp_status status = GP_OK;
  size_t listed = 0;
  while (arguments[listed] != 0) ++listed;
  GP_TRY(GP_ALLOC(&p->args, listed + 1));
  GP_TRY(od_check(dnnl_primitive_create(&p->primitive, pd), "making a primitive"));
  for (size_t i = 0; i < listed; ++i) GP_TRY(add_argument(p, device, pd, arguments[i]));
  GP_TRY(od_argument_bytes(pd, DNNL_ARG_SCRATCHPAD, &p->scratch_bytes));
  if (p->scratch_bytes > 0) GP_TRY(add_argument(p, device, pd, DNNL_ARG_SCRATCHPAD));
cleanup:
  return status;
}

gp_status od_primitive_set(od_primitive *p, int argument, const void *data) {
  for (int32_t i = 0; i < p->count; ++i)
    if (p->args[i].arg == argument)
      return od_check(dnnl_memory_set_data_handle(p->args[i].memory, (void *)data), "setting a memory handle");
  return GP_OK;
}

gp_status od_primitive_run(const od_primitive *p, const nn_device *device) {
  dnnl_status_t result = dnnl_primitive_execute(p->primitive, device->stream, p->count, p->args);
  if (result == dnnl_success) result = dnnl_stream_wait(device->stream);
  return od_check(result, "running a primitive");
}

void od_primitive_clear(od_primitive *p) {
  for (int32_t i = 0; i < p->count; ++i) dnnl_memory_destroy(p->args[i].memory);
  gp_free(p->args);
  if (p->primitive != NULL) dnnl_primitive_destroy(p->primitive);
  memset(p, 0, sizeof *p);
}

void od_describe(nn_kernel *kernel, const_dnnl_primitive_desc_t pd) {
  const char *name = NULL;
  if (dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success || name == NULL) name = "";
  snprintf(kernel->implementation, sizeof kernel->implementation, "%s", name);
}

gp_status od_md_of_tensor(od_md *out, const nn_tensor *t) {
  static const dnnl_format_tag_t tags[] = {
      [GP_NCHW] = dnnl_nchw, [GP_NHWC] = dnnl_nhwc, [GP_NCHW8C] = dnnl_nChw8c, [GP_NCHW16C] = dnnl_nChw16c};
  int64_t dims[] = {t->batch, t->shape.channels, t->shape.height, t->shape.width};
  /* On 1×1 maps the plain orders are one; the library's kernels look for channels-last. */
  bool one = t->shape.height == 1 && t->shape.width == 1 && t->layout == GP_NCHW;
  return od_md_create_typed(out, 4, dims, od_type(t->type), one ? dnnl_nhwc : tags[t->layout]);
}
