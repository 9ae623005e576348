/* device.c on a stand-in for CUDA's runtime, whose answers the tests choose: the device is set and set back, memory of the host is
 * refused, errors are told apart and none is left behind. */
#include "base/status.h"
#include "pool/cuda/device.h"

#include <cuda_runtime_api.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* ---- The stand-in -------------------------------------------------------------------------- */

static struct {
  int devices, current, sets;          /* how many there are, the current one, how often it was set */
  struct cudaPointerAttributes memory; /* of every pointer */
  cudaError_t answer;                  /* of every call but the last error's */
  cudaError_t last;
} cuda;

static cudaError_t answer(void) {
  if (cuda.answer != cudaSuccess) cuda.last = cuda.answer;
  return cuda.answer;
}

cudaError_t cudaGetDeviceCount(int *count) {
  *count = cuda.devices;
  return answer();
}
cudaError_t cudaGetDevice(int *device) {
  *device = cuda.current;
  return answer();
}
cudaError_t cudaSetDevice(int device) {
  cuda.current = device;
  ++cuda.sets;
  return answer();
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *memory) {
  (void)memory;
  *attributes = cuda.memory;
  return answer();
}
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
  (void)stream;
  if (cuda.answer == cudaSuccess) memset(memory, value, bytes);
  return answer();
}
cudaError_t cudaGetLastError(void) {
  cudaError_t last = cuda.last;
  cuda.last = cudaSuccess;
  return last;
}
const char *cudaGetErrorString(cudaError_t error) { return error == cudaErrorIllegalAddress ? "illegal" : "other"; }

static void prepare(void) {
  memset(&cuda, 0, sizeof cuda);
  cuda.devices = 2;
  cuda.memory.type = cudaMemoryTypeDevice;
}

/* ---- The tests ----------------------------------------------------------------------------- */

static void test_device_is_set_and_set_back(void **state) {
  (void)state;
  prepare();
  int before = -1, number = 0;
  assert_int_equal(gp_cuda_device_enter(&number, "x", &before), GP_OK);
  gp_cuda_device_leave(before);
  assert_int_equal(cuda.sets, 0); /* it lies on the current one */
  cuda.memory.device = 1;
  cuda.memory.type = cudaMemoryTypeManaged;
  assert_int_equal(gp_cuda_device_enter(&number, "x", &before), GP_OK);
  assert_int_equal(before, 0);
  assert_int_equal(cuda.current, 1);
  gp_cuda_device_leave(before);
  assert_int_equal(cuda.current, 0);
  assert_int_equal(cuda.sets, 2);
}

static void test_host_memory_is_refused(void **state) {
  (void)state;
  prepare();
  int before, number = 0;
  cuda.memory.device = 1;
  cuda.memory.type = cudaMemoryTypeHost;
  assert_int_equal(gp_cuda_device_enter(&number, "grad_y", &before), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "`grad_y`"));
  cuda.memory.type = cudaMemoryTypeUnregistered;
  assert_int_equal(gp_cuda_device_enter(&number, "x", &before), GP_ERROR_INVALID_ARGUMENT);
  assert_int_equal(cuda.sets, 0);
}

static void check_answer(cudaError_t error, gp_status status) {
  int before, number = 1;
  cuda.answer = error;
  assert_int_equal(gp_cuda_device_check(), status);
  assert_int_equal(cuda.last, cudaSuccess);
  assert_int_equal(gp_cuda_device_enter(&number, "x", &before), status);
  assert_int_equal(cuda.last, cudaSuccess);
  assert_int_equal(gp_cuda_device_clear(&number, sizeof number, NULL), status);
  assert_int_equal(cuda.last, cudaSuccess);
  gp_cuda_device_leave(1);
  assert_int_equal(cuda.last, cudaSuccess);
  assert_int_equal(number, 1);
}

static void test_errors_are_told_apart(void **state) {
  (void)state;
  prepare();
  check_answer(cudaErrorNoDevice, GP_ERROR_UNSUPPORTED);
  check_answer(cudaErrorInsufficientDriver, GP_ERROR_UNSUPPORTED);
  check_answer(cudaErrorMemoryAllocation, GP_ERROR_LIBRARY);
  check_answer(cudaErrorIllegalAddress, GP_ERROR_LIBRARY);
  assert_non_null(strstr(gp_last_error(), "illegal"));
}

static void test_available(void **state) {
  (void)state;
  prepare();
  assert_int_equal(gp_cuda_device_check(), GP_OK);
  cuda.devices = 0;
  assert_int_equal(gp_cuda_device_check(), GP_ERROR_UNSUPPORTED);
}

static void test_memory_is_cleared(void **state) {
  (void)state;
  prepare();
  int number = 1;
  assert_int_equal(gp_cuda_device_clear(&number, sizeof number, NULL), GP_OK);
  assert_int_equal(number, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_device_is_set_and_set_back), cmocka_unit_test(test_host_memory_is_refused),
      cmocka_unit_test(test_errors_are_told_apart),      cmocka_unit_test(test_available),
      cmocka_unit_test(test_memory_is_cleared),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
