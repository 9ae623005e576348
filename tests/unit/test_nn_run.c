/* Running plans: gradients against finite differences for every op, determinism, sharing of the arena, no allocation.
 * (Values and gradients against PyTorch are compared in tests/parity.) */
#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/philox.h"
#include "nn/nn.h"
#include "test_nn_bodies.h"

enum { BATCH = 6, CHANNELS = BODY_CHANNELS, SIDE = BODY_SIDE, CLASSES = 5, PIXELS = CHANNELS * SIDE * SIDE };

/* ---- Rig ---- */

typedef struct rig {
  nn_net *net;
  nn_plan *plan;
  float images[BATCH * PIXELS];
  int32_t labels[BATCH];
} rig;

static float uniform(uint64_t key, uint64_t i) {
  return 2 * gp_unit_float(gp_philox(key, (uint32_t)(i / 4), 0, 0, 0).word[i % 4]) - 1;
}

static void set_up(rig *r, body_fn body, nn_mode mode, double smoothing) {
  nn_graph *g = NULL;
  memset(r, 0, sizeof *r);
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_ref x = body(g, nn_input(g, CHANNELS, SIDE, SIDE));
  x = nn_linear(g, x, &(nn_linear_desc){.name = "fc", .out = CLASSES});
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){.label_smoothing = smoothing});
  if (nn_net_create(&r->net, &g, &(nn_net_desc){.batch = BATCH, .trainable = true}) != GP_OK)
    fail_msg("%s", gp_last_error());
  assert_int_equal(nn_net_init(r->net, 3), GP_OK);
  if (nn_plan_create(&r->plan, r->net, &(nn_plan_desc){.batch = BATCH, .mode = mode}) != GP_OK)
    fail_msg("%s", gp_last_error());
  for (uint64_t i = 0; i < BATCH * PIXELS; ++i) r->images[i] = uniform(11, i);
  for (int32_t n = 0; n < BATCH; ++n) r->labels[n] = (2 * n + 1) % CLASSES;
}

static void tear_down(rig *r) {
  nn_plan_destroy(&r->plan);
  nn_net_destroy(&r->net);
}

static double loss_of(rig *r, uint32_t step) {
  if (nn_plan_forward(r->plan, r->images, r->labels, &(nn_step_desc){.seed = 5, .step = step}) != GP_OK)
    fail_msg("%s", gp_last_error());
  return nn_plan_loss(r->plan);
}

/* Loss with one tensor of the state moved by `distance` along its direction. */
static double moved_loss(rig *r, int32_t tensor, const float *value, uint64_t key, double distance) {
  nn_state_info info = nn_net_state(r->net, tensor);
  float *moved = malloc((size_t)info.elements * sizeof(float));
  assert_non_null(moved);
  for (int64_t e = 0; e < info.elements; ++e) moved[e] = value[e] + (float)(distance * uniform(key, (uint64_t)e));
  assert_int_equal(nn_net_state_write(r->net, tensor, NN_VALUE, moved), GP_OK);
  double loss = loss_of(r, 0);
  assert_int_equal(nn_net_state_write(r->net, tensor, NN_VALUE, value), GP_OK);
  free(moved);
  return loss;
}

/* Slope of the loss along a random direction of each parameter, against gradient·direction. ReLU and max have kinks,
 * float32 rounds: several distances, the best counts. */
