#include "base/cuda_driver.h"

#include "base/memory.h"
#include "base/status.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The driver's interface, as far as it is used ------------------------------------------- */

/* Its types: results are an int, devices an int, device memory is a number of 64 bits, all else is an opaque pointer. */
typedef unsigned long long address;

/* Name here, the function's name in the library (a suffix is its interface's version), parameters. */
#define DRIVER_FUNCTIONS(X)                                                                    \
  X(init, cuInit, (unsigned flags))                                                            \
  X(error_name, cuGetErrorName, (int error, const char **text))                                \
  X(error_text, cuGetErrorString, (int error, const char **text))                              \
  X(version, cuDriverGetVersion, (int *version))                                               \
  X(device_count, cuDeviceGetCount, (int *count))                                              \
  X(device_get, cuDeviceGet, (int *device, int index))                                         \
  X(device_name, cuDeviceGetName, (char *name, int size, int device))                          \
  X(device_attribute, cuDeviceGetAttribute, (int *value, int attribute, int device))           \
  X(device_memory, cuDeviceTotalMem_v2, (size_t * bytes, int device))                          \
  X(context_retain, cuDevicePrimaryCtxRetain, (void **context, int device))                    \
  X(context_release, cuDevicePrimaryCtxRelease_v2, (int device))                               \
  X(context_set, cuCtxSetCurrent, (void *context))                                             \
  X(memory_info, cuMemGetInfo_v2, (size_t * left, size_t * total))                             \
  X(alloc, cuMemAlloc_v2, (address * memory, size_t bytes))                                    \
  X(free, cuMemFree_v2, (address memory))                                                      \
  X(put, cuMemcpyHtoDAsync_v2, (address to, const void *from, size_t bytes, void *stream))     \
  X(get, cuMemcpyDtoHAsync_v2, (void *to, address from, size_t bytes, void *stream))           \
  X(copy, cuMemcpyDtoDAsync_v2, (address to, address from, size_t bytes, void *stream))        \
  X(clear, cuMemsetD8Async, (address memory, unsigned char value, size_t bytes, void *stream)) \
  X(stream_create, cuStreamCreate, (void **stream, unsigned flags))                            \
  X(stream_destroy, cuStreamDestroy_v2, (void *stream))                                        \
  X(stream_wait, cuStreamSynchronize, (void *stream))                                          \
  X(event_create, cuEventCreate, (void **event, unsigned flags))                               \
  X(event_destroy, cuEventDestroy_v2, (void *event))                                           \
  X(event_record, cuEventRecord, (void *event, void *stream))                                  \
  X(event_wait, cuEventSynchronize, (void *event))                                             \
  X(event_elapsed, cuEventElapsedTime, (float *milliseconds, void *from, void *to))

#define AS_POINTER(here, name, parameters) int(*here) parameters;
static struct { DRIVER_FUNCTIONS(AS_POINTER) } driver;

enum { STREAM_NON_BLOCKING = 1 };
enum { OUT_OF_MEMORY = 2, NO_DEVICE = 100, KERNEL_ERRORS = 700, KERNEL_ERRORS_END = 720 };
enum { MULTIPROCESSORS = 16, L2_BYTES = 38, CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76 };

/* ---- Opening it --------------------------------------------------------------------------- */

enum { MESSAGE_SIZE = 600 };
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded;
static char reason[MESSAGE_SIZE]; /* why not */

static void load(void) {
  const char *given = getenv("GAUSSPOOL_CUDA_DRIVER");
  const char *path = given != NULL && given[0] != '\0' ? given : "libcuda.so.1";
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    const char *error = dlerror();
    snprintf(reason, sizeof reason,
             "expected NVIDIA's driver, found none: %s (where libcuda.so.1 lies where the system does not look, set "
             "GAUSSPOOL_CUDA_DRIVER to its path)",
             error != NULL ? error : path);
    return;
  }
  const char *missing = NULL;
  /* ISO C has no cast from a pointer to data, which dlsym gives, to one to a function. */
#define FIND(here, name, parameters)                        \
  {                                                         \
    void *symbol = dlsym(library, #name);                   \
    memcpy(&driver.here, &symbol, sizeof symbol);           \
    if (symbol == NULL && missing == NULL) missing = #name; \
  }
  DRIVER_FUNCTIONS(FIND)
  if (missing != NULL)
    snprintf(reason, sizeof reason, "%s: expected the driver of CUDA 11 or newer, found one without %s", path, missing);
  loaded = missing == NULL;
  /* It stays open, as CUDA's runtime keeps it open. */
}

