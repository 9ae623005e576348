/* Activations that are not kept but made again going backward: the same gradients, bit for bit, from less memory. Batch norms
 * at inference as part of convolutions. And the times of layers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/philox.h"
#include "nn/nn.h"

enum { BATCH = 5, CHANNELS = 3, SIDE = 12, CLASSES = 4, PIXELS = CHANNELS * SIDE * SIDE };

static nn_ref conv_norm(nn_graph *g, nn_ref x, const char *name, int64_t out, int32_t kernel) {
  nn_push_scope(g, "%s", name);
  x = nn_conv(g, x, &(nn_conv_desc){.name = "conv", .out = out, .kernel = kernel, .padding = kernel / 2});
  x = nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = "norm"});
  nn_pop_scope(g);
  return x;
}

/* Bottleneck blocks, of odd numbers of channels, too: an activation that a convolution reads, one that two read, and one that a
 * sum also reads. */
static nn_net *make_net(void) {
  nn_graph *g;
  nn_net *net;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_ref x = nn_relu(g, conv_norm(g, nn_input(g, CHANNELS, SIDE, SIDE), "stem", 20, 3));
  for (int block = 0; block < 3; ++block) {
    nn_push_scope(g, "block%d", block);
    nn_ref y = nn_relu(g, conv_norm(g, x, "a", 13, 1));
    nn_ref z = nn_relu(g, conv_norm(g, y, "b", 13, 3));
    z = nn_add(g, conv_norm(g, z, "c", 20, 1), conv_norm(g, y, "d", 20, 1));
    x = nn_relu(g, nn_add(g, z, x));
    nn_pop_scope(g);
  }
  x = nn_pool(g, x, &(nn_pool_desc){.kind = GP_POOL_AVERAGE, .kernel = 2});
  x = nn_linear(g, nn_global_avg_pool(g, x), &(nn_linear_desc){.name = "fc", .out = CLASSES});
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){0});
  assert_int_equal(nn_net_create(&net, &g, &(nn_net_desc){.batch = BATCH, .trainable = true}), GP_OK);
  assert_int_equal(nn_net_init(net, 3), GP_OK);
  return net;
}

static nn_plan *make_plan(nn_net *net, bool store, nn_mode mode) {
  nn_plan *plan;
  nn_plan_desc desc = {.batch = BATCH, .mode = mode, .store_activations = store};
  assert_int_equal(nn_plan_create(&plan, net, &desc), GP_OK);
  return plan;
}

static double run(nn_plan *plan, uint32_t number) {
  static float images[BATCH * PIXELS];
  static const int32_t labels[BATCH] = {0, 3, 1, 2, 1};
  for (uint32_t i = 0; i < BATCH * PIXELS; ++i)
    images[i] = 2 * gp_unit_float(gp_philox(number, i, 0, 0, 0).word[0]) - 1;
  assert_int_equal(nn_plan_forward(plan, images, labels, &(nn_step_desc){.step = number}), GP_OK);
  assert_int_equal(nn_plan_backward(plan), GP_OK);
  return nn_plan_loss(plan);
}

static void gradients_are_the_same(void **state) {
  (void)state;
  nn_net *net = make_net();
  nn_arenas arenas = nn_net_arenas(net);
  size_t bytes = arenas.count * sizeof(float);
  float *kept = malloc(bytes);
  assert_non_null(kept);
  nn_plan *storing = make_plan(net, true, NN_TRAIN), *repeating = make_plan(net, false, NN_TRAIN);
  assert_true(nn_plan_activation_bytes(repeating) < 0.8 * (double)nn_plan_activation_bytes(storing));
  for (uint32_t step = 0; step < 3; ++step) {
    double loss = run(storing, step);
    memcpy(kept, arenas.gradient, bytes);
    memset(arenas.gradient, 0xff, bytes);
    assert_true(run(repeating, step) == loss);
    for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
      nn_state_info info = nn_net_state(net, i);
      if (info.is_parameter && memcmp(kept + info.arena_offset, arenas.gradient + info.arena_offset,
                                      (size_t)info.elements * sizeof(float)) != 0)
        fail_msg("step %u: gradient of %s differs", step, info.name);
    }
  }
  nn_plan_destroy(&storing);
  nn_plan_destroy(&repeating);
  nn_net_destroy(&net);
  free(kept);
}

/* ---- Inference ---- */

/* Convolutions with bias, groups, dilation, one output channel more than a block, and one that two batch norms read. */
static nn_net *make_folding_net(void) {
  nn_graph *g;
  nn_net *net;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_ref x = nn_relu(g, conv_norm(g, nn_input(g, CHANNELS, SIDE, SIDE), "stem", 17, 3));
  static const nn_conv_desc convs[] = {
      {.name = "biased", .out = 24, .kernel = 3, .bias = true},
      {.name = "grouped", .out = 32, .kernel = 3, .padding = 1, .groups = 8},
      {.name = "depthwise", .out = 32, .kernel = 3, .padding = 1, .groups = 32},
      {.name = "dilated", .out = 9, .kernel = 3, .dilation = 2, .stride = 2, .bias = true}};
  for (int i = 0; i < 4; ++i) {
    nn_push_scope(g, "part%d", i);
    x = nn_batch_norm(g, nn_conv(g, x, &convs[i]), &(nn_batch_norm_desc){.name = "norm", .eps = i == 1 ? 1e-2 : 0});
    if (i != 2) x = nn_relu(g, x);
    nn_pop_scope(g);
  }
  nn_ref shared = nn_conv(g, x, &(nn_conv_desc){.name = "shared", .out = 16});
  nn_ref a = nn_batch_norm(g, shared, &(nn_batch_norm_desc){.name = "a"});
  x = nn_add(g, a, nn_batch_norm(g, shared, &(nn_batch_norm_desc){.name = "b"}));
  x = nn_linear(g, nn_global_avg_pool(g, x), &(nn_linear_desc){.name = "fc", .out = CLASSES});
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){0});
  assert_int_equal(nn_net_create(&net, &g, &(nn_net_desc){.batch = BATCH, .trainable = true}), GP_OK);
  assert_int_equal(nn_net_init(net, 3), GP_OK);
  return net;
}

