/* libgausspool_cuda on a GPU: every call's tensors are copied to the device, with the gaps between a slice's elements, and what
 * it wrote is copied back. With GAUSSPOOL_TEST_UNWRITTEN=1 in the environment the workspace and dense outputs are not written
 * ahead of the call, so that initcheck sees what is read of them; otherwise they hold the host's poison, which tells what
 * was left out. */
#include "pool_cuda_calls.h"

#include "base/status.h"

#include <cuda_runtime_api.h>
#include <gausspool/gausspool_cuda.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARRAYS = 20 };

/* An input; an output, dense or with gaps that must stay as they are; or scratch, which nobody reads afterwards. */
enum role { GIVEN, DENSE, SLICED, SCRATCH };

static bool is_copied(enum role role) {
  const char *unwritten = getenv("GAUSSPOOL_TEST_UNWRITTEN");
  return role == GIVEN || role == SLICED || unwritten == NULL || *unwritten != '1';
}

/* A call's arrays: on the host, and their copies, which lie as far from a multiple of 256 as those. */
struct arrays {
  struct {
    void *host, *memory, *device;
    size_t bytes;
    bool written;
  } of[ARRAYS];
  int count;
  cudaError_t error;
};

static void *to_device(struct arrays *arrays, const void *host, size_t bytes, enum role role) {
  if (host == NULL || bytes == 0) return NULL;
  size_t offset = (uintptr_t)host % 256;
  void *memory = NULL;
  cudaError_t error = cudaMalloc(&memory, bytes + offset);
  char *device = (char *)memory + offset;
  if (error == cudaSuccess && is_copied(role)) error = cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice);
  if (error != cudaSuccess) arrays->error = error;
  int i = arrays->count++;
  arrays->of[i].host = (void *)(uintptr_t)host;
  arrays->of[i].memory = memory;
  arrays->of[i].device = device;
  arrays->of[i].bytes = bytes;
  arrays->of[i].written = role == DENSE || role == SLICED;
  return device;
}

/* Copies back and releases; the call's own failure goes first. */
static gp_status finish(struct arrays *arrays, gp_status status) {
  for (int i = 0; i < arrays->count; ++i) {
    cudaError_t error = cudaSuccess;
    if (arrays->of[i].written)
      error = cudaMemcpy(arrays->of[i].host, arrays->of[i].device, arrays->of[i].bytes, cudaMemcpyDeviceToHost);
    if (error != cudaSuccess) arrays->error = error;
    (void)cudaFree(arrays->of[i].memory);
  }
  if (status != GP_OK || arrays->error == cudaSuccess) return status;
  return gp_fail(GP_ERROR_LIBRARY, "CUDA: %s", cudaGetErrorString(arrays->error));
}

/* Bytes from a tensor's first element to past its last. */
static size_t tensor_bytes(const gp_pool_plan *plan, gp_strides strides, bool of_y) {
  const gp_pool_desc *desc = &plan->desc;
  int64_t height = of_y ? plan->out_height : desc->height, width = of_y ? plan->out_width : desc->width;
  int64_t block = gp_layout_block(desc->layout), unit = block > 0 ? block : 1;
  int64_t blocks = gp_layout_channels(desc->layout, desc->channels) / unit;
  int64_t last = (desc->batch - 1) * strides.n + (blocks - 1) * strides.c + (height - 1) * strides.h +
                 (width - 1) * strides.w + unit - 1;
  return (size_t)(last + 1) * gp_dtype_size(desc->dtype);
}

/* Of an output: dense if all between its first and its last element are its own, and none is added to. */
static enum role role_of(const gp_pool_plan *plan, gp_strides strides, bool of_y, bool accumulate) {
  const gp_pool_desc *desc = &plan->desc;
  int64_t height = of_y ? plan->out_height : desc->height, width = of_y ? plan->out_width : desc->width;
  int64_t elements = desc->batch * gp_layout_channels(desc->layout, desc->channels) * height * width;
  bool dense = tensor_bytes(plan, strides, of_y) == (size_t)elements * gp_dtype_size(desc->dtype);
  return dense && !accumulate ? DENSE : SLICED;
}

struct sizes {
  size_t param, planes, channels;
};

static struct sizes sizes_of(const gp_pool_plan *plan) {
  size_t real = gp_dtype_size(gp_dtype_of_params(plan->desc.dtype)), channels = (size_t)plan->desc.channels;
  bool map = plan->desc.param_shape == GP_SHAPE_NCHW;
  size_t size = map ? gp_dtype_size(plan->desc.dtype) : real;
  return (struct sizes){gp_param_elements(plan) * size, (size_t)plan->desc.batch * channels * real, channels * real};
}