static void check_parameter(rig *r, const char *name, int32_t tensor) {
  nn_state_info info = nn_net_state(r->net, tensor);
  size_t bytes = (size_t)info.elements * sizeof(float);
  float *value = malloc(bytes), *gradient = malloc(bytes);
  assert_true(value != NULL && gradient != NULL);
  assert_int_equal(nn_net_state_read(r->net, tensor, NN_VALUE, value), GP_OK);
  assert_int_equal(nn_net_state_read(r->net, tensor, NN_GRADIENT, gradient), GP_OK);
  double expected = 0, norm_squared = 0, best = INFINITY, found = 0;
  uint64_t key = (uint64_t)tensor + 100;
  for (int64_t e = 0; e < info.elements; ++e) {
    expected += gradient[e] * (double)uniform(key, (uint64_t)e);
    norm_squared += gradient[e] * (double)gradient[e];
  }
  for (double distance = 1e-2; distance > 1e-5; distance /= 5) {
    double slope =
        (moved_loss(r, tensor, value, key, distance) - moved_loss(r, tensor, value, key, -distance)) / (2 * distance);
    if (fabs(slope - expected) < best) {
      best = fabs(slope - expected);
      found = slope;
    }
  }
  if (!(best <= 2e-2 * (fabs(expected) + sqrt(norm_squared)) + 2e-4))
    fail_msg("%s: gradient of %s along its direction is %g, finite differences give %g", name, info.name, expected,
             found);
  free(value);
  free(gradient);
}

static void check_gradients(const char *name, body_fn body, double smoothing) {
  rig r;
  set_up(&r, body, NN_TRAIN, smoothing);
  loss_of(&r, 0);
  assert_int_equal(nn_plan_backward(r.plan), GP_OK);
  for (int32_t i = 0; i < nn_net_state_count(r.net); ++i)
    if (nn_net_state(r.net, i).is_parameter) check_parameter(&r, name, i);
  tear_down(&r);
}

static void gradients_agree_with_finite_differences(void **state) {
  (void)state;
  for (int i = 0; i < NN_BODIES; ++i) check_gradients(nn_bodies[i].name, nn_bodies[i].build, nn_bodies[i].smoothing);
}

/* ---- Behaviour ---- */

static void steps_repeat_bit_for_bit(void **state) {
  (void)state;
  rig r;
  set_up(&r, gauss_hwcn_body, NN_TRAIN, 0);
  nn_arenas arenas = nn_net_arenas(r.net);
  double loss = loss_of(&r, 3);
  assert_int_equal(nn_plan_backward(r.plan), GP_OK);
  float *first = malloc(arenas.count * sizeof(float));
  assert_non_null(first);
  memcpy(first, arenas.gradient, arenas.count * sizeof(float));
  memset(arenas.gradient, 0xFF, arenas.count * sizeof(float)); /* poison, alignment gaps aside */
  assert_true(loss_of(&r, 3) == loss);
  assert_int_equal(nn_plan_backward(r.plan), GP_OK);
  for (int32_t i = 0; i < nn_net_state_count(r.net); ++i) {
    nn_state_info info = nn_net_state(r.net, i);
    if (!info.is_parameter) continue;
    float again[8192];
    assert_true(info.elements <= 8192);
    assert_int_equal(nn_net_state_read(r.net, i, NN_GRADIENT, again), GP_OK);
    float *kept = malloc(arenas.count * sizeof(float));
    assert_non_null(kept);
    memcpy(kept, arenas.gradient, arenas.count * sizeof(float));
    memcpy(arenas.gradient, first, arenas.count * sizeof(float));
    float before[8192];
    assert_int_equal(nn_net_state_read(r.net, i, NN_GRADIENT, before), GP_OK);
    memcpy(arenas.gradient, kept, arenas.count * sizeof(float));
    free(kept);
    if (memcmp(before, again, (size_t)info.elements * sizeof(float)) != 0) fail_msg("%s differs", info.name);
  }
  assert_true(loss_of(&r, 4) != loss); /* another step draws anew */
  free(first);
  tear_down(&r);
}

static void a_growing_arena_moves_under_older_plans(void **state) {
  (void)state;
  rig r;
  set_up(&r, residual_body, NN_INFER, 0);
  double loss = loss_of(&r, 0);
  nn_plan *larger = NULL;
  assert_int_equal(nn_plan_create(&larger, r.net, &(nn_plan_desc){.batch = 16 * BATCH, .mode = NN_TRAIN}), GP_OK);
  assert_true(nn_plan_activation_bytes(larger) > nn_plan_activation_bytes(r.plan));
  assert_true(nn_plan_activation_bytes(larger) < nn_plan_activation_bytes_without_reuse(larger));
  assert_true(loss_of(&r, 0) == loss);
  nn_plan_destroy(&larger);
  assert_true(loss_of(&r, 0) == loss);
  tear_down(&r);
}

