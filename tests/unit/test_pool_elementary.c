/* The elementary functions of the fast kernels against the C library's in double. */
#include "pool/cpu/elementary.h"

#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static double units_in_last_place(double found, double exact) {
  int exponent;
  frexp(exact, &exponent);
  return fabs(found - exact) / ldexp(1, (exponent > FLT_MIN_EXP ? exponent : FLT_MIN_EXP) - FLT_MANT_DIG);
}

static void test_exponential(void **state) {
  (void)state;
  double worst = 0;
  for (int i = 0; i <= 1050000; ++i) {
    float x = (float)i * -1e-4f;
    worst = fmax(worst, units_in_last_place((double)gp_exp_negative(x), exp((double)x)));
  }
  if (worst > 2) fail_msg("exponential: %g ulp", worst);
  assert_true(gp_exp_negative(0) == 1.0f && gp_exp_negative(-INFINITY) == 0.0f && isnan(gp_exp_negative(NAN)));
}

static void test_softplus(void **state) {
  (void)state;
  double worst_value = 0, worst_slope = 0;
  for (int i = -120000; i <= 120000; ++i) {
    float a = (float)i * 1e-3f, value, slope;
    gp_softplus(a, &value, &slope);
    double exact = log1p(exp((double)a)), exact_slope = 1 / (1 + exp(-(double)a));
    worst_value = fmax(worst_value, units_in_last_place((double)value, exact));
    worst_slope = fmax(worst_slope, units_in_last_place((double)slope, exact_slope));
  }
  if (worst_value > 4 || worst_slope > 4) fail_msg("softplus %g ulp, its slope %g ulp", worst_value, worst_slope);
}

static void test_softplus_of_special_values(void **state) {
  (void)state;
  float value, slope;
  gp_softplus(INFINITY, &value, &slope);
  assert_true(value == INFINITY && slope == 1);
  gp_softplus(-INFINITY, &value, &slope);
  assert_true(value == 0 && slope == 0);
  gp_softplus(NAN, &value, &slope);
  assert_true(isnan(value) && isnan(slope));
  gp_softplus(1e30f, &value, &slope);
  assert_true(value == 1e30f && slope == 1);
}

/* The logarithm's error is magnified by the power: units in the last place grow with |log of the result|. */
static void test_powers(void **state) {
  (void)state;
  static const float powers[] = {0, 1, 0.5f, 1.5f, 2, 3, 7.25f, 1.0f / 3};
  double worst = 0;
  for (size_t k = 0; k < sizeof powers / sizeof powers[0]; ++k)
    for (int i = 1; i <= 100000; ++i) {
      float x = (float)i * 1e-5f;
      double exact = pow((double)x, (double)powers[k]);
      double allowed = 2 + 2 * fabs(log(exact));
      worst = fmax(worst, units_in_last_place((double)gp_power_of_fraction(x, powers[k]), exact) / allowed);
    }
  if (worst > 1) fail_msg("power: %g times what is allowed", worst);
  assert_true(gp_power_of_fraction(1, 3) == 1.0f && gp_power_of_fraction(0, 2) == 0.0f);
  assert_true(isnan(gp_power_of_fraction(NAN, 2)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exponential),
      cmocka_unit_test(test_softplus),
      cmocka_unit_test(test_softplus_of_special_values),
      cmocka_unit_test(test_powers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
