/* Folded nets compute what the nets they are made of do at inference, without the batch norms that could be folded. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/philox.h"
#include "nn/fold.h"
#include "nn/node.h"

enum { BATCH = 3, CHANNELS = 3, HEIGHT = 12, WIDTH = 9, CLASSES = 5, IMAGE = CHANNELS * HEIGHT * WIDTH };

static nn_ref norm(nn_graph *g, nn_ref x, const char *name) {
  return nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = name, .eps = 1e-3});
}

static nn_ref conv(nn_graph *g, nn_ref x, nn_conv_desc desc) {
  desc.padding = desc.kernel / 2;
  return nn_conv(g, x, &desc);
}

/* Every place of a batch norm: behind convolutions without and with bias, with groups, on a linear layer, in front of a
 * ReLU alone, behind a ReLU, behind a convolution that somebody else reads too. */
static nn_graph *make_graph(void) {
  nn_graph *g = NULL;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_ref x = nn_input(g, CHANNELS, HEIGHT, WIDTH);
  x = nn_relu(g, norm(g, conv(g, x, (nn_conv_desc){.name = "plain", .out = 20, .kernel = 3}), "taken.plain"));
  x = norm(g, conv(g, x, (nn_conv_desc){.name = "biased", .out = 16, .kernel = 1, .bias = true}), "taken.biased");
  x = nn_concat(g, (nn_ref[]){x, nn_sigmoid(g, x)}, 2);
  x = nn_relu(g, norm(g, x, "kept.alone"));
  x = nn_relu(g,
              norm(g, conv(g, x, (nn_conv_desc){.name = "grouped", .out = 32, .kernel = 3, .groups = 8}), "taken.g"));
  x = norm(g, nn_relu(g, conv(g, x, (nn_conv_desc){.name = "late", .out = 16, .kernel = 3})), "kept.late");
  nn_ref shared = conv(g, x, (nn_conv_desc){.name = "shared", .out = 32, .kernel = 3});
  x = nn_relu(g, nn_add(g, norm(g, shared, "kept.shared"), shared));
  nn_ref z = nn_linear(g, nn_global_avg_pool(g, x), &(nn_linear_desc){.name = "head", .out = 32, .conv_shape = true});
  z = norm(g, z, "taken.head");
  x = nn_pool(
      g, x,
      &(nn_pool_desc){.name = "pool", .kind = GP_POOL_ISP_GAUSSIAN, .kernel = 3, .stride = 2, .padding = 1, .mu = z});
  x = nn_linear(g, x, &(nn_linear_desc){.name = "last", .out = CLASSES, .no_bias = true});
  nn_cross_entropy(g, norm(g, x, "taken.last"), &(nn_cross_entropy_desc){0});
  assert_int_equal(nn_graph_status(g), GP_OK);
  return g;
}

static nn_net *make_net(nn_graph *g) {
  nn_net *net = NULL;
  if (nn_net_create(&net, &g, &(nn_net_desc){.batch = BATCH}) != GP_OK) fail_msg("%s", gp_last_error());
  return net;
}

/* In [-1, 1). */
static float *random_floats(int64_t count, uint64_t seed) {
  float *values = NULL;
  assert_int_equal(GP_ALLOC(&values, (size_t)count), GP_OK);
  for (int64_t i = 0; i < count; ++i) values[i] = 2 * gp_unit_float(gp_philox(seed, (uint32_t)i, 0, 0, 0).word[0]) - 1;
  return values;
}

/* Weights and statistics as after a training: nothing is 0 or 1, and some scales are negative. */
static nn_net *trained_net(void) {
  nn_net *net = make_net(make_graph());
  assert_int_equal(nn_net_init(net, 1), GP_OK);
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    nn_state_info state = nn_net_state(net, i);
    if (state.is_int64 || state.rank != 1) continue;
    float *values = random_floats(state.elements, (uint64_t)i);
    for (int64_t k = 0; k < state.elements; ++k)
      if (strstr(state.name, "running_var") != NULL) values[k] = 0.1f + values[k] * values[k];
    assert_int_equal(nn_net_state_write(net, i, NN_VALUE, values), GP_OK);
    gp_free(values);
  }
  return net;
}

static nn_net *empty_folded_net(void) {
  nn_graph *g = make_graph();
  nn_graph_fold_batch_norms(g);
  assert_int_equal(nn_graph_status(g), GP_OK);
  return make_net(g);
}

/* `plainly`: nothing fused or folded by the plan. */
static void logits_of(nn_net *net, bool plainly, float logits[BATCH * CLASSES]) {
  nn_plan *plan = NULL;
  float *images = random_floats((int64_t)BATCH * IMAGE, 99);
  assert_int_equal(
      nn_plan_create(&plan, net, &(nn_plan_desc){.batch = BATCH, .mode = NN_INFER, .store_activations = plainly}),
      GP_OK);
  assert_int_equal(nn_plan_forward(plan, images, NULL, &(nn_step_desc){0}), GP_OK);
  memcpy(logits, nn_plan_logits(plan), sizeof(float) * BATCH * CLASSES);
  nn_plan_destroy(&plan);
  gp_free(images);
}