static gp_status refused(int error, const char *function) {
  const char *name = NULL, *text = NULL;
  (void)driver.error_name(error, &name);
  (void)driver.error_text(error, &text);
  gp_status status = error == OUT_OF_MEMORY ? GP_ERROR_OUT_OF_MEMORY
                     : error == NO_DEVICE   ? GP_ERROR_UNSUPPORTED
                                            : GP_ERROR_LIBRARY;
  const char *advice = error == OUT_OF_MEMORY ? "nvidia-smi tells what else holds the GPU's memory"
                       : error == NO_DEVICE   ? "does nvidia-smi list a GPU, and does CUDA_VISIBLE_DEVICES leave it?"
                       : error >= KERNEL_ERRORS && error < KERNEL_ERRORS_END
                           ? "a kernel that was started before failed; compute-sanitizer tells where"
                           : "nvidia-smi tells the state of driver and GPU";
  return gp_fail(status, "CUDA: %s: %s (%s); %s", function, name != NULL ? name : "unknown error",
                 text != NULL ? text : "no text for it", advice);
}

#define AS_TEXT(here, name, parameters) const char *here;
#define TEXT(here, name, parameters)    .here = #name,
static const struct { DRIVER_FUNCTIONS(AS_TEXT) } names = {DRIVER_FUNCTIONS(TEXT)};

/* Calls one of the driver's functions, in a function with a label `cleanup`. */
#define CALL(here, ...)                                   \
  do {                                                    \
    const int error_ = driver.here(__VA_ARGS__);          \
    if (error_ != 0) GP_TRY(refused(error_, names.here)); \
  } while (0)

static gp_status need(void) {
  gp_status status = GP_OK;
  pthread_once(&once, load);
  if (!loaded) return gp_fail(GP_ERROR_NOT_FOUND, "%s", reason);
  CALL(init, 0);
cleanup:
  return status;
}

/* ---- Devices ------------------------------------------------------------------------------- */

struct cuda_device {
  cuda_device_info info;
  int number; /* the driver's */
  void *context;
};

gp_status cuda_device_count(int *count) {
  gp_status status = GP_OK;
  *count = 0;
  GP_TRY(need());
  CALL(device_count, count);
  if (*count == 0) GP_TRY(refused(NO_DEVICE, names.device_count));
cleanup:
  return status;
}

static gp_status read_info(cuda_device *device) {
  gp_status status = GP_OK;
  cuda_device_info *info = &device->info;
  int version = 0, l2 = 0;
  CALL(device_name, info->name, sizeof info->name - 1, device->number);
  CALL(device_attribute, &info->capability[0], CAPABILITY_MAJOR, device->number);
  CALL(device_attribute, &info->capability[1], CAPABILITY_MINOR, device->number);
  CALL(device_attribute, &info->multiprocessors, MULTIPROCESSORS, device->number);
  CALL(device_attribute, &l2, L2_BYTES, device->number);
  CALL(device_memory, &info->memory_bytes, device->number);
  CALL(version, &version);
  info->l2_bytes = (size_t)l2;
  info->driver_version[0] = version / 1000;
  info->driver_version[1] = version % 1000 / 10;
cleanup:
  return status;
}

