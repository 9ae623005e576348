/* Ranks with common batch statistics against one process with the whole batch: losses, gradients, running statistics. The
 * ranks are threads here, each with a net of its own. Also the order in which gradients are said to be final. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/philox.h"
#include "nn/nn.h"

enum { BATCH = 7, SIDE = 12, PIXELS = 3 * SIDE * SIDE, CLASSES = 5, MOST_RANKS = 3, STEPS = 2, MOST_SUMS = 512 };

static float images[BATCH * PIXELS];
static int32_t labels[BATCH];

/* ---- Net ---- */

static nn_ref norm(nn_graph *g, nn_ref x, const char *name) {
  return nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = name});
}

static nn_ref linear(nn_graph *g, nn_ref x, const char *name, int64_t out) {
  return nn_linear(g, x, &(nn_linear_desc){.name = name, .out = out});
}

static nn_ref conv(nn_graph *g, nn_ref x, const char *name, int64_t out) {
  return nn_conv(g, x, &(nn_conv_desc){.name = name, .out = out, .kernel = 3, .padding = 1});
}

/* A batch norm before a convolution, one that a guided pooling applies, three over 1×1 maps, one without ReLU. */
static gp_status try_net(nn_net **net, nn_precision precision) {
  nn_graph *g = NULL;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_ref x = nn_input(g, 3, SIDE, SIDE);
  x = nn_relu(g, norm(g, conv(g, x, "conv1", 20), "bn1"));
  x = nn_relu(g, norm(g, conv(g, x, "conv2", 16), "bn2"));
  nn_ref z = nn_relu(g, norm(g, linear(g, nn_global_avg_pool(g, x), "hidden", 8), "hidden_bn"));
  nn_ref mu = norm(g, linear(g, z, "mu", 16), "mu_bn");
  nn_ref sigma = nn_sigmoid(g, norm(g, linear(g, z, "sigma", 16), "sigma_bn"));
  x = nn_pool(g, x,
              &(nn_pool_desc){.kind = GP_POOL_ISP_GAUSSIAN,
                              .kernel = 2,
                              .stride = 2,
                              .stochasticity = GP_STOCHASTIC_CN,
                              .mu = mu,
                              .sigma = sigma});
  x = norm(g, conv(g, x, "conv3", 13), "bn3");
  nn_cross_entropy(g, linear(g, nn_global_avg_pool(g, x), "fc", CLASSES),
                   &(nn_cross_entropy_desc){.label_smoothing = 0.1});
  return nn_net_create(net, &g, &(nn_net_desc){.batch = BATCH, .trainable = true, .precision = precision});
}

static nn_net *make_net(nn_precision precision) {
  nn_net *net = NULL;
  if (try_net(&net, precision) != GP_OK) fail_msg("%s", gp_last_error());
  assert_int_equal(nn_net_init(net, 3), GP_OK);
  return net;
}

/* ---- Ranks ---- */

static pthread_barrier_t barrier;
static double *shared[MOST_RANKS];

typedef struct rank {
  int32_t index, count;
  int64_t first, samples;
  nn_precision precision;
  nn_net *net;
  double loss[STEPS]; /* Σ over its samples */
  int32_t sums;
  pthread_t thread;
} rank;

static gp_status sum(void *context, double *values, int64_t count) {
  rank *self = context;
  double total[MOST_SUMS] = {0};
  assert_in_range(count, 1, MOST_SUMS);
  shared[self->index] = values;
  pthread_barrier_wait(&barrier);
  for (int32_t r = 0; r < self->count; ++r)
    for (int64_t i = 0; i < count; ++i) total[i] += shared[r][i];
  pthread_barrier_wait(&barrier);
  memcpy(values, total, (size_t)count * sizeof *values);
  ++self->sums;
  return GP_OK;
}

