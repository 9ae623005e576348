/* Gradients of the reference against central finite differences of its forward pass, in double, for every kind. The
 * fast kernels are held to the reference by test_pool_kernels. */
#include "pool_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static double input_or(const pool_case *pool, enum pool_input which, int64_t at, double otherwise) {
  return pool->in[which].elements > 0 ? test_buffer_get(&pool->in[which], at) : otherwise;
}

/* x as the pooling reads it. */
static double rectified(const pool_case *pool, int64_t c, double x) {
  if (pool->in[POOL_SCALE].elements == 0) return x;
  return fmax(test_buffer_get(&pool->in[POOL_SCALE], c) * x + test_buffer_get(&pool->in[POOL_SHIFT], c), 0);
}

/* L = Σ grad_y·y + Σ grad_average_y·average_y + Σ grad_average_x·mean(x), whose gradients backward computes. */
static double loss(pool_case *pool) {
  pool_case_forward(pool);
  const gp_pool_desc *desc = &pool->plan.desc;
  int64_t outputs = pool->plan.out_height * pool->plan.out_width, inputs = desc->height * desc->width;
  double total = 0;
  for (int64_t n = 0; n < desc->batch; ++n)
    for (int64_t c = 0; c < desc->channels; ++c) {
      int64_t plane = n * desc->channels + c;
      for (int64_t i = 0; i < outputs; ++i) {
        int64_t h = i / pool->plan.out_width, w = i % pool->plan.out_width;
        total += test_buffer_get(&pool->in[POOL_GRAD_Y], pool_grad_y_at(pool, n, c, h, w)) *
                 test_buffer_get(&pool->out[POOL_Y], pool_y_at(pool, n, c, h, w));
      }
      double average_x = 0;
      for (int64_t i = 0; i < inputs; ++i)
        average_x += rectified(
            pool, c, test_buffer_get(&pool->in[POOL_X], pool_x_at(pool, n, c, i / desc->width, i % desc->width)));
      total += input_or(pool, POOL_GRAD_AVERAGE_X, plane, 0) * average_x / (double)inputs;
      if (pool->out[POOL_AVERAGE_Y].elements > 0)
        total +=
            test_buffer_get(&pool->in[POOL_GRAD_AVERAGE_Y], plane) * test_buffer_get(&pool->out[POOL_AVERAGE_Y], plane);
    }
  return total;
}

/* Bodies that choose an element are linear between the places where the choice changes. */
static double step_of(const pool_case *pool) {
  gp_pool_body body = pool->plan.kind->body;
  return body == GP_BODY_MAX || body == GP_BODY_STOCHASTIC ? 1e-7 : 1e-5;
}

static void check_element(pool_case *pool, enum pool_input which, int64_t at, double gradient, const char *name) {
  test_buffer *input = &pool->in[which];
  double value = test_buffer_get(input, at), step = step_of(pool);
  test_buffer_set(input, at, value + step);
  double above = loss(pool);
  test_buffer_set(input, at, value - step);
  double below = loss(pool);
  test_buffer_set(input, at, value);
  double expected = (above - below) / (2 * step);
  if (fabs(expected - gradient) <= 4e-6 * (1 + fabs(expected))) return;
  pool_case_print(pool);
  fail_msg("gradient of %s at %lld: differences give %.9g, backward %.9g", name, (long long)at, expected, gradient);
}

static void check_x(pool_case *pool) {
  const gp_pool_desc *desc = &pool->plan.desc;
  for (int64_t n = 0; n < desc->batch; ++n)
    for (int64_t c = 0; c < desc->channels; ++c)
      for (int64_t i = 0; i < desc->height * desc->width; ++i) {
        int64_t h = i / desc->width, w = i % desc->width, at = pool_grad_x_at(pool, n, c, h, w);
        double before = pool->accumulate ? test_buffer_get(&pool->in[POOL_BEFORE], at) : 0;
        check_element(pool, POOL_X, pool_x_at(pool, n, c, h, w), test_buffer_get(&pool->out[POOL_GRAD_X], at) - before,
                      "x");
      }
}

static void check_array(pool_case *pool, enum pool_input input, enum pool_output output) {
  for (int64_t i = 0; i < (int64_t)pool->out[output].elements; ++i)
    if (!isnan(test_buffer_get(&pool->in[input], i))) /* not a padding lane */
      check_element(pool, input, i, test_buffer_get(&pool->out[output], i), pool_output_names[output]);
}

