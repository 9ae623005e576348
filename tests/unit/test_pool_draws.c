/* The draws: the same in every layout and on every instruction set, distinct where they must be, standard normal or
 * uniform, and the elements the stochastic kind chooses by them. */
#include "pool/draws.h"
#include "pool_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static gp_pool_desc drawing(gp_pool_kind kind, gp_stochasticity stochasticity) {
  return (gp_pool_desc){.kind = kind,
                        .batch = 2,
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
  gp_philox_block block = gp_philox(desc->seed, (uint32_t)index, second, (uint32_t)(w / 4), desc->call_offset);
  if (desc->kind == GP_POOL_STOCHASTIC) return (double)(block.word[w % 4] >> 8) * 0x1p-24;
  gp_normal4(block, four);
  return (double)four[w % 4];
}

static void check_layout(gp_pool_kind kind, gp_layout layout, gp_dtype dtype, int64_t first_sample) {
  gp_pool_desc desc = drawing(kind, GP_STOCHASTIC_HWCN);
  desc.layout = layout;
  desc.dtype = dtype;
  desc.first_sample = first_sample;
  gp_pool_plan plan;
  assert_int_equal(gp_pool_plan_make(&plan, &desc), GP_OK);
  test_random random = {1};
  test_buffer draws;
  test_buffer_make(&draws, gp_dtype_of_params(dtype), gp_layout_elements(layout, 2, 19, 6, 7), &random);
  test_buffer_poison(&draws);
  assert_int_equal(gp_pool_draws(&desc, draws.data), GP_OK);
  assert_true(test_buffer_guards_hold(&draws));
  for (int64_t i = 0; i < 2 * 19 * 6 * 7; ++i) {
    int64_t w = i % 7, h = i / 7 % 6, c = i / 42 % 19, n = i / (42 * 19);
    double found = test_buffer_get(&draws, pool_at(gp_pool_map_plane(&plan, n, c), h, w));
    if (found != expected_draw(&desc, n, c, h, w))
      fail_msg("kind %d, layout %d: draw of %lld %lld %lld %lld", (int)kind, (int)layout, (long long)n, (long long)c,
               (long long)h, (long long)w);
  }
  test_buffer_free(&draws);
}

static void test_draws_follow_position(void **state) {
  (void)state;
  static const gp_pool_kind kinds[] = {GP_POOL_ISP_GAUSSIAN, GP_POOL_HALF_GAUSSIAN, GP_POOL_STOCHASTIC};
  for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; ++kind)
    for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
      for (int dtype = GP_FLOAT32; dtype <= GP_FLOAT16; ++dtype) {
        check_layout(kinds[kind], (gp_layout)layout, (gp_dtype)dtype, 0);
        /* The index passes 2^32 within this tensor's first sample. */
        check_layout(kinds[kind], (gp_layout)layout, (gp_dtype)dtype, (INT64_C(1) << 32) / 19);
      }
}

static void test_one_draw_a_plane(void **state) {
  (void)state;
  static const gp_pool_kind kinds[] = {GP_POOL_GAUSSIAN, GP_POOL_STOCHASTIC};
  for (size_t kind = 0; kind < 2; ++kind) {
    gp_pool_desc desc = drawing(kinds[kind], GP_STOCHASTIC_CN);
    float draws[2 * 19];
    assert_int_equal(gp_pool_draws(&desc, draws), GP_OK);
    for (int64_t n = 0; n < 2; ++n)
      for (int64_t c = 0; c < 19; ++c) assert_true((double)draws[n * 19 + c] == expected_draw(&desc, n, c, 0, 0));
  }
}

