/* The kernels against the exact result over random descriptors; instruction sets and thread counts among themselves, bit
 * for bit. GAUSSPOOL_TEST_CASES=1000000 makes for a longer run. */
#include "pool_case_tolerance.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CASES = 24000, LARGE_CASES = 100, THREAD_CASES = 20 }; /* more than 20,000 of them on the vectorised kernels */

static void compare_bits(const pool_case *pool, const test_buffer expected[POOL_OUTPUTS], const char *what) {
  for (int which = 0; which < POOL_OUTPUTS; ++which) {
    if (memcmp(expected[which].data, pool->out[which].data, expected[which].bytes) == 0) continue;
    pool_case_print(pool);
    fail_msg("%s: %s differs in its bits", what, pool_output_names[which]);
  }
}

/* The reference computes in double in every dtype: its results are the exact ones, rounded. */
static void check_reference(pool_case *pool, const pool_case *exact) {
  pool_case_run(pool, GP_ISA_REFERENCE);
  for (int which = 0; which < POOL_OUTPUTS; ++which)
    for (int64_t i = 0; i < (int64_t)pool->out[which].elements; ++i) {
      double want = test_buffer_get(&exact->out[which], i), have = test_buffer_get(&pool->out[which], i);
      uint64_t rounded;
      gp_store(&rounded, pool->out[which].dtype, 0, want);
      if (gp_load(&rounded, pool->out[which].dtype, 0) == have || (isnan(want) && isnan(have))) continue;
      pool_case_print(pool);
      fail_msg("%s of the reference, element %lld: expected %.9g, found %.9g", pool_output_names[which], (long long)i,
               want, have);
    }
}

static void check_all_written(const pool_case *exact) {
  const gp_pool_desc *desc = &exact->plan.desc;
  for (int64_t n = 0; n < desc->batch; ++n)
    for (int64_t c = 0; c < desc->channels; ++c) {
      for (int64_t i = 0; i < exact->plan.out_height * exact->plan.out_width; ++i) {
        int64_t at = pool_y_at(exact, n, c, i / exact->plan.out_width, i % exact->plan.out_width);
        pool_case_check(exact, isfinite(test_buffer_get(&exact->out[POOL_Y], at)), "y is not finite");
      }
      for (int64_t i = 0; i < desc->height * desc->width; ++i) {
        int64_t at = pool_grad_x_at(exact, n, c, i / desc->width, i % desc->width);
        pool_case_check(exact, isfinite(test_buffer_get(&exact->out[POOL_GRAD_X], at)), "grad_x is not finite");
      }
    }
  for (int which = POOL_GRAD_MU; which < POOL_OUTPUTS; ++which)
    for (size_t i = 0; i < exact->out[which].elements; ++i)
      pool_case_check(exact, isfinite(test_buffer_get(&exact->out[which], (int64_t)i)), pool_output_names[which]);
}

static void check_case(const gp_pool_desc *desc, unsigned extras, uint64_t seed) {
  pool_case pool, exact;
  pool_case_make(&pool, desc, extras, seed);
  pool_case_exact(&exact, &pool);
  pool_case_run(&exact, GP_ISA_REFERENCE);
  check_all_written(&exact);
  test_buffer tolerance[POOL_OUTPUTS], baseline[POOL_OUTPUTS];
  pool_tolerance_make(tolerance, &exact);
  if (seed % 4 == 0 || desc->dtype == GP_FLOAT64) check_reference(&pool, &exact);
  pool_case_run(&pool, GP_ISA_BASELINE);
  pool_tolerance_check(&pool, &exact, tolerance);
  pool_case_take(&pool, baseline);
  for (gp_isa isa = GP_ISA_AVX2; isa <= gp_isa_best(); ++isa) {
    pool_case_run(&pool, isa);
    compare_bits(&pool, baseline, gp_isa_name(isa));
  }
  pool_outputs_free(tolerance);
  pool_outputs_free(baseline);
  pool_case_free(&exact);
  pool_case_free(&pool);
}

static void run_case(uint64_t seed, bool large) {
  test_random random = {seed};
  gp_pool_desc desc = pool_random_desc(&random, large);
  check_case(&desc, pool_random_extras(&random), seed);
}

static void test_kernels_are_exact(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= pool_test_cases(CASES); ++seed) run_case(seed, false);
}

/* Cut into tasks, bands, blocks and chunks. */
static void test_large_tensors(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= pool_test_cases(LARGE_CASES); ++seed) run_case(20000000 + seed, true);
}

/* Means of large windows: channels around what goes side by side there, and rows of one element. */
static void test_global_averages(void **state) {
  (void)state;
  static const int64_t channels[] = {7, 16, 31, 32, 33, 63, 64, 65, 95, 127, 128, 129, 200};
  static const int64_t sides[][2] = {{9, 9}, {1, 70}, {70, 1}, {7, 13}};
  static const gp_dtype dtypes[] = {GP_FLOAT32, GP_BFLOAT16, GP_FLOAT16};
  for (uint64_t i = 0; i < 13 * 4 * 3; ++i) {
    test_random random = {i + 1};
    gp_pool_desc desc = {.kind = GP_POOL_AVERAGE,
                         .layout = GP_NHWC,
                         .dtype = dtypes[i % 3],
                         .batch = 2,
                         .channels = channels[i / 12],
                         .height = sides[i / 3 % 4][0],
                         .width = sides[i / 3 % 4][1],
                         .adaptive = {1, 1}};
    if (random_one_in(&random, 3))
      desc.x_stride = pool_random_slice(&random, desc.layout, desc.channels, desc.height, desc.width);
    check_case(&desc, i % 2 == 0 ? POOL_PLAIN : POOL_AVERAGES, i + 1);
  }
}

static void run_thread_case(uint64_t seed) {
  static const int32_t counts[] = {2, 3, 5};
  test_random random = {seed};
  gp_pool_desc desc = pool_random_desc(&random, true);
  pool_case pool;
  pool_case_make(&pool, &desc, pool_random_extras(&random), seed);
  for (int reference = 0; reference < 2; ++reference) {
    gp_isa isa = reference ? GP_ISA_REFERENCE : gp_isa_best();
    test_buffer single[POOL_OUTPUTS];
    pool.plan.desc.threads = 1;
    pool_case_run(&pool, isa);
    pool_case_take(&pool, single);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; ++i) {
      pool.plan.desc.threads = counts[i];
      pool_case_run(&pool, isa);
      compare_bits(&pool, single, "thread count");
    }
    pool_outputs_free(single);
  }
  pool_case_free(&pool);
}

static void test_thread_counts_agree(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= pool_test_cases(THREAD_CASES); ++seed) run_thread_case(10000000 + seed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kernels_are_exact),
      cmocka_unit_test(test_large_tensors),
      cmocka_unit_test(test_global_averages),
      cmocka_unit_test(test_thread_counts_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
