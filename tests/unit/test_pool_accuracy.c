/* The kernels' largest errors over a fixed set of random activations, against the exact results, in units in the last
 * place; held to bounds. With GAUSSPOOL_TEST_TABLE set it prints the tables of docs/accuracy.md. */
#include "pool_case.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SAMPLES = 2, CHANNELS = 32, SIDE = 28, WINDOWS = 3, ROWS = 15 };

static const struct {
  const char *name;
  int32_t kernel, stride, padding, adaptive;
} windows[WINDOWS] = {{"2×2", 2, 2, 0, 0}, {"3×3", 3, 2, 1, 0}, {"28×28", 0, 0, 0, 1}};

/* Bounds in units in the last place: of y and of grad_x for the two small windows and the large one, and of the
 * gradients of parameters. */
static const struct row {
  const char *name;
  gp_pool_kind kind;
  gp_stochasticity stochasticity;
  double norm;
  unsigned extras;
  double y[2], grad_x[2], parameters;
} rows[ROWS] = {
    {"isp_gaussian", GP_POOL_ISP_GAUSSIAN, GP_STOCHASTIC_HWCN, 0, 0, {5, 5}, {16, 16}, 16},
    {"isp_gaussian, scaled", GP_POOL_ISP_GAUSSIAN, GP_STOCHASTIC_CN, 0, POOL_SCALED, {8, 8}, {100, 24}, 16},
    {"gaussian", GP_POOL_GAUSSIAN, GP_STOCHASTIC_HWCN, 0, 0, {5, 5}, {16, 16}, 16},
    {"half_gaussian", GP_POOL_HALF_GAUSSIAN, GP_STOCHASTIC_HWCN, 0, 0, {10, 5}, {16, 16}, 6},
    {"weighted", GP_POOL_WEIGHTED, GP_STOCHASTIC_NONE, 0, 0, {10, 5}, {16, 16}, 6},
    {"average", GP_POOL_AVERAGE, GP_STOCHASTIC_NONE, 0, 0, {5, 8}, {4, 2}, 0},
    {"max", GP_POOL_MAX, GP_STOCHASTIC_NONE, 0, 0, {0, 0}, {3, 0}, 0},
    {"max_entropy", GP_POOL_MAX_ENTROPY, GP_STOCHASTIC_NONE, 0, 0, {10, 32}, {8, 20}, 32},
    {"softpool", GP_POOL_SOFTPOOL, GP_STOCHASTIC_NONE, 0, 0, {10, 12}, {8, 16}, 0},
    {"stochastic, inference", GP_POOL_STOCHASTIC, GP_STOCHASTIC_NONE, 0, 0, {10, 32}, {16, 80}, 0},
    {"stochastic, training", GP_POOL_STOCHASTIC, GP_STOCHASTIC_HWCN, 0, 0, {0, 0}, {3, 0}, 0},
    {"mixed", GP_POOL_MIXED, GP_STOCHASTIC_NONE, 0, 0, {5, 5}, {4, 2}, 5},
    {"gated", GP_POOL_GATED, GP_STOCHASTIC_NONE, 0, 0, {8, 8}, {24, 8}, 5},
    {"lp, norm 2", GP_POOL_LP, GP_STOCHASTIC_NONE, 2, 0, {5, 6}, {8, 10}, 0},
    {"lp, norm 3", GP_POOL_LP, GP_STOCHASTIC_NONE, 3, 0, {8, 10}, {16, 32}, 0},
};

/* Largest errors of a row: by window, or of the gradients of parameters over all windows. */
struct errors {
  double y[WINDOWS], grad_x[WINDOWS], parameters;
};

/* One in the last place of a number of the dtype. */
static double unit_of(gp_dtype dtype, double value) {
  int exponent, digits = dtype == GP_BFLOAT16 ? 8 : dtype == GP_FLOAT16 ? 11 : 24;
  frexp(value, &exponent);
  int least = dtype == GP_FLOAT16 ? -13 : FLT_MIN_EXP;
  return ldexp(1, (exponent > least ? exponent : least) - digits);
}

/* Results that are sums of either sign, and nearly zero, are measured as if an eighth of the largest one. */
static double largest_error(const test_buffer *found, const test_buffer *exact) {
  double worst = 0, largest = 0;
  for (int64_t i = 0; i < (int64_t)exact->elements; ++i) largest = fmax(largest, fabs(test_buffer_get(exact, i)));
  for (int64_t i = 0; i < (int64_t)exact->elements; ++i) {
    double want = test_buffer_get(exact, i), unit = unit_of(found->dtype, fmax(fabs(want), largest / 8));
    double error = fabs(test_buffer_get(found, i) - want) / unit;
    worst = error > worst || isnan(error) ? error : worst;
  }
  return worst;
}

static void fill_array(pool_case *pool, enum pool_input which, double least, double most, test_random *random) {
  for (size_t i = 0; i < pool->in[which].elements; ++i)
    test_buffer_set(&pool->in[which], (int64_t)i, least + (most - least) * random_unit(random));
}

/* Activations as after a ReLU, and gradients of y that are positive, so that results do not cancel. */
static void fill(pool_case *pool) {
  test_random random = {pool->seed};
  const gp_pool_desc *desc = &pool->plan.desc;
  for (size_t i = 0; i < pool->in[POOL_X].elements; ++i)
    test_buffer_set(&pool->in[POOL_X], (int64_t)i, 0.01 + fabs(random_normal(&random)));
  fill_array(pool, POOL_GRAD_Y, 0.5, 1.5, &random);
  fill_array(pool, POOL_MU, 1, 2, &random);
  fill_array(pool, POOL_SIGMA, 0.25, 0.5, &random);
  fill_array(pool, POOL_WEIGHT, 0, 1, &random);
  fill_array(pool, POOL_SCALE, 0.5, 1.5, &random);
  fill_array(pool, POOL_SHIFT, -0.5, 0.5, &random);
  /* Gates about half open. */
  double mask = 2 / sqrt((double)(desc->kernel[0] * desc->kernel[1]));
  if (desc->kind == GP_POOL_GATED) fill_array(pool, POOL_WEIGHT, -mask, mask, &random);
}

