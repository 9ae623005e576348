/* SGD against the scalar formulas of torch.optim.SGD, in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/philox.h"
#include "train/sgd.h"

#include <math.h>
#include <string.h>

enum { COUNT = 3 * (1 << 14) + 77, STEPS = 5 }; /* several chunks, the last one odd */

static const sgd_desc settings[] = {
    {.lr = 0.1},
    {.lr = 0.1, .momentum = 0.9},
    {.lr = 0.05, .weight_decay = 0.01},
    {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4},
    {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-2, .nesterov = true},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static float draw(uint32_t stream, uint32_t i) { return 2 * gp_unit_float(gp_philox(7, i, stream, 0, 0).word[0]) - 1; }

static nn_arenas make_arenas(size_t count) {
  nn_arenas arenas = {.count = count};
  assert_int_equal(GP_ALLOC(&arenas.value, count), GP_OK);
  assert_int_equal(GP_ALLOC(&arenas.gradient, count), GP_OK);
  assert_int_equal(GP_ALLOC(&arenas.momentum, count), GP_OK);
  for (size_t i = 0; i < count; ++i) arenas.value[i] = draw(0, (uint32_t)i);
  return arenas;
}

static void free_arenas(nn_arenas *arenas) {
  gp_free(arenas->value);
  gp_free(arenas->gradient);
  gp_free(arenas->momentum);
}

static void run_steps(nn_arenas *arenas, const sgd_desc *desc) {
  for (uint32_t step = 1; step <= STEPS; ++step) {
    for (size_t i = 0; i < arenas->count; ++i) arenas->gradient[i] = draw(step, (uint32_t)i);
    sgd_step(arenas, desc);
  }
}

/* One element, as the documentation of torch.optim.SGD writes it. */
static double reference(const sgd_desc *desc, uint32_t i, double *momentum_out) {
  double p = (double)draw(0, i), b = 0;
  for (uint32_t step = 1; step <= STEPS; ++step) {
    double g = (double)draw(step, i);
    if (desc->weight_decay != 0) g += desc->weight_decay * p;
    if (desc->momentum != 0) {
      b = step == 1 ? g : desc->momentum * b + g;
      g = desc->nesterov ? g + desc->momentum * b : b;
    }
    p -= desc->lr * g;
  }
  *momentum_out = b;
  return p;
}

static void test_formulas(void **state) {
  (void)state;
  for (int s = 0; s < SETTINGS; ++s) {
    nn_arenas arenas = make_arenas(COUNT);
    run_steps(&arenas, &settings[s]);
    for (size_t i = 0; i < COUNT; ++i) {
      double momentum = 0;
      const double value = reference(&settings[s], (uint32_t)i, &momentum);
      if (fabs((double)arenas.value[i] - value) > 2e-6) fail_msg("setting %d, element %zu of %d: value", s, i, COUNT);
      if (settings[s].momentum != 0 && fabs((double)arenas.momentum[i] - momentum) > 2e-6)
        fail_msg("setting %d, element %zu of %d: momentum", s, i, COUNT);
    }
    free_arenas(&arenas);
  }
}

/* A constant gradient g: after n steps p = p0 − lr·g·Σ_{k=1…n} (1 − m^k)/(1 − m). */
static void test_closed_form(void **state) {
  (void)state;
  const double m = 0.9, lr = 0.01, gradient = 0.5;
  nn_arenas arenas = make_arenas(3);
  double sum = 0;
  for (int k = 1; k <= 20; ++k) {
    for (int i = 0; i < 3; ++i) arenas.gradient[i] = (float)gradient;
    sgd_step(&arenas, &(sgd_desc){.lr = lr, .momentum = m});
    sum += (1 - pow(m, k)) / (1 - m);
  }
  for (uint32_t i = 0; i < 3; ++i)
    assert_true(fabs((double)arenas.value[i] - ((double)draw(0, i) - lr * gradient * sum)) < 1e-5);
  free_arenas(&arenas);
}

static void test_any_number_of_threads(void **state) {
  (void)state;
  const int32_t before = gp_max_threads();
  for (int s = 0; s < SETTINGS; ++s) {
    nn_arenas one = make_arenas(COUNT), many = make_arenas(COUNT);
    gp_set_max_threads(1);
    run_steps(&one, &settings[s]);
    gp_set_max_threads(3);
    run_steps(&many, &settings[s]);
    assert_memory_equal(one.value, many.value, COUNT * sizeof(float));
    assert_memory_equal(one.momentum, many.momentum, COUNT * sizeof(float));
    free_arenas(&one);
    free_arenas(&many);
  }
  gp_set_max_threads(before);
}

/* Stretches without decay: within a chunk, over a border of chunks, several in one, one over a whole chunk, the end. */
static void test_undecayed(void **state) {
  (void)state;
  enum { CHUNK = 1 << 14 };
  static const sgd_range ranges[] = {{0, 3},        {100, 50}, {200, 1}, {CHUNK - 7, 20}, {CHUNK + 100, 2 * CHUNK},
                                     {COUNT - 5, 5}};
  enum { RANGES = sizeof ranges / sizeof *ranges };
  for (int s = 0; s < SETTINGS; ++s) {
    sgd_desc desc = settings[s], without = settings[s];
    nn_arenas arenas = make_arenas(COUNT);
    desc.undecayed = ranges;
    desc.undecayed_count = RANGES;
    without.weight_decay = 0;
    run_steps(&arenas, &desc);
    for (size_t i = 0; i < COUNT; ++i) {
      bool decayed = true;
      double momentum = 0;
      for (int r = 0; r < RANGES; ++r)
        decayed = decayed && (i < ranges[r].first || i >= ranges[r].first + ranges[r].count);
      const double value = reference(decayed ? &desc : &without, (uint32_t)i, &momentum);
      if (fabs((double)arenas.value[i] - value) > 2e-6) fail_msg("setting %d, element %zu of %d", s, i, COUNT);
    }
    free_arenas(&arenas);
  }
}

/* The vectors of a net: biases, and both parameters of a batch norm; the rest is no part of any stretch. */
static void test_find_vectors(void **state) {
  (void)state;
  nn_graph *g = NULL;
  nn_net *net = NULL;
  sgd_range *ranges = NULL;
  size_t count = 0;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_ref x = nn_conv(g, nn_input(g, 3, 8, 8), &(nn_conv_desc){.name = "c", .out = 13, .kernel = 3, .bias = true});
  x = nn_global_avg_pool(g, nn_relu(g, nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = "n"})));
  nn_cross_entropy(g, nn_linear(g, x, &(nn_linear_desc){.name = "fc", .out = 5}), &(nn_cross_entropy_desc){0});
  assert_int_equal(nn_net_create(&net, &g, &(nn_net_desc){.batch = 2, .trainable = true}), GP_OK);
  assert_int_equal(sgd_find_vectors(net, &ranges, &count), GP_OK);
  assert_int_equal(count, 4); /* c.bias, n.weight, n.bias, fc.bias */
  const nn_arenas arenas = nn_net_arenas(net);
  for (size_t r = 0; r < count; ++r)
    for (size_t i = 0; i < ranges[r].count; ++i) arenas.value[ranges[r].first + i] = 7;
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info info = nn_net_state(net, i);
    float values[3 * 13 * 9];
    if (info.is_int64) continue;
    assert_int_equal(nn_net_state_read(net, i, NN_VALUE, values), GP_OK);
    for (int64_t e = 0; e < info.elements; ++e)
      if ((values[e] == 7) != (info.is_parameter && info.rank == 1)) fail_msg("%s, element %d", info.name, (int)e);
  }
  gp_free(ranges);
  nn_net_destroy(&net);
}

/* Padding of the arenas is zero in all three and must stay so. */
static void test_zeros_stay(void **state) {
  (void)state;
  nn_arenas arenas = make_arenas(64);
  memset(arenas.value, 0, 64 * sizeof(float));
  for (int step = 0; step < 3; ++step)
    sgd_step(&arenas, &(sgd_desc){.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true});
  for (int i = 0; i < 64; ++i) assert_true(arenas.value[i] == 0 && arenas.momentum[i] == 0);
  free_arenas(&arenas);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_formulas),
      cmocka_unit_test(test_closed_form),
      cmocka_unit_test(test_any_number_of_threads),
      cmocka_unit_test(test_undecayed),
      cmocka_unit_test(test_find_vectors),
      cmocka_unit_test(test_zeros_stay),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
