/* As much of cmocka as the CUDA kernels' tests need, for machines that have a GPU and no cmocka (GAUSSPOOL_CMOCKA=OFF): the same
 * names, lines and exit status. A failed check ends its test. */
#ifndef NO_CMOCKA_H
#define NO_CMOCKA_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
  const char *name;
  void (*run)(void **state);
};

/* Where a failed check goes, and skip(). */
extern jmp_buf no_cmocka_end;
enum { NO_CMOCKA_FAILED = 1, NO_CMOCKA_SKIPPED };

#define print_error(...) ((void)fprintf(stderr, __VA_ARGS__))

#define fail_msg(...)                                                                       \
  (print_error(__VA_ARGS__), print_error("\n%s:%d: error: Failure!\n", __FILE__, __LINE__), \
   longjmp(no_cmocka_end, NO_CMOCKA_FAILED))

static inline void no_cmocka_fail(const char *check, const char *file, int line) {
  print_error("%s\n%s:%d: error: Failure!\n", check, file, line);
  longjmp(no_cmocka_end, NO_CMOCKA_FAILED);
}

#define assert_true(holds)               ((holds) ? (void)0 : no_cmocka_fail(#holds, __FILE__, __LINE__))
#define assert_non_null(pointer)         assert_true((pointer) != NULL)
#define assert_memory_equal(a, b, bytes) assert_true(memcmp((a), (b), (bytes)) == 0)
#define assert_int_equal(a, b) \
  ((intmax_t)(a) == (intmax_t)(b) ? (void)0 : no_cmocka_fail(#a " != " #b, __FILE__, __LINE__))

#define skip() longjmp(no_cmocka_end, NO_CMOCKA_SKIPPED)

#define cmocka_unit_test(function) \
  { #function, function }
#define cmocka_run_group_tests(tests, setup, teardown) no_cmocka_run((tests), sizeof(tests) / sizeof *(tests))

/* Runs them all; gives how many failed. */
int no_cmocka_run(const struct CMUnitTest *tests, size_t count);

#endif
