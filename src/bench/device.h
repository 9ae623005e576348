/* Where poolings are measured: in the host's memory, or on a GPU. */
#ifndef GP_BENCH_DEVICE_H
#define GP_BENCH_DEVICE_H

#include <gausspool/gausspool.h>

typedef struct bench_device bench_device;

/* Something to be timed; a GPU queues it. `turn` counts its calls, so that it can go round several sets of tensors. */
typedef gp_status (*bench_call)(void *context, int64_t turn);

typedef struct bench_device_ops {
  gp_status (*alloc)(bench_device *device, void **out, size_t bytes); /* aligned to 64 */
  void (*release)(bench_device *device, void *memory);
  /* From the host's memory; NULL: the device's is the host's. */
  gp_status (*put)(bench_device *device, void *to, const void *from, size_t bytes);
  /* Bytes that all tensors together can have (0: unknown), and whose they are, for messages: "the machine has". */
  gp_status (*room)(bench_device *device, size_t *bytes, const char **whose);

  gp_status (*forward_workspace)(const gp_pool_desc *desc, size_t *bytes);
  gp_status (*backward_workspace)(const gp_pool_desc *desc, size_t *bytes);
  gp_status (*forward)(bench_device *device, const gp_pool_desc *desc, const gp_pool_forward_args *args);
  gp_status (*backward)(bench_device *device, const gp_pool_desc *desc, const gp_pool_backward_args *args);

  /* Seconds of one call, on average over `calls`. */
  gp_status (*time)(bench_device *device, bench_call call, void *context, int64_t calls, double *seconds);
  /* A copy within the device, to be timed as a call. NULL: bytes a second are told by copy_speed instead, of a size far beyond
   * the caches. */
  gp_status (*copy)(bench_device *device, void *to, const void *from, size_t bytes);
  gp_status (*copy_speed)(bench_device *device, double *bytes_per_second);
  void (*close)(bench_device *device);
} bench_device_ops;

enum { BENCH_DEVICE_NAME_SIZE = 24, BENCH_DEVICE_TEXT_SIZE = 256 };

struct bench_device {
  const bench_device_ops *ops;
  char name[BENCH_DEVICE_NAME_SIZE]; /* as --device has it */
  char text[BENCH_DEVICE_TEXT_SIZE]; /* what it is, for people */
  size_t cache_bytes;                /* sets of tensors that calls go round are to exceed this by far; 0: one will do */
};

/* The processors of this machine, as many threads as gp_max_threads() says. */
GP_NODISCARD gp_status bench_host_open(bench_device **out);

/* The GPU of that number. Errors: those of base/cuda_driver.h, and of gp_cuda_available(). */
GP_NODISCARD gp_status bench_cuda_open(bench_device **out, int index);

/* "cpu", "cuda", "cuda:N": the number of the GPU, -1 for the processors. GP_ERROR_INVALID_ARGUMENT for anything else. */
GP_NODISCARD gp_status bench_device_parse(const char *text, int *index);

/* NULL is fine. */
void bench_device_close(bench_device **device);

#endif
