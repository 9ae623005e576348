/* Building graphs and nets: errors, names, shapes, storage; and the placing of buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/philox.h"
#include "nn/arena.h"
#include "nn/nn.h"

static nn_graph *new_graph(void) {
  nn_graph *g = NULL;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  return g;
}

/* The net must be refused with this status and words of this message. */
static void expect_refusal(nn_graph *g, gp_status status, const char *words) {
  nn_net *net = NULL;
  assert_int_equal(nn_net_create(&net, &g, &(nn_net_desc){.batch = 2, .trainable = true}), status);
  assert_null(net);
  assert_null(g);
  if (strstr(gp_last_error(), words) == NULL) fail_msg("'%s' is not in '%s'", words, gp_last_error());
}

static void first_error_sticks(void **state) {
  (void)state;
  nn_graph *g = new_graph();
  nn_ref x = nn_input(g, 3, 8, 8);
  nn_ref bad = nn_conv(g, x, &(nn_conv_desc){.name = "stem", .out = 4, .kernel = 11});
  assert_true(bad < 0);
  assert_true(nn_relu(g, bad) < 0);
  assert_true(nn_linear(g, x, &(nn_linear_desc){.name = "fc", .out = 0}) < 0);
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "conv 'stem': its window of 11 does not fit 8x8");
}

static void wrong_descriptions_are_named(void **state) {
  (void)state;
  nn_graph *g = new_graph();
  nn_ref x = nn_input(g, 6, 8, 8);
  nn_conv(g, x, &(nn_conv_desc){.name = "c", .out = 8, .kernel = 3, .groups = 4});
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "not both multiples of 4 groups");

  g = new_graph();
  x = nn_input(g, 6, 8, 8);
  nn_add(g, x, nn_conv(g, x, &(nn_conv_desc){.name = "c", .out = 6, .kernel = 3}));
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "shapes 6x8x8 and 6x6x6 differ");

  g = new_graph();
  x = nn_input(g, 6, 8, 8);
  nn_pool(g, x, &(nn_pool_desc){.name = "p", .kind = GP_POOL_ISP_GAUSSIAN, .kernel = 2});
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "pool 'p': guiding tensor 1 is missing");

  g = new_graph();
  x = nn_input(g, 6, 8, 8);
  nn_pool(g, x, &(nn_pool_desc){.name = "p", .kind = GP_POOL_ISP_GAUSSIAN, .kernel = 2, .mu = nn_relu(g, x)});
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "guiding tensor 1 is 6x8x8, expected 6x1x1");

  g = new_graph();
  x = nn_input(g, 6, 8, 8);
  nn_pool(g, x, &(nn_pool_desc){.name = "p", .kind = GP_POOL_AVERAGE, .kernel = 9});
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "pool 'p'");

  g = new_graph();
  nn_cross_entropy(g, nn_input(g, 6, 8, 8), &(nn_cross_entropy_desc){0});
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "1x1 maps of logits, got 8x8");

  g = new_graph();
  nn_relu(g, nn_input(g, 6, 8, 8));
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "no loss");

  g = new_graph();
  x = nn_linear(g, nn_input(g, 6, 1, 1), &(nn_linear_desc){.name = "fc", .out = 6});
  x = nn_linear(g, x, &(nn_linear_desc){.name = "fc", .out = 2});
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){0});
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "two nodes of the net have a state tensor 'fc.weight'");

  g = new_graph();
  x = nn_input(g, 6, 1, 1);
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){.label_smoothing = 1});
  expect_refusal(g, GP_ERROR_INVALID_ARGUMENT, "label smoothing 1 is not in [0, 1)");
}

