/* What a step is made of besides SGD: the gradient of a batch taken in parts, and the running average of weights. */
#include "test_train_util.h"

#include "base/parallel.h"
#include "base/philox.h"
#include "data/parts.h"
#include "train/average.h"
#include "train/gradient.h"

enum { CHANNELS = 3, SIDE = 8, CLASSES = 5, PIXELS = CHANNELS * SIDE * SIDE, BATCH = 12, SAMPLES = 100 };

static float draw(uint32_t stream, uint32_t i) { return 2 * gp_unit_float(gp_philox(5, i, stream, 0, 0).word[0]) - 1; }

/* Convolution, guided pooling with a draw for each output, dropout; with or without batch norm. */
static nn_net *make_net(bool norm, bool averaged) {
  nn_graph *g = NULL;
  nn_net *net = NULL;
  assert_ok(nn_graph_create(&g));
  nn_ref x = nn_input(g, CHANNELS, SIDE, SIDE);
  x = nn_conv(g, x, &(nn_conv_desc){.name = "conv", .out = 13, .kernel = 3, .padding = 1, .bias = true});
  if (norm) x = nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = "bn"});
  x = nn_relu(g, x);
  nn_ref z = nn_global_avg_pool(g, x);
  nn_ref mu = nn_linear(g, z, &(nn_linear_desc){.name = "mu", .out = 13});
  nn_ref sigma = nn_sigmoid(g, nn_linear(g, z, &(nn_linear_desc){.name = "sigma", .out = 13}));
  x = nn_pool(g, x,
              &(nn_pool_desc){.kind = GP_POOL_ISP_GAUSSIAN,
                              .kernel = 2,
                              .stride = 2,
                              .stochasticity = GP_STOCHASTIC_HWCN,
                              .mu = mu,
                              .sigma = sigma});
  x = nn_dropout(g, nn_global_avg_pool(g, x), 0.3);
  nn_cross_entropy(g, nn_linear(g, x, &(nn_linear_desc){.name = "fc", .out = CLASSES}), &(nn_cross_entropy_desc){0});
  assert_ok(nn_net_create(&net, &g, &(nn_net_desc){.batch = BATCH, .trainable = true, .averaged = averaged}));
  assert_ok(nn_net_init(net, 3));
  return net;
}

/* ---- Gradients ---- */

typedef struct result {
  float *gradient;
  size_t count;
  double loss;
  train_meter meter;
} result;

static result run(bool norm, int64_t count, int64_t parts) {
  static float images[BATCH * PIXELS];
  static int32_t labels[BATCH];
  result r = {0};
  train_plans plans = {0};
  float *sum = NULL;
  nn_net *net = make_net(norm, false);
  const nn_arenas arenas = nn_net_arenas(net);
  for (uint32_t i = 0; i < BATCH * PIXELS; ++i) images[i] = draw(1, i);
  for (int i = 0; i < BATCH; ++i) labels[i] = i % CLASSES;
  r.count = arenas.count;
  assert_ok(GP_ALLOC(&r.gradient, r.count));
  assert_ok(GP_ALLOC(&sum, r.count));
  assert_ok(train_plans_create(
      &plans, net, &(train_plans_desc){.mode = NN_TRAIN, .batch = BATCH, .samples = BATCH + count, .parts = parts}));
  for (int64_t i = 0; i < data_parts(count, plans.largest); ++i) {
    const int64_t first = data_part(count, plans.largest, i);
    assert_ok(train_gradient(
        &(train_gradient_desc){
            .plans = &plans, .net = net, .sum = sum, .step = {.seed = 8, .step = 4, .first_sample = 2}},
        &(data_batch){.images = images + first * PIXELS,
                      .labels = labels + first,
                      .count = data_part(count, plans.largest, i + 1) - first,
                      .part = i,
                      .parts = data_parts(count, plans.largest),
                      .first = first,
                      .whole = count},
        &r.meter));
  }
  r.loss = train_meter_loss(&r.meter);
  memcpy(r.gradient, arenas.gradient, r.count * sizeof(float));
  train_plans_clear(&plans);
  nn_net_destroy(&net);
  gp_free(sum);
  return r;
}

