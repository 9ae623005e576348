/* Status, memory, the parallel loop, instruction-set choice and the normal numbers. */
#include "base/cpu.h"
#include "base/memory.h"
#include "base/normal.h"
#include "base/parallel.h"
#include "base/status.h"

#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_messages(void **state) {
  (void)state;
  assert_int_equal(gp_fail(GP_ERROR_IO, "file %s: %d", "a.bin", 7), GP_ERROR_IO);
  assert_string_equal(gp_last_error(), "file a.bin: 7");
  assert_int_equal(gp_fail_in(GP_ERROR_CORRUPT, "model %d", 3), GP_ERROR_CORRUPT);
  assert_string_equal(gp_last_error(), "model 3: file a.bin: 7");
  /* An argument may be the last message. */
  assert_int_equal(gp_fail(GP_ERROR_IO, "again: %s", gp_last_error()), GP_ERROR_IO);
  assert_string_equal(gp_last_error(), "again: model 3: file a.bin: 7");
}

static void test_long_messages_are_cut(void **state) {
  (void)state;
  char text[4096];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  assert_int_equal(gp_fail(GP_ERROR_IO, "%s", text), GP_ERROR_IO);
  size_t length = strlen(gp_last_error());
  assert_in_range(length, 500, 2000);
  assert_int_equal(gp_fail_in(GP_ERROR_IO, "in"), GP_ERROR_IO);
  assert_memory_equal(gp_last_error(), "in: xxx", 7);
  assert_int_equal(strlen(gp_last_error()), length);
  assert_int_equal(gp_fail_in(GP_ERROR_IO, "%s", text), GP_ERROR_IO);
  assert_int_equal(strlen(gp_last_error()), length);
}

static void test_status_names(void **state) {
  (void)state;
  assert_string_equal(gp_status_name(GP_OK), "ok");
  for (int i = 0; i < GP_ERROR_INTERRUPTED; ++i)
    for (int j = i + 1; j <= GP_ERROR_INTERRUPTED; ++j)
      assert_string_not_equal(gp_status_name((gp_status)i), gp_status_name((gp_status)j));
  assert_string_equal(gp_status_name((gp_status)99), "unknown status");
  assert_true(strchr(gp_version(), '.') != NULL);
}

static void test_allocation(void **state) {
  (void)state;
  unsigned char *bytes = NULL;
  uint64_t before = gp_alloc_count();
  assert_int_equal(GP_ALLOC(&bytes, 1000), GP_OK);
  assert_int_equal(gp_alloc_count(), before + 1);
  assert_int_equal((uintptr_t)bytes % GP_ALIGNMENT, 0);
  for (int i = 0; i < 1000; ++i) assert_int_equal(bytes[i], 0);
  gp_free(bytes);
  assert_int_equal(GP_ALLOC(&bytes, 0), GP_OK);
  assert_non_null(bytes);
  gp_free(bytes);
  gp_free(NULL);
  char *copy = NULL;
  assert_int_equal(gp_strdup(&copy, "text"), GP_OK);
  assert_string_equal(copy, "text");
  gp_free(copy);
  assert_int_equal(gp_strdup(&copy, NULL), GP_OK);
  assert_string_equal(copy, "");
  gp_free(copy);
}

static void test_allocation_failures(void **state) {
  (void)state;
  void *pointer = &pointer;
  assert_int_equal(gp_alloc(&pointer, SIZE_MAX / 2, 3), GP_ERROR_INVALID_ARGUMENT);
  assert_null(pointer);
  assert_int_equal(gp_alloc(&pointer, SIZE_MAX - 3, 1), GP_ERROR_OUT_OF_MEMORY);
  assert_null(pointer);
  size_t product = 0;
  assert_int_equal(gp_mul_size(&product, 6, 7), GP_OK);
  assert_int_equal(product, 42);
  assert_int_equal(gp_mul_size(&product, SIZE_MAX, 2), GP_ERROR_INVALID_ARGUMENT);
  gp_alloc_fail_after(2);
  assert_int_equal(gp_alloc(&pointer, 8, 1), GP_OK);
  gp_free(pointer);
  assert_int_equal(gp_alloc(&pointer, 8, 1), GP_ERROR_OUT_OF_MEMORY);
  assert_null(pointer);
  assert_int_equal(gp_alloc(&pointer, 8, 1), GP_OK);
  gp_free(pointer);
  gp_alloc_fail_after(0);
  assert_int_equal(gp_align_up(0), 0);
  assert_int_equal(gp_align_up(1), 64);
  assert_int_equal(gp_align_up(64), 64);
}

enum { MOST_TASKS = 1000 };

static void count_task(void *context, int64_t task) { atomic_fetch_add((_Atomic int *)context + task, 1); }