/* What stands in for a rank without samples are numbers that would show wherever they counted. */
static void *run_rank(void *argument) {
  rank *self = argument;
  static float stand_in[PIXELS];
  static const int32_t no_label = 0;
  const nn_sync sync = {sum, self};
  const bool absent = self->samples == 0;
  nn_plan *plan = NULL;
  self->net = make_net(self->precision);
  assert_int_equal(nn_plan_create(&plan, self->net,
                                  &(nn_plan_desc){.batch = absent ? 1 : self->samples,
                                                  .mode = NN_TRAIN,
                                                  .sync = self->count > 1 ? &sync : NULL,
                                                  .whole_batch = BATCH}),
                   GP_OK);
  for (uint32_t s = 0; s < STEPS; ++s) {
    const nn_step_desc step = {.seed = 4, .step = s, .first_sample = self->first, .whole = BATCH, .absent = absent};
    const float *x = absent ? stand_in : images + self->first * PIXELS;
    assert_int_equal(nn_plan_forward(plan, x, absent ? &no_label : labels + self->first, &step), GP_OK);
    self->loss[s] = (double)self->samples * nn_plan_loss(plan);
    assert_int_equal(nn_plan_backward(plan), GP_OK);
  }
  nn_plan_destroy(&plan);
  return NULL;
}

static void run_ranks(rank *ranks, int32_t count, const int64_t *samples, nn_precision precision) {
  int64_t first = 0;
  assert_int_equal(pthread_barrier_init(&barrier, NULL, (unsigned)count), 0);
  for (int32_t r = 0; r < count; first += samples[r++]) {
    ranks[r] = (rank){.index = r, .count = count, .first = first, .samples = samples[r], .precision = precision};
    assert_int_equal(pthread_create(&ranks[r].thread, NULL, run_rank, &ranks[r]), 0);
  }
  assert_int_equal(first, BATCH);
  for (int32_t r = 0; r < count; ++r) pthread_join(ranks[r].thread, NULL);
  pthread_barrier_destroy(&barrier);
}

static void expect_near(const float *a, const float *b, size_t count, double most, const char *what) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < count; ++i) {
    difference += pow((double)a[i] - (double)b[i], 2);
    size += pow((double)a[i], 2);
  }
  if (!(sqrt(difference / size) < most)) fail_msg("%s differ by %g", what, sqrt(difference / size));
}

/* How far they may be apart. Sums in another order change the last bits of float32, and of bfloat16 where it is on the edge between
 * two of its numbers, 2^-8 apart. */
typedef struct tolerance {
  double loss, gradient, statistics;
} tolerance;
static const tolerance tolerances[] = {[NN_FLOAT32] = {1e-6, 2e-5, 2e-5}, [NN_BFLOAT16] = {1e-5, 8e-3, 2e-5}};

static void expect_as_one(const int64_t *samples, int32_t count, nn_precision precision) {
  rank one, ranks[MOST_RANKS];
  const tolerance most = tolerances[precision];
  run_ranks(&one, 1, (const int64_t[]){BATCH}, precision);
  run_ranks(ranks, count, samples, precision);
  const nn_arenas whole = nn_net_arenas(one.net), first = nn_net_arenas(ranks[0].net);
  for (int32_t r = 0; r < count; ++r) {
    const nn_arenas own = nn_net_arenas(ranks[r].net);
    assert_int_equal(ranks[r].sums, 2 * 6 * STEPS);
    assert_memory_equal(own.statistics, first.statistics, first.statistics_count * sizeof(float));
    for (size_t i = 0; r > 0 && i < own.count; ++i) first.gradient[i] += own.gradient[i];
    for (int s = 0; r > 0 && s < STEPS; ++s) ranks[0].loss[s] += ranks[r].loss[s];
  }
  for (int s = 0; s < STEPS; ++s) assert_true(fabs(ranks[0].loss[s] / one.loss[s] - 1) < most.loss);
  expect_near(whole.gradient, first.gradient, whole.count, most.gradient, "gradients");
  expect_near(whole.statistics, first.statistics, whole.statistics_count, most.statistics, "running statistics");
  for (int32_t r = 0; r < count; ++r) nn_net_destroy(&ranks[r].net);
  nn_net_destroy(&one.net);
}

static void two_are_as_one(void **state) {
  (void)state;
  expect_as_one((const int64_t[]){4, 3}, 2, NN_FLOAT32);
}

/* A single sample is a batch of one value for the heads' batch norms, alone. */
static void three_unequal_are_as_one(void **state) {
  (void)state;
  expect_as_one((const int64_t[]){5, 1, 1}, 3, NN_FLOAT32);
}

