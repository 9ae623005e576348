/* Special values: every kind, dtype and layout on every instruction set. */
#include "pool_case.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { CHANNELS = 17, HEIGHT = 4, WIDTH = 6, KINDS = GP_POOL_LP + 1 };

static const double mu = 0.5, sigma = 0.75, weight = 0.5;

/* Where a test runs. */
struct place {
  gp_pool_kind kind;
  gp_layout layout;
  gp_dtype dtype;
  gp_isa isa;
};

static pool_case pool;

static void fail_at(const struct place *place, const char *what, double expected, double found) {
  pool_case_print(&pool);
  fail_msg("%s on %s: expected %.9g, found %.9g", what, gp_isa_name(place->isa), expected, found);
}

static void make(const struct place *place, int32_t kernel, int32_t stride, int32_t padding, unsigned extras) {
  gp_pool_desc desc = {.kind = place->kind,
                       .dtype = place->dtype,
                       .layout = place->layout,
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
  pool_case_make(&pool, &desc, extras, 3);
  if (pool.in[POOL_MU].elements > 0) test_buffer_set(&pool.in[POOL_MU], 0, mu);
  if (pool.in[POOL_SIGMA].elements > 0) test_buffer_set(&pool.in[POOL_SIGMA], 0, sigma);
  for (size_t i = 0; i < pool.in[POOL_WEIGHT].elements; ++i) test_buffer_set(&pool.in[POOL_WEIGHT], (int64_t)i, weight);
}

static void set_x(int64_t c, int64_t h, int64_t w, double value) {
  test_buffer_set(&pool.in[POOL_X], pool_x_at(&pool, 0, c, h, w), value);
}

static double get_x(int64_t c, int64_t h, int64_t w) {
  return test_buffer_get(&pool.in[POOL_X], pool_x_at(&pool, 0, c, h, w));
}

static void fill_x(double value) {
  for (int64_t c = 0; c < CHANNELS; ++c)
    for (int64_t i = 0; i < HEIGHT * WIDTH; ++i) set_x(c, i / WIDTH, i % WIDTH, value);
}

static double get_y(int64_t c, int64_t h, int64_t w) {
  return test_buffer_get(&pool.out[POOL_Y], pool_y_at(&pool, 0, c, h, w));
}

static double get_grad_y(int64_t c, int64_t h, int64_t w) {
  return test_buffer_get(&pool.in[POOL_GRAD_Y], pool_grad_y_at(&pool, 0, c, h, w));
}

static double get_grad_x(int64_t c, int64_t h, int64_t w) {
  return test_buffer_get(&pool.out[POOL_GRAD_X], pool_grad_x_at(&pool, 0, c, h, w));
}

static void everywhere(void (*body)(const struct place *)) {
  for (int kind = 0; kind < KINDS; ++kind)
    for (int dtype = GP_FLOAT32; dtype <= GP_FLOAT16; ++dtype)
      for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
        for (gp_isa isa = GP_ISA_REFERENCE; isa <= gp_isa_best(); ++isa)
          body(&(struct place){(gp_pool_kind)kind, (gp_layout)layout, (gp_dtype)dtype, isa});
}

/* Relative error of a result: the float kernels', and the rounding to the dtype. */
static double relative_error(gp_dtype dtype) {
  return dtype == GP_FLOAT64 ? 1e-15 : dtype == GP_BFLOAT16 ? 0x1p-8 : dtype == GP_FLOAT16 ? 0x1p-11 : 1e-6;
}

static double smallest_step(gp_dtype dtype) {
  return dtype == GP_FLOAT64 ? 0 : dtype == GP_BFLOAT16 ? 0x1p-133 : dtype == GP_FLOAT16 ? 0x1p-24 : 0x1p-149;
}

static double rounded(gp_dtype dtype, double value) {
  uint64_t stored;
  gp_store(&stored, dtype, 0, value);
  return gp_load(&stored, dtype, 0);
}

static double largest_value(gp_dtype dtype) {
  return dtype == GP_FLOAT64    ? DBL_MAX
         : dtype == GP_BFLOAT16 ? 0x1.FEp127
         : dtype == GP_FLOAT16  ? 65504
                                : (double)FLT_MAX;
}

/* y of a window whose elements are all `value`, times `scale` for the Lp kind. */
static double constant_result(gp_pool_kind kind, double value, double elements) {
  switch (kind) {
    case GP_POOL_ISP_GAUSSIAN: return value + log1p(exp(mu)) * 1e-3;
    case GP_POOL_GAUSSIAN: return value + mu * 1e-3;
    case GP_POOL_HALF_GAUSSIAN: return value + sigma * sqrt(2 / 3.14159265358979323846) * 1e-3;
    case GP_POOL_WEIGHTED: return value + weight * 1e-3;
    case GP_POOL_LP: return fabs(value) * sqrt(elements);
    default: return value;
  }
}

/* ---- Constant windows and single elements -------------------------------------------------- */

static void constant_window(const struct place *place) {
  static const double values[] = {0, 1, -3.3, 1e4, 6e4, 1e30, -3e38, 1e-40, 6e-8, 1e300, 1.7e308};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; ++i) {
    double value = rounded(place->dtype, values[i]), expected = constant_result(place->kind, value, 9);
    if (!(fabs(expected) < largest_value(place->dtype))) continue;
    make(place, 3, 2, 1, POOL_PLAIN);
    fill_x(value);
    pool_case_run(&pool, place->isa);
    double allowed = fabs(expected) * relative_error(place->dtype) + 4 * smallest_step(place->dtype);
    for (int64_t c = 0; c < CHANNELS; ++c) {
      if (!(fabs(get_y(c, 1, 1) - expected) <= allowed)) fail_at(place, "constant window", expected, get_y(c, 1, 1));
      if (!isfinite(get_grad_x(c, 1, 1))) fail_at(place, "gradient of a constant window", 0, get_grad_x(c, 1, 1));
    }
    pool_case_free(&pool);
  }
}

