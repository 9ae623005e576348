/* The CUDA kernels, all threads of their grids one after the other on the host, against the exact result over random
 * descriptors. The same program linked to libgausspool_cuda and run on a GPU is test_pool_cuda_device. */
#include "pool_case_tolerance.h"
#include "pool_cuda_calls.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { CASES = 3000, STRAIGHT_CASES = 2000, LARGE_CASES = 30 };

/* To addresses that the widest accesses need, the numbers with them. */
static void align_all(pool_case *pool) {
  for (int i = 0; i < POOL_INPUTS; ++i) test_buffer_align(&pool->in[i]);
  for (int i = 0; i < POOL_OUTPUTS; ++i) test_buffer_align(&pool->out[i]);
}

static void check_case(const gp_pool_desc *desc, unsigned extras, uint64_t seed, bool aligned) {
  pool_case pool, exact;
  pool_case_make(&pool, desc, extras, seed);
  if (aligned) align_all(&pool);
  pool_case_exact(&exact, &pool);
  pool_case_run(&exact, GP_ISA_REFERENCE);
  test_buffer tolerance[POOL_OUTPUTS], first[POOL_OUTPUTS];
  pool_tolerance_make(tolerance, &exact);
  pool_case_run_by(&pool, &pool_cuda_calls);
  pool_tolerance_check(&pool, &exact, tolerance);
  pool_case_take(&pool, first);
  if (aligned && seed % 8 == 0) {
    align_all(&pool); /* which kernels run depends on it */
    pool_case_run_by(&pool, &pool_cuda_calls);
    for (int i = 0; i < POOL_OUTPUTS; ++i)
      pool_case_check(&pool, memcmp(first[i].data, pool.out[i].data, first[i].bytes) == 0, "two runs differ");
  }
  pool_outputs_free(first);
  pool_outputs_free(tolerance);
  pool_case_free(&exact);
  pool_case_free(&pool);
}

static void run_case(uint64_t seed, bool large) {
  test_random random = {seed};
  gp_pool_desc desc = pool_random_desc(&random, large);
  check_case(&desc, pool_random_extras(&random), seed, random_one_in(&random, 2));
}

static void test_random_windows(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= pool_test_cases(CASES); ++seed) run_case(seed, false);
}

static void test_large_tensors(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= pool_test_cases(LARGE_CASES); ++seed) run_case(20000000 + seed, true);
}

/* Strides of rows that begin at multiples of 8 elements, with a gap behind them. */
static gp_strides with_gaps(int64_t channels, int64_t height, int64_t width) {
  int64_t row = (width + 8) / 8 * 8;
  return (gp_strides){channels * height * row, height * row, row, 1};
}

/* The windows that have kernels of their own, with channels in whole vectors or not; `plain`: as those along channels need it. */
static void run_straight_case(uint64_t seed, bool plain) {
  static const gp_pool_kind kinds[] = {GP_POOL_ISP_GAUSSIAN, GP_POOL_GAUSSIAN, GP_POOL_HALF_GAUSSIAN,
                                       GP_POOL_MAX,          GP_POOL_WEIGHTED, GP_POOL_AVERAGE};
  static const int64_t channels[] = {8, 16, 24, 40, 1, 3, 4, 12};
  test_random random = {seed};
  gp_pool_desc desc = pool_random_desc(&random, false);
  bool stem = random_one_in(&random, 2);
  desc.kind = kinds[random_below(&random, 6)];
  if (desc.dtype == GP_FLOAT64) desc.dtype = GP_FLOAT32;
  if (plain && desc.layout == GP_NCHW) desc.layout = GP_NHWC;
  desc.channels = channels[random_below(&random, plain ? 4 : 8)];
  desc.height = 2 + random_below(&random, 20);
  desc.width = 2 + random_below(&random, 40);
  desc.x_stride = desc.y_stride = desc.grad_x_stride = desc.grad_y_stride = (gp_strides){0};
  for (int axis = 0; axis < 2; ++axis) {
    desc.kernel[axis] = stem ? 3 : 2;
    desc.stride[axis] = 2;
    desc.padding[axis] = stem ? 1 : 0;
    desc.adaptive[axis] = 0;
  }
  bool map = desc.param_shape == GP_SHAPE_NCHW;
  if (gp_pool_output_size(&desc, NULL, NULL) != GP_OK || (plain && map)) desc.param_shape = GP_SHAPE_NC;
  int64_t height, width;
  if (desc.layout == GP_NCHW && random_one_in(&random, 2) && gp_pool_output_size(&desc, &height, &width) == GP_OK) {
    desc.x_stride = desc.grad_x_stride = with_gaps(desc.channels, desc.height, desc.width);
    desc.y_stride = desc.grad_y_stride = with_gaps(desc.channels, height, width);
  }
  unsigned extras = pool_random_extras(&random), of_plain = POOL_AVERAGES | POOL_NO_GRAD_X;
  check_case(&desc, plain ? extras & of_plain : extras, seed, plain || !random_one_in(&random, 4));
}

