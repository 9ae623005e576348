/* CUDA's driver, opened when it is first needed: devices, memory, streams and events, with our errors. Nothing of CUDA is needed to
 * build this, so one build serves machines with and without a GPU. The driver is libcuda.so.1, or the file that the environment
 * variable GAUSSPOOL_CUDA_DRIVER names.
 *
 * A device is used through its primary context, which CUDA's runtime uses too: memory and streams may be handed to a library that
 * calls the runtime, such as libgausspool_cuda. Calls may come from any thread, and leave the context current there.
 *
 * Errors of all: GP_ERROR_NOT_FOUND without a driver, GP_ERROR_UNSUPPORTED where it has no device, GP_ERROR_OUT_OF_MEMORY, otherwise
 * GP_ERROR_LIBRARY, also for kernels that failed before; the message names the driver's function. */
#ifndef GP_BASE_CUDA_DRIVER_H
#define GP_BASE_CUDA_DRIVER_H

#include <gausspool/gausspool.h>

typedef struct cuda_device cuda_device;
typedef void *cuda_stream; /* a cudaStream_t, too */
typedef void *cuda_event;

enum { CUDA_NAME_SIZE = 128 };

typedef struct cuda_device_info {
  int index;
  char name[CUDA_NAME_SIZE];
  int capability[2];     /* e.g. 9, 0 */
  int driver_version[2]; /* of CUDA, e.g. 13, 0 */
  int multiprocessors;
  size_t memory_bytes, l2_bytes; /* in all; l2: the cache that all multiprocessors share */
} cuda_device_info;

GP_NODISCARD gp_status cuda_device_count(int *count);

/* The device of that number, from 0 on. GP_ERROR_INVALID_ARGUMENT beyond the last. */
GP_NODISCARD gp_status cuda_device_open(cuda_device **out, int index);
void cuda_device_close(cuda_device **device);
const cuda_device_info *cuda_device_tell(const cuda_device *device);

/* Bytes that can still be allocated. */
GP_NODISCARD gp_status cuda_memory_left(cuda_device *device, size_t *bytes);

/* Memory of the device, aligned to 256 at least, not cleared; 0 bytes: NULL. */
GP_NODISCARD gp_status cuda_alloc(cuda_device *device, void **out, size_t bytes);
void cuda_free(cuda_device *device, void *memory);

GP_NODISCARD gp_status cuda_stream_create(cuda_device *device, cuda_stream *out);
void cuda_stream_destroy(cuda_device *device, cuda_stream *stream);

/* Waits for all that was queued. */
GP_NODISCARD gp_status cuda_stream_wait(cuda_device *device, cuda_stream stream);

/* From and to the host's memory, behind what was queued on the stream; they return when it is done. */
GP_NODISCARD gp_status cuda_put(cuda_device *device, void *to, const void *from, size_t bytes, cuda_stream stream);
GP_NODISCARD gp_status cuda_get(cuda_device *device, void *to, const void *from, size_t bytes, cuda_stream stream);

/* Queued on the stream: a copy within the device, and zeroes. */
GP_NODISCARD gp_status cuda_copy(cuda_device *device, void *to, const void *from, size_t bytes, cuda_stream stream);
GP_NODISCARD gp_status cuda_clear(cuda_device *device, void *memory, size_t bytes, cuda_stream stream);

GP_NODISCARD gp_status cuda_event_create(cuda_device *device, cuda_event *out);
void cuda_event_destroy(cuda_device *device, cuda_event *event);
GP_NODISCARD gp_status cuda_event_record(cuda_device *device, cuda_event event, cuda_stream stream);

/* Seconds from one recorded event to another, which it waits for. */
GP_NODISCARD gp_status cuda_event_elapsed(cuda_device *device, cuda_event from, cuda_event to, double *seconds);

#endif