static void single_element(const struct place *place) {
  make(place, 1, 1, 0, POOL_PLAIN);
  pool_case_run(&pool, place->isa);
  for (int64_t c = 0; c < CHANNELS; ++c)
    for (int64_t i = 0; i < HEIGHT * WIDTH; ++i) {
      int64_t h = i / WIDTH, w = i % WIDTH;
      double x = get_x(c, h, w), expected = constant_result(place->kind, x, 1);
      double gradient = place->kind == GP_POOL_LP ? copysign(1, x) * get_grad_y(c, h, w) : get_grad_y(c, h, w);
      double error = 2 * relative_error(place->dtype);
      if (!(fabs(get_y(c, h, w) - expected) <= error * (1 + fabs(expected))))
        fail_at(place, "single element", expected, get_y(c, h, w));
      if (!(fabs(get_grad_x(c, h, w) - gradient) <= error * (1 + fabs(gradient))))
        fail_at(place, "gradient of a single element", gradient, get_grad_x(c, h, w));
    }
  pool_case_free(&pool);
}

/* ---- NaN and infinities -------------------------------------------------------------------- */

/* What a window of ordinary numbers and one infinity gives: an infinity, NaN, or 0 for something finite. W is 1/2. */
static double infinite_result(gp_pool_kind kind, double infinity) {
  switch (kind) {
    case GP_POOL_AVERAGE:
    case GP_POOL_MIXED: return infinity;
    case GP_POOL_MAX: return infinity > 0 ? infinity : 0;
    case GP_POOL_LP: return INFINITY;
    /* The gate opens or closes wholly: 1·∞ + 0·∞ is no number, 0·max - ∞ is. */
    case GP_POOL_GATED: return infinity > 0 ? NAN : infinity;
    /* The least element has no part in it. */
    case GP_POOL_STOCHASTIC: return infinity > 0 ? NAN : 0;
    default: return NAN;
  }
}

static bool same_class(double expected, double found) {
  if (isnan(expected)) return isnan(found);
  if (isinf(expected)) return found == expected;
  return isfinite(found);
}

/* One element of channel 3's first window; its neighbours, in channel or place, stay what they were. */
static void check_bad_element(const struct place *place, double bad, double expected, gp_stochasticity stochasticity) {
  make(place, 2, 2, 0, POOL_PLAIN);
  pool.plan.desc.stochasticity = stochasticity;
  for (int64_t w = 0; w < 2; ++w)
    for (int64_t h = 0; h < 2; ++h) set_x(3, h, w, (double)(1 + h + 2 * w));
  set_x(3, 1, 0, bad);
  pool_case_run(&pool, place->isa);
  for (int64_t c = 0; c < CHANNELS; ++c)
    for (int64_t w = 0; w < WIDTH / 2; ++w) {
      bool touched = c == 3 && w == 0;
      if (!same_class(touched ? expected : 0, get_y(c, 0, w)))
        fail_at(place, "a window with or beside a bad element", touched ? expected : 0, get_y(c, 0, w));
      if (!touched && !isfinite(get_grad_x(c, 1, 2 * w)))
        fail_at(place, "a gradient beside it", 0, get_grad_x(c, 1, 2 * w));
    }
  pool_case_free(&pool);
}

