/* libgausspool_cuda with its kernels on the host: what stands in for CUDA. */
#include "pool_cuda_calls.h"

#include "pool/cuda/device.h"

#include <gausspool/gausspool_cuda.h>

#include <string.h>

gp_status gp_cuda_device_check(void) { return GP_OK; }

gp_status gp_cuda_device_enter(const void *memory, const char *name, int *before) {
  (void)memory;
  (void)name;
  *before = 0;
  return GP_OK;
}

void gp_cuda_device_leave(int before) { (void)before; }

gp_status gp_cuda_device_clear(void *memory, size_t bytes, void *stream) {
  (void)stream;
  memset(memory, 0, bytes);
  return GP_OK;
}

static gp_status forward(const gp_pool_desc *desc, const gp_pool_forward_args *args) {
  return gp_cuda_pool_forward(desc, args, NULL);
}

static gp_status backward(const gp_pool_desc *desc, const gp_pool_backward_args *args) {
  return gp_cuda_pool_backward(desc, args, NULL);
}

const pool_calls pool_cuda_calls = {gp_cuda_pool_forward_workspace, forward, gp_cuda_pool_backward_workspace, backward,
                                    true};

bool pool_cuda_ready(void) { return true; }