static void test_kinds_without_draws(void **state) {
  (void)state;
  float draws[2 * 19];
  for (int kind = 0; gp_pool_kind_name((gp_pool_kind)kind) != NULL; ++kind) {
    gp_pool_desc desc = drawing((gp_pool_kind)kind, GP_STOCHASTIC_CN);
    bool draws_something = kind == GP_POOL_ISP_GAUSSIAN || kind == GP_POOL_GAUSSIAN || kind == GP_POOL_HALF_GAUSSIAN ||
                           kind == GP_POOL_STOCHASTIC;
    desc.param_shape = GP_SHAPE_C;
    assert_int_equal(gp_pool_draws(&desc, draws), draws_something ? GP_OK : GP_ERROR_INVALID_ARGUMENT);
    desc.stochasticity = GP_STOCHASTIC_NONE;
    assert_int_equal(gp_pool_draws(&desc, draws), GP_ERROR_INVALID_ARGUMENT);
  }
}

/* ---- The kernels' draws -------------------------------------------------------------------- */

typedef double (*formula)(double draw);
static double softplus_of(double e) { return log1p(exp(e)); }
static double itself(double e) { return e; }

/* With mu = 0, sigma = 1, x alternating so that m = 0 and s = 1, the output is the link of the draw: kernels draw what
 * gp_pool_draws writes, on each instruction set. */
static void check_kernels(gp_pool_kind kind, formula link, gp_layout layout, gp_stochasticity stochasticity) {
  gp_pool_desc desc = drawing(kind, stochasticity);
  desc.layout = layout;
  desc.first_sample = (INT64_C(1) << 32) / 19;
  pool_case pool;
  pool_case_make(&pool, &desc, POOL_PLAIN, 1);
  for (size_t i = 0; i < pool.in[POOL_MU].elements; ++i) test_buffer_set(&pool.in[POOL_MU], (int64_t)i, 0);
  for (size_t i = 0; i < pool.in[POOL_SIGMA].elements; ++i) test_buffer_set(&pool.in[POOL_SIGMA], (int64_t)i, 1);
  for (int64_t plane = 0; plane < 2 * 19; ++plane)
    for (int64_t i = 0; i < 12 * 14; ++i)
      test_buffer_set(&pool.in[POOL_X], pool_x_at(&pool, plane / 19, plane % 19, i / 14, i % 14), i % 2 ? 1 : -1);
  bool each = stochasticity == GP_STOCHASTIC_HWCN;
  for (gp_isa isa = GP_ISA_REFERENCE; isa <= gp_isa_best(); ++isa) {
    pool_case_run(&pool, isa);
    for (int64_t i = 0; i < 2 * 19 * 6 * 7; ++i) {
      int64_t w = i % 7, h = i / 7 % 6, c = i / 42 % 19, n = i / (42 * 19);
      double found = test_buffer_get(&pool.out[POOL_Y], pool_y_at(&pool, n, c, h, w));
      double expected = link(expected_draw(&desc, n, c, each ? h : 0, each ? w : 0));
      if (fabs(found - expected) > 1e-6 * (1 + fabs(expected)))
        fail_msg("%s, kind %d, layout %d: expected %g, found %g", gp_isa_name(isa), (int)kind, (int)layout, expected,
                 found);
    }
  }
  pool_case_free(&pool);
}

static void test_kernels_draw_the_same(void **state) {
  (void)state;
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
    for (int stochasticity = GP_STOCHASTIC_CN; stochasticity <= GP_STOCHASTIC_HWCN; ++stochasticity) {
      check_kernels(GP_POOL_ISP_GAUSSIAN, softplus_of, (gp_layout)layout, (gp_stochasticity)stochasticity);
      check_kernels(GP_POOL_GAUSSIAN, itself, (gp_layout)layout, (gp_stochasticity)stochasticity);
      check_kernels(GP_POOL_HALF_GAUSSIAN, fabs, (gp_layout)layout, (gp_stochasticity)stochasticity);
    }
}

