/* The driver's wrapper, on the stand-in that GAUSSPOOL_CUDA_DRIVER names (tests/fake_cuda_driver.c). */
#include "base/cuda_driver.h"
#include "base/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 1000 };

static void assert_told(const char *text) {
  if (strstr(gp_last_error(), text) == NULL) fail_msg("\"%s\" is not in: %s", text, gp_last_error());
}

static cuda_device *opened(int index) {
  cuda_device *device = NULL;
  assert_int_equal(cuda_device_open(&device, index), GP_OK);
  return device;
}

static void test_devices(void **state) {
  (void)state;
  int count = 0;
  cuda_device *device = NULL;
  setenv("FAKE_CUDA_DEVICES", "2", 1);
  assert_int_equal(cuda_device_count(&count), GP_OK);
  assert_int_equal(count, 2);
  device = opened(1);
  const cuda_device_info *info = cuda_device_tell(device);
  assert_string_equal(info->name, "stand-in 1");
  assert_int_equal(info->index, 1);
  assert_int_equal(info->capability[0], 9);
  assert_int_equal(info->capability[1], 0);
  assert_int_equal(info->multiprocessors, 132);
  assert_int_equal(info->driver_version[0], 13);
  assert_int_equal(info->driver_version[1], 0);
  assert_int_equal(info->memory_bytes, 1 << 30);
  assert_int_equal(info->l2_bytes, 4096);
  cuda_device_close(&device);
  assert_null(device);
  cuda_device_close(&device);
  assert_int_equal(cuda_device_open(&device, 2), GP_ERROR_INVALID_ARGUMENT);
  assert_told("from 0 to 1, found 2");
  assert_null(device);
  setenv("FAKE_CUDA_DEVICES", "0", 1);
  assert_int_equal(cuda_device_open(&device, 0), GP_ERROR_UNSUPPORTED);
  assert_told("nvidia-smi");
  unsetenv("FAKE_CUDA_DEVICES");
}

/* Bytes go to the device, from one place there to another, and back. */
static void test_copies(void **state) {
  (void)state;
  cuda_device *device = opened(0);
  cuda_stream stream = NULL;
  void *a = NULL, *b = NULL;
  char from[BYTES], to[BYTES];
  for (int i = 0; i < BYTES; ++i) from[i] = (char)(i * 7);
  assert_int_equal(cuda_stream_create(device, &stream), GP_OK);
  assert_int_equal(cuda_alloc(device, &a, BYTES), GP_OK);
  assert_int_equal(cuda_alloc(device, &b, BYTES), GP_OK);
  assert_int_equal(cuda_put(device, a, from, BYTES, stream), GP_OK);
  assert_int_equal(cuda_clear(device, b, BYTES, stream), GP_OK);
  assert_int_equal(cuda_copy(device, (char *)b + 100, (char *)a + 300, 500, stream), GP_OK);
  assert_int_equal(cuda_stream_wait(device, stream), GP_OK);
  assert_int_equal(cuda_get(device, to, b, BYTES, stream), GP_OK);
  for (int i = 0; i < BYTES; ++i) assert_int_equal(to[i], i >= 100 && i < 600 ? from[i + 200] : 0);
  assert_int_equal(cuda_copy(device, b, a, BYTES + 1, stream), GP_ERROR_LIBRARY);
  assert_told("cuMemcpyDtoDAsync_v2");
  cuda_free(device, a);
  cuda_free(device, b);
  cuda_free(device, NULL);
  cuda_stream_destroy(device, &stream);
  assert_null(stream);
  cuda_device_close(&device);
}

static void test_memory(void **state) {
  (void)state;
  cuda_device *device = opened(0);
  size_t before = 0, left = 0;
  void *memory = NULL;
  assert_int_equal(cuda_memory_left(device, &before), GP_OK);
  assert_int_equal(cuda_alloc(device, &memory, 0), GP_OK);
  assert_null(memory);
  assert_int_equal(cuda_alloc(device, &memory, 1 << 20), GP_OK);
  assert_int_equal((uintptr_t)memory % 256, 0);
  assert_int_equal(cuda_memory_left(device, &left), GP_OK);
  assert_int_equal(before - left, 1 << 20);
  cuda_free(device, memory);
  assert_int_equal(cuda_memory_left(device, &left), GP_OK);
  assert_int_equal(before, left);
  assert_int_equal(cuda_alloc(device, &memory, (size_t)2 << 30), GP_ERROR_OUT_OF_MEMORY);
  assert_told("2048.0 MiB");
  assert_told("cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY");
  assert_null(memory);
  cuda_device_close(&device);
}

static void test_events(void **state) {
  (void)state;
  cuda_device *device = opened(0);
  cuda_stream stream = NULL;
  cuda_event from = NULL, to = NULL;
  double seconds = NAN;
  assert_int_equal(cuda_stream_create(device, &stream), GP_OK);
  assert_int_equal(cuda_event_create(device, &from), GP_OK);
  assert_int_equal(cuda_event_create(device, &to), GP_OK);
  assert_int_equal(cuda_event_elapsed(device, from, to, &seconds), GP_ERROR_LIBRARY);
  assert_told("cuEventSynchronize");
  assert_int_equal(cuda_event_record(device, from, stream), GP_OK);
  assert_int_equal(cuda_event_record(device, to, stream), GP_OK);
  assert_int_equal(cuda_event_elapsed(device, from, to, &seconds), GP_OK);
  assert_true(seconds > 0 && seconds < 1000);
  cuda_event_destroy(device, &from);
  cuda_event_destroy(device, &to);
  assert_null(from);
  cuda_stream_destroy(device, &stream);
  cuda_device_close(&device);
}

/* A kernel's failure shows in the next call, which says what to do. */
static void test_failed_kernel(void **state) {
  (void)state;
  cuda_device *device = opened(0);
  cuda_stream stream = NULL;
  assert_int_equal(cuda_stream_create(device, &stream), GP_OK);
  setenv("FAKE_CUDA_FAIL", "cuStreamSynchronize", 1);
  assert_int_equal(cuda_stream_wait(device, stream), GP_ERROR_LIBRARY);
  assert_told("cuStreamSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS");
  assert_told("compute-sanitizer");
  unsetenv("FAKE_CUDA_FAIL");
  cuda_stream_destroy(device, &stream);
  cuda_device_close(&device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_devices), cmocka_unit_test(test_copies),        cmocka_unit_test(test_memory),
      cmocka_unit_test(test_events),  cmocka_unit_test(test_failed_kernel),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