/* Running statistics and batch norms' parameters that matter. */
static void disturb(nn_net *net, uint32_t number) {
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    nn_state_info info = nn_net_state(net, i);
    if (info.is_int64 || info.rank != 1) continue;
    float values[64];
    assert_true(info.elements <= 64);
    for (uint32_t k = 0; k < info.elements; ++k)
      values[k] = 0.5f + gp_unit_float(gp_philox(number, k, (uint32_t)i, 0, 0).word[0]);
    assert_int_equal(nn_net_state_write(net, i, NN_VALUE, values), GP_OK);
  }
}

static void infer(nn_plan *plan, float logits[BATCH * CLASSES]) {
  static float images[BATCH * PIXELS];
  for (uint32_t i = 0; i < BATCH * PIXELS; ++i) images[i] = 2 * gp_unit_float(gp_philox(9, i, 0, 0, 0).word[0]) - 1;
  assert_int_equal(nn_plan_forward(plan, images, NULL, &(nn_step_desc){0}), GP_OK);
  memcpy(logits, nn_plan_logits(plan), BATCH * CLASSES * sizeof *logits);
}

static void batch_norms_are_folded(void **state) {
  (void)state;
  nn_net *nets[] = {make_net(), make_folding_net()};
  for (int k = 0; k < 2; ++k) {
    nn_plan *apart = make_plan(nets[k], true, NN_INFER), *folded = make_plan(nets[k], false, NN_INFER);
    for (uint32_t round = 0; round < 2; ++round) { /* what has changed between calls counts */
      float expected[BATCH * CLASSES], found[BATCH * CLASSES], before[BATCH * CLASSES];
      infer(folded, before);
      disturb(nets[k], round);
      infer(apart, expected);
      infer(folded, found);
      for (int i = 0; i < BATCH * CLASSES; ++i) {
        double allowed = 2e-5 * fmax(1, fabs((double)expected[i]));
        if (fabs((double)expected[i] - found[i]) > allowed)
          fail_msg("net %d, logit %d: expected %.9g, found %.9g", k, i, expected[i], found[i]);
      }
      assert_memory_not_equal(before, found, sizeof found);
    }
    assert_int_equal(nn_plan_time(folded), GP_OK);
    infer(folded, (float[BATCH * CLASSES]){0});
    int left = 0;
    for (int32_t i = 0; i < nn_net_layer_count(nets[k]); ++i)
      left += strcmp(nn_net_layer(nets[k], i).op, "batch_norm") == 0 && nn_plan_layer_time(folded, i).forward > 0;
    assert_true(left <=
                (k == 0 ? 0 : 4)); /* two that share a convolution; grouped ones, as the library lays them out */
    nn_plan_destroy(&apart);
    nn_plan_destroy(&folded);
    nn_net_destroy(&nets[k]);
  }
}

/* ---- Times ---- */

static nn_layer_time time_of(const nn_plan *plan, const nn_net *net, const char *op) {
  nn_layer_time sum = {0};
  for (int32_t i = 0; i < nn_net_layer_count(net); ++i) {
    if (strcmp(nn_net_layer(net, i).op, op) != 0) continue;
    nn_layer_time time = nn_plan_layer_time(plan, i);
    sum.forward += time.forward;
    sum.backward += time.backward;
  }
  return sum;
}

static void times_are_of_the_layers_that_run(void **state) {
  (void)state;
  nn_net *net = make_net();
  nn_plan *plan = make_plan(net, false, NN_TRAIN);
  run(plan, 0);
  assert_true(time_of(plan, net, "conv").forward == 0);
  assert_int_equal(nn_plan_time(plan), GP_OK);
  run(plan, 1);
  nn_layer_time conv = time_of(plan, net, "conv");
  assert_true(conv.forward > 0 && conv.backward > 0 && time_of(plan, net, "batch_norm").backward > 0);
  assert_true(time_of(plan, net, "input").forward == 0);
  assert_int_equal(nn_plan_time(plan), GP_OK);
  assert_int_equal(nn_plan_run_op(plan, "conv"), GP_OK);
  conv = time_of(plan, net, "conv");
  assert_true(conv.forward > 0 && conv.backward > 0);
  assert_true(time_of(plan, net, "batch_norm").forward == 0 && time_of(plan, net, "linear").backward == 0);
  assert_int_equal(nn_plan_backward(plan), GP_ERROR_INVALID_ARGUMENT);
  nn_plan_destroy(&plan);
  plan = make_plan(net, false, NN_INFER);
  assert_int_equal(nn_plan_time(plan), GP_OK);
  assert_int_equal(nn_plan_run_op(plan, "conv"), GP_OK);
  conv = time_of(plan, net, "conv");
  assert_true(conv.forward > 0 && conv.backward == 0);
  nn_plan_destroy(&plan);
  nn_net_destroy(&net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_are_the_same),
      cmocka_unit_test(batch_norms_are_folded),
      cmocka_unit_test(times_are_of_the_layers_that_run),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