/* Groups of four columns are drawn together where there are two, and rows are longer than what is drawn in one go. */
static void check_row(gp_layout layout, int64_t channels, int64_t width) {
  gp_pool_desc desc = drawing(GP_POOL_GAUSSIAN, GP_STOCHASTIC_HWCN);
  desc.layout = layout;
  desc.batch = 1;
  desc.channels = channels;
  desc.height = 4;
  desc.width = 2 * width;
  pool_case pool;
  pool_case_make(&pool, &desc, POOL_PLAIN, 1);
  for (size_t i = 0; i < pool.in[POOL_MU].elements; ++i) test_buffer_set(&pool.in[POOL_MU], (int64_t)i, 0);
  for (size_t i = 0; i < pool.in[POOL_SIGMA].elements; ++i) test_buffer_set(&pool.in[POOL_SIGMA], (int64_t)i, 1);
  for (int64_t i = 0; i < channels * 4 * desc.width; ++i)
    test_buffer_set(&pool.in[POOL_X], pool_x_at(&pool, 0, i / (4 * desc.width), i / desc.width % 4, i % desc.width),
                    i % 2 ? 1 : -1);
  for (gp_isa isa = GP_ISA_BASELINE; isa <= gp_isa_best(); ++isa) {
    pool_case_run(&pool, isa);
    for (int64_t i = 0; i < channels * 2 * width; ++i) {
      int64_t w = i % width, h = i / width % 2, c = i / (2 * width);
      double found = test_buffer_get(&pool.out[POOL_Y], pool_y_at(&pool, 0, c, h, w));
      double expected = expected_draw(&desc, 0, c, h, w);
      if (fabs(found - expected) > 1e-6 * (1 + fabs(expected)))
        fail_msg("%s, layout %d, %lld channels, %lld columns: expected %g, found %g at %lld %lld %lld",
                 gp_isa_name(isa), (int)layout, (long long)channels, (long long)width, expected, found, (long long)c,
                 (long long)h, (long long)w);
    }
  }
  pool_case_free(&pool);
}

static void test_rows_of_any_length(void **state) {
  (void)state;
  static const int64_t channels[] = {3, 16, 40, 130};
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
    for (size_t i = 0; i < sizeof channels / sizeof channels[0]; ++i) {
      for (int64_t width = 1; width <= 21; width += 4) check_row((gp_layout)layout, channels[i], width);
      check_row((gp_layout)layout, channels[i], 2100 / channels[i] + 7);
    }
}

/* The element of a window of small integers that the draw chooses: their sums are exact. */
static double chosen(const double x[4], double uniform) {
  double total = 0, sum = 0;
  for (int i = 0; i < 4; ++i) total += fmax(x[i], 0);
  bool equal = total == 0;
  if (equal) total = 4;
  for (int i = 0; i < 4; ++i) {
    sum += equal ? 1 : fmax(x[i], 0);
    if (sum > uniform * total) return x[i];
  }
  return NAN;
}

