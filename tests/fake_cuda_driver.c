/* A stand-in for libcuda.so.1 on machines without a GPU, for GAUSSPOOL_CUDA_DRIVER: device memory is the host's, everything is done
 * at once, events tell the time of day. What the real one refuses is refused: calls before cuInit or without a context, accesses
 * beyond an allocation, events that were not recorded. New memory holds NaN.
 *
 *     FAKE_CUDA_DEVICES=N    devices (1)        FAKE_CUDA_MEMORY=BYTES    of each (1 GiB)
 *     FAKE_CUDA_FAIL=NAME    that function fails, as after a kernel that did
 *     FAKE_CUDA_COPY=N       events tell what copies within the device took at N bytes a second, read and written, and no other time */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101 };
enum { INVALID_CONTEXT = 201, INVALID_HANDLE = 400, ILLEGAL_ADDRESS = 700 };
enum { MOST_BLOCKS = 4096, L2_BYTES = 4096 };

typedef unsigned long long address;

static bool ready;
static void *current;
static int context; /* its address is the primary context's handle */
static struct {
  char *memory;
  size_t bytes;
} blocks[MOST_BLOCKS];
static size_t used;

static size_t setting(const char *name, size_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? (size_t)strtoull(text, NULL, 10) : otherwise;
}
static size_t memory_bytes(void) { return setting("FAKE_CUDA_MEMORY", (size_t)1 << 30); }
static int devices(void) { return (int)setting("FAKE_CUDA_DEVICES", 1); }

/* What every call begins with. */
static int begin(const char *name, bool needs_context) {
  const char *failing = getenv("FAKE_CUDA_FAIL");
  if (failing != NULL && strcmp(failing, name) == 0) return ILLEGAL_ADDRESS;
  if (!ready) return NOT_INITIALIZED;
  return needs_context && current == NULL ? INVALID_CONTEXT : OK;
}

static bool inside(address at, size_t bytes) {
  for (int i = 0; i < MOST_BLOCKS; ++i) {
    const address start = (uintptr_t)blocks[i].memory;
    if (blocks[i].memory != NULL && at >= start && at + bytes <= start + blocks[i].bytes) return true;
  }
  return false;
}

#define BEGIN(needs_context)                            \
  do {                                                  \
    const int failed_ = begin(__func__, needs_context); \
    if (failed_ != OK) return failed_;                  \
  } while (0)

/* ---- Devices ------------------------------------------------------------------------------- */

EXPORT int cuInit(unsigned flags) {
  ready = true;
  BEGIN(false);
  if (flags != 0) return INVALID_VALUE;
  return devices() > 0 ? OK : NO_DEVICE;
}

EXPORT int cuGetErrorName(int error, const char **text) {
  *text = error == OUT_OF_MEMORY     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == NO_DEVICE       ? "CUDA_ERROR_NO_DEVICE"
          : error == INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT"
          : error == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                     : "CUDA_ERROR_INVALID_VALUE";
  return OK;
}

EXPORT int cuGetErrorString(int error, const char **text) {
  (void)error;
  *text = "as the stand-in for the driver has it";
  return OK;
}

EXPORT int cuDriverGetVersion(int *version) {
  *version = 13000;
  return OK;
}

EXPORT int cuDeviceGetCount(int *count) {
  BEGIN(false);
  *count = devices();
  return OK;
}

EXPORT int cuDeviceGet(int *device, int index) {
  BEGIN(false);
  *device = 100 + index; /* a handle need not be the index */
  return index >= 0 && index < devices() ? OK : INVALID_DEVICE;
}

EXPORT int cuDeviceGetName(char *name, int size, int device) {
  BEGIN(false);
  return snprintf(name, (size_t)size, "stand-in %d", device - 100) < size ? OK : INVALID_VALUE;
}

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
  BEGIN(false);
  *value = attribute == 75 ? 9 : attribute == 76 ? 0 : attribute == 16 ? 132 : attribute == 38 ? L2_BYTES : -1;
  return device >= 100 && *value >= 0 ? OK : INVALID_VALUE;
}

EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  BEGIN(false);
  *bytes = memory_bytes();
  return device >= 100 ? OK : INVALID_DEVICE;
}

EXPORT int cuDevicePrimaryCtxRetain(void **out, int device) {
  BEGIN(false);
  *out = &context;
  return device >= 100 ? OK : INVALID_DEVICE;
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
  BEGIN(false);
  current = NULL;
  return device >= 100 ? OK : INVALID_DEVICE;
}

EXPORT int cuCtxSetCurrent(void *wanted) {
  BEGIN(false);
  current = wanted;
  return wanted == NULL || wanted == &context ? OK : INVALID_CONTEXT;
}

