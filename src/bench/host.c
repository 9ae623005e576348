/* The machine's own processors. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "bench/copy.h"
#include "bench/device.h"

#include <stdio.h>
#include <unistd.h>

typedef struct host_device {
  bench_device base;
  bench_copy copy;
} host_device;

static gp_status host_alloc(bench_device *device, void **out, size_t bytes) {
  (void)device;
  return gp_alloc(out, bytes, 1);
}

static void host_release(bench_device *device, void *memory) {
  (void)device;
  gp_free(memory);
}

static gp_status host_room(bench_device *device, size_t *bytes, const char **whose) {
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  (void)device;
  *bytes = pages > 0 && size > 0 ? (size_t)pages * (size_t)size : 0;
  *whose = "the machine has";
  return GP_OK;
}

static gp_status host_forward(bench_device *device, const gp_pool_desc *desc, const gp_pool_forward_args *args) {
  (void)device;
  return gp_pool_forward(desc, args);
}

static gp_status host_backward(bench_device *device, const gp_pool_desc *desc, const gp_pool_backward_args *args) {
  (void)device;
  return gp_pool_backward(desc, args);
}

static gp_status host_time(bench_device *device, bench_call call, void *context, int64_t calls, double *seconds) {
  gp_status status = GP_OK;
  (void)device;
  const double started = gp_seconds();
  for (int64_t turn = 0; turn < calls; ++turn) GP_TRY(call(context, turn));
  *seconds = (gp_seconds() - started) / (double)calls;
cleanup:
  return status;
}

static gp_status host_copy_speed(bench_device *device, double *bytes_per_second) {
  *bytes_per_second = bench_copy_run(&((host_device *)device)->copy);
  return GP_OK;
}

static void host_close(bench_device *device) {
  bench_copy_clear(&((host_device *)device)->copy);
  gp_free(device);
}

static const bench_device_ops host_ops = {
    .alloc = host_alloc,
    .release = host_release,
    .room = host_room,
    .forward_workspace = gp_pool_forward_workspace,
    .backward_workspace = gp_pool_backward_workspace,
    .forward = host_forward,
    .backward = host_backward,
    .time = host_time,
    .copy_speed = host_copy_speed,
    .close = host_close,
};

gp_status bench_host_open(bench_device **out) {
  gp_status status = GP_OK;
  host_device *host = NULL;
  const int threads = (int)gp_max_threads();
  *out = NULL;
  GP_TRY(GP_ALLOC(&host, 1));
  host->base.ops = &host_ops;
  snprintf(host->base.name, sizeof host->base.name, "cpu");
  snprintf(host->base.text, sizeof host->base.text, "%d %s, %s", threads, threads == 1 ? "thread" : "threads",
           gp_cpu_isa());
  GP_TRY(bench_copy_create(&host->copy));
  *out = &host->base;
  host = NULL;
cleanup:
  if (host != NULL) host_close(&host->base);
  return status;
}