static void test_each_task_runs_once(void **state) {
  (void)state;
  static const int64_t counts[] = {0, 1, 2, 7, MOST_TASKS};
  static const int32_t threads[] = {0, 1, 2, 3, 4, 5, 100};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; ++i)
    for (size_t k = 0; k < sizeof threads / sizeof threads[0]; ++k) {
      _Atomic int runs[MOST_TASKS] = {0};
      gp_parallel_for(counts[i], threads[k], count_task, runs);
      for (int64_t task = 0; task < MOST_TASKS; ++task) assert_int_equal(runs[task], task < counts[i] ? 1 : 0);
    }
}

enum { HELD_TASKS = 64, PATIENCE = 10000000 };

/* Task 0 waits for all others. */
static void hold_first_task(void *context, int64_t task) {
  _Atomic int *done = context;
  for (int turn = 0; task == 0 && *done < HELD_TASKS - 1 && turn < PATIENCE; ++turn) sched_yield();
  if (task != 0 || *done == HELD_TASKS - 1) ++*done;
}

static void test_shares_of_a_late_thread_are_taken_over(void **state) {
  (void)state;
  _Atomic int done = 0;
  gp_parallel_for(HELD_TASKS, 2, hold_first_task, &done);
  assert_int_equal(done, HELD_TASKS);
}

static void test_thread_limit(void **state) {
  (void)state;
  int32_t before = gp_max_threads();
  assert_true(before >= 1);
  gp_set_max_threads(3);
  assert_int_equal(gp_max_threads(), 3);
  gp_set_max_threads(0);
  assert_int_equal(gp_max_threads(), 1);
  gp_set_max_threads(before);
}

static void test_isa_choice(void **state) {
  (void)state;
  gp_isa best = gp_isa_best();
  assert_true(best >= GP_ISA_BASELINE);
  for (gp_isa isa = GP_ISA_REFERENCE; isa <= GP_ISA_AVX512; ++isa) {
    gp_isa_set(isa);
    assert_int_equal(gp_isa_current(), isa < best ? isa : best);
    assert_string_equal(gp_cpu_isa(), gp_isa_name(gp_isa_current()));
  }
}

/* The transform of gp_normal2 in double, from the same uniform number, which is a float. */
static void exact_normal2(uint32_t radius_word, uint32_t angle_word, double *radius, double *first, double *second) {
  double uniform = (double)(((float)(int32_t)(radius_word >> 1) + 0.5f) * 0x1p-31f);
  double angle = (double)angle_word * 0x1p-32 * 6.283185307179586476925;
  *radius = sqrt(-2 * log(uniform));
  *first = *radius * cos(angle);
  *second = *radius * sin(angle);
}

static void check_normal(uint32_t radius_word, uint32_t angle_word) {
  double radius, first, second;
  float found[2];
  exact_normal2(radius_word, angle_word, &radius, &first, &second);
  gp_normal2(radius_word, angle_word, &found[0], &found[1]);
  const double allowed = 1e-6;
  if (fabs((double)found[0] - first) > allowed || fabs((double)found[1] - second) > allowed || !isfinite(found[0]))
    fail_msg("words %08x %08x: expected %.9g %.9g, found %.9g %.9g", radius_word, angle_word, first, second,
             (double)found[0], (double)found[1]);
}

static void test_normals_are_accurate(void **state) {
  (void)state;
  static const uint32_t corners[] = {0,          1,          2,          0x1FFFFFFF, 0x20000000,
                                     0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0x9FFFFFFF,
                                     0xBFFFFFFF, 0xC0000000, 0xFFFFFFFE, 0xFFFFFFFF};
  enum { CORNERS = sizeof corners / sizeof corners[0], RANDOM = 300000 };
  for (size_t i = 0; i < CORNERS; ++i)
    for (size_t j = 0; j < CORNERS; ++j) check_normal(corners[i], corners[j]);
  for (uint32_t i = 0; i < RANDOM; ++i) {
    gp_philox_block block = gp_philox(7, i, 0, 0, 0);
    check_normal(block.word[0], block.word[1]);
    check_normal(block.word[2] >> (i % 32), block.word[3]);
  }
}

static void test_normals_use_the_block_in_order(void **state) {
  (void)state;
  gp_philox_block block = gp_philox(3, 1, 2, 3, 4);
  float four[4], two[4];
  gp_normal4(block, four);
  gp_normal2(block.word[0], block.word[1], &two[0], &two[1]);
  gp_normal2(block.word[2], block.word[3], &two[2], &two[3]);
  assert_memory_equal(four, two, sizeof two);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_messages),
      cmocka_unit_test(test_long_messages_are_cut),
      cmocka_unit_test(test_status_names),
      cmocka_unit_test(test_allocation),
      cmocka_unit_test(test_allocation_failures),
      cmocka_unit_test(test_each_task_runs_once),
      cmocka_unit_test(test_shares_of_a_late_thread_are_taken_over),
      cmocka_unit_test(test_thread_limit),
      cmocka_unit_test(test_isa_choice),
      cmocka_unit_test(test_normals_are_accurate),
      cmocka_unit_test(test_normals_use_the_block_in_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
