/* What the CUDA calls plan without running anything: grids at their limits, which kernels are chosen, how much memory is asked. */
#include "base/memory.h"
#include "pool/cuda/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static gp_pool_desc desc_of(gp_layout layout, int64_t batch, int64_t channels, int64_t height, int64_t width) {
  return (gp_pool_desc){.kind = GP_POOL_GAUSSIAN,
                        .layout = layout,
                        .batch = batch,
                        .channels = channels,
                        .height = height,
                        .width = width,
                        .kernel = {2, 2},
                        .param_shape = GP_SHAPE_ONE};
}

static gp_status forward(gp_cuda_plan *cuda, size_t *bytes, const gp_pool_desc *desc,
                         const gp_pool_forward_args *args) {
  gp_pool_plan plan;
  assert_int_equal(gp_pool_plan_make(&plan, desc), GP_OK);
  return gp_cuda_plan_forward(cuda, bytes, &plan, args);
}

static gp_status backward(gp_cuda_plan *cuda, size_t *bytes, const gp_pool_desc *desc,
                          const gp_pool_backward_args *args) {
  gp_pool_plan plan;
  assert_int_equal(gp_pool_plan_make(&plan, desc), GP_OK);
  return gp_cuda_plan_backward(cuda, bytes, &plan, args);
}

/* Blocks of a launch stay within what CUDA allows, and cover all threads. */
static void check_blocks(int64_t items, int64_t rows) {
  gp_cuda_blocks blocks = gp_cuda_blocks_of(items, rows);
  assert_true(blocks.x >= 1 && blocks.x <= INT32_MAX);
  assert_true(blocks.y >= 1 && blocks.y <= 65535);
  assert_true((int64_t)blocks.x * GP_CUDA_BLOCK >= items);
  assert_true(((int64_t)blocks.x - 1) * GP_CUDA_BLOCK < items);
  assert_true(blocks.y == rows || (blocks.y == 65535 && rows > 65535));
}

static void test_blocks(void **state) {
  (void)state;
  static const int64_t numbers[] = {1, 2, 127, 128, 129, 65535, 65536, 1 << 20, INT32_MAX - 1024};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i)
    for (size_t j = 0; j < sizeof numbers / sizeof *numbers; ++j) check_blocks(numbers[i], numbers[j]);
}

static void test_limits(void **state) {
  (void)state;
  gp_cuda_plan cuda;
  size_t bytes;
  gp_pool_desc many_samples = desc_of(GP_NHWC, 1000000, 4, 2, 2), many_channels = desc_of(GP_NCHW, 1, 1000000, 2, 2);
  assert_int_equal(forward(&cuda, &bytes, &many_samples, NULL), GP_OK);
  assert_int_equal(cuda.grid.items, 1);
  assert_int_equal(backward(&cuda, &bytes, &many_samples, NULL), GP_OK);
  assert_int_equal(forward(&cuda, &bytes, &many_channels, NULL), GP_OK);
  assert_int_equal(cuda.grid.items, 1000000);
  /* More threads of a sample than are counted in 32 bits, and more channels than that. */
  gp_pool_desc large = desc_of(GP_NCHW, 1, 1 << 20, 1 << 10, 1 << 10);
  large.kernel[0] = large.kernel[1] = 5;
  large.stride[0] = large.stride[1] = 1;
  assert_int_equal(forward(&cuda, &bytes, &large, NULL), GP_ERROR_UNSUPPORTED);
  assert_int_equal(backward(&cuda, &bytes, &large, NULL), GP_ERROR_UNSUPPORTED);
  gp_pool_desc wide = desc_of(GP_NHWC, 1, INT64_C(1) << 33, 2, 2);
  wide.dtype = GP_BFLOAT16;
  assert_int_equal(forward(&cuda, &bytes, &wide, NULL), GP_ERROR_UNSUPPORTED);
  assert_int_equal(backward(&cuda, &bytes, &wide, NULL), GP_ERROR_UNSUPPORTED);
  gp_pool_desc window = desc_of(GP_NCHW, 1, 1, 1 << 17, 1 << 17);
  window.kernel[0] = window.kernel[1] = 1 << 16;
  assert_int_equal(forward(&cuda, &bytes, &window, NULL), GP_ERROR_UNSUPPORTED);
  /* Threads for the elements of all masks, of which 2^32 would be none in 32 bits. */
  gp_pool_desc masks = desc_of(GP_NCHW, 1, 4096, 1024, 1024);
  masks.kind = GP_POOL_GATED;
  masks.kernel[0] = masks.kernel[1] = 1024;
  assert_int_equal(forward(&cuda, &bytes, &masks, NULL), GP_OK);
  assert_int_equal(backward(&cuda, &bytes, &masks, NULL), GP_ERROR_UNSUPPORTED);
  masks.channels = 1024;
  assert_int_equal(backward(&cuda, &bytes, &masks, NULL), GP_OK);
}

