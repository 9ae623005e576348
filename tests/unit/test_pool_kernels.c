/* The fast kernels against the scalar reference over random descriptors; instruction sets and thread counts among
 * themselves, bit for bit. */
#include "pool_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CASES = 2200, THREAD_CASES = 40 };

/* Error allowed, relative to the values that enter: float's epsilon (6e-8) times the operations' errors, and for a
 * sum times the root of its terms. Parameters and inputs here are of size 1 to 5. */
static double tolerance(const pool_case *pool, enum pool_output which, double expected) {
  const gp_pool_desc *desc = &pool->plan.desc;
  double terms = 1;
  if (which >= POOL_GRAD_MU && desc->param_shape != GP_SHAPE_NCHW)
    terms = (double)(pool->plan.out_height * pool->plan.out_width * desc->batch * desc->channels) /
            (double)gp_param_elements(&pool->plan);
  double epsilon = desc->dtype == GP_FLOAT64 ? 1e-13 : 2e-6;
  return epsilon * (4 + fabs(expected)) * sqrt(terms);
}

static void compare(const pool_case *pool, const test_buffer expected[POOL_OUTPUTS], const char *isa) {
  for (int which = 0; which < POOL_OUTPUTS; ++which) {
    const test_buffer *found = &pool->out[which];
    for (int64_t i = 0; i < (int64_t)found->elements; ++i) {
      double want = test_buffer_get(&expected[which], i), have = test_buffer_get(found, i);
      if (fabs(want - have) <= tolerance(pool, (enum pool_output)which, want)) continue;
      pool_case_print(pool);
      fail_msg("%s on %s, element %lld: expected %.9g, found %.9g", pool_output_names[which], isa, (long long)i, want,
               have);
    }
  }
}

static void compare_bits(const pool_case *pool, const test_buffer expected[POOL_OUTPUTS], const char *what) {
  for (int which = 0; which < POOL_OUTPUTS; ++which) {
    if (memcmp(expected[which].data, pool->out[which].data, expected[which].bytes) == 0) continue;
    pool_case_print(pool);
    fail_msg("%s: %s differs in its bits", what, pool_output_names[which]);
  }
}

static void free_outputs(test_buffer outputs[POOL_OUTPUTS]) {
  for (int i = 0; i < POOL_OUTPUTS; ++i) test_buffer_free(&outputs[i]);
}

static void run_case(uint64_t seed) {
  test_random random = {seed};
  gp_pool_desc desc = pool_random_desc(&random);
  pool_case pool;
  pool_case_make(&pool, &desc, seed);
  test_buffer reference[POOL_OUTPUTS], baseline[POOL_OUTPUTS];
  pool_case_run(&pool, GP_ISA_REFERENCE);
  pool_case_take(&pool, reference);
  pool_case_run(&pool, GP_ISA_BASELINE);
  compare(&pool, reference, "baseline");
  pool_case_take(&pool, baseline);
  for (gp_isa isa = GP_ISA_AVX2; isa <= gp_isa_best(); ++isa) {
    pool_case_run(&pool, isa);
    compare(&pool, reference, gp_isa_name(isa));
    compare_bits(&pool, baseline, gp_isa_name(isa));
  }
  free_outputs(reference);
  free_outputs(baseline);
  pool_case_free(&pool);
}

static void test_kernels_match_reference(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= CASES; ++seed) run_case(seed);
}

static void run_thread_case(uint64_t seed) {
  static const int32_t counts[] = {2, 3, 5};
  test_random random = {seed};
  gp_pool_desc desc = pool_random_desc(&random);
  desc.threads = 1;
  desc.height += 20; /* several bands */
  desc.batch += 2;
  pool_case pool;
  pool_case_make(&pool, &desc, seed);
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
    free_outputs(single);
  }
  pool_case_free(&pool);
}

static void test_thread_counts_agree(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= THREAD_CASES; ++seed) run_thread_case(10000 + seed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kernels_match_reference),
      cmocka_unit_test(test_thread_counts_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
