/* The draws: the same in every layout and on every instruction set, distinct where they must be, standard normal. */
#include "pool/draws.h"
#include "pool_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static gp_pool_desc drawing(gp_stochasticity stochasticity) {
  return (gp_pool_desc){.batch = 2,
                        .channels = 19,
                        .height = 12,
                        .width = 14,
                        .kernel = {2, 2},
                        .stochasticity = stochasticity,
                        .seed = 5,
                        .call_offset = 6};
}

static double expected_draw(const gp_pool_desc *desc, int64_t n, int64_t c, int64_t h, int64_t w) {
  float four[4];
  uint64_t index = (uint64_t)((desc->first_sample + n) * desc->channels + c);
  uint32_t second = __builtin_bswap32((uint32_t)(index >> 32)) ^ (uint32_t)h;
  gp_normal4(gp_philox(desc->seed, (uint32_t)index, second, (uint32_t)(w / 4), desc->call_offset), four);
  return (double)four[w % 4];
}

static void check_layout(gp_layout layout, gp_dtype dtype, int64_t first_sample) {
  gp_pool_desc desc = drawing(GP_STOCHASTIC_HWCN);
  desc.layout = layout;
  desc.dtype = dtype;
  desc.first_sample = first_sample;
  pool_case pool;
  pool_case_make(&pool, &desc, 1);
  test_buffer_poison(&pool.out[POOL_Y]);
  assert_int_equal(gp_pool_draws(&desc, pool.out[POOL_Y].data), GP_OK);
  for (int64_t n = 0; n < desc.batch; ++n)
    for (int64_t c = 0; c < desc.channels; ++c)
      for (int64_t h = 0; h < 6; ++h)
        for (int64_t w = 0; w < 7; ++w) {
          double found = test_buffer_get(&pool.out[POOL_Y], pool_index(&pool, true, n, c, h, w));
          if (found != expected_draw(&desc, n, c, h, w))
            fail_msg("layout %d: draw of %lld %lld %lld %lld", (int)layout, (long long)n, (long long)c, (long long)h,
                     (long long)w);
        }
  pool_case_free(&pool);
}

static void test_draws_follow_position(void **state) {
  (void)state;
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
    for (int dtype = GP_FLOAT32; dtype <= GP_FLOAT64; ++dtype) {
      check_layout((gp_layout)layout, (gp_dtype)dtype, 0);
      /* The index passes 2^32 within this tensor's first sample. */
      check_layout((gp_layout)layout, (gp_dtype)dtype, (INT64_C(1) << 32) / 19);
    }
}

static void test_one_draw_a_plane(void **state) {
  (void)state;
  gp_pool_desc desc = drawing(GP_STOCHASTIC_CN);
  float draws[2 * 19];
  assert_int_equal(gp_pool_draws(&desc, draws), GP_OK);
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t c = 0; c < 19; ++c) assert_true((double)draws[n * 19 + c] == expected_draw(&desc, n, c, 0, 0));
}

/* With mu = 0, sigma = 1, x alternating so that m = 0 and s = 1, the output is softplus(e): kernels draw what
 * gp_pool_draws writes, on each instruction set. */
static void test_kernels_draw_the_same(void **state) {
  (void)state;
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout) {
    gp_pool_desc desc = drawing(GP_STOCHASTIC_HWCN);
    desc.layout = (gp_layout)layout;
    desc.first_sample = (INT64_C(1) << 32) / 19;
    pool_case pool;
    pool_case_make(&pool, &desc, 1);
    for (size_t i = 0; i < pool.mu.elements; ++i) {
      test_buffer_set(&pool.mu, (int64_t)i, 0);
      test_buffer_set(&pool.sigma, (int64_t)i, 1);
    }
    for (int64_t plane = 0; plane < 2 * 19; ++plane)
      for (int64_t i = 0; i < 12 * 14; ++i)
        test_buffer_set(&pool.x, pool_index(&pool, false, plane / 19, plane % 19, i / 14, i % 14), i % 2 ? 1 : -1);
    for (gp_isa isa = GP_ISA_REFERENCE; isa <= gp_isa_best(); ++isa) {
      pool_case_run(&pool, isa);
      for (int64_t i = 0; i < 2 * 19 * 6 * 7; ++i) {
        int64_t w = i % 7, h = i / 7 % 6, c = i / 42 % 19, n = i / (42 * 19);
        double found = test_buffer_get(&pool.out[POOL_Y], pool_index(&pool, true, n, c, h, w));
        double expected = log1p(exp(expected_draw(&desc, n, c, h, w)));
        if (fabs(found - expected) > 1e-6 * (1 + expected))
          fail_msg("%s, layout %d: expected %g, found %g", gp_isa_name(isa), layout, expected, found);
      }
    }
    pool_case_free(&pool);
  }
}

static void test_draws_are_standard_normal(void **state) {
  (void)state;
  enum { COUNT = 256 * 64 * 64 };
  gp_pool_desc desc = {.batch = 4,
                       .channels = 64,
                       .height = 64,
                       .width = 64,
                       .kernel = {1, 1},
                       .stochasticity = GP_STOCHASTIC_HWCN,
                       .seed = 2024};
  static float draws[COUNT];
  assert_int_equal(gp_pool_draws(&desc, draws), GP_OK);
  double power[5] = {0}, neighbours = 0;
  for (int64_t i = 0; i < COUNT; ++i) {
    double value = (double)draws[i], term = 1;
    for (int k = 0; k < 5; ++k, term *= value) power[k] += term / COUNT;
    if (i > 0) neighbours += value * (double)draws[i - 1] / COUNT;
  }
  /* Five standard errors of each moment: variances 1, 2, 15, 96 over COUNT. */
  double unit = 5 / sqrt((double)COUNT);
  assert_true(fabs(power[1]) < unit);
  assert_true(fabs(power[2] - 1) < unit * sqrt(2));
  assert_true(fabs(power[3]) < unit * sqrt(15));
  assert_true(fabs(power[4] - 3) < unit * sqrt(96));
  assert_true(fabs(neighbours) < unit);
}

static void test_calls_and_seeds_differ(void **state) {
  (void)state;
  gp_pool_desc desc = drawing(GP_STOCHASTIC_CN);
  float first[38], other[38];
  assert_int_equal(gp_pool_draws(&desc, first), GP_OK);
  for (int change = 0; change < 3; ++change) {
    gp_pool_desc changed = desc;
    if (change == 0) changed.seed += UINT64_C(1) << 32;
    if (change == 1) changed.call_offset += 1;
    if (change == 2) changed.first_sample += 2;
    assert_int_equal(gp_pool_draws(&changed, other), GP_OK);
    for (int i = 0; i < 38; ++i) assert_true(first[i] != other[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_draws_follow_position),  cmocka_unit_test(test_one_draw_a_plane),
      cmocka_unit_test(test_kernels_draw_the_same),  cmocka_unit_test(test_draws_are_standard_normal),
      cmocka_unit_test(test_calls_and_seeds_differ),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
