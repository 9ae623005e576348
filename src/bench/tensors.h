/* The tensors of a place, which all its poolings share, on any device. */
#ifndef GP_BENCH_TENSORS_H
#define GP_BENCH_TENSORS_H

#include "bench/device.h"

/* One pooling's; grad_x is as large as x, grad_y as y. */
typedef struct bench_set {
  void *x, *grad_y; /* random numbers, side by side */
  void *y, *grad_x; /* written, side by side */
} bench_set;

/* Zero-initialise. */
typedef struct bench_tensors {
  bench_device *device;
  char *memory;
  size_t x_bytes, y_bytes;
  size_t y_offset, grad_y_offset, grad_x_offset, set_bytes; /* in `memory`; x comes first */
  int64_t sets;
} bench_tensors;

/* Allocates and fills them; so many sets that x and y of all are far beyond the device's cache, within limits. Errors:
 * GP_ERROR_OUT_OF_MEMORY, also when they exceed the memory there is. */
GP_NODISCARD gp_status bench_tensors_create(bench_tensors *out, bench_device *device, const gp_pool_desc *pool);
void bench_tensors_clear(bench_tensors *tensors);

/* The sets in turn. */
bench_set bench_tensors_at(const bench_tensors *tensors, int64_t turn);

/* Numbers uniform on [low, high), from a generator keyed by the array, the same on every device. */
typedef struct bench_filling {
  void *array;
  gp_dtype dtype;
  size_t elements;
  uint64_t key;
  float low, high;
} bench_filling;
GP_NODISCARD gp_status bench_fill(bench_device *device, const bench_filling *filling);

#endif