/* A grouped, dilated convolution, batch norm and a linear layer over a map. */
static nn_net *small_net(void) {
  nn_graph *g = new_graph();
  nn_ref x = nn_input(g, 3, 9, 9);
  x = nn_conv(g, x, &(nn_conv_desc){.name = "stem", .out = 24, .kernel = 3, .padding = 1, .bias = true});
  nn_push_scope(g, "stage%d", 1);
  x = nn_conv(g, x, &(nn_conv_desc){.name = "conv", .out = 16, .kernel = 3, .dilation = 2, .groups = 2});
  x = nn_relu(g, nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = "bn"}));
  nn_pop_scope(g);
  x = nn_linear(g, x, &(nn_linear_desc){.name = "fc", .out = 5});
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){0});
  nn_net *net = NULL;
  assert_int_equal(nn_net_create(&net, &g, &(nn_net_desc){.batch = 2, .trainable = true}), GP_OK);
  assert_int_equal(nn_net_init(net, 7), GP_OK);
  return net;
}

static void state_has_pytorchs_names_and_shapes(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int64_t elements;
    bool is_parameter;
  } expected[] = {
      {"stem.weight", 24 * 3 * 9, true},
      {"stem.bias", 24, true},
      {"stage1.conv.weight", 16 * 12 * 9, true},
      {"stage1.bn.weight", 16, true},
      {"stage1.bn.bias", 16, true},
      {"stage1.bn.running_mean", 16, false},
      {"stage1.bn.running_var", 16, false},
      {"stage1.bn.num_batches_tracked", 1, false},
      {"fc.weight", 5 * 16 * 25, true},
      {"fc.bias", 5, true},
  };
  nn_net *net = small_net();
  int32_t count = (int32_t)(sizeof expected / sizeof expected[0]);
  assert_int_equal(nn_net_state_count(net), count);
  int64_t parameters = 0;
  for (int32_t i = 0; i < count; ++i) {
    nn_state_info info = nn_net_state(net, i);
    assert_string_equal(info.name, expected[i].name);
    assert_int_equal(info.elements, expected[i].elements);
    assert_int_equal(info.is_parameter, expected[i].is_parameter);
    if (info.is_parameter) parameters += info.elements;
  }
  assert_int_equal(nn_net_state(net, 2).shape[1], 12);
  assert_int_equal(nn_net_state(net, 7).rank, 0);
  assert_int_equal(nn_net_parameter_count(net), parameters);
  assert_int_equal(nn_net_macs(net), 24 * 27 * 81 + 16 * 12 * 9 * 25 + 5 * 400);
  nn_net_destroy(&net);
  assert_null(net);
}

static void state_is_written_and_read_back(void **state) {
  (void)state;
  nn_net *net = small_net();
  static const nn_state_part parts[] = {NN_VALUE, NN_GRADIENT, NN_MOMENTUM};
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    nn_state_info info = nn_net_state(net, i);
    float in[4096], out[4096];
    for (int p = 0; p < (info.is_parameter ? 3 : 1); ++p) {
      for (int64_t e = 0; e < info.elements; ++e) {
        in[e] = (float)(i * 10000 + e * 3 + p);
        out[e] = -1;
      }
      if (info.is_int64) {
        int64_t tracked = 12345678901, read = 0;
        assert_int_equal(nn_net_state_write(net, i, NN_VALUE, &tracked), GP_OK);
        assert_int_equal(nn_net_state_read(net, i, NN_VALUE, &read), GP_OK);
        assert_int_equal(read, tracked);
        continue;
      }
      assert_int_equal(nn_net_state_write(net, i, parts[p], in), GP_OK);
      assert_int_equal(nn_net_state_read(net, i, parts[p], out), GP_OK);
      assert_memory_equal(in, out, (size_t)info.elements * sizeof(float));
    }
    if (!info.is_parameter) assert_int_equal(nn_net_state_read(net, i, NN_MOMENTUM, out), GP_ERROR_INVALID_ARGUMENT);
  }
  nn_net_destroy(&net);
}

