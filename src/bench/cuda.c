/* A GPU, by its driver and libgausspool_cuda. */
#include "base/cuda_driver.h"
#include "base/memory.h"
#include "base/status.h"
#include "bench/device.h"

#include <gausspool/gausspool_cuda.h>
#include <stdio.h>

/* Calls queued ahead of those that are timed: the GPU is busy with them while the host queues the others, so that it is not the
 * host's time that is measured. */
enum { LEAD = 2 };

typedef struct cuda_bench {
  bench_device base;
  cuda_device *device;
  cuda_stream stream;
  cuda_event begin, end;
} cuda_bench;

static cuda_bench *of(bench_device *device) { return (cuda_bench *)device; }

static gp_status cuda_bench_alloc(bench_device *device, void **out, size_t bytes) {
  return cuda_alloc(of(device)->device, out, bytes);
}

static void cuda_bench_release(bench_device *device, void *memory) { cuda_free(of(device)->device, memory); }

static gp_status cuda_bench_put(bench_device *device, void *to, const void *from, size_t bytes) {
  return cuda_put(of(device)->device, to, from, bytes, of(device)->stream);
}

static gp_status cuda_bench_room(bench_device *device, size_t *bytes, const char **whose) {
  *whose = "the GPU has free";
  return cuda_memory_left(of(device)->device, bytes);
}

static gp_status cuda_bench_forward(bench_device *device, const gp_pool_desc *desc, const gp_pool_forward_args *args) {
  return gp_cuda_pool_forward(desc, args, of(device)->stream);
}

static gp_status cuda_bench_backward(bench_device *device, const gp_pool_desc *desc,
                                     const gp_pool_backward_args *args) {
  return gp_cuda_pool_backward(desc, args, of(device)->stream);
}

static gp_status cuda_bench_time(bench_device *device, bench_call call, void *context, int64_t calls, double *seconds) {
  gp_status status = GP_OK;
  cuda_bench *b = of(device);
  for (int64_t turn = 0; turn < LEAD; ++turn) GP_TRY(call(context, turn));
  GP_TRY(cuda_event_record(b->device, b->begin, b->stream));
  for (int64_t turn = 0; turn < calls; ++turn) GP_TRY(call(context, LEAD + turn));
  GP_TRY(cuda_event_record(b->device, b->end, b->stream));
  GP_TRY(cuda_event_elapsed(b->device, b->begin, b->end, seconds));
  *seconds /= (double)calls;
cleanup:
  return status;
}

static gp_status cuda_bench_copy(bench_device *device, void *to, const void *from, size_t bytes) {
  return cuda_copy(of(device)->device, to, from, bytes, of(device)->stream);
}

static void cuda_bench_close(bench_device *device) {
  cuda_bench *b = of(device);
  if (b->device != NULL) {
    cuda_event_destroy(b->device, &b->begin);
    cuda_event_destroy(b->device, &b->end);
    cuda_stream_destroy(b->device, &b->stream);
  }
  cuda_device_close(&b->device);
  gp_free(b);
}

static const bench_device_ops cuda_ops = {
    .alloc = cuda_bench_alloc,
    .release = cuda_bench_release,
    .put = cuda_bench_put,
    .room = cuda_bench_room,
    .forward_workspace = gp_cuda_pool_forward_workspace,
    .backward_workspace = gp_cuda_pool_backward_workspace,
    .forward = cuda_bench_forward,
    .backward = cuda_bench_backward,
    .time = cuda_bench_time,
    .copy = cuda_bench_copy,
    .close = cuda_bench_close,
};

static void describe(bench_device *device, const cuda_device_info *info) {
  snprintf(device->name, sizeof device->name, "cuda:%d", info->index);
  snprintf(device->text, sizeof device->text,
           "%s (compute capability %d.%d, %d multiprocessors, %.0f MiB of L2 cache, %.1f GiB of memory), driver of "
           "CUDA %d.%d",
           info->name, info->capability[0], info->capability[1], info->multiprocessors,
           (double)info->l2_bytes / (1 << 20), (double)info->memory_bytes / (1 << 30), info->driver_version[0],
           info->driver_version[1]);
  device->cache_bytes = info->l2_bytes;
}

gp_status bench_cuda_open(bench_device **out, int index) {
  gp_status status = GP_OK;
  cuda_bench *b = NULL;
  *out = NULL;
  GP_TRY(GP_ALLOC(&b, 1));
  b->base.ops = &cuda_ops;
  GP_TRY(cuda_device_open(&b->device, index));
  GP_TRY(gp_cuda_available());
  GP_TRY(cuda_stream_create(b->device, &b->stream));
  GP_TRY(cuda_event_create(b->device, &b->begin));
  GP_TRY(cuda_event_create(b->device, &b->end));
  describe(&b->base, cuda_device_tell(b->device));
  *out = &b->base;
  b = NULL;
cleanup:
  if (b != NULL) cuda_bench_close(&b->base);
  return status == GP_OK ? GP_OK : gp_fail_in(status, "--device cuda:%d", index);
}