/* Smooth ground for differences: no ties, and neither x nor scale·x + shift at a kink. */
static void fill_smoothly(pool_case *pool, uint64_t seed) {
  test_random random = {seed};
  const gp_pool_desc *desc = &pool->plan.desc;
  for (size_t i = 0; i < pool->in[POOL_SCALE].elements; ++i) {
    test_buffer_set(&pool->in[POOL_SCALE], (int64_t)i, random_normal(&random));
    test_buffer_set(&pool->in[POOL_SHIFT], (int64_t)i, 0.5 + 0.5 * random_normal(&random));
  }
  for (int64_t i = 0; i < desc->batch * desc->channels * desc->height * desc->width; ++i) {
    int64_t w = i % desc->width, h = i / desc->width % desc->height, plane = i / (desc->width * desc->height);
    int64_t n = plane / desc->channels, c = plane % desc->channels;
    double x, sum;
    do {
      x = (desc->kind == GP_POOL_STOCHASTIC || desc->kind == GP_POOL_LP ? 0 : 1) + random_normal(&random);
      sum = input_or(pool, POOL_SCALE, c, 1) * x + input_or(pool, POOL_SHIFT, c, 0);
    } while (fabs(x) < 2e-2 || fabs(sum) < 2e-2);
    test_buffer_set(&pool->in[POOL_X], pool_x_at(pool, n, c, h, w), x);
  }
}

static void check_case(const gp_pool_desc *desc, unsigned extras, uint64_t seed) {
  pool_case pool;
  pool_case_make(&pool, desc, extras, seed);
  fill_smoothly(&pool, seed);
  pool_case_run(&pool, GP_ISA_REFERENCE);
  check_x(&pool);
  check_array(&pool, POOL_MU, POOL_GRAD_MU);
  check_array(&pool, POOL_SIGMA, POOL_GRAD_SIGMA);
  check_array(&pool, POOL_WEIGHT, POOL_GRAD_WEIGHT);
  check_array(&pool, POOL_SCALE, POOL_GRAD_SCALE);
  check_array(&pool, POOL_SHIFT, POOL_GRAD_SHIFT);
  pool_case_free(&pool);
}

/* Windows that tile the input, leave gaps, overlap, are padded, hang over, and adapt. */
static const struct {
  int32_t kernel[2], stride[2], padding[2];
  bool ceil_mode;
  int32_t adaptive[2];
} windows[] = {
    {{2, 2}, {2, 2}, {0, 0}, false, {0}},
    {{3, 3}, {2, 2}, {1, 1}, false, {0}},
    {{3, 2}, {1, 2}, {1, 0}, false, {0}},
    {{2, 1}, {3, 2}, {0, 0}, false, {0}},
    {{3, 3}, {2, 3}, {1, 1}, true, {0}},
    {.adaptive = {1, 1}},
    {.adaptive = {3, 2}},
};
enum { WINDOWS = sizeof windows / sizeof windows[0] };

static uint64_t cases_checked;

/* All windows, both divisors; layouts, slices and extras take turns. */
static void check_windows(gp_pool_desc desc) {
  for (size_t i = 0; i < 2 * WINDOWS; ++i) {
    memcpy(desc.kernel, windows[i / 2].kernel, sizeof desc.kernel);
    memcpy(desc.stride, windows[i / 2].stride, sizeof desc.stride);
    memcpy(desc.padding, windows[i / 2].padding, sizeof desc.padding);
    memcpy(desc.adaptive, windows[i / 2].adaptive, sizeof desc.adaptive);
    desc.ceil_mode = windows[i / 2].ceil_mode;
    desc.pad_count = i % 2 ? GP_COUNT_EXCLUDE_PAD : GP_COUNT_INCLUDE_PAD;
    if (desc.kind == GP_POOL_GATED && desc.adaptive[0] != 0) continue;
    uint64_t seed = ++cases_checked;
    test_random random = {seed};
    desc.layout = (gp_layout)(seed / 3 % 4);
    desc.x_stride = desc.grad_x_stride = (gp_strides){0};
    if (seed % 5 == 0) desc.x_stride = pool_random_slice(&random, desc.layout, desc.channels, desc.height, desc.width);
    if (seed % 7 == 0)
      desc.grad_x_stride = pool_random_slice(&random, desc.layout, desc.channels, desc.height, desc.width);
    static const unsigned extras[] = {POOL_PLAIN, POOL_SCALED | POOL_AVERAGES | POOL_ADDING, POOL_SCALED,
                                      POOL_AVERAGES};
    check_case(&desc, extras[seed % 4], seed);
  }
}

static const gp_pool_desc small = {.dtype = GP_FLOAT64,
                                   .batch = 2,
                                   .channels = 3,
                                   .height = 5,
                                   .width = 4,
                                   .seed = 11,
                                   .call_offset = 4,
                                   .first_sample = 9,
                                   .threads = 1};