static void test_straight_windows(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= pool_test_cases(STRAIGHT_CASES); ++seed) run_straight_case(30000000 + seed, false);
}

static void test_kernels_along_channels(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= pool_test_cases(STRAIGHT_CASES); ++seed) run_straight_case(40000000 + seed, true);
}

/* s of windows of -1 and 1, whose m is 0: y of a Gaussian without a draw and with mu = 1. It is 1 but for the last bits, since
 * a device's straight-line kernels take an approximate root. */
static double deviation_of(pool_case *pool) {
  gp_stochasticity drawn = pool->plan.desc.stochasticity;
  pool->plan.desc.stochasticity = GP_STOCHASTIC_NONE;
  test_buffer_set(&pool->in[POOL_MU], 0, 1);
  pool_case_forward_by(pool, &pool_cuda_calls);
  pool->plan.desc.stochasticity = drawn;
  double deviation = test_buffer_get(&pool->out[POOL_Y], pool_y_at(pool, 0, 0, 0, 0));
  pool_case_check(pool, fabs(deviation - 1) < 1e-6, "s of windows of -1 and 1 is not 1");
  return deviation;
}

/* y of a Gaussian with mu = 0 and sigma = 1 where m = 0 is the draw times s, rounded once: windows of -1 and 1. */
static void check_draws(gp_dtype dtype, gp_layout layout, bool general, gp_stochasticity stochasticity) {
  test_random random = {7};
  gp_pool_desc desc = {.kind = GP_POOL_GAUSSIAN,
                       .dtype = dtype,
                       .layout = layout,
                       .batch = 3,
                       .channels = 16,
                       .height = 10,
                       .width = 22,
                       .kernel = {2, general ? 4 : 2},
                       .stride = {2, 2},
                       .param_shape = GP_SHAPE_ONE,
                       .stochasticity = stochasticity,
                       .seed = random_word(&random),
                       .call_offset = 3,
                       .first_sample = INT64_C(1) << 33};
  pool_case pool;
  pool_case_make(&pool, &desc, POOL_PLAIN, 7);
  test_buffer_set(&pool.in[POOL_SIGMA], 0, 1);
  for (int64_t n = 0; n < desc.batch; ++n)
    for (int64_t c = 0; c < desc.channels; ++c)
      for (int64_t i = 0; i < desc.height * desc.width; ++i)
        test_buffer_set(&pool.in[POOL_X], pool_x_at(&pool, n, c, i / desc.width, i % desc.width), i % 2 == 0 ? -1 : 1);
  test_buffer draws;
  bool each = stochasticity == GP_STOCHASTIC_HWCN;
  test_buffer_make(&draws, gp_dtype_of_params(dtype), each ? pool.out[POOL_Y].elements : 3 * 16, &random);
  assert_int_equal(gp_pool_draws(&desc, draws.data), GP_OK);
  double deviation = deviation_of(&pool);
  test_buffer_set(&pool.in[POOL_MU], 0, 0);
  pool_case_forward_by(&pool, &pool_cuda_calls);
  for (int64_t n = 0; n < desc.batch; ++n)
    for (int64_t c = 0; c < desc.channels; ++c)
      for (int64_t i = 0; i < pool.plan.out_height * pool.plan.out_width; ++i) {
        int64_t at = pool_y_at(&pool, n, c, i / pool.plan.out_width, i % pool.plan.out_width);
        double want = deviation * test_buffer_get(&draws, each ? at : n * desc.channels + c),
               have = test_buffer_get(&pool.out[POOL_Y], at);
        if (dtype == GP_FLOAT32) want = (float)want;
        pool_case_check(&pool, want == have, "a draw is not the CPU's, bit for bit");
      }
  test_buffer_free(&draws);
  pool_case_free(&pool);
}