static void check_choices(gp_layout layout, gp_stochasticity stochasticity) {
  gp_pool_desc desc = drawing(GP_POOL_STOCHASTIC, stochasticity);
  desc.layout = layout;
  pool_case pool;
  pool_case_make(&pool, &desc, POOL_PLAIN, 1);
  for (int64_t i = 0; i < 2 * 19 * 12 * 14; ++i) {
    int64_t w = i % 14, h = i / 14 % 12, c = i / (12 * 14) % 19, n = i / (12 * 14 * 19);
    /* Every fifth channel has no positive element, the others some. */
    double value = (double)((7 * i + 3 * h) % 32) - (c % 5 == 0 ? 40 : 8);
    test_buffer_set(&pool.in[POOL_X], pool_x_at(&pool, n, c, h, w), value);
  }
  bool each = stochasticity == GP_STOCHASTIC_HWCN;
  for (gp_isa isa = GP_ISA_REFERENCE; isa <= gp_isa_best(); ++isa) {
    pool_case_run(&pool, isa);
    for (int64_t i = 0; i < 2 * 19 * 6 * 7; ++i) {
      int64_t w = i % 7, h = i / 7 % 6, c = i / 42 % 19, n = i / (42 * 19);
      double x[4], uniform = expected_draw(&desc, n, c, each ? h : 0, each ? w : 0);
      for (int k = 0; k < 4; ++k)
        x[k] = test_buffer_get(&pool.in[POOL_X], pool_x_at(&pool, n, c, 2 * h + k / 2, 2 * w + k % 2));
      double found = test_buffer_get(&pool.out[POOL_Y], pool_y_at(&pool, n, c, h, w));
      if (found != chosen(x, uniform))
        fail_msg("%s, layout %d: of %g %g %g %g by %.9g expected %g, found %g", gp_isa_name(isa), (int)layout, x[0],
                 x[1], x[2], x[3], uniform, chosen(x, uniform), found);
      double grad_y = test_buffer_get(&pool.in[POOL_GRAD_Y], pool_grad_y_at(&pool, n, c, h, w));
      double sum = 0;
      for (int k = 0; k < 4; ++k) {
        double grad =
            test_buffer_get(&pool.out[POOL_GRAD_X], pool_grad_x_at(&pool, n, c, 2 * h + k / 2, 2 * w + k % 2));
        assert_true(grad == 0 || (grad == grad_y && x[k] == found));
        sum += grad;
      }
      assert_true(sum == grad_y);
    }
  }
  pool_case_free(&pool);
}

static void test_choices_follow_the_draws(void **state) {
  (void)state;
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
    for (int stochasticity = GP_STOCHASTIC_CN; stochasticity <= GP_STOCHASTIC_HWCN; ++stochasticity)
      check_choices((gp_layout)layout, (gp_stochasticity)stochasticity);
}

/* Draws that meet a boundary exactly: what lies on it belongs to the next element, and nothing is no element's share. */
static void test_choices_at_boundaries(void **state) {
  (void)state;
  static const struct {
    uint64_t seed; /* whose first draw is this */
    double draw;
    float x[3], y;
  } rows[] = {{515707, 0.5, {2, 1, 1}, 1},     {515707, 0.5, {1, 1, 2}, 2},  {515707, 0.5, {1, 1, 3}, 3},
              {515707, 0.5, {-1, -2, -3}, -2}, {12121362, 0, {-1, 0, 2}, 2}, {12121362, 0, {-1, 0, -3}, -1}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i)
    for (gp_isa isa = GP_ISA_REFERENCE; isa <= gp_isa_best(); ++isa) {
      gp_isa_set(isa);
      gp_pool_desc desc = {.kind = GP_POOL_STOCHASTIC,
                           .batch = 1,
                           .channels = 1,
                           .height = 1,
                           .width = 3,
                           .kernel = {1, 3},
                           .stochasticity = GP_STOCHASTIC_CN,
                           .seed = rows[i].seed};
      float draw = -1, y = -1;
      assert_int_equal(gp_pool_draws(&desc, &draw), GP_OK);
      assert_true((double)draw == rows[i].draw);
      assert_int_equal(gp_pool_forward(&desc, &(gp_pool_forward_args){.x = rows[i].x, .y = &y}), GP_OK);
      if (y != rows[i].y)
        fail_msg("row %zu on %s: expected %g, found %g", i, gp_isa_name(isa), (double)rows[i].y, (double)y);
    }
}

/* ---- Statistics ---------------------------------------------------------------------------- */

enum { SIDE = 128, PLANES = 64, COUNT = PLANES * SIDE * SIDE };
static float draws[COUNT];

static void draw_many(gp_pool_kind kind) {
  gp_pool_desc desc = {.kind = kind,
                       .batch = 4,
                       .channels = PLANES / 4,
                       .height = SIDE,
                       .width = SIDE,
                       .kernel = {1, 1},
                       .stochasticity = GP_STOCHASTIC_HWCN,
                       .seed = 2024};
  assert_int_equal(gp_pool_draws(&desc, draws), GP_OK);
}