static void check_drawn(gp_pool_kind kind) {
  for (int stochasticity = GP_STOCHASTIC_NONE; stochasticity <= GP_STOCHASTIC_HWCN; ++stochasticity)
    for (int shape = GP_SHAPE_NC; shape <= GP_SHAPE_ONE; ++shape) {
      gp_pool_desc desc = small;
      desc.kind = kind;
      desc.stochasticity = (gp_stochasticity)stochasticity;
      desc.param_shape = (gp_param_shape)shape;
      check_windows(desc);
    }
}

static void check_given(gp_pool_kind kind) {
  for (int shape = GP_SHAPE_NC; shape <= GP_SHAPE_NCHW; ++shape) {
    gp_pool_desc desc = small;
    desc.kind = kind;
    desc.param_shape = (gp_param_shape)shape;
    check_windows(desc);
  }
}

static void check_plain(gp_pool_kind kind) {
  gp_pool_desc desc = small;
  desc.kind = kind;
  check_windows(desc);
}

static void test_isp_gaussian(void **state) { (void)state, check_drawn(GP_POOL_ISP_GAUSSIAN); }
static void test_gaussian(void **state) { (void)state, check_drawn(GP_POOL_GAUSSIAN); }
static void test_half_gaussian(void **state) { (void)state, check_drawn(GP_POOL_HALF_GAUSSIAN); }
static void test_weighted(void **state) { (void)state, check_given(GP_POOL_WEIGHTED); }
static void test_max_entropy(void **state) { (void)state, check_given(GP_POOL_MAX_ENTROPY); }
static void test_mixed(void **state) { (void)state, check_given(GP_POOL_MIXED); }
static void test_average(void **state) { (void)state, check_plain(GP_POOL_AVERAGE); }
static void test_max(void **state) { (void)state, check_plain(GP_POOL_MAX); }
static void test_softpool(void **state) { (void)state, check_plain(GP_POOL_SOFTPOOL); }

static void test_gated(void **state) {
  (void)state;
  for (int each = 0; each < 2; ++each) {
    gp_pool_desc desc = small;
    desc.kind = GP_POOL_GATED;
    desc.param_shape = each ? GP_SHAPE_C : GP_SHAPE_ONE;
    check_windows(desc);
    check_windows(desc);
  }
}

static void test_stochastic(void **state) {
  (void)state;
  for (int stochasticity = GP_STOCHASTIC_NONE; stochasticity <= GP_STOCHASTIC_HWCN; ++stochasticity) {
    gp_pool_desc desc = small;
    desc.kind = GP_POOL_STOCHASTIC;
    desc.stochasticity = (gp_stochasticity)stochasticity;
    check_windows(desc);
  }
}

static void test_lp(void **state) {
  (void)state;
  static const double norms[] = {1, 1.5, 2, 3, 6};
  for (size_t i = 0; i < sizeof norms / sizeof norms[0]; ++i) {
    gp_pool_desc desc = small;
    desc.kind = GP_POOL_LP;
    desc.norm = norms[i];
    check_windows(desc);
  }
}

/* eps above most variances: the clamped side of the gradient. */
static void test_clamped_deviation(void **state) {
  (void)state;
  gp_pool_desc desc = small;
  desc.eps = 1.0;
  desc.stochasticity = GP_STOCHASTIC_CN;
  check_windows(desc);
}

/* The gradients of the parameters are the same bits whether or not grad_x is asked for. */
static void test_grad_x_not_wanted(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    test_random random = {seed};
    gp_pool_desc desc = pool_random_desc(&random, seed % 20 == 0);
    pool_case pool;
    pool_case_make(&pool, &desc, POOL_SCALED | POOL_AVERAGES, seed);
    for (gp_isa isa = GP_ISA_REFERENCE; isa <= gp_isa_best(); ++isa) {
      test_buffer all[POOL_OUTPUTS];
      pool.no_grad_x = false;
      pool_case_run(&pool, isa);
      pool_case_take(&pool, all);
      pool.no_grad_x = true;
      pool_case_run(&pool, isa);
      for (int i = POOL_GRAD_WEIGHT; i < POOL_OUTPUTS; ++i)
        pool_case_check(&pool, memcmp(all[i].data, pool.out[i].data, all[i].bytes) == 0, pool_output_names[i]);
      pool_outputs_free(all);
    }
    pool_case_free(&pool);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_isp_gaussian),      cmocka_unit_test(test_gaussian),
      cmocka_unit_test(test_half_gaussian),     cmocka_unit_test(test_weighted),
      cmocka_unit_test(test_max_entropy),       cmocka_unit_test(test_mixed),
      cmocka_unit_test(test_average),           cmocka_unit_test(test_max),
      cmocka_unit_test(test_softpool),          cmocka_unit_test(test_gated),
      cmocka_unit_test(test_stochastic),        cmocka_unit_test(test_lp),
      cmocka_unit_test(test_clamped_deviation), cmocka_unit_test(test_grad_x_not_wanted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