static gp_status forward(const gp_pool_desc *desc, const gp_pool_forward_args *args) {
  gp_pool_plan plan;
  struct arrays arrays = {.count = 0};
  if (args == NULL || args->x == NULL || gp_pool_plan_make(&plan, desc) != GP_OK || desc->batch == 0)
    return gp_cuda_pool_forward(desc, args, NULL);
  struct sizes sizes = sizes_of(&plan);
  size_t workspace = 0;
  gp_status status = gp_cuda_pool_forward_workspace(desc, &workspace);
  gp_pool_forward_args device = {
      .x = to_device(&arrays, args->x, tensor_bytes(&plan, plan.desc.x_stride, false), GIVEN),
      .mu = to_device(&arrays, args->mu, sizes.param, GIVEN),
      .sigma = to_device(&arrays, args->sigma, sizes.param, GIVEN),
      .weight = to_device(&arrays, args->weight, sizes.param, GIVEN),
      .seed = to_device(&arrays, args->seed, sizeof(uint64_t), GIVEN),
      .scale = to_device(&arrays, args->scale, sizes.channels, GIVEN),
      .shift = to_device(&arrays, args->shift, sizes.channels, GIVEN),
      .y = to_device(&arrays, args->y, tensor_bytes(&plan, plan.desc.y_stride, true),
                     role_of(&plan, plan.desc.y_stride, true, false)),
      .average_y = to_device(&arrays, args->average_y, sizes.planes, DENSE),
      .workspace = to_device(&arrays, args->workspace, args->workspace != NULL ? workspace : 0, SCRATCH),
  };
  if (status == GP_OK) status = gp_cuda_pool_forward(desc, &device, NULL);
  return finish(&arrays, status);
}

static gp_status backward(const gp_pool_desc *desc, const gp_pool_backward_args *args) {
  gp_pool_plan plan;
  struct arrays arrays = {.count = 0};
  if (args == NULL || args->grad_y == NULL || gp_pool_plan_make(&plan, desc) != GP_OK || desc->batch == 0)
    return gp_cuda_pool_backward(desc, args, NULL);
  struct sizes sizes = sizes_of(&plan);
  size_t workspace = 0;
  gp_status status = gp_cuda_pool_backward_workspace(desc, &workspace);
  gp_pool_backward_args device = {
      .x = to_device(&arrays, args->x, tensor_bytes(&plan, plan.desc.x_stride, false), GIVEN),
      .mu = to_device(&arrays, args->mu, sizes.param, GIVEN),
      .sigma = to_device(&arrays, args->sigma, sizes.param, GIVEN),
      .weight = to_device(&arrays, args->weight, sizes.param, GIVEN),
      .seed = to_device(&arrays, args->seed, sizeof(uint64_t), GIVEN),
      .scale = to_device(&arrays, args->scale, sizes.channels, GIVEN),
      .shift = to_device(&arrays, args->shift, sizes.channels, GIVEN),
      .grad_y = to_device(&arrays, args->grad_y, tensor_bytes(&plan, plan.desc.grad_y_stride, true), GIVEN),
      .grad_average_y = to_device(&arrays, args->grad_average_y, sizes.planes, GIVEN),
      .grad_average_x = to_device(&arrays, args->grad_average_x, sizes.planes, GIVEN),
      .grad_x = to_device(&arrays, args->grad_x, tensor_bytes(&plan, plan.desc.grad_x_stride, false),
                          role_of(&plan, plan.desc.grad_x_stride, false, args->accumulate)),
      .grad_mu = to_device(&arrays, args->grad_mu, sizes.param, DENSE),
      .grad_sigma = to_device(&arrays, args->grad_sigma, sizes.param, DENSE),
      .grad_weight = to_device(&arrays, args->grad_weight, sizes.param, DENSE),
      .grad_scale = to_device(&arrays, args->grad_scale, sizes.channels, DENSE),
      .grad_shift = to_device(&arrays, args->grad_shift, sizes.channels, DENSE),
      .accumulate = args->accumulate,
      .workspace = to_device(&arrays, args->workspace, args->workspace != NULL ? workspace : 0, SCRATCH),
  };
  if (status == GP_OK) status = gp_cuda_pool_backward(desc, &device, NULL);
  return finish(&arrays, status);
}

const pool_calls pool_cuda_calls = {gp_cuda_pool_forward_workspace, forward, gp_cuda_pool_backward_workspace, backward,
                                    true};

const bool pool_cuda_in_place = false;

bool pool_cuda_ready(void) {
  if (gp_cuda_available() == GP_OK) return true;
  printf("skipped: %s\n", gp_last_error());
  return false;
}
