/* Special values on every instruction set, and the elementary functions of the fast kernels. */
#include "pool/cpu/elementary.h"
#include "pool_case.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { CHANNELS = 17, HEIGHT = 4, WIDTH = 6 };

static pool_case pool;

static void make(gp_pool_kind kind, gp_layout layout, gp_dtype dtype, int32_t kernel, int32_t stride, int32_t padding) {
  gp_pool_desc desc = {.kind = kind,
                       .dtype = dtype,
                       .layout = layout,
                       .batch = 1,
                       .channels = CHANNELS,
                       .height = HEIGHT,
                       .width = WIDTH,
                       .kernel = {kernel, kernel},
                       .stride = {stride, stride},
                       .padding = {padding, padding},
                       .pad_count = GP_COUNT_EXCLUDE_PAD,
                       .param_shape = GP_SHAPE_ONE,
                       .threads = 1};
  pool_case_make(&pool, &desc, 3);
  pool.accumulate = pool.no_grad_x = false;
  test_buffer_set(&pool.mu, 0, 0.5);
  test_buffer_set(&pool.weight, 0, 2);
}

static void set_x(int64_t c, int64_t h, int64_t w, double value) {
  test_buffer_set(&pool.x, pool_index(&pool, false, 0, c, h, w), value);
}

static void fill_x(double value) {
  for (int64_t c = 0; c < CHANNELS; ++c)
    for (int64_t i = 0; i < HEIGHT * WIDTH; ++i) set_x(c, i / WIDTH, i % WIDTH, value);
}

static double get_y(int64_t c, int64_t h, int64_t w) {
  return test_buffer_get(&pool.out[POOL_Y], pool_index(&pool, true, 0, c, h, w));
}

static double get_grad_x(int64_t c, int64_t h, int64_t w) {
  return test_buffer_get(&pool.out[POOL_GRAD_X], pool_index(&pool, false, 0, c, h, w));
}

/* Runs `body` for every layout and instruction set. */
static void everywhere(void (*body)(gp_layout, gp_isa)) {
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
    for (gp_isa isa = GP_ISA_REFERENCE; isa <= gp_isa_best(); ++isa) body((gp_layout)layout, isa);
}

static void constant_window(gp_layout layout, gp_isa isa) {
  static const double values[] = {0, 1, -3.3, 1e4, 1e30, 3e38, 1e-40};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; ++i) {
    make(GP_POOL_WEIGHTED, layout, GP_FLOAT32, 3, 2, 1);
    fill_x(values[i]);
    pool_case_run(&pool, isa);
    double expected = (double)(float)values[i] + 2 * sqrt(1e-6);
    for (int64_t c = 0; c < CHANNELS; ++c) {
      double found = get_y(c, 1, 1);
      if (fabs(found - expected) > 1e-7 * fabs(expected)) fail_msg("constant %g: found %g", values[i], found);
      assert_true(isfinite(get_grad_x(c, 1, 1)));
    }
    pool_case_free(&pool);
  }
}

static void single_element(gp_layout layout, gp_isa isa) {
  make(GP_POOL_WEIGHTED, layout, GP_FLOAT32, 1, 1, 0);
  pool_case_run(&pool, isa);
  for (int64_t c = 0; c < CHANNELS; ++c)
    for (int64_t i = 0; i < HEIGHT * WIDTH; ++i) {
      int64_t h = i / WIDTH, w = i % WIDTH, at = pool_index(&pool, true, 0, c, h, w);
      assert_true(fabs(get_y(c, h, w) - test_buffer_get(&pool.x, at) - 2e-3) < 1e-6);
      assert_true(get_grad_x(c, h, w) == test_buffer_get(&pool.grad_y, at));
    }
  pool_case_free(&pool);
}

/* One element of channel 3's first window; its neighbours, in channel or place, stay what they were. */
static void one_bad_element(gp_layout layout, gp_isa isa) {
  static const double bad[] = {NAN, INFINITY, -INFINITY};
  for (int kind = GP_POOL_ISP_GAUSSIAN; kind <= GP_POOL_MAX; ++kind)
    for (int i = 0; i < 3; ++i) {
      make((gp_pool_kind)kind, layout, GP_FLOAT32, 2, 2, 0);
      set_x(3, 1, 0, bad[i]);
      pool_case_run(&pool, isa);
      for (int64_t c = 0; c < CHANNELS; ++c)
        for (int64_t w = 0; w < WIDTH / 2; ++w) {
          bool touched = c == 3 && w == 0 && !(kind == GP_POOL_MAX && i == 2);
          if (isfinite(get_y(c, 0, w)) == touched) fail_msg("kind %d, %g: y is %g", kind, bad[i], get_y(c, 0, w));
        }
      if (kind == GP_POOL_AVERAGE || (kind == GP_POOL_MAX && i < 2))
        assert_true(isnan(bad[i]) ? isnan(get_y(3, 0, 0)) : get_y(3, 0, 0) == bad[i]);
      pool_case_free(&pool);
    }
}