static void a_step_allocates_nothing(void **state) {
  (void)state;
  rig r;
  set_up(&r, gauss_cn_body, NN_TRAIN, 0);
  for (uint32_t step = 0; step < 3; ++step) { /* the library below fills its own caches */
    loss_of(&r, step);
    assert_int_equal(nn_plan_backward(r.plan), GP_OK);
  }
  uint64_t allocations = gp_alloc_count();
  size_t in_use = mallinfo2().uordblks;
  for (uint32_t step = 3; step < 40; ++step) {
    loss_of(&r, step);
    assert_int_equal(nn_plan_backward(r.plan), GP_OK);
  }
  assert_int_equal(gp_alloc_count(), allocations);
  assert_int_equal(mallinfo2().uordblks, in_use);
  tear_down(&r);
}

static void running_statistics_follow_the_batches(void **state) {
  (void)state;
  rig r;
  set_up(&r, plain_body, NN_TRAIN, 0);
  float mean[16], var[16], again_mean[16], again_var[16];
  int64_t tracked;
  int32_t first = -1;
  for (int32_t i = 0; i < nn_net_state_count(r.net); ++i)
    if (strcmp(nn_net_state(r.net, i).name, "n1.running_mean") == 0) first = i;
  assert_true(first >= 0);
  loss_of(&r, 0);
  assert_int_equal(nn_net_state_read(r.net, first, NN_VALUE, mean), GP_OK);
  assert_int_equal(nn_net_state_read(r.net, first + 1, NN_VALUE, var), GP_OK);
  loss_of(&r, 1);
  assert_int_equal(nn_net_state_read(r.net, first, NN_VALUE, again_mean), GP_OK);
  assert_int_equal(nn_net_state_read(r.net, first + 1, NN_VALUE, again_var), GP_OK);
  assert_int_equal(nn_net_state_read(r.net, first + 2, NN_VALUE, &tracked), GP_OK);
  assert_int_equal(tracked, 2);
  /* After k batches with statistic s: start·0.9^k + s·(1 - 0.9^k). */
  for (int c = 0; c < 16; ++c) {
    assert_true(fabs(again_mean[c] - 1.9 * mean[c]) < 1e-5);
    assert_true(fabs(again_var[c] - (0.9 * var[c] + 0.1 * (var[c] - 0.9) / 0.1)) < 1e-5);
  }
  tear_down(&r);
}

/* Padding lanes of gradients hold zeros, whatever the arena held before: all that is not zero is in the state dict. */
static void padding_takes_no_gradient(void **state) {
  (void)state;
  static const body_fn bodies[] = {odd_concat_body, odd_body, one_position_body, dropout_body};
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; ++i) {
    rig r;
    set_up(&r, bodies[i], NN_TRAIN, 0);
    nn_plan *other = NULL;
    assert_int_equal(nn_plan_create(&other, r.net, &(nn_plan_desc){.batch = 2}), GP_OK);
    for (uint32_t step = 0; step < 3; ++step) {
      assert_int_equal(nn_plan_forward(other, r.images, NULL, &(nn_step_desc){0}), GP_OK);
      loss_of(&r, step);
      assert_int_equal(nn_plan_backward(r.plan), GP_OK);
    }
    nn_arenas arenas = nn_net_arenas(r.net);
    size_t in_arena = 0, in_state = 0;
    for (size_t e = 0; e < arenas.count; ++e) in_arena += arenas.gradient[e] != 0;
    for (int32_t t = 0; t < nn_net_state_count(r.net); ++t) {
      nn_state_info info = nn_net_state(r.net, t);
      if (!info.is_parameter) continue;
      float *gradient = malloc((size_t)info.elements * sizeof(float));
      assert_non_null(gradient);
      assert_int_equal(nn_net_state_read(r.net, t, NN_GRADIENT, gradient), GP_OK);
      for (int64_t e = 0; e < info.elements; ++e) in_state += gradient[e] != 0;
      free(gradient);
    }
    if (in_arena != in_state) fail_msg("body %zu: %zu values in the arena, %zu of them known", i, in_arena, in_state);
    nn_plan_destroy(&other);
    tear_down(&r);
  }
}

