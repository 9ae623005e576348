#include "pool/cuda/device.h"

#include "base/status.h"

#include <cuda_runtime_api.h>

/* CUDA keeps a call's error for whoever asks for the last one next: it has been told here, and is nobody else's. */
static gp_status failed(cudaError_t error, const char *what) {
  (void)cudaGetLastError();
  switch (error) {
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorStubLibrary:
    case cudaErrorSystemDriverMismatch:
      return gp_fail(GP_ERROR_UNSUPPORTED, "pooling on CUDA needs an NVIDIA driver and a GPU, found: %s",
                     cudaGetErrorString(error));
    default: return gp_fail(GP_ERROR_LIBRARY, "CUDA could not %s: %s", what, cudaGetErrorString(error));
  }
}

gp_status gp_cuda_device_check(void) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
  return error == cudaSuccess ? GP_OK : failed(error, "count its devices");
}

gp_status gp_cuda_device_enter(const void *memory, const char *name, int *before) {
  struct cudaPointerAttributes attributes;
  cudaError_t error = cudaPointerGetAttributes(&attributes, memory);
  if (error != cudaSuccess) return failed(error, "tell what memory a pointer is to");
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling on CUDA: `%s` is not in a device's memory", name);
  error = cudaGetDevice(before);
  if (error != cudaSuccess) return failed(error, "tell the current device");
  if (attributes.device == *before) return GP_OK;
  error = cudaSetDevice(attributes.device);
  return error == cudaSuccess ? GP_OK : failed(error, "turn to the device of the tensors");
}

void gp_cuda_device_leave(int before) {
  int now = before;
  cudaError_t error = cudaGetDevice(&now);
  if (error == cudaSuccess && now != before) error = cudaSetDevice(before);
  /* It was current a moment ago. Should it fail all the same, the call's own result counts. */
  if (error != cudaSuccess) (void)cudaGetLastError();
}

gp_status gp_cuda_device_clear(void *memory, size_t bytes, void *stream) {
  cudaError_t error = cudaMemsetAsync(memory, 0, bytes, (cudaStream_t)stream);
  return error == cudaSuccess ? GP_OK : failed(error, "clear memory");
}