static double distance(const result *a, const result *b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a->count; ++i) {
    difference += pow((double)a->gradient[i] - (double)b->gradient[i], 2);
    size += pow((double)a->gradient[i], 2);
  }
  return sqrt(difference / size);
}

/* The whole batch, and the last one of an epoch, in parts of one size and of two. */
static void parts_add_up_to_the_batch(void **state) {
  (void)state;
  static const struct {
    int64_t count, parts;
  } cases[] = {{12, 1}, {12, 2}, {12, 3}, {12, 12}, {7, 3}, {7, 2}, {5, 3}, {1, 4}};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c) {
    result whole = run(false, cases[c].count, 1), cut = run(false, cases[c].count, cases[c].parts);
    assert_near(cut.loss, whole.loss, 1e-6);
    if (!(distance(&whole, &cut) < 1e-6)) fail_msg("case %zu: the gradient is %g off", c, distance(&whole, &cut));
    assert_int_equal(cut.meter.samples, cases[c].count);
    assert_int_equal(cut.meter.top1_wrong, whole.meter.top1_wrong);
    assert_near(train_meter_loss(&cut.meter), whole.loss, 1e-6);
    gp_free(whole.gradient);
    gp_free(cut.gradient);
  }
}

/* As documented: the statistics are a part's. */
static void batch_norm_sees_a_part(void **state) {
  (void)state;
  result whole = run(true, BATCH, 1), cut = run(true, BATCH, 3);
  assert_true(distance(&whole, &cut) > 1e-3);
  gp_free(whole.gradient);
  gp_free(cut.gradient);
}

static void parts_must_divide_the_batch(void **state) {
  (void)state;
  train_plans plans = {0};
  nn_net *net = make_net(true, false);
  train_plans_desc desc = {.mode = NN_TRAIN, .batch = BATCH, .samples = SAMPLES, .parts = 5};
  assert_fails(train_plans_create(&plans, net, &desc), GP_ERROR_INVALID_ARGUMENT, "accumulate");
  assert_int_equal(plans.count, 0);
  nn_net_destroy(&net);
}

/* The size of a plan is known before it takes memory, and it runs all the same. */
static void plans_reserve_later(void **state) {
  (void)state;
  static float images[BATCH * PIXELS];
  train_plans plans = {0};
  nn_plan *plan = NULL;
  nn_net *net = make_net(true, false);
  train_plans_desc desc = {.mode = NN_INFER, .batch = BATCH, .samples = SAMPLES, .reserve_later = true};
  assert_ok(train_plans_create(&plans, net, &desc));
  assert_int_equal(plans.count, 2);
  assert_ok(train_plans_get(&plans, BATCH, &plan));
  assert_int_equal(train_plans_activation_bytes(&plans), nn_plan_activation_bytes(plan));
  const uint64_t before = gp_alloc_count();
  assert_ok(nn_plan_forward(plan, images, NULL, &(nn_step_desc){0}));
  assert_int_equal(gp_alloc_count(), before + 1);
  assert_ok(nn_plan_forward(plan, images, NULL, &(nn_step_desc){0}));
  assert_int_equal(gp_alloc_count(), before + 1);
  assert_fails(train_plans_get(&plans, BATCH - 1, &plan), GP_ERROR_INVALID_ARGUMENT, "11");
  train_plans_clear(&plans);
  nn_net_destroy(&net);
}

/* ---- Averages ---- */

enum { COUNT = (1 << 14) + 300, STATISTICS = 70, STEPS = 6 };

static float *make_array(size_t count, uint32_t stream) {
  float *array = NULL;
  assert_ok(GP_ALLOC(&array, count));
  for (uint32_t i = 0; i < count; ++i) array[i] = draw(stream, i);
  return array;
}

static nn_arenas make_arenas(void) {
  return (nn_arenas){.value = make_array(COUNT, 10),
                     .average = make_array(COUNT, 11),
                     .count = COUNT,
                     .statistics = make_array(STATISTICS, 12),
                     .statistics_average = make_array(STATISTICS, 13),
                     .statistics_count = STATISTICS};
}

static void free_arenas(nn_arenas *a) {
  gp_free(a->value);
  gp_free(a->average);
  gp_free(a->statistics);
  gp_free(a->statistics_average);
}