/* A window of 0 and 2v twice: mean v, deviation v, whatever v is. */
static void large_values(gp_layout layout, gp_isa isa) {
  static const double values[] = {1e30, 1e38, -1.6e38};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; ++i) {
    make(GP_POOL_WEIGHTED, layout, GP_FLOAT32, 2, 2, 0);
    test_buffer_set(&pool.weight, 0, 0.5);
    for (int64_t at = 0; at < HEIGHT * WIDTH; ++at) set_x(5, at / WIDTH, at % WIDTH, at % 2 == 0 ? 0 : 2 * values[i]);
    pool_case_run(&pool, isa);
    double expected = values[i] + 0.5 * fabs(values[i]), found = get_y(5, 1, 1);
    if (!(fabs(found - expected) <= 1e-6 * fabs(expected)))
      fail_msg("%g: expected %g, found %g", values[i], expected, found);
    assert_true(isfinite(get_grad_x(5, 1, 1)));
    pool_case_free(&pool);
    make(GP_POOL_AVERAGE, layout, GP_FLOAT32, 2, 2, 0);
    fill_x(2 * values[i]);
    pool_case_run(&pool, isa);
    assert_true(fabs(get_y(0, 0, 0) / values[i] - 2) < 1e-6);
    pool_case_free(&pool);
  }
}

static void large_doubles(gp_layout layout, gp_isa isa) {
  make(GP_POOL_WEIGHTED, layout, GP_FLOAT64, 2, 2, 0);
  for (int64_t at = 0; at < HEIGHT * WIDTH; ++at) set_x(5, at / WIDTH, at % WIDTH, at % 2 == 0 ? 1e300 : 1.5e308);
  test_buffer_set(&pool.weight, 0, 1);
  pool_case_run(&pool, isa);
  assert_true(fabs(get_y(5, 0, 0) / 1.5e308 - 1) < 1e-12);
  pool_case_free(&pool);
}

/* Mean 1e4, deviation 1e-3: float holds neighbours of 1e4 only 0.98e-3 apart, but those exactly. */
static void small_deviation(gp_layout layout, gp_isa isa) {
  make(GP_POOL_WEIGHTED, layout, GP_FLOAT32, 2, 2, 0);
  pool.plan.desc.eps = 1e-12;
  const double step = 0x1p-10; /* float's spacing at 1e4 */
  for (int64_t at = 0; at < HEIGHT * WIDTH; ++at) set_x(2, at / WIDTH, at % WIDTH, 1e4 + (at % 2 == 0 ? step : -step));
  test_buffer_set(&pool.weight, 0, 1000);
  pool_case_run(&pool, isa);
  assert_true(fabs(get_y(2, 1, 2) - (1e4 + 1000 * step)) < 2e-3);
  pool_case_free(&pool);
}

/* Ties go to the first maximum; -inf everywhere is a maximum, too. */
static void ties(gp_layout layout, gp_isa isa) {
  make(GP_POOL_MAX, layout, GP_FLOAT32, 2, 2, 0);
  fill_x(-INFINITY);
  pool_case_run(&pool, isa);
  for (int64_t c = 0; c < CHANNELS; ++c) {
    double grad_y = test_buffer_get(&pool.grad_y, pool_index(&pool, true, 0, c, 0, 1));
    assert_true(get_grad_x(c, 0, 2) == grad_y && get_grad_x(c, 0, 3) == 0 && get_grad_x(c, 1, 2) == 0);
    assert_true(get_y(c, 0, 1) == -INFINITY);
  }
  pool_case_free(&pool);
}

static void test_constant_windows(void **state) { (void)state, everywhere(constant_window); }
static void test_single_elements(void **state) { (void)state, everywhere(single_element); }
static void test_nan_and_infinity(void **state) { (void)state, everywhere(one_bad_element); }
static void test_large_values(void **state) { (void)state, everywhere(large_values); }
static void test_large_doubles(void **state) { (void)state, everywhere(large_doubles); }
static void test_small_deviations(void **state) { (void)state, everywhere(small_deviation); }
static void test_ties(void **state) { (void)state, everywhere(ties); }

static double units_in_last_place(double found, double exact) {
  int exponent;
  frexp(exact, &exponent);
  return fabs(found - exact) / ldexp(1, (exponent > FLT_MIN_EXP ? exponent : FLT_MIN_EXP) - FLT_MANT_DIG);
}

static void test_softplus_is_accurate(void **state) {
  (void)state;
  double worst_value = 0, worst_slope = 0;
  for (int i = -120000; i <= 120000; ++i) {
    float a = (float)i * 1e-3f, value, slope;
    gp_softplus(a, &value, &slope);
    double exact = log1p(exp((double)a)), exact_slope = 1 / (1 + exp(-(double)a));
    worst_value = fmax(worst_value, units_in_last_place((double)value, exact));
    worst_slope = fmax(worst_slope, units_in_last_place((double)slope, exact_slope));
  }
  if (worst_value > 4 || worst_slope > 4) fail_msg("softplus %g ulp, its slope %g ulp", worst_value, worst_slope);
}

static void test_softplus_of_special_values(void **state) {
  (void)state;
  float value, slope;
  gp_softplus(INFINITY, &value, &slope);
  assert_true(value == INFINITY && slope == 1);
  gp_softplus(-INFINITY, &value, &slope);
  assert_true(value == 0 && slope == 0);
  gp_softplus(NAN, &value, &slope);
  assert_true(isnan(value) && isnan(slope));
  gp_softplus(1e30f, &value, &slope);
  assert_true(value == 1e30f && slope == 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_constant_windows),
      cmocka_unit_test(test_single_elements),
      cmocka_unit_test(test_nan_and_infinity),
      cmocka_unit_test(test_large_values),
      cmocka_unit_test(test_large_doubles),
      cmocka_unit_test(test_small_deviations),
      cmocka_unit_test(test_ties),
      cmocka_unit_test(test_softplus_is_accurate),
      cmocka_unit_test(test_softplus_of_special_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