gp_status cuda_device_open(cuda_device **out, int index) {
  gp_status status = GP_OK;
  cuda_device *device = NULL;
  int count = 0;
  *out = NULL;
  GP_TRY(cuda_device_count(&count));
  if (index < 0 || index >= count)
    GP_TRY(
        gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected the number of a GPU, from 0 to %d, found %d", count - 1, index));
  GP_TRY(GP_ALLOC(&device, 1));
  device->info.index = index;
  CALL(device_get, &device->number, index);
  GP_TRY(read_info(device));
  CALL(context_retain, &device->context, device->number);
  *out = device;
  device = NULL;
cleanup:
  cuda_device_close(&device);
  return status;
}

void cuda_device_close(cuda_device **device_pointer) {
  cuda_device *device = *device_pointer;
  if (device == NULL) return;
  if (device->context != NULL) (void)driver.context_release(device->number);
  gp_free(device);
  *device_pointer = NULL;
}

const cuda_device_info *cuda_device_tell(const cuda_device *device) { return &device->info; }

/* ---- Memory ------------------------------------------------------------------------------- */

static address address_of(const void *memory) { return (uintptr_t)memory; }

gp_status cuda_memory_left(cuda_device *device, size_t *bytes) {
  gp_status status = GP_OK;
  size_t total = 0;
  *bytes = 0;
  CALL(context_set, device->context);
  CALL(memory_info, bytes, &total);
cleanup:
  return status;
}

gp_status cuda_alloc(cuda_device *device, void **out, size_t bytes) {
  gp_status status = GP_OK;
  address memory = 0;
  *out = NULL;
  if (bytes == 0) return GP_OK;
  CALL(context_set, device->context);
  CALL(alloc, &memory, bytes);
  *out = (void *)(uintptr_t)memory;
cleanup:
  return status == GP_OK ? GP_OK : gp_fail_in(status, "%.1f MiB on the GPU", (double)bytes / (1 << 20));
}

void cuda_free(cuda_device *device, void *memory) {
  if (memory != NULL && driver.context_set(device->context) == 0) (void)driver.free(address_of(memory));
}

gp_status cuda_put(cuda_device *device, void *to, const void *from, size_t bytes, cuda_stream stream) {
  gp_status status = GP_OK;
  CALL(context_set, device->context);
  CALL(put, address_of(to), from, bytes, stream);
  CALL(stream_wait, stream);
cleanup:
  return status;
}

gp_status cuda_get(cuda_device *device, void *to, const void *from, size_t bytes, cuda_stream stream) {
  gp_status status = GP_OK;
  CALL(context_set, device->context);
  CALL(get, to, address_of(from), bytes, stream);
  CALL(stream_wait, stream);
cleanup:
  return status;
}

gp_status cuda_copy(cuda_device *device, void *to, const void *from, size_t bytes, cuda_stream stream) {
  gp_status status = GP_OK;
  CALL(context_set, device->context);
  CALL(copy, address_of(to), address_of(from), bytes, stream);
cleanup:
  return status;
}

gp_status cuda_clear(cuda_device *device, void *memory, size_t bytes, cuda_stream stream) {
  gp_status status = GP_OK;
  CALL(context_set, device->context);
  CALL(clear, address_of(memory), 0, bytes, stream);
cleanup:
  return status;
}

/* ---- Streams and events -------------------------------------------------------------------- */

gp_status cuda_stream_create(cuda_device *device, cuda_stream *out) {
  gp_status status = GP_OK;
  *out = NULL;
  CALL(context_set, device->context);
  CALL(stream_create, out, STREAM_NON_BLOCKING);
cleanup:
  return status;
}

void cuda_stream_destroy(cuda_device *device, cuda_stream *stream) {
  if (*stream != NULL && driver.context_set(device->context) == 0) (void)driver.stream_destroy(*stream);
  *stream = NULL;
}

gp_status cuda_stream_wait(cuda_device *device, cuda_stream stream) {
  gp_status status = GP_OK;
  CALL(context_set, device->context);
  CALL(stream_wait, stream);
cleanup:
  return status;
}

gp_status cuda_event_create(cuda_device *device, cuda_event *out) {
  gp_status status = GP_OK;
  *out = NULL;
  CALL(context_set, device->context);
  CALL(event_create, out, 0);
cleanup:
  return status;
}

void cuda_event_destroy(cuda_device *device, cuda_event *event) {
  if (*event != NULL && driver.context_set(device->context) == 0) (void)driver.event_destroy(*event);
  *event = NULL;
}

gp_status cuda_event_record(cuda_device *device, cuda_event event, cuda_stream stream) {
  gp_status status = GP_OK;
  CALL(context_set, device->context);
  CALL(event_record, event, stream);
cleanup:
  return status;
}

gp_status cuda_event_elapsed(cuda_device *device, cuda_event from, cuda_event to, double *seconds) {
  gp_status status = GP_OK;
  float milliseconds = 0;
  CALL(context_set, device->context);
  CALL(event_wait, to);
  CALL(event_elapsed, &milliseconds, from, to);
  *seconds = 1e-3 * (double)milliseconds;
cleanup:
  return status;
}