static void one_may_be_absent(void **state) {
  (void)state;
  expect_as_one((const int64_t[]){6, 1, 0}, 3, NN_FLOAT32);
}

static void as_one_in_bfloat16(void **state) {
  (void)state;
  nn_net *net = NULL;
  const gp_status status = try_net(&net, NN_BFLOAT16);
  nn_net_destroy(&net);
  if (status == GP_ERROR_UNSUPPORTED) {
    print_message("%s\n", gp_last_error());
    skip();
  }
  expect_as_one((const int64_t[]){4, 3}, 2, NN_BFLOAT16);
  expect_as_one((const int64_t[]){5, 1, 1}, 3, NN_BFLOAT16);
  expect_as_one((const int64_t[]){6, 1, 0}, 3, NN_BFLOAT16);
}

static void one_value_in_all_is_refused(void **state) {
  (void)state;
  const nn_sync sync = {sum, NULL};
  nn_net *net = make_net(NN_FLOAT32);
  nn_plan *plan = NULL;
  assert_int_equal(
      nn_plan_create(&plan, net, &(nn_plan_desc){.batch = 1, .mode = NN_TRAIN, .sync = &sync, .whole_batch = 1}),
      GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "more than 1 value per channel"));
  nn_net_destroy(&net);
}

/* ---- Gradients that are final ---- */

typedef struct watch {
  const float *gradient, *expected; /* expected NULL: of the first pass */
  size_t count, last;
  int32_t calls;
} watch;

/* What is said to be final must be what it is in the end. */
static gp_status on_gradients(void *context, size_t first) {
  watch *w = context;
  assert_true(first <= w->last);
  w->last = first;
  ++w->calls;
  if (w->expected != NULL)
    assert_memory_equal(w->gradient + first, w->expected + first, (w->count - first) * sizeof(float));
  return GP_OK;
}

static gp_status on_gradients_failing(void *context, size_t first) {
  (void)first;
  return --*(int *)context > 0 ? GP_OK : GP_ERROR_LIBRARY;
}

static void gradients_are_final_when_said_so(void **state) {
  (void)state;
  nn_net *net = make_net(NN_FLOAT32);
  nn_plan *plan = NULL;
  const nn_arenas arenas = nn_net_arenas(net);
  float *expected = calloc(arenas.count, sizeof *expected);
  assert_int_equal(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = BATCH, .mode = NN_TRAIN}), GP_OK);
  for (int pass = 0; pass < 2; ++pass) {
    watch w = {arenas.gradient, pass == 0 ? NULL : expected, arenas.count, arenas.count, 0};
    memset(arenas.gradient, 0, arenas.count * sizeof(float));
    nn_plan_watch_gradients(plan, on_gradients, &w);
    assert_int_equal(nn_plan_forward(plan, images, labels, &(nn_step_desc){.seed = 1}), GP_OK);
    assert_int_equal(nn_plan_backward(plan), GP_OK);
    assert_int_equal(w.last, 0);
    assert_true(w.calls > 10);
    memcpy(expected, arenas.gradient, arenas.count * sizeof(float));
  }
  int calls = 5;
  nn_plan_watch_gradients(plan, on_gradients_failing, &calls);
  assert_int_equal(nn_plan_forward(plan, images, labels, &(nn_step_desc){.seed = 1}), GP_OK);
  assert_int_equal(nn_plan_backward(plan), GP_ERROR_LIBRARY);
  assert_int_equal(calls, 0);
  nn_plan_destroy(&plan);
  nn_net_destroy(&net);
  free(expected);
}

int main(void) {
  for (uint32_t i = 0; i < BATCH * PIXELS; ++i) images[i] = 2 * gp_unit_float(gp_philox(5, i, 0, 0, 0).word[0]) - 1;
  for (int i = 0; i < BATCH; ++i) labels[i] = i % CLASSES;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_are_as_one),
      cmocka_unit_test(three_unequal_are_as_one),
      cmocka_unit_test(one_may_be_absent),
      cmocka_unit_test(as_one_in_bfloat16),
      cmocka_unit_test(one_value_in_all_is_refused),
      cmocka_unit_test(gradients_are_final_when_said_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