static void bad_element(const struct place *place) {
  check_bad_element(place, NAN, NAN, GP_STOCHASTIC_NONE);
  check_bad_element(place, INFINITY, infinite_result(place->kind, INFINITY), GP_STOCHASTIC_NONE);
  check_bad_element(place, -INFINITY, infinite_result(place->kind, -INFINITY), GP_STOCHASTIC_NONE);
  if (place->kind != GP_POOL_STOCHASTIC) return;
  check_bad_element(place, NAN, NAN, GP_STOCHASTIC_HWCN);
  check_bad_element(place, INFINITY, NAN, GP_STOCHASTIC_HWCN);
  check_bad_element(place, -INFINITY, 0, GP_STOCHASTIC_HWCN);
}

/* ---- Both ends of the range ---------------------------------------------------------------- */

/* Largest magnitude in a window of 2 x 2. */
static double window_size(int64_t c, int64_t h, int64_t w) {
  double size = 0;
  for (int64_t i = 0; i < 4; ++i) size = fmax(size, fabs(get_x(c, 2 * h + i / 2, 2 * w + i % 2)));
  return size;
}

/* Results against the exact ones, to within the kernels' relative error of the window's largest element and `steps` of
 * the dtype's smallest number. */
static void compare_with_exact(const struct place *place, double steps, const char *what) {
  pool_case exact;
  pool_case_exact(&exact, &pool);
  pool_case_run(&exact, GP_ISA_REFERENCE);
  double relative = relative_error(place->dtype), step = smallest_step(place->dtype);
  for (int64_t c = 0; c < CHANNELS; ++c) {
    for (int64_t i = 0; i < pool.plan.out_height * pool.plan.out_width; ++i) {
      int64_t h = i / pool.plan.out_width, w = i % pool.plan.out_width;
      double expected = test_buffer_get(&exact.out[POOL_Y], pool_y_at(&pool, 0, c, h, w)), found = get_y(c, h, w);
      double error = relative * fabs(expected) + steps * step;
      error += fmin(relative, 1e-6) * window_size(c, h, w);
      if (!(fabs(found - expected) <= error)) fail_at(place, what, expected, found);
    }
    for (int64_t i = 0; i < HEIGHT * WIDTH; ++i) {
      int64_t h = i / WIDTH, w = i % WIDTH;
      double expected = test_buffer_get(&exact.out[POOL_GRAD_X], pool_grad_x_at(&pool, 0, c, h, w));
      double found = get_grad_x(c, h, w);
      if (!(fabs(found - expected) <= 8 * relative * (1 + fabs(expected)))) fail_at(place, what, expected, found);
    }
  }
  pool_case_free(&exact);
}

/* Numbers of very different size up to half the largest, so that no difference within a window leaves the range, in
 * some channels; ordinary ones in the others. */
static void large_values(const struct place *place) {
  static const double factors[] = {0, 1, 0.25, -0.125, 1, 1e-3, 0.5};
  double largest = place->dtype == GP_FLOAT16 ? 2e4 : place->dtype == GP_FLOAT64 ? 1e307 : 4e37;
  for (int i = 0; i < 3; ++i) {
    double value = i == 0 ? fmin(1e30, largest) : i == 1 ? largest : -largest;
    make(place, 2, 2, 0, POOL_PLAIN);
    for (int64_t c = 0; c < CHANNELS; c += 5)
      for (int64_t at = 0; at < HEIGHT * WIDTH; ++at) set_x(c, at / WIDTH, at % WIDTH, value * factors[(at + c) % 7]);
    pool_case_run(&pool, place->isa);
    compare_with_exact(place, 1, "large values");
    pool_case_free(&pool);
  }
}

static void small_values(const struct place *place) {
  double step = smallest_step(place->dtype);
  if (step == 0) step = 0x1p-1074;
  for (int i = 0; i < 3; ++i) {
    make(place, 2, 2, 0, POOL_PLAIN);
    for (int64_t c = 0; c < CHANNELS; c += 5)
      for (int64_t at = 0; at < HEIGHT * WIDTH; ++at)
        set_x(c, at / WIDTH, at % WIDTH, step * (double)((at * 7 + c) % (i == 0 ? 3 : 1000) - i));
    pool_case_run(&pool, place->isa);
    compare_with_exact(place, 4, "small values");
    pool_case_free(&pool);
  }
}

/* Mean 1e4, deviation 1e-3: float holds neighbours of 1e4 only 0.98e-3 apart, but those exactly. */
static void small_deviation(const struct place *place) {
  if (place->dtype > GP_FLOAT64 || place->kind != GP_POOL_WEIGHTED) return;
  make(place, 2, 2, 0, POOL_PLAIN);
  pool.plan.desc.eps = 1e-12;
  const double step = 0x1p-10; /* float's spacing at 1e4 */
  for (int64_t at = 0; at < HEIGHT * WIDTH; ++at) set_x(2, at / WIDTH, at % WIDTH, 1e4 + (at % 2 == 0 ? step : -step));
  test_buffer_set(&pool.in[POOL_WEIGHT], 0, 1000);
  pool_case_run(&pool, place->isa);
  assert_true(fabs(get_y(2, 1, 2) - (1e4 + 1000 * step)) < 2e-3);
  pool_case_free(&pool);
}

