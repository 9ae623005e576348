/* What stands in for CUDA in libgausspool_cuda_host: one device, whose memory is the machine's. */
#include "pool/cuda/device.h"

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
