/* Gradients of the reference against central finite differences of its forward pass, in double. The fast kernels are
 * held to the reference by test_pool_kernels. */
#include "pool_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* L = Σ grad_y·y, whose gradients backward computes. */
static double loss(pool_case *pool) {
  gp_pool_forward_args forward = {pool->x.data, pool->mu.data, pool->sigma.data, pool->weight.data,
                                  pool->out[POOL_Y].data};
  assert_int_equal(gp_pool_forward(&pool->plan.desc, &forward), GP_OK);
  const gp_pool_desc *desc = &pool->plan.desc;
  double total = 0;
  for (int64_t n = 0; n < desc->batch; ++n)
    for (int64_t c = 0; c < desc->channels; ++c)
      for (int64_t h = 0; h < pool->plan.out_height; ++h)
        for (int64_t w = 0; w < pool->plan.out_width; ++w) {
          int64_t at = pool_index(pool, true, n, c, h, w);
          total += test_buffer_get(&pool->grad_y, at) * test_buffer_get(&pool->out[POOL_Y], at);
        }
  return total;
}

static void check_element(pool_case *pool, test_buffer *input, int64_t at, double gradient, const char *name) {
  const double step = 1e-5;
  double value = test_buffer_get(input, at);
  test_buffer_set(input, at, value + step);
  double above = loss(pool);
  test_buffer_set(input, at, value - step);
  double below = loss(pool);
  test_buffer_set(input, at, value);
  double expected = (above - below) / (2 * step);
  if (fabs(expected - gradient) <= 2e-6 * (1 + fabs(expected))) return;
  pool_case_print(pool);
  fail_msg("gradient of %s at %lld: differences give %.9g, backward %.9g", name, (long long)at, expected, gradient);
}

static bool is_padding_lane(double value) { return isnan(value); }

static void check_tensor(pool_case *pool, test_buffer *input, enum pool_output output, const char *name) {
  test_buffer *gradient = &pool->out[output];
  for (int64_t i = 0; i < (int64_t)gradient->elements; ++i)
    if (!is_padding_lane(test_buffer_get(input, i))) check_element(pool, input, i, test_buffer_get(gradient, i), name);
}

static void check_case(const gp_pool_desc *desc, uint64_t seed) {
  pool_case pool;
  pool_case_make(&pool, desc, seed);
  pool.accumulate = pool.no_grad_x = false;
  /* No ties, no window at the clamp's kink: finite differences need smooth ground. */
  test_random random = {seed};
  for (size_t i = 0; i < pool.x.elements; ++i)
    if (!is_padding_lane(test_buffer_get(&pool.x, (int64_t)i)))
      test_buffer_set(&pool.x, (int64_t)i, 1 + random_normal(&random));
  pool_case_run(&pool, GP_ISA_REFERENCE);
  check_tensor(&pool, &pool.x, POOL_GRAD_X, "x");
  check_tensor(&pool, &pool.mu, POOL_GRAD_MU, "mu");
  check_tensor(&pool, &pool.sigma, POOL_GRAD_SIGMA, "sigma");
  check_tensor(&pool, &pool.weight, POOL_GRAD_WEIGHT, "weight");
  pool_case_free(&pool);
}

/* Windows that tile the input, leave gaps, overlap, are padded, and hang over. */
static const struct {
  int32_t kernel[2], stride[2], padding[2];
  bool ceil_mode;
} windows[] = {
    {{2, 2}, {2, 2}, {0, 0}, false}, {{3, 3}, {2, 2}, {1, 1}, false}, {{3, 2}, {1, 2}, {1, 0}, false},
    {{2, 1}, {3, 2}, {0, 0}, false}, {{3, 3}, {2, 3}, {1, 1}, true},
};

static void check_windows(gp_pool_desc desc, uint64_t seed) {
  for (size_t i = 0; i < sizeof windows / sizeof windows[0]; ++i)
    for (int exclude = 0; exclude < 2; ++exclude) {
      memcpy(desc.kernel, windows[i].kernel, sizeof desc.kernel);
      memcpy(desc.stride, windows[i].stride, sizeof desc.stride);
      memcpy(desc.padding, windows[i].padding, sizeof desc.padding);
      desc.ceil_mode = windows[i].ceil_mode;
      desc.pad_count = exclude ? GP_COUNT_EXCLUDE_PAD : GP_COUNT_INCLUDE_PAD;
      check_case(&desc, seed + 2 * i + (uint64_t)exclude);
    }
}

static const gp_pool_desc small = {.dtype = GP_FLOAT64,
                                   .batch = 2,
                                   .channels = 3,
                                   .height = 5,
                                   .width = 6,
                                   .seed = 11,
                                   .call_offset = 4,
                                   .first_sample = 9,
                                   .threads = 1};

static void test_isp_gaussian(void **state) {
  (void)state;
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
    for (int stochasticity = GP_STOCHASTIC_NONE; stochasticity <= GP_STOCHASTIC_HWCN; ++stochasticity)
      for (int shape = GP_SHAPE_NC; shape <= GP_SHAPE_ONE; ++shape) {
        gp_pool_desc desc = small;
        desc.layout = (gp_layout)layout;
        desc.stochasticity = (gp_stochasticity)stochasticity;
        desc.param_shape = (gp_param_shape)shape;
        check_windows(desc, (uint64_t)(layout * 1000 + stochasticity * 100 + shape * 20 + 1));
      }
}

static void test_weighted(void **state) {
  (void)state;
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
    for (int shape = GP_SHAPE_NC; shape <= GP_SHAPE_NCHW; ++shape) {
      gp_pool_desc desc = small;
      desc.kind = GP_POOL_WEIGHTED;
      desc.layout = (gp_layout)layout;
      desc.param_shape = (gp_param_shape)shape;
      check_windows(desc, (uint64_t)(5000 + layout * 100 + shape * 20));
    }
}

static void test_average_and_max(void **state) {
  (void)state;
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
    for (int max = 0; max < 2; ++max) {
      gp_pool_desc desc = small;
      desc.kind = max ? GP_POOL_MAX : GP_POOL_AVERAGE;
      desc.layout = (gp_layout)layout;
      check_windows(desc, (uint64_t)(7000 + layout * 100 + max * 20));
    }
}

/* eps above most variances: the clamped side of the gradient. */
static void test_clamped_deviation(void **state) {
  (void)state;
  gp_pool_desc desc = small;
  desc.eps = 1.0;
  desc.stochasticity = GP_STOCHASTIC_CN;
  check_windows(desc, 9000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_isp_gaussian),
      cmocka_unit_test(test_weighted),
      cmocka_unit_test(test_average_and_max),
      cmocka_unit_test(test_clamped_deviation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