static void test_draws_are_the_cpus(void **state) {
  (void)state;
  for (int i = 0; i < 16; ++i)
    check_draws(i % 2 ? GP_FLOAT64 : GP_FLOAT32, i / 2 % 2 ? GP_NHWC : GP_NCHW, i / 4 % 2,
                i / 8 % 2 ? GP_STOCHASTIC_CN : GP_STOCHASTIC_HWCN);
}

/* Squares beyond float's range, constant windows of large numbers, NaN and infinity; in kernels of both kinds. */
static void check_extreme(gp_layout layout, int32_t kernel, double low, double high) {
  gp_pool_desc desc = {.kind = GP_POOL_GAUSSIAN,
                       .layout = layout,
                       .batch = 1,
                       .channels = 8,
                       .height = 8,
                       .width = 16,
                       .kernel = {kernel, kernel},
                       .stride = {2, 2},
                       .padding = {kernel == 3, kernel == 3},
                       .param_shape = GP_SHAPE_ONE};
  pool_case pool, exact;
  pool_case_make(&pool, &desc, POOL_PLAIN, 11);
  align_all(&pool);
  test_buffer_set(&pool.in[POOL_MU], 0, 0.5);
  for (int64_t c = 0; c < desc.channels; ++c)
    for (int64_t i = 0; i < desc.height * desc.width; ++i)
      test_buffer_set(&pool.in[POOL_X], pool_x_at(&pool, 0, c, i / desc.width, i % desc.width),
                      (i / 2) % 2 ? low : high);
  pool_case_exact(&exact, &pool);
  pool_case_run(&exact, GP_ISA_REFERENCE);
  pool_case_run_by(&pool, &pool_cuda_calls);
  /* Gradients are sums of terms around 1. */
  for (int which = POOL_Y; which <= (isfinite(low) ? POOL_GRAD_X : POOL_Y); ++which)
    for (int64_t i = 0; i < (int64_t)pool.out[which].elements; ++i) {
      double want = test_buffer_get(&exact.out[which], i), have = test_buffer_get(&pool.out[which], i);
      double absolute = which == POOL_Y ? 1e-30 : 1e-5;
      pool_case_check(&pool, (isnan(want) && isnan(have)) || fabs(want - have) <= 1e-5 * fabs(want) + absolute,
                      pool_output_names[which]);
    }
  pool_case_free(&exact);
  pool_case_free(&pool);
}

static void test_extreme_numbers(void **state) {
  (void)state;
  static const double pairs[][2] = {{1e38, -1e38}, {1e20, 0},     {1e4, 1e4}, {3e38, 3e38},
                                    {NAN, 1},      {INFINITY, 2}, {-1e25, 3}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; ++i)
    for (int32_t kernel = 2; kernel <= 4; ++kernel) {
      check_extreme(GP_NHWC, kernel, pairs[i][0], pairs[i][1]);
      check_extreme(GP_NCHW, kernel, pairs[i][0], pairs[i][1]);
    }
}

/* An infinity makes an average infinite, at an edge too; both signs or a NaN make it NaN. */
static void check_infinite_average(gp_layout layout, int32_t kernel, float first, float second, float want) {
  gp_pool_desc desc = {.kind = GP_POOL_AVERAGE,
                       .layout = layout,
                       .batch = 1,
                       .channels = 4,
                       .height = 5,
                       .width = 5,
                       .kernel = {kernel, kernel},
                       .stride = {2, 2},
                       .padding = {kernel == 3, kernel == 3},
                       .ceil_mode = true};
  pool_case pool;
  pool_case_make(&pool, &desc, POOL_PLAIN, 13);
  align_all(&pool);
  for (int64_t i = 0; i < 25; ++i)
    test_buffer_set(&pool.in[POOL_X], pool_x_at(&pool, 0, 1, i / 5, i % 5), i == 0 ? first : i == 1 ? second : 1);
  pool_case_forward_by(&pool, &pool_cuda_calls);
  double have = test_buffer_get(&pool.out[POOL_Y], pool_y_at(&pool, 0, 1, 0, 0));
  pool_case_check(&pool, isnan(want) ? isnan(have) : have == (double)want, "the average of infinities");
  pool_case_free(&pool);
}