static void measure(const struct row *row, int window, gp_layout layout, gp_dtype dtype, struct errors *errors) {
  gp_pool_desc desc = {
      .kind = row->kind,
      .dtype = dtype,
      .layout = layout,
      .batch = SAMPLES,
      .channels = CHANNELS,
      .height = SIDE,
      .width = SIDE,
      .kernel = {windows[window].kernel, windows[window].kernel},
      .stride = {windows[window].stride, windows[window].stride},
      .padding = {windows[window].padding, windows[window].padding},
      .adaptive = {windows[window].adaptive, windows[window].adaptive},
      .norm = row->norm,
      .param_shape = row->kind == GP_POOL_GATED ? GP_SHAPE_C : GP_SHAPE_NC,
      .stochasticity = row->stochasticity,
      .seed = 1,
  };
  if (row->kind == GP_POOL_GATED && windows[window].adaptive > 0) {
    desc.adaptive[0] = desc.adaptive[1] = 0; /* the mask is of the kernel's size */
    desc.kernel[0] = desc.kernel[1] = SIDE;
  }
  pool_case pool, exact;
  pool_case_make(&pool, &desc, row->extras, 5);
  fill(&pool);
  pool_case_exact(&exact, &pool);
  pool_case_run(&exact, GP_ISA_REFERENCE);
  pool_case_run(&pool, gp_isa_best());
  errors->y[window] = fmax(errors->y[window], largest_error(&pool.out[POOL_Y], &exact.out[POOL_Y]));
  errors->grad_x[window] = fmax(errors->grad_x[window], largest_error(&pool.out[POOL_GRAD_X], &exact.out[POOL_GRAD_X]));
  for (int i = POOL_GRAD_WEIGHT; i < POOL_OUTPUTS; ++i)
    errors->parameters = fmax(errors->parameters, largest_error(&pool.out[i], &exact.out[i]));
  pool_case_free(&exact);
  pool_case_free(&pool);
}

static struct errors measure_row(const struct row *row, gp_dtype dtype) {
  struct errors errors = {0};
  bool half = gp_dtype_size(dtype) == 2;
  for (int window = 0; window < WINDOWS; ++window)
    for (int layout = half ? GP_NHWC : GP_NCHW; layout <= (half ? GP_NHWC : GP_NCHW8C); ++layout)
      measure(row, window, (gp_layout)layout, dtype, &errors);
  return errors;
}

static bool table_wanted(void) { return getenv("GAUSSPOOL_TEST_TABLE") != NULL; }

static void check(const struct row *row, const char *what, double error, double bound) {
  if (!(error <= bound)) fail_msg("%s, %s: %g units in the last place, bound %g", row->name, what, error, bound);
}

static void print_row(const struct row *row, const struct errors *e) {
  printf("| %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f | ", row->name, e->y[0], e->y[1], e->y[2], e->grad_x[0],
         e->grad_x[1], e->grad_x[2]);
  if (row->parameters > 0) printf("%.1f", e->parameters);
  printf(" | %g, %g | %g, %g |", row->y[0], row->y[1], row->grad_x[0], row->grad_x[1]);
  if (row->parameters > 0) printf(" %g", row->parameters);
  printf(" |\n");
}

static void test_float32(void **state) {
  (void)state;
  if (table_wanted())
    printf(
        "| kind | y 2×2 | 3×3 | 28×28 | grad_x 2×2 | 3×3 | 28×28 | parameters | bounds of y | of grad_x | of "
        "parameters |\n| --- | --: | --: | --: | --: | --: | --: | --: | --- | --- | --: |\n");
  for (int i = 0; i < ROWS; ++i) {
    struct errors e = measure_row(&rows[i], GP_FLOAT32);
    if (table_wanted()) print_row(&rows[i], &e);
    for (int window = 0; window < WINDOWS; ++window) {
      int large = window == WINDOWS - 1;
      check(&rows[i], "y", e.y[window], rows[i].y[large]);
      check(&rows[i], "grad_x", e.grad_x[window], rows[i].grad_x[large]);
    }
    check(&rows[i], "parameters", e.parameters, rows[i].parameters);
  }
}

/* In the 16-bit types nearly all of the error is the result's rounding: half a unit. */
static void test_16_bit(void **state) {
  (void)state;
  if (table_wanted())
    printf("\n| kind | bfloat16 y | bfloat16 grad_x | float16 y | float16 grad_x |\n| --- | --: | --: | --: | --: |\n");
  for (int i = 0; i < ROWS; ++i) {
    double worst[4] = {0};
    for (int half = 0; half < 2; ++half) {
      struct errors e = measure_row(&rows[i], half ? GP_FLOAT16 : GP_BFLOAT16);
      for (int window = 0; window < WINDOWS; ++window) {
        worst[2 * half] = fmax(worst[2 * half], e.y[window]);
        worst[2 * half + 1] = fmax(worst[2 * half + 1], e.grad_x[window]);
      }
    }
    if (table_wanted())
      printf("| %s | %.2f | %.2f | %.2f | %.2f |\n", rows[i].name, worst[0], worst[1], worst[2], worst[3]);
    for (int k = 0; k < 4; ++k) check(&rows[i], "16-bit", worst[k], 0.75);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_float32), cmocka_unit_test(test_16_bit)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