/* a_n = d^n·a_0 + (1 − d)·Σ d^(n−k)·x_k, in double. */
static void averages_follow_the_formula(void **state) {
  (void)state;
  const double d = 0.9;
  nn_arenas a = make_arenas();
  weight_average_start(&a);
  assert_memory_equal(a.average, a.value, COUNT * sizeof(float));
  assert_memory_equal(a.statistics_average, a.statistics, STATISTICS * sizeof(float));
  for (uint32_t step = 1; step <= STEPS; ++step) {
    for (uint32_t i = 0; i < COUNT; ++i) a.value[i] = draw(20 + step, i);
    for (uint32_t i = 0; i < STATISTICS; ++i) a.statistics[i] = draw(40 + step, i);
    weight_average_update(&a, d);
  }
  for (uint32_t i = 0; i < COUNT + STATISTICS; ++i) {
    const bool statistic = i >= COUNT;
    const uint32_t at = statistic ? i - COUNT : i;
    double expected = (double)draw(statistic ? 12 : 10, at);
    for (uint32_t step = 1; step <= STEPS; ++step)
      expected = d * expected + (1 - d) * (double)draw((statistic ? 40 : 20) + step, at);
    assert_near((double)(statistic ? a.statistics_average : a.average)[at], expected, 1e-6);
  }
  free_arenas(&a);
}

static void averages_take_any_number_of_threads(void **state) {
  (void)state;
  const int32_t before = gp_max_threads();
  nn_arenas one = make_arenas(), many = make_arenas();
  gp_set_max_threads(1);
  weight_average_update(&one, 0.999);
  gp_set_max_threads(3);
  weight_average_update(&many, 0.999);
  gp_set_max_threads(before);
  assert_memory_equal(one.average, many.average, COUNT * sizeof(float));
  free_arenas(&one);
  free_arenas(&many);
}

static void averages_change_places(void **state) {
  (void)state;
  nn_arenas a = make_arenas(), before = make_arenas();
  weight_average_swap(&a);
  assert_memory_equal(a.value, before.average, COUNT * sizeof(float));
  assert_memory_equal(a.average, before.value, COUNT * sizeof(float));
  assert_memory_equal(a.statistics, before.statistics_average, STATISTICS * sizeof(float));
  weight_average_swap(&a);
  assert_memory_equal(a.value, before.value, COUNT * sizeof(float));
  assert_memory_equal(a.statistics_average, before.statistics_average, STATISTICS * sizeof(float));
  free_arenas(&a);
  free_arenas(&before);
}

/* Tensors of an averaged net: the average is a part of those with numbers that have one. */
static void averages_are_state(void **state) {
  (void)state;
  nn_net *net = make_net(true, true), *plain = make_net(true, false);
  float in[512], out[512];
  for (uint32_t i = 0; i < 512; ++i) in[i] = draw(60, i);
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info info = nn_net_state(net, i);
    assert_true(info.elements <= 512);
    if (info.is_int64) {
      assert_fails(nn_net_state_read(net, i, NN_AVERAGE, out), GP_ERROR_INVALID_ARGUMENT, "no average");
      continue;
    }
    assert_ok(nn_net_state_write(net, i, NN_AVERAGE, in));
    assert_ok(nn_net_state_read(net, i, NN_AVERAGE, out));
    assert_memory_equal(in, out, (size_t)info.elements * sizeof(float));
    assert_ok(nn_net_state_read(net, i, NN_VALUE, out));
    assert_true(memcmp(in, out, (size_t)info.elements * sizeof(float)) != 0);
    assert_fails(nn_net_state_read(plain, i, NN_AVERAGE, out), GP_ERROR_INVALID_ARGUMENT, "no average");
  }
  nn_net_destroy(&net);
  nn_net_destroy(&plain);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parts_add_up_to_the_batch),   cmocka_unit_test(batch_norm_sees_a_part),
      cmocka_unit_test(parts_must_divide_the_batch), cmocka_unit_test(plans_reserve_later),
      cmocka_unit_test(averages_follow_the_formula), cmocka_unit_test(averages_take_any_number_of_threads),
      cmocka_unit_test(averages_change_places),      cmocka_unit_test(averages_are_state),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
