/* The 16-bit types against an independent method: values by their definition, rounding by comparing with both
 * neighbours in double. */
#include "base/half.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

/* A type with sign, exponent and fraction of the given widths. */
struct format {
  int exponent_bits, fraction_bits;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);
};

static const struct format float16 = {5, 10, gp_float_of_float16, gp_float16_of_float};
static const struct format bfloat16 = {8, 7, gp_float_of_bfloat16, gp_bfloat16_of_float};

static int bias(const struct format *format) { return (1 << (format->exponent_bits - 1)) - 1; }

static uint16_t infinity_of(const struct format *format) {
  return (uint16_t)(((1 << format->exponent_bits) - 1) << format->fraction_bits);
}

/* The value of the bits without sign, by definition; what would follow the largest number for infinity. */
static double value_of(const struct format *format, uint16_t bits) {
  int exponent = bits >> format->fraction_bits, fraction = bits & ((1 << format->fraction_bits) - 1);
  if (exponent == 0) return ldexp(fraction, 1 - bias(format) - format->fraction_bits);
  return ldexp((1 << format->fraction_bits) + fraction, exponent - bias(format) - format->fraction_bits);
}

static void check_widening(const struct format *format) {
  for (uint32_t word = 0; word <= UINT16_MAX; ++word) {
    uint16_t bits = (uint16_t)word, rest = bits & 0x7FFFu;
    float found = format->widen(bits);
    if (rest > infinity_of(format)) {
      assert_true(isnan(found));
      continue;
    }
    double expected = rest == infinity_of(format) ? (double)INFINITY : value_of(format, rest);
    if ((double)fabsf(found) != expected) fail_msg("0x%04x is %g, expected %g", bits, (double)found, expected);
    assert_int_equal(signbit(found) != 0, bits >> 15);
  }
}

static void check_there_and_back(const struct format *format) {
  for (uint32_t word = 0; word <= UINT16_MAX; ++word) {
    uint16_t bits = (uint16_t)word, back = format->narrow(format->widen(bits));
    if ((bits & 0x7FFFu) > infinity_of(format)) {
      /* A NaN comes back quiet; all of bfloat16's as one, float16's with their sign. */
      assert_true(isnan(format->widen(back)));
      if (format->fraction_bits == 10) assert_int_equal(back >> 15, bits >> 15);
      assert_true(back & 1 << (format->fraction_bits - 1));
    } else if (back != bits) {
      fail_msg("0x%04x comes back as 0x%04x", bits, back);
    }
  }
}

static void check_narrowing(const struct format *format, float value, uint16_t expected) {
  uint16_t found = format->narrow(value), negative = format->narrow(-value);
  if (found != expected) fail_msg("%a narrows to 0x%04x, expected 0x%04x", (double)value, found, expected);
  if (negative != (expected | 0x8000u)) fail_msg("%a narrows to 0x%04x", (double)-value, negative);
}

/* Between each number and the next: the middle goes to the even one, the floats on either side of it to the nearer. */
static void check_rounding(const struct format *format) {
  for (uint16_t bits = 0; bits < infinity_of(format); ++bits) {
    uint16_t next = (uint16_t)(bits + 1), even = bits % 2 == 0 ? bits : next;
    double low = value_of(format, bits), high = value_of(format, next);
    float middle = (float)((low + high) / 2);
    assert_true((double)middle == (low + high) / 2);
    check_narrowing(format, middle, even);
    check_narrowing(format, nextafterf(middle, 0), bits);
    check_narrowing(format, nextafterf(middle, INFINITY), next);
    if (nextafterf((float)low, INFINITY) < middle) check_narrowing(format, nextafterf((float)low, INFINITY), bits);
    if (isfinite((float)high) && nextafterf((float)high, 0) > middle)
      check_narrowing(format, nextafterf((float)high, 0), next);
  }
}

static void check_extremes(const struct format *format) {
  check_narrowing(format, INFINITY, infinity_of(format));
  check_narrowing(format, 0x1.FFFFFEp127F, infinity_of(format));
  check_narrowing(format, 0x1p-149F, 0);
  assert_true(isnan(format->widen(format->narrow(NAN))));
  /* Payloads in the low bits alone must not become infinities. */
  for (uint32_t payload = 1; payload < 0x800000u; payload = payload * 2 + 1) {
    assert_true(isnan(format->widen(format->narrow(gp_float_of_bits(0x7F800000u | payload)))));
    assert_true(isnan(format->widen(format->narrow(gp_float_of_bits(0xFF800000u | payload)))));
  }
  for (int bit = 0; bit < 23; ++bit)
    assert_true(isnan(format->widen(format->narrow(gp_float_of_bits(0x7F800000u | 1u << bit)))));
}

/* Every 251st float: the result is the nearest number, and no farther than half a step. */
static void check_nearest(const struct format *format) {
  for (uint32_t bits = 0; bits < 0x7F800000u; bits += 251) {
    float value = gp_float_of_bits(bits);
    uint16_t found = format->narrow(value);
    double distance = fabs(value_of(format, found) - (double)value);
    double below = found > 0 ? (double)value - value_of(format, (uint16_t)(found - 1)) : INFINITY;
    double above = found < infinity_of(format) ? value_of(format, (uint16_t)(found + 1)) - (double)value : INFINITY;
    if (found == infinity_of(format) && (double)value > value_of(format, found)) continue;
    if (distance > below || distance > above) fail_msg("%a narrows to 0x%04x", (double)value, found);
  }
}

static void check_format(const struct format *format) {
  check_widening(format);
  check_there_and_back(format);
  check_rounding(format);
  check_extremes(format);
  check_nearest(format);
}

static void test_float16(void **state) { (void)state, check_format(&float16); }
static void test_bfloat16(void **state) { (void)state, check_format(&bfloat16); }

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_float16), cmocka_unit_test(test_bfloat16)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
