#include "pool/cuda/device.h"

#include "base/status.h"

#include <cuda_runtime_api.h>

static gp_status no_device(cudaError_t error) {
  return gp_fail(GP_ERROR_UNSUPPORTED, "pooling on CUDA needs an NVIDIA driver and a GPU, found: %s",
                 cudaGetErrorString(error));
}

gp_status gp_cuda_device_check(void) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
  return error == cudaSuccess ? GP_OK : no_device(error);
}

gp_status gp_cuda_device_enter(const void *memory, const char *name, int *before) {
  struct cudaPointerAttributes attributes;
  cudaError_t error = cudaPointerGetAttributes(&attributes, memory);
  if (error == cudaSuccess) error = cudaGetDevice(before);
  if (error != cudaSuccess) return no_device(error);
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling on CUDA: `%s` is not in a device's memory", name);
  if (attributes.device == *before) return GP_OK;
  error = cudaSetDevice(attributes.device);
  if (error == cudaSuccess) return GP_OK;
  return gp_fail(GP_ERROR_LIBRARY, "CUDA could not turn to device %d: %s", attributes.device,
                 cudaGetErrorString(error));
}

void gp_cuda_device_leave(int before) {
  int now = before;
  /* It was current a moment ago: setting it again does not fail. */
  if (cudaGetDevice(&now) == cudaSuccess && now != before) (void)cudaSetDevice(before);
}

gp_status gp_cuda_device_clear(void *memory, size_t bytes, void *stream) {
  cudaError_t error = cudaMemsetAsync(memory, 0, bytes, (cudaStream_t)stream);
  if (error == cudaSuccess) return GP_OK;
  return gp_fail(GP_ERROR_LIBRARY, "CUDA could not clear memory: %s", cudaGetErrorString(error));
}
