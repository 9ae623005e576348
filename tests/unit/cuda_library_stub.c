/* What the loader of libgausspool_cuda must refuse: a library of another version, and one that lacks functions. */
#include <gausspool/gausspool_cuda.h>

gp_status gp_cuda_available(void) { return GP_OK; }
const char *gp_last_error(void) { return ""; }
const char *gp_version(void) { return "0.0.0"; }

#ifndef STUB_INCOMPLETE
gp_status gp_cuda_pool_forward_workspace(const gp_pool_desc *desc, size_t *bytes) {
  (void)desc;
  *bytes = 0;
  return GP_OK;
}
gp_status gp_cuda_pool_backward_workspace(const gp_pool_desc *desc, size_t *bytes) {
  return gp_cuda_pool_forward_workspace(desc, bytes);
}
gp_status gp_cuda_pool_forward(const gp_pool_desc *desc, const gp_pool_forward_args *args, void *stream) {
  (void)desc;
  (void)args;
  (void)stream;
  return GP_OK;
}
gp_status gp_cuda_pool_backward(const gp_pool_desc *desc, const gp_pool_backward_args *args, void *stream) {
  (void)desc;
  (void)args;
  (void)stream;
  return GP_OK;
}
#endif
