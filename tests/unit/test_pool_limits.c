/* Descriptors far from the usual: long rows, many threads, numbers at the edge of float. */
#include <gausspool/gausspool.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void *workspace_of(size_t bytes) {
  void *memory = NULL;
  assert_int_equal(posix_memalign(&memory, 64, bytes > 0 ? bytes : 64), 0);
  return memory;
}

static float *values(int64_t count, float value) {
  float *array = malloc((size_t)count * sizeof *array);
  assert_non_null(array);
  for (int64_t i = 0; i < count; ++i) array[i] = value;
  return array;
}

/* Sums over a row of a million stay exact: they leave float long before its digits run out. */
static void check_long_row(gp_layout layout) {
  enum { WIDTH = 1000000 };
  gp_pool_desc desc = {.kind = GP_POOL_WEIGHTED,
                       .layout = layout,
                       .batch = 1,
                       .channels = 1,
                       .height = 1,
                       .width = WIDTH,
                       .kernel = {1, 1},
                       .eps = 1,
                       .param_shape = GP_SHAPE_ONE};
  size_t forward, backward;
  assert_int_equal(gp_pool_forward_workspace(&desc, &forward), GP_OK);
  assert_int_equal(gp_pool_backward_workspace(&desc, &backward), GP_OK);
  void *workspace = workspace_of(forward > backward ? forward : backward);
  int64_t lanes = layout == GP_NCHW16C ? 16 : 1;
  float *x = values(WIDTH * lanes, 1.1f), *y = values(WIDTH * lanes, 0), average = 0, weight = 0, grad_weight = 0;
  gp_pool_forward_args args = {.x = x, .weight = &weight, .y = y, .average_y = &average, .workspace = workspace};
  assert_int_equal(gp_pool_forward(&desc, &args), GP_OK);
  gp_pool_backward_args grads = {
      .x = x, .weight = &weight, .grad_y = x, .grad_x = y, .grad_weight = &grad_weight, .workspace = workspace};
  assert_int_equal(gp_pool_backward(&desc, &grads), GP_OK);
  if (!(fabsf(average - 1.1f) < 1e-5f)) fail_msg("layout %d: average %g", (int)layout, (double)average);
  if (!(fabsf(grad_weight / WIDTH - 1.1f) < 1e-5f))
    fail_msg("layout %d: grad_weight %g", (int)layout, (double)grad_weight);
  free(workspace);
  free(x);
  free(y);
}

static void test_long_rows(void **state) {
  (void)state;
  check_long_row(GP_NCHW);
  check_long_row(GP_NHWC);
  check_long_row(GP_NCHW16C);
}

/* More threads than any machine has are asked for, and not started. */
static void test_many_threads(void **state) {
  (void)state;
  gp_pool_desc desc = {.kind = GP_POOL_AVERAGE,
                       .layout = GP_NHWC,
                       .batch = 4096,
                       .channels = 16,
                       .height = 2,
                       .width = 2,
                       .kernel = {2, 2},
                       .threads = INT32_MAX};
  float *x = values(4096 * 16 * 4, 3), *y = values(4096 * 16, 0);
  assert_int_equal(gp_pool_forward(&desc, &(gp_pool_forward_args){.x = x, .y = y}), GP_OK);
  for (int i = 0; i < 4096 * 16; ++i) assert_true(y[i] == 3);
  free(x);
  free(y);
}

/* eps and norm are doubles; what float cannot hold of them must not turn into 0 or infinity. */
static void test_edges_of_float(void **state) {
  (void)state;
  float x[4] = {2, 2, 2, 2}, weight = 1, y = 0, grad_y = 1, grad_x[4];
  gp_pool_desc desc = {.kind = GP_POOL_WEIGHTED,
                       .batch = 1,
                       .channels = 1,
                       .height = 2,
                       .width = 2,
                       .kernel = {2, 2},
                       .param_shape = GP_SHAPE_ONE};
  const struct {
    gp_pool_kind kind;
    double eps, norm;
  } cases[] = {
      {GP_POOL_WEIGHTED, 1e-46, 0}, {GP_POOL_WEIGHTED, 1e39, 0}, {GP_POOL_LP, 0, 1e39}, {GP_POOL_LP, 0, 1e300}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    desc.kind = cases[i].kind;
    desc.eps = cases[i].eps;
    desc.norm = cases[i].norm;
    size_t bytes;
    assert_int_equal(gp_pool_backward_workspace(&desc, &bytes), GP_OK);
    void *workspace = workspace_of(bytes);
    gp_pool_forward_args args = {.x = x, .weight = &weight, .y = &y};
    assert_int_equal(gp_pool_forward(&desc, &args), GP_OK);
    gp_pool_backward_args grads = {
        .x = x, .weight = &weight, .grad_y = &grad_y, .grad_x = grad_x, .workspace = workspace};
    assert_int_equal(gp_pool_backward(&desc, &grads), GP_OK);
    if (!isfinite(y)) fail_msg("case %zu: y is %g", i, (double)y);
    for (int k = 0; k < 4; ++k)
      if (!isfinite(grad_x[k])) fail_msg("case %zu: grad_x is %g", i, (double)grad_x[k]);
    free(workspace);
  }
}

static void test_draws_are_aligned(void **state) {
  (void)state;
  gp_pool_desc desc = {
      .batch = 1, .channels = 1, .height = 2, .width = 2, .kernel = {2, 2}, .stochasticity = GP_STOCHASTIC_CN};
  _Alignas(8) char memory[16];
  assert_int_equal(gp_pool_draws(&desc, memory + 1), GP_ERROR_INVALID_ARGUMENT);
  assert_int_equal(gp_pool_draws(&desc, memory + 4), GP_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_long_rows), cmocka_unit_test(test_many_threads),
                                     cmocka_unit_test(test_edges_of_float), cmocka_unit_test(test_draws_are_aligned)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