/* ---- Memory ------------------------------------------------------------------------------- */

EXPORT int cuMemGetInfo_v2(size_t *left, size_t *total) {
  BEGIN(true);
  *total = memory_bytes();
  *left = *total - used;
  return OK;
}

EXPORT int cuMemAlloc_v2(address *out, size_t bytes) {
  BEGIN(true);
  if (bytes == 0) return INVALID_VALUE;
  if (bytes > memory_bytes() - used) return OUT_OF_MEMORY;
  for (int i = 0; i < MOST_BLOCKS; ++i) {
    if (blocks[i].memory != NULL) continue;
    blocks[i].memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (blocks[i].memory == NULL) return OUT_OF_MEMORY;
    blocks[i].bytes = bytes;
    memset(blocks[i].memory, 0xFF, bytes);
    used += bytes;
    *out = (uintptr_t)blocks[i].memory;
    return OK;
  }
  return OUT_OF_MEMORY;
}

EXPORT int cuMemFree_v2(address memory) {
  BEGIN(true);
  for (int i = 0; i < MOST_BLOCKS; ++i) {
    if (blocks[i].memory == NULL || (uintptr_t)blocks[i].memory != memory) continue;
    free(blocks[i].memory);
    used -= blocks[i].bytes;
    blocks[i].memory = NULL;
    return OK;
  }
  return INVALID_VALUE;
}

/* The one stream there is, and the bytes that copies on it have read and written. */
static int stream_handle;
static double copied;

EXPORT int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, void *stream) {
  BEGIN(true);
  if (!inside(to, bytes) || stream != &stream_handle) return INVALID_VALUE;
  memcpy((void *)(uintptr_t)to, from, bytes);
  return OK;
}

EXPORT int cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, void *stream) {
  BEGIN(true);
  if (!inside(from, bytes) || stream != &stream_handle) return INVALID_VALUE;
  memcpy(to, (const void *)(uintptr_t)from, bytes);
  return OK;
}

EXPORT int cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, void *stream) {
  BEGIN(true);
  if (!inside(to, bytes) || !inside(from, bytes) || stream != &stream_handle) return INVALID_VALUE;
  if (to < from + bytes && from < to + bytes) return INVALID_VALUE;
  memcpy((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
  copied += 2 * (double)bytes;
  return OK;
}

EXPORT int cuMemsetD8Async(address memory, unsigned char value, size_t bytes, void *stream) {
  BEGIN(true);
  if (!inside(memory, bytes) || stream != &stream_handle) return INVALID_VALUE;
  memset((void *)(uintptr_t)memory, value, bytes);
  return OK;
}

/* ---- Streams and events -------------------------------------------------------------------- */

EXPORT int cuStreamCreate(void **stream, unsigned flags) {
  BEGIN(true);
  *stream = &stream_handle;
  return flags <= 1 ? OK : INVALID_VALUE;
}

EXPORT int cuStreamDestroy_v2(void *stream) {
  BEGIN(true);
  return stream == &stream_handle ? OK : INVALID_HANDLE;
}

EXPORT int cuStreamSynchronize(void *stream) {
  BEGIN(true);
  return stream == &stream_handle ? OK : INVALID_HANDLE;
}

typedef struct event {
  bool recorded;
  double seconds;
} event;

static double now(void) {
  const size_t speed = setting("FAKE_CUDA_COPY", 0);
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return speed > 0 ? copied / (double)speed : (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

EXPORT int cuEventCreate(void **out, unsigned flags) {
  BEGIN(true);
  *out = calloc(1, sizeof(event));
  return flags == 0 && *out != NULL ? OK : INVALID_VALUE;
}

EXPORT int cuEventDestroy_v2(void *destroyed) {
  BEGIN(true);
  free(destroyed);
  return OK;
}

EXPORT int cuEventRecord(void *recorded, void *stream) {
  BEGIN(true);
  *(event *)recorded = (event){true, now()};
  return stream == &stream_handle ? OK : INVALID_HANDLE;
}

EXPORT int cuEventSynchronize(void *awaited) {
  BEGIN(true);
  return ((const event *)awaited)->recorded ? OK : INVALID_HANDLE;
}

/* At least half a microsecond, which is what the real one can tell apart. */
EXPORT int cuEventElapsedTime(float *milliseconds, void *from, void *to) {
  const event *a = from, *b = to;
  BEGIN(true);
  if (!a->recorded || !b->recorded) return INVALID_HANDLE;
  const double passed = 1e3 * (b->seconds - a->seconds);
  *milliseconds = passed > 0.0005 ? (float)passed : 0.0005F;
  return OK;
}