/* ---- Where gradients jump ------------------------------------------------------------------ */

/* Ties go to the first maximum; -inf everywhere is a maximum, too, and of several NaN the last is it. */
static void ties(const struct place *place) {
  if (place->kind != GP_POOL_MAX) return;
  for (int nan = 0; nan < 2; ++nan) {
    make(place, 2, 2, 0, POOL_PLAIN);
    fill_x(nan ? NAN : -INFINITY);
    pool_case_run(&pool, place->isa);
    for (int64_t c = 0; c < CHANNELS; ++c) {
      double grad_y = get_grad_y(c, 0, 1);
      assert_true(get_grad_x(c, 0, 2) == (nan ? 0 : grad_y) && get_grad_x(c, 1, 3) == (nan ? grad_y : 0));
      assert_true(get_grad_x(c, 0, 3) == 0 && get_grad_x(c, 1, 2) == 0);
      assert_true(nan ? isnan(get_y(c, 0, 1)) : get_y(c, 0, 1) == -INFINITY);
    }
    pool_case_free(&pool);
  }
}

/* v = 1 exactly: with eps = 1 the gradient through s is there, with the next eps it is not. */
static void variance_at_eps(const struct place *place) {
  if (place->kind != GP_POOL_WEIGHTED) return;
  for (int above = 0; above < 2; ++above) {
    make(place, 2, 2, 0, POOL_PLAIN);
    pool.plan.desc.eps = above ? 1 + 0x1p-20 : 1;
    for (int64_t c = 0; c < CHANNELS; ++c)
      for (int64_t at = 0; at < HEIGHT * WIDTH; ++at) set_x(c, at / WIDTH, at % WIDTH, at % 2 ? 1 : -1);
    pool_case_run(&pool, place->isa);
    for (int64_t c = 0; c < CHANNELS; ++c) {
      double expected = get_grad_y(c, 0, 0) * (above ? 1 : 1 + weight) / 4, found = get_grad_x(c, 0, 1);
      if (fabs(found - expected) > 2 * relative_error(place->dtype) * fabs(expected))
        fail_at(place, "gradient at eps", expected, found);
    }
    pool_case_free(&pool);
  }
}

/* relu(2x + 1) at x = -1/2, just above, just below, and for a NaN, which goes through both ways. */
static void rectified_values(const struct place *place) {
  if (place->kind != GP_POOL_AVERAGE) return;
  static const double values[] = {-0.5, -0.4921875, -0.5078125, NAN}, results[] = {0, 0.015625, 0, NAN};
  make(place, 1, 1, 0, POOL_SCALED);
  for (int64_t c = 0; c < CHANNELS; ++c) {
    test_buffer_set(&pool.in[POOL_SCALE], c, 2);
    test_buffer_set(&pool.in[POOL_SHIFT], c, 1);
    for (int64_t w = 0; w < 4; ++w) set_x(c, 0, w, values[w]);
  }
  pool_case_run(&pool, place->isa);
  for (int64_t c = 0; c < CHANNELS; ++c)
    for (int64_t w = 0; w < 4; ++w) {
      double y = get_y(c, 0, w), expected = results[w] == 0 ? 0 : 2 * get_grad_y(c, 0, w), found = get_grad_x(c, 0, w);
      if (!(y == results[w] || (isnan(y) && isnan(results[w])))) fail_at(place, "relu", results[w], y);
      if (found != expected) fail_at(place, "gradient through relu", expected, found);
    }
  pool_case_free(&pool);
}

static void test_constant_windows(void **state) { (void)state, everywhere(constant_window); }
static void test_single_elements(void **state) { (void)state, everywhere(single_element); }
static void test_nan_and_infinity(void **state) { (void)state, everywhere(bad_element); }
static void test_large_values(void **state) { (void)state, everywhere(large_values); }
static void test_small_values(void **state) { (void)state, everywhere(small_values); }
static void test_small_deviations(void **state) { (void)state, everywhere(small_deviation); }
static void test_ties(void **state) { (void)state, everywhere(ties); }
static void test_variance_at_eps(void **state) { (void)state, everywhere(variance_at_eps); }
static void test_rectified_values(void **state) { (void)state, everywhere(rectified_values); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_constant_windows),
      cmocka_unit_test(test_single_elements),
      cmocka_unit_test(test_nan_and_infinity),
      cmocka_unit_test(test_large_values),
      cmocka_unit_test(test_small_values),
      cmocka_unit_test(test_small_deviations),
      cmocka_unit_test(test_ties),
      cmocka_unit_test(test_variance_at_eps),
      cmocka_unit_test(test_rectified_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