static bool has_state(const nn_net *net, const char *name) {
  for (int32_t i = 0; i < nn_net_state_count(net); ++i)
    if (strcmp(nn_net_state(net, i).name, name) == 0) return true;
  return false;
}

static void check_close(const char *what, const float *expected, const float *found) {
  double largest = 0, difference = 0;
  for (int i = 0; i < BATCH * CLASSES; ++i) {
    largest = fmax(largest, fabs((double)expected[i]));
    difference = fmax(difference, fabs((double)expected[i] - (double)found[i]));
  }
  if (!(difference <= 1e-5 * largest)) fail_msg("%s: logits differ by %g of %g", what, difference, largest);
}

static void folded_net_computes_the_same(void **state) {
  (void)state;
  float expected[BATCH * CLASSES], found[BATCH * CLASSES];
  nn_net *net = trained_net(), *folded = empty_folded_net();
  if (nn_net_fold(folded, net) != GP_OK) fail_msg("%s", gp_last_error());
  logits_of(net, true, expected);
  logits_of(net, false, found);
  check_close("folded by the plan", expected, found);
  logits_of(folded, false, found);
  check_close("folded", expected, found);
  logits_of(folded, true, found);
  check_close("folded, nothing fused", expected, found);
  nn_net_destroy(&net);
  nn_net_destroy(&folded);
}

static void only_batch_norms_behind_layers_go(void **state) {
  (void)state;
  nn_net *net = trained_net(), *folded = empty_folded_net();
  assert_int_equal(nn_net_foldable_batch_norms(net), 5);
  assert_int_equal(nn_net_foldable_batch_norms(folded), 0);
  assert_int_equal(nn_net_layer_count(folded), nn_net_layer_count(net) - 5);
  for (int32_t i = 0; i < nn_net_state_count(folded); ++i) assert_null(strstr(nn_net_state(folded, i).name, "taken."));
  static const char *const expected[] = {"plain.bias",   "biased.bias", "grouped.bias",      "head.bias",
                                         "last.bias",    "last.weight", "kept.alone.weight", "kept.shared.running_var",
                                         "shared.weight"};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; ++i)
    if (!has_state(folded, expected[i])) fail_msg("no %s", expected[i]);
  assert_false(has_state(folded, "shared.bias"));
  assert_int_equal(nn_net_classes(folded), CLASSES);
  assert_int_equal(nn_net_node(folded, nn_net_logits(folded))->op, NN_OP_LINEAR);
  nn_net_destroy(&net);
  nn_net_destroy(&folded);
}

static void statistics_without_a_scale_are_refused(void **state) {
  (void)state;
  nn_net *net = trained_net(), *folded = empty_folded_net();
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    nn_state_info info = nn_net_state(net, i);
    if (strcmp(info.name, "taken.biased.running_var") != 0) continue;
    float *values = random_floats(info.elements, 7);
    values[3] = -0.5f;
    assert_int_equal(nn_net_state_write(net, i, NN_VALUE, values), GP_OK);
    gp_free(values);
  }
  assert_int_equal(nn_net_fold(folded, net), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "taken.biased"));
  nn_net_destroy(&net);
  nn_net_destroy(&folded);
}

static void another_graph_is_refused(void **state) {
  (void)state;
  nn_net *net = trained_net(), *other = make_net(make_graph());
  assert_int_equal(nn_net_fold(other, net), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "plain.bias"));
  nn_net_destroy(&net);
  nn_net_destroy(&other);
}

static void failing_allocations_are_reported(void **state) {
  (void)state;
  nn_net *net = trained_net();
  for (uint64_t n = 1;; ++n) {
    nn_graph *g = make_graph();
    nn_net *folded = NULL;
    gp_alloc_fail_after(n);
    nn_graph_fold_batch_norms(g);
    gp_status status = nn_graph_status(g);
    if (status == GP_OK) status = nn_net_create(&folded, &g, &(nn_net_desc){.batch = BATCH});
    if (status == GP_OK) status = nn_net_fold(folded, net);
    gp_alloc_fail_after(0);
    nn_graph_destroy(&g);
    nn_net_destroy(&folded);
    if (status == GP_OK) break;
    assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    assert_true(n < 10000);
  }
  nn_net_destroy(&net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(folded_net_computes_the_same),           cmocka_unit_test(only_batch_norms_behind_layers_go),
      cmocka_unit_test(statistics_without_a_scale_are_refused), cmocka_unit_test(another_graph_is_refused),
      cmocka_unit_test(failing_allocations_are_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