/* Images of many channels are given plain too: the logits here are the channels' means. */
static void wide_images_are_understood(void **state) {
  (void)state;
  enum { N = 2, C = 20, P = 9 };
  nn_graph *g = NULL;
  nn_net *net = NULL;
  nn_plan *plan = NULL;
  float images[N * C * P];
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_cross_entropy(g, nn_global_avg_pool(g, nn_input(g, C, 3, 3)), &(nn_cross_entropy_desc){0});
  assert_int_equal(nn_net_create(&net, &g, &(nn_net_desc){.batch = N}), GP_OK);
  assert_int_equal(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = N}), GP_OK);
  for (int i = 0; i < N * C * P; ++i) images[i] = (float)i;
  assert_int_equal(nn_plan_forward(plan, images, NULL, &(nn_step_desc){0}), GP_OK);
  for (int i = 0; i < N * C; ++i) assert_true(nn_plan_logits(plan)[i] == (float)(i * P + P / 2));
  nn_plan_destroy(&plan);
  assert_int_equal(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = INT64_MAX / 2}), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "too large"));
  nn_net_destroy(&net);
}

static void backward_needs_its_own_forward(void **state) {
  (void)state;
  rig r;
  set_up(&r, plain_body, NN_TRAIN, 0);
  nn_plan *other = NULL;
  assert_int_equal(nn_plan_create(&other, r.net, &(nn_plan_desc){.batch = BATCH, .mode = NN_TRAIN}), GP_OK);
  loss_of(&r, 0);
  memset(r.labels, 0x7F, sizeof r.labels); /* they were read */
  assert_int_equal(nn_plan_backward(r.plan), GP_OK);
  assert_int_equal(nn_plan_backward(r.plan), GP_ERROR_INVALID_ARGUMENT); /* used up */
  for (int32_t n = 0; n < BATCH; ++n) r.labels[n] = 0;
  loss_of(&r, 0);
  assert_int_equal(nn_plan_forward(other, r.images, r.labels, &(nn_step_desc){0}), GP_OK);
  assert_int_equal(nn_plan_backward(r.plan), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "another plan"));
  nn_plan_destroy(&other);
  loss_of(&r, 0);
  assert_int_equal(nn_plan_create(&other, r.net, &(nn_plan_desc){.batch = 50 * BATCH}), GP_OK);
  assert_int_equal(nn_plan_backward(r.plan), GP_ERROR_INVALID_ARGUMENT);
  nn_plan_destroy(&other);
  tear_down(&r);
}

static void nan_in_training_reaches_the_loss(void **state) {
  (void)state;
  rig r;
  set_up(&r, residual_body, NN_TRAIN, 0);
  assert_true(isfinite(loss_of(&r, 0)));
  r.images[PIXELS / 2] = NAN;
  assert_true(isnan(loss_of(&r, 1)));
  tear_down(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_agree_with_finite_differences),
      cmocka_unit_test(steps_repeat_bit_for_bit),
      cmocka_unit_test(a_growing_arena_moves_under_older_plans),
      cmocka_unit_test(a_step_allocates_nothing),
      cmocka_unit_test(running_statistics_follow_the_batches),
      cmocka_unit_test(padding_takes_no_gradient),
      cmocka_unit_test(wide_images_are_understood),
      cmocka_unit_test(backward_needs_its_own_forward),
      cmocka_unit_test(nan_in_training_reaches_the_loss),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