static double product_mean(int64_t distance, double mean) {
  double sum = 0;
  for (int64_t i = distance; i < COUNT; ++i) sum += ((double)draws[i] - mean) * ((double)draws[i - distance] - mean);
  return sum / COUNT;
}

static void check_independent(double mean, double variance) {
  static const int64_t distances[] = {1, 2, 3, 4, SIDE, SIDE * SIDE};
  for (size_t i = 0; i < sizeof distances / sizeof distances[0]; ++i)
    if (fabs(product_mean(distances[i], mean)) > 5 * variance / sqrt((double)COUNT))
      fail_msg("draws %lld apart go together: %g", (long long)distances[i], product_mean(distances[i], mean));
}

static int ascending(const void *a, const void *b) {
  float left = *(const float *)a, right = *(const float *)b;
  return (left > right) - (left < right);
}

/* Largest distance between the draws' distribution and the given one, times sqrt(COUNT): above 1.95 for one seed in a
 * thousand (Kolmogorov). Sorts the draws. */
static double kolmogorov(double (*distribution)(double)) {
  qsort(draws, COUNT, sizeof draws[0], ascending);
  double distance = 0;
  for (int64_t i = 0; i < COUNT; ++i) {
    double expected = distribution((double)draws[i]);
    distance = fmax(distance, fmax(expected - (double)i / COUNT, (double)(i + 1) / COUNT - expected));
  }
  return distance * sqrt((double)COUNT);
}

static double normal_distribution(double x) { return 0.5 * erfc(-x / sqrt(2)); }
static double uniform_distribution(double x) { return x; }

static void test_draws_are_standard_normal(void **state) {
  (void)state;
  draw_many(GP_POOL_ISP_GAUSSIAN);
  double power[5] = {0};
  for (int64_t i = 0; i < COUNT; ++i) {
    double term = 1;
    for (int k = 0; k < 5; ++k, term *= (double)draws[i]) power[k] += term / COUNT;
  }
  /* Five standard errors of each moment: variances 1, 2, 15, 96 over COUNT. */
  double error = 5 / sqrt((double)COUNT);
  assert_true(fabs(power[1]) < error);
  assert_true(fabs(power[2] - 1) < error * sqrt(2));
  assert_true(fabs(power[3]) < error * sqrt(15));
  assert_true(fabs(power[4] - 3) < error * sqrt(96));
  check_independent(0, 1);
  double distance = kolmogorov(normal_distribution);
  if (distance > 1.95) fail_msg("Kolmogorov and Smirnov's distance is %g", distance);
  assert_true(draws[0] < -4.5F && draws[0] > -6.7F && draws[COUNT - 1] > 4.5F && draws[COUNT - 1] < 6.7F);
}

static void test_draws_are_uniform(void **state) {
  (void)state;
  draw_many(GP_POOL_STOCHASTIC);
  double mean = 0, square = 0;
  for (int64_t i = 0; i < COUNT; ++i) {
    assert_true(draws[i] >= 0 && draws[i] < 1);
    mean += (double)draws[i] / COUNT;
    square += (double)draws[i] * (double)draws[i] / COUNT;
  }
  assert_true(fabs(mean - 0.5) < 5 * sqrt(1.0 / 12 / COUNT));
  assert_true(fabs(square - 1.0 / 3) < 5 * sqrt(4.0 / 45 / COUNT));
  check_independent(0.5, 1.0 / 12);
  double distance = kolmogorov(uniform_distribution);
  if (distance > 1.95) fail_msg("Kolmogorov and Smirnov's distance is %g", distance);
}