/* A map of weights is read element by element; how wide its gradient is written depends on where that lies. */
static void test_maps_by_memory(void **state) {
  (void)state;
  gp_cuda_plan cuda;
  size_t bytes;
  gp_pool_desc desc = desc_of(GP_NCHW, 2, 4, 32, 32);
  desc.kind = GP_POOL_WEIGHTED;
  desc.param_shape = GP_SHAPE_NCHW;
  char *memory = (char *)(uintptr_t)4096;
  gp_pool_backward_args args = {
      .x = memory, .weight = memory + 4, .grad_y = memory, .grad_x = memory, .workspace = memory};
  args.grad_weight = memory;
  assert_int_equal(backward(&cuda, &bytes, &desc, &args), GP_OK);
  assert_true(cuda.map_whole);
  args.weight = memory;
  args.grad_weight = memory + 4;
  assert_int_equal(backward(&cuda, &bytes, &desc, &args), GP_OK);
  assert_true(!cuda.map_whole);
}

/* The mean's gradient without x keeps the kernels along channels. */
static void test_unread_x(void **state) {
  (void)state;
  gp_cuda_plan cuda;
  size_t bytes;
  gp_pool_desc desc = desc_of(GP_NHWC, 2, 64, 32, 32);
  desc.kind = GP_POOL_AVERAGE;
  char *memory = (char *)(uintptr_t)4096;
  gp_pool_backward_args args = {.grad_y = memory, .grad_x = memory, .workspace = memory};
  assert_int_equal(backward(&cuda, &bytes, &desc, &args), GP_OK);
  assert_true(cuda.x == NULL && cuda.channels && cuda.grid.items > 0);
}

/* A call on buffers at the given offsets from an aligned address, in bytes. */
static gp_cuda_plan planned(const gp_pool_desc *desc, size_t x_offset, bool scaled, size_t *bytes) {
  gp_cuda_plan cuda;
  char *memory = (char *)(uintptr_t)4096;
  gp_pool_forward_args args = {.x = memory + x_offset, .mu = memory, .y = memory};
  if (scaled) args.scale = args.shift = memory;
  args.average_y = memory;
  args.workspace = memory;
  assert_int_equal(forward(&cuda, bytes, desc, &args), GP_OK);
  return cuda;
}

static void test_kernels_by_memory(void **state) {
  (void)state;
  size_t query, bytes;
  gp_cuda_plan cuda;
  gp_pool_desc desc = desc_of(GP_NHWC, 2, 64, 30, 30);
  assert_int_equal(forward(&cuda, &query, &desc, NULL), GP_OK);
  cuda = planned(&desc, 0, false, &bytes);
  assert_true(cuda.channels && cuda.vector == 4 && bytes == query);
  cuda = planned(&desc, 4, false, &bytes);
  assert_true(!cuda.channels && cuda.vector == 1 && cuda.at_once == 4 && !cuda.x_whole && bytes == query);
  cuda = planned(&desc, 0, true, &bytes);
  assert_true(!cuda.channels && bytes == query);
  desc.dtype = GP_BFLOAT16;
  assert_true(planned(&desc, 0, false, &bytes).vector == 8);
  assert_true(!planned(&desc, 8, false, &bytes).channels);
  desc.channels = 60; /* not whole vectors of 16 bytes */
  assert_true(!planned(&desc, 0, false, &bytes).channels);
  desc = desc_of(GP_NCHW, 2, 3, 30, 32);
  assert_true(planned(&desc, 0, false, &bytes).x_whole);
  desc.width = 30;
  assert_true(!planned(&desc, 0, false, &bytes).x_whole);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_blocks),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_maps_by_memory),
      cmocka_unit_test(test_unread_x),
      cmocka_unit_test(test_kernels_by_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