static void test_infinite_averages(void **state) {
  (void)state;
  for (int32_t kernel = 2; kernel <= 4; ++kernel)
    for (int layout = GP_NCHW; layout <= GP_NHWC; ++layout) {
      check_infinite_average((gp_layout)layout, kernel, INFINITY, 1, INFINITY);
      check_infinite_average((gp_layout)layout, kernel, 1, -INFINITY, -INFINITY);
      check_infinite_average((gp_layout)layout, kernel, INFINITY, -INFINITY, NAN);
      check_infinite_average((gp_layout)layout, kernel, 1, NAN, NAN);
    }
}

/* ---- Elements farther apart than 32 bits count --------------------------------------------- */

/* A tensor of floats of which only what is touched takes memory; NULL where the system does not give that much. */
enum { SPARSE_BATCH = 2, SPARSE_CHANNELS = 8, SPARSE_SIDE = 6 };
static const size_t SPARSE_BYTES = (size_t)1 << 37;

static float *sparse_make(void) {
  void *memory = mmap(NULL, SPARSE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

static int64_t at(gp_strides strides, int64_t i, int64_t side) {
  int64_t n = i / (SPARSE_CHANNELS * side * side), c = i / (side * side) % SPARSE_CHANNELS;
  return n * strides.n + c * strides.c + i / side % side * strides.h + i % side * strides.w;
}

/* Copies between a dense NCHW array and a tensor with strides. */
static void spread(float *tensor, gp_strides strides, const float *dense, int64_t side) {
  for (int64_t i = 0; i < SPARSE_BATCH * SPARSE_CHANNELS * side * side; ++i) tensor[at(strides, i, side)] = dense[i];
}
static void assert_spread(const float *tensor, gp_strides strides, const float *dense, int64_t side) {
  for (int64_t i = 0; i < SPARSE_BATCH * SPARSE_CHANNELS * side * side; ++i)
    assert_memory_equal(&tensor[at(strides, i, side)], &dense[i], sizeof *dense);
}

/* The last element's place: about 2^34 + 5·2^31, which is below 2^35 elements. */
static gp_strides far_strides(gp_layout layout) {
  const int64_t sample = INT64_C(1) << 34, row = (INT64_C(1) << 31) + 64;
  gp_strides rows = {sample + 64, 4096, row, 1}, pixels = {sample + 64, 1, row, 4096};
  return layout == GP_NCHW ? rows : pixels;
}

static void check_far_apart(gp_layout layout, int32_t kernel, float *tensors[3]) {
  enum { ELEMENTS = SPARSE_BATCH * SPARSE_CHANNELS * SPARSE_SIDE * SPARSE_SIDE };
  gp_strides far = far_strides(layout);
  gp_pool_desc dense = {.kind = GP_POOL_GAUSSIAN,
                        .batch = SPARSE_BATCH,
                        .channels = SPARSE_CHANNELS,
                        .height = SPARSE_SIDE,
                        .width = SPARSE_SIDE,
                        .kernel = {kernel, kernel},
                        .stride = {2, 2},
                        .padding = {kernel == 3, kernel == 3},
                        .param_shape = GP_SHAPE_ONE};
  gp_pool_desc sparse = dense;
  sparse.layout = layout;
  sparse.x_stride = sparse.y_stride = sparse.grad_x_stride = sparse.grad_y_stride = far;
  static float x[ELEMENTS], y[ELEMENTS], grad_x[ELEMENTS];
  static _Alignas(64) char workspace[1 << 20];
  const float mu = 0.75f;
  test_random random = {17};
  for (int i = 0; i < ELEMENTS; ++i) x[i] = (float)random_unit(&random);
  int64_t side;
  assert_int_equal(gp_pool_output_size(&dense, NULL, &side), GP_OK);
  gp_pool_forward_args forward = {.x = x, .mu = &mu, .y = y, .workspace = workspace};
  gp_pool_backward_args backward = {.x = x, .mu = &mu, .grad_y = y, .grad_x = grad_x, .workspace = workspace};
  /* What another layout sums in another order differs in the last bits: dense and sparse are of the same. */
  dense.layout = GP_NCHW;
  size_t bytes;
  assert_int_equal(pool_cuda_calls.backward_workspace(&dense, &bytes), GP_OK);
  assert_true(bytes <= sizeof workspace);
  assert_int_equal(pool_cuda_calls.forward(&dense, &forward), GP_OK);
  assert_int_equal(pool_cuda_calls.backward(&dense, &backward), GP_OK);
  spread(tensors[0], far, x, SPARSE_SIDE);
  forward.x = backward.x = tensors[0];
  forward.y = tensors[1];
  backward.grad_y = tensors[1];
  backward.grad_x = tensors[2];
  assert_int_equal(pool_cuda_calls.forward(&sparse, &forward), GP_OK);
  assert_spread(tensors[1], far, y, side);
  assert_int_equal(pool_cuda_calls.backward(&sparse, &backward), GP_OK);
  assert_spread(tensors[2], far, grad_x, SPARSE_SIDE);
}

static void test_far_apart(void **state) {
  (void)state;
  float *tensors[3] = {sparse_make(), sparse_make(), sparse_make()};
  bool sparse = pool_cuda_in_place && tensors[0] != NULL && tensors[1] != NULL && tensors[2] != NULL;
  for (int32_t kernel = 2; sparse && kernel <= 4; ++kernel) {
    check_far_apart(GP_NCHW, kernel, tensors);
    check_far_apart(GP_NHWC, kernel, tensors);
  }
  for (int i = 0; i < 3; ++i)
    if (tensors[i] != NULL) munmap(tensors[i], SPARSE_BYTES);
  if (!sparse) skip(); /* a device has no such memory */
}

/* More samples than a grid has blocks in its second direction. */
static void test_many_samples(void **state) {
  (void)state;
  enum { SAMPLES = 70000 };
  gp_pool_desc desc = {.kind = GP_POOL_MAX, .batch = SAMPLES, .channels = 1, .height = 2, .width = 2, .kernel = {2, 2}};
  float *x = calloc(SAMPLES * 4, sizeof *x), *y = calloc(SAMPLES, sizeof *y);
  assert_non_null(x);
  assert_non_null(y);
  for (int i = 0; i < SAMPLES; ++i) x[i * 4 + i % 4] = (float)(i + 1);
  gp_pool_forward_args args = {.x = x, .y = y};
  assert_int_equal(pool_cuda_calls.forward(&desc, &args), GP_OK);
  for (int i = 0; i < SAMPLES; ++i) assert_true(y[i] == (float)(i + 1));
  free(x);
  free(y);
}

/* The calls' own errors. */
static void test_errors(void **state) {
  (void)state;
  gp_pool_desc desc = {.batch = 2, .channels = 4, .height = 6, .width = 6, .kernel = {2, 2}};
  gp_pool_forward_args args = {0};
  size_t bytes = 0;
  assert_int_equal(pool_cuda_calls.forward_workspace(&desc, NULL), GP_ERROR_INVALID_ARGUMENT);
  assert_int_equal(pool_cuda_calls.forward(&desc, NULL), GP_ERROR_INVALID_ARGUMENT);
  assert_int_equal(pool_cuda_calls.forward(&desc, &args), GP_ERROR_INVALID_ARGUMENT);
  assert_int_equal(pool_cuda_calls.forward_workspace(&desc, &bytes), GP_OK);
  assert_true(bytes > 0);
  desc.batch = 0;
  assert_int_equal(pool_cuda_calls.forward(&desc, &args), GP_OK);
  assert_int_equal(pool_cuda_calls.backward_workspace(&desc, &bytes), GP_OK);
  assert_int_equal(bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_random_windows),         cmocka_unit_test(test_straight_windows),
      cmocka_unit_test(test_kernels_along_channels), cmocka_unit_test(test_large_tensors),
      cmocka_unit_test(test_draws_are_the_cpus),     cmocka_unit_test(test_extreme_numbers),
      cmocka_unit_test(test_infinite_averages),      cmocka_unit_test(test_far_apart),
      cmocka_unit_test(test_many_samples),           cmocka_unit_test(test_errors),
  };
  if (!pool_cuda_ready()) return POOL_CUDA_SKIP;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