/* How often each of 4 elements with probabilities 0.1, 0.2, 0.3, 0.4 is drawn. */
static void test_choices_have_their_probabilities(void **state) {
  (void)state;
  enum { WINDOWS = 300 };
  static float x[4 * WINDOWS * WINDOWS], y[WINDOWS * WINDOWS];
  gp_pool_desc desc = {.kind = GP_POOL_STOCHASTIC,
                       .batch = 1,
                       .channels = 1,
                       .height = 2 * WINDOWS,
                       .width = 2 * WINDOWS,
                       .kernel = {2, 2},
                       .stochasticity = GP_STOCHASTIC_HWCN,
                       .seed = 77};
  for (int i = 0; i < 4 * WINDOWS * WINDOWS; ++i) x[i] = (float)(1 + i / (2 * WINDOWS) % 2 * 2 + i % 2);
  for (gp_isa isa = GP_ISA_REFERENCE; isa <= gp_isa_best(); ++isa) {
    gp_isa_set(isa);
    assert_int_equal(gp_pool_forward(&desc, &(gp_pool_forward_args){.x = x, .y = y}), GP_OK);
    double counts[5] = {0}, chi_square = 0, total = WINDOWS * WINDOWS;
    for (int i = 0; i < WINDOWS * WINDOWS; ++i) counts[(int)y[i]] += 1;
    for (int value = 1; value <= 4; ++value) {
      double expected = total * value / 10;
      chi_square += (counts[value] - expected) * (counts[value] - expected) / expected;
    }
    if (!(chi_square < 16.3)) fail_msg("chi square of 3 degrees of freedom is %g (1 in 1000: 16.3)", chi_square);
  }
}

/* Among the draws of several calls, seeds and samples no block of them comes twice. */
static void test_calls_and_seeds_differ(void **state) {
  (void)state;
  gp_pool_desc desc = drawing(GP_POOL_ISP_GAUSSIAN, GP_STOCHASTIC_CN);
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

static int ascending_words(const void *a, const void *b) {
  uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return (left > right) - (left < right);
}

/* Two draws at a time are 48 random bits: among 2^16 pairs a repeat by chance comes once in 2^17 runs. */
static void test_no_repeats(void **state) {
  (void)state;
  enum { CALLS = 16, WIDTH = 64, ROWS = 16, CHANNELS = 8, EACH = CHANNELS * ROWS * WIDTH, PAIRS = CALLS * EACH };
  static float values[EACH];
  static uint64_t pairs[PAIRS / 2];
  gp_pool_desc desc = {.kind = GP_POOL_STOCHASTIC,
                       .batch = 1,
                       .channels = CHANNELS,
                       .height = ROWS,
                       .width = WIDTH,
                       .kernel = {1, 1},
                       .stochasticity = GP_STOCHASTIC_HWCN};
  for (int call = 0; call < CALLS; ++call) {
    /* Calls, seeds, high seeds and samples, each told from the first by its lowest bits. */
    desc.call_offset = (uint32_t)(call & 3);
    desc.seed = (uint64_t)(call >> 2 & 1) | (uint64_t)(call >> 2 & 1) << 33;
    desc.first_sample = call >> 3;
    assert_int_equal(gp_pool_draws(&desc, values), GP_OK);
    for (int i = 0; i < EACH / 2; ++i)
      pairs[call * (EACH / 2) + i] =
          (uint64_t)((double)values[2 * i] * 0x1p24) << 24 | (uint64_t)((double)values[2 * i + 1] * 0x1p24);
  }
  qsort(pairs, PAIRS / 2, sizeof pairs[0], ascending_words);
  for (int i = 1; i < PAIRS / 2; ++i) assert_true(pairs[i] != pairs[i - 1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_draws_follow_position),  cmocka_unit_test(test_one_draw_a_plane),
      cmocka_unit_test(test_kinds_without_draws),    cmocka_unit_test(test_kernels_draw_the_same),
      cmocka_unit_test(test_rows_of_any_length),     cmocka_unit_test(test_choices_follow_the_draws),
      cmocka_unit_test(test_choices_at_boundaries),  cmocka_unit_test(test_draws_are_standard_normal),
      cmocka_unit_test(test_draws_are_uniform),      cmocka_unit_test(test_choices_have_their_probabilities),
      cmocka_unit_test(test_calls_and_seeds_differ), cmocka_unit_test(test_no_repeats),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
