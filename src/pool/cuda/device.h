/* The device that a call runs on. device.c asks CUDA; where the kernels run on the host, for tests, another file answers. */
#ifndef GP_POOL_CUDA_DEVICE_H
#define GP_POOL_CUDA_DEVICE_H

#include <gausspool/gausspool.h>

/* Whether there is a device at all. Errors: GP_ERROR_UNSUPPORTED without a driver or a device, here and below; GP_ERROR_LIBRARY for
 * whatever else CUDA reports, which may be of the caller's earlier kernels. */
GP_NODISCARD gp_status gp_cuda_device_check(void);

/* Makes the device that the memory lies on this thread's current one; *before is for gp_cuda_device_leave. Errors:
 * GP_ERROR_INVALID_ARGUMENT for memory of the host. */
GP_NODISCARD gp_status gp_cuda_device_enter(const void *memory, const char *name, int *before);
void gp_cuda_device_leave(int before);

/* Zeroes memory on the stream. */
GP_NODISCARD gp_status gp_cuda_device_clear(void *memory, size_t bytes, void *stream);

#endif
