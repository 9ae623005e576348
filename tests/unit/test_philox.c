/* Philox4x32-10 against the known answers published with Random123 (kat_vectors). */
#include "base/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void check(uint64_t key, const uint32_t counter[4], const uint32_t expected[4]) {
  gp_philox_block block = gp_philox(key, counter[0], counter[1], counter[2], counter[3]);
  for (int i = 0; i < 4; ++i) assert_int_equal(block.word[i], expected[i]);
}

static void test_known_answers(void **state) {
  (void)state;
  check(0, (uint32_t[]){0, 0, 0, 0}, (uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  check(UINT64_MAX, (uint32_t[]){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
        (uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  check(0x299f31d0a4093822u, (uint32_t[]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
        (uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

static void test_mixed_seeds_differ(void **state) {
  (void)state;
  enum { COUNT = 64 };
  uint64_t seen[COUNT];
  for (uint64_t i = 0; i < COUNT; ++i) {
    seen[i] = gp_mix_seed(i / 8, i % 8);
    for (uint64_t j = 0; j < i; ++j) assert_int_not_equal(seen[i], seen[j]);
  }
}

static void test_ranges(void **state) {
  (void)state;
  assert_true(gp_unit_float(0) == 0.0f);
  assert_true(gp_unit_float(UINT32_MAX) < 1.0f);
  assert_int_equal(gp_bounded(0, 10), 0);
  assert_int_equal(gp_bounded(UINT32_MAX, 10), 9);
  assert_int_equal(gp_bounded(UINT32_MAX, 1), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_answers),
      cmocka_unit_test(test_mixed_seeds_differ),
      cmocka_unit_test(test_ranges),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