static void plans_that_cannot_be_are_refused(void **state) {
  (void)state;
  nn_graph *g = new_graph();
  nn_ref x = nn_batch_norm(g, nn_input(g, 6, 1, 1), &(nn_batch_norm_desc){.name = "bn"});
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){0});
  nn_net *net = NULL;
  nn_plan *plan = NULL;
  assert_int_equal(nn_net_create(&net, &g, &(nn_net_desc){.batch = 4, .trainable = true}), GP_OK);
  assert_int_equal(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = 1, .mode = NN_TRAIN}),
                   GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "more than 1 value per channel"));
  assert_non_null(strstr(gp_last_error(), "batch_norm bn"));
  assert_int_equal(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = 0}), GP_ERROR_INVALID_ARGUMENT);
  assert_int_equal(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = 1}), GP_OK);
  assert_int_equal(nn_plan_backward(plan), GP_ERROR_INVALID_ARGUMENT);
  float image[6] = {0};
  assert_int_equal(nn_plan_forward(plan, image, (int32_t[]){6}, &(nn_step_desc){0}), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "label 6 of sample 0 is not in 0 to 5"));
  nn_plan_destroy(&plan);
  nn_net_destroy(&net);
}

static void buffers_alive_together_do_not_overlap(void **state) {
  (void)state;
  enum { COUNT = 120 };
  for (uint32_t seed = 0; seed < 50; ++seed) {
    nn_buffer b[COUNT];
    size_t total, sum, expected_sum = 0;
    for (uint32_t i = 0; i < COUNT; ++i) {
      gp_philox_block r = gp_philox(seed, i, 0, 0, 0);
      int32_t first = (int32_t)gp_bounded(r.word[0], 200);
      b[i] = (nn_buffer){
          .bytes = 1 + gp_bounded(r.word[1], 5000), .first = first, .last = first + (int32_t)gp_bounded(r.word[2], 40)};
      expected_sum += gp_align_up(b[i].bytes);
    }
    assert_int_equal(nn_arena_plan(b, COUNT, &total, &sum), GP_OK);
    assert_int_equal(sum, expected_sum);
    assert_true(total < sum);
    for (int i = 0; i < COUNT; ++i) {
      assert_int_equal(b[i].offset % GP_ALIGNMENT, 0);
      assert_true(b[i].offset + b[i].bytes <= total);
      for (int j = 0; j < i; ++j) {
        bool together = b[i].first <= b[j].last && b[j].first <= b[i].last;
        bool apart = b[i].offset + b[i].bytes <= b[j].offset || b[j].offset + b[j].bytes <= b[i].offset;
        if (together && !apart) fail_msg("seed %u: buffers %d and %d overlap", seed, i, j);
      }
    }
  }
}

/* Whichever allocation fails, building reports it and leaves nothing behind (the leak check is the sanitizer's). */
static void allocation_failures_are_reported(void **state) {
  (void)state;
  bool done = false;
  for (uint64_t n = 1; !done; ++n) {
    nn_graph *g = NULL;
    nn_net *net = NULL;
    nn_plan *plan = NULL;
    gp_alloc_fail_after(n);
    gp_status status = nn_graph_create(&g);
    if (status == GP_OK) {
      nn_ref x = nn_input(g, 3, 6, 6);
      x = nn_conv(g, x, &(nn_conv_desc){.name = "c", .out = 16, .kernel = 3});
      x = nn_relu(g, nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = "bn"}));
      nn_cross_entropy(g, nn_global_avg_pool(g, x), &(nn_cross_entropy_desc){0});
      status = nn_net_create(&net, &g, &(nn_net_desc){.batch = 2, .trainable = true});
    }
    if (status == GP_OK) status = nn_net_init(net, 1);
    if (status == GP_OK) status = nn_plan_create(&plan, net, &(nn_plan_desc){.batch = 2, .mode = NN_TRAIN});
    gp_alloc_fail_after(0);
    done = status == GP_OK;
    if (!done) assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    nn_plan_destroy(&plan);
    nn_net_destroy(&net);
    nn_graph_destroy(&g);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(first_error_sticks),
      cmocka_unit_test(wrong_descriptions_are_named),
      cmocka_unit_test(state_has_pytorchs_names_and_shapes),
      cmocka_unit_test(state_is_written_and_read_back),
      cmocka_unit_test(plans_that_cannot_be_are_refused),
      cmocka_unit_test(buffers_alive_together_do_not_overlap),
      cmocka_unit_test(allocation_failures_are_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
