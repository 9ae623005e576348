/* Nets in bfloat16 against the same nets in float32: logits, losses, gradients, running statistics; what they store; conversions.
 * nn.cmake runs this program for several instruction sets; where the machine has none for it, that is said. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/half.h"
#include "base/philox.h"
#include "nn/bfloat16.h"
#include "nn/element.h"
#include "nn/layout.h"
#include "test_nn_bodies.h"

enum { BATCH = 8, CLASSES = 5, PIXELS = BODY_CHANNELS * BODY_SIDE * BODY_SIDE, STEPS = 5 };

static float uniform(uint64_t key, uint64_t i) {
  return 2 * gp_unit_float(gp_philox(key, (uint32_t)(i / 4), 0, 0, 0).word[i % 4]) - 1;
}

/* ---- Conversion ---- */

static bool same(float a, float b) { return a == b || (isnan(a) && isnan(b)); }

static void conversion_is_that_of_single_numbers(void **state) {
  (void)state;
  enum { COUNT = 2051 };
  static float from[COUNT + 1], to[COUNT + 1];
  static uint16_t half[COUNT + 1];
  gp_isa before = gp_isa_current();
  for (uint32_t i = 0; i < COUNT; ++i) from[i] = gp_float_of_bits(gp_philox(1, i, 0, 0, 0).word[0]);
  const float special[] = {
      NAN,     -NAN,         INFINITY,    -INFINITY,       0.0f,     -0.0f, FLT_MIN,
      FLT_MAX, FLT_TRUE_MIN, 1 + 0x1p-8f, 1 + 3 * 0x1p-8f, -FLT_MAX, 1.0f,  gp_float_of_bits(0x7F800001u)};
  memcpy(from + 100, special, sizeof special);
  for (int isa = GP_ISA_BASELINE; isa <= (int)gp_isa_best(); ++isa) {
    gp_isa_set((gp_isa)isa);
    half[COUNT] = 0xABCD;
    to[COUNT] = 7;
    nn_bfloat16_best()->narrow(half, from, COUNT);
    nn_bfloat16_best()->widen(to, half, COUNT);
    for (int i = 0; i < COUNT; ++i) {
      uint16_t expected = gp_bfloat16_of_float(from[i]);
      if (half[i] != expected || !same(to[i], gp_float_of_bfloat16(expected)))
        fail_msg("%s: %g becomes %04x, then %g; expected %04x", gp_isa_name((gp_isa)isa), from[i], half[i], to[i],
                 expected);
    }
    assert_int_equal(half[COUNT], 0xABCD);
    assert_true(to[COUNT] == 7);
  }
  gp_isa_set(before);
}

static void check_copy(const nn_tensor *from, const nn_tensor *to) {
  nn_blocking a = nn_blocking_of(from), b = nn_blocking_of(to);
  void *src = malloc(nn_tensor_bytes(from)), *dst = malloc(nn_tensor_bytes(to));
  assert_true(src != NULL && dst != NULL);
  for (size_t i = 0; i < nn_tensor_elements(from); ++i) nn_store(from->type, src, (int64_t)i, uniform(3, i));
  memset(dst, 0xFF, nn_tensor_bytes(to));
  nn_copy_tensor(from, src, to, dst);
  for (int64_t n = 0; n < from->batch; ++n)
    for (int64_t c = 0; c < b.blocks * b.block; ++c)
      for (int64_t i = 0; i < a.positions; ++i) {
        bool padding = c >= from->shape.channels;
        float found = nn_load(to->type, dst, nn_offset(&b, n, c, i));
        float expected = padding ? 0 : nn_load(from->type, src, nn_offset(&a, n, c, i));
        if (to->type == GP_BFLOAT16) expected = gp_float_of_bfloat16(gp_bfloat16_of_float(expected));
        if (found != expected)
          fail_msg("layout %d type %d to layout %d type %d: channel %lld is %g, expected %g", from->layout, from->type,
                   to->layout, to->type, (long long)c, found, expected);
      }
  free(src);
  free(dst);
}

static void copies_convert_layout_and_type(void **state) {
  (void)state;
  static const gp_dtype types[] = {GP_FLOAT32, GP_BFLOAT16};
  static const int64_t channels[] = {3, 16, 37};
  for (int k = 0; k < 4 * 4 * 2 * 2 * 3; ++k) {
    nn_tensor from = {2, {channels[k / 64], 3, 5}, (gp_layout)(k % 4), types[k / 16 % 2]}, to = from;
    to.layout = (gp_layout)(k / 4 % 4);
    to.type = types[k / 32 % 2];
    check_copy(&from, &to);
  }
}

/* ---- Nets ---- */

typedef struct rig {
  nn_net *net;
  nn_plan *train, *infer;
} rig;

static gp_status try_net(nn_net **net, const nn_body *body, nn_precision precision) {
  nn_graph *g = NULL;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  nn_ref x = body->build(g, nn_input(g, BODY_CHANNELS, BODY_SIDE, BODY_SIDE));
  x = nn_linear(g, x, &(nn_linear_desc){.name = "fc", .out = CLASSES});
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){.label_smoothing = body->smoothing});
  return nn_net_create(net, &g, &(nn_net_desc){.batch = BATCH, .trainable = true, .precision = precision});
}

static bool machine_has_bfloat16(void) {
  nn_net *net = NULL;
  gp_status status = try_net(&net, &nn_bodies[0], NN_BFLOAT16);
  nn_net_destroy(&net);
  return status == GP_OK;
}

static void need_bfloat16(void) {
  if (!machine_has_bfloat16()) skip();
}

static void set_up(rig *r, const nn_body *body, nn_precision precision, bool store) {
  if (try_net(&r->net, body, precision) != GP_OK) fail_msg("%s: %s", body->name, gp_last_error());
  assert_int_equal(nn_net_init(r->net, 3), GP_OK);
  nn_plan_desc desc = {.batch = BATCH, .mode = NN_TRAIN, .store_activations = store};
  if (nn_plan_create(&r->train, r->net, &desc) != GP_OK) fail_msg("%s: %s", body->name, gp_last_error());
  desc.mode = NN_INFER;
  if (nn_plan_create(&r->infer, r->net, &desc) != GP_OK) fail_msg("%s: %s", body->name, gp_last_error());
}

static void tear_down(rig *r) {
  nn_plan_destroy(&r->train);
  nn_plan_destroy(&r->infer);
  nn_net_destroy(&r->net);
}

static void make_batch(uint32_t step, float *images, int32_t *labels) {
  for (uint64_t i = 0; i < BATCH * PIXELS; ++i) images[i] = uniform(11 + step, i);
  for (int32_t n = 0; n < BATCH; ++n) labels[n] = (2 * n + (int32_t)step) % CLASSES;
}

static double length(const float *a, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += (double)a[i] * a[i];
  return sqrt(sum);
}

/* The distance of two vectors, relative to the second's length, which counts as `least` where it is less. */
static double distance(const float *a, const float *b, size_t count, double least) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
  return sum == 0 ? 0 : sqrt(sum) / fmax(length(b, count), least);
}

/* What a net has computed. */
enum { MOST_TENSORS = 64 };
typedef struct results {
  float inferred[BATCH * CLASSES], trained[BATCH * CLASSES];
  double losses[STEPS];
  float *gradient, *statistics; /* of the first step, in PyTorch's order; after the last */
  size_t count, statistics_count;
  int32_t tensors;
  size_t first[MOST_TENSORS + 1]; /* where each parameter's gradient begins; the end */
} results;

static void keep_gradient(results *out, const nn_net *net) {
  out->count = (size_t)nn_net_parameter_count(net);
  out->gradient = malloc(out->count * sizeof(float));
  assert_non_null(out->gradient);
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    nn_state_info info = nn_net_state(net, i);
    if (!info.is_parameter) continue;
    assert_true(out->tensors < MOST_TENSORS);
    size_t at = out->first[out->tensors];
    assert_int_equal(nn_net_state_read(net, i, NN_GRADIENT, out->gradient + at), GP_OK);
    out->first[++out->tensors] = at + (size_t)info.elements;
  }
}

/* The largest distance of one parameter's gradient. Those below a hundredth of the longest are mostly rounding: biases in
 * front of batch norms have none. */
static double gradient_distance(const results *a, const results *b) {
  double longest = 0, most = 0;
  for (int32_t t = 0; t < b->tensors; ++t)
    longest = fmax(longest, length(b->gradient + b->first[t], b->first[t + 1] - b->first[t]));
  for (int32_t t = 0; t < b->tensors; ++t)
    most = fmax(most, distance(a->gradient + b->first[t], b->gradient + b->first[t], b->first[t + 1] - b->first[t],
                               1e-2 * longest));
  return most;
}

static void compute(results *out, const nn_body *body, nn_precision precision, bool store) {
  static float images[BATCH * PIXELS];
  int32_t labels[BATCH];
  rig r = {0};
  set_up(&r, body, precision, store);
  nn_arenas arenas = nn_net_arenas(r.net);
  make_batch(0, images, labels);
  assert_int_equal(nn_plan_forward(r.infer, images, NULL, &(nn_step_desc){0}), GP_OK);
  memcpy(out->inferred, nn_plan_logits(r.infer), sizeof out->inferred);
  for (uint32_t step = 0; step < STEPS; ++step) {
    make_batch(step, images, labels);
    assert_int_equal(nn_plan_forward(r.train, images, labels, &(nn_step_desc){.seed = 5, .step = step}), GP_OK);
    out->losses[step] = nn_plan_loss(r.train);
    if (step == 0) memcpy(out->trained, nn_plan_logits(r.train), sizeof out->trained);
    assert_int_equal(nn_plan_backward(r.train), GP_OK);
    if (step == 0) keep_gradient(out, r.net);
    for (size_t i = 0; i < arenas.count; ++i) arenas.value[i] -= 0.005f * arenas.gradient[i];
  }
  out->statistics_count = arenas.statistics_count;
  out->statistics = malloc((arenas.statistics_count + 1) * sizeof(float));
  assert_non_null(out->statistics);
  memcpy(out->statistics, arenas.statistics, arenas.statistics_count * sizeof(float));
  tear_down(&r);
}

static void clear(results *r) {
  free(r->gradient);
  free(r->statistics);
}

/* A number is rounded by at most 2^-9 of itself each time it is stored: the bounds are several of these roundings. Where a ReLU
 * or a maximum is decided otherwise for one in some hundred numbers, gradients move by the root of that share. */
static const double LOGITS = 0x1p-6, GRADIENTS = 0x1p-6, DECIDED_GRADIENTS = 0x1p-3, LOSSES = 0x1p-6,
                    STATISTICS = 0x1p-8;

static void check_body(const nn_body *body, bool store) {
  results half = {0}, full = {0};
  compute(&half, body, NN_BFLOAT16, store);
  compute(&full, body, NN_FLOAT32, store);
  double inferred = distance(half.inferred, full.inferred, BATCH * CLASSES, 0);
  double trained = distance(half.trained, full.trained, BATCH * CLASSES, 0);
  double gradient = gradient_distance(&half, &full);
  double losses = 0;
  for (int i = 0; i < STEPS; ++i) losses = fmax(losses, fabs(half.losses[i] / full.losses[i] - 1));
  double statistics = distance(half.statistics, full.statistics, full.statistics_count, 0);
  if (getenv("GAUSSPOOL_TEST_VERBOSE") != NULL)
    print_message("%-13s logits %.1e and %.1e, gradient %.1e, losses %.1e, statistics %.1e\n", body->name, inferred,
                  trained, gradient, losses, statistics);
  const double most = body->decides ? DECIDED_GRADIENTS : GRADIENTS;
  if (!(inferred <= LOGITS && trained <= 2 * LOGITS && gradient <= most && losses <= LOSSES &&
        statistics <= STATISTICS))
    fail_msg(
        "%s%s: relative to float32, logits are off by %g at inference and %g in training, a gradient by %g, losses "
        "by "
        "%g, statistics by %g",
        body->name, store ? ", stored" : "", inferred, trained, gradient, losses, statistics);
  /* Equal to the last bit, it would have been computed in float32. */
  assert_true(inferred > 0 && trained > 0 && gradient > 0);
  clear(&half);
  clear(&full);
}

/* A draw decides which element is taken, as the maximum does: rounding may change it, so that it stands alone. */
static nn_ref stochastic_body(nn_graph *g, nn_ref x) {
  x = nn_relu(g, conv(g, x, "c1", 16, 3, 1));
  return nn_pool(g, x, &(nn_pool_desc){.kind = GP_POOL_STOCHASTIC, .kernel = 2, .stochasticity = GP_STOCHASTIC_HWCN});
}

static void both_agree(void **state) {
  (void)state;
  need_bfloat16();
  for (int store = 0; store < 2; ++store) {
    for (int i = 0; i < NN_BODIES; ++i) check_body(&nn_bodies[i], store == 1);
    check_body(&(nn_body){"stochastic", stochastic_body, 0, true}, store == 1);
  }
}

static void steps_repeat_bit_for_bit(void **state) {
  (void)state;
  need_bfloat16();
  for (int i = 0; i < NN_BODIES; ++i) {
    results first = {0}, second = {0};
    compute(&first, &nn_bodies[i], NN_BFLOAT16, false);
    compute(&second, &nn_bodies[i], NN_BFLOAT16, false);
    assert_memory_equal(first.losses, second.losses, sizeof first.losses);
    assert_memory_equal(first.inferred, second.inferred, sizeof first.inferred);
    assert_memory_equal(first.gradient, second.gradient, first.count * sizeof(float));
    clear(&first);
    clear(&second);
  }
}

/* A net whose activations are many beside its weights. */
static void memory_is_about_half(void **state) {
  (void)state;
  need_bfloat16();
  rig half = {0}, full = {0};
  const nn_body *body = &nn_bodies[2];
  assert_string_equal(body->name, "residual");
  set_up(&half, body, NN_BFLOAT16, false);
  set_up(&full, body, NN_FLOAT32, false);
  size_t less = nn_plan_activation_bytes(half.train), more = nn_plan_activation_bytes(full.train);
  if (!((double)less < 0.62 * (double)more)) fail_msg("%zu bytes, in float32 %zu", less, more);
  assert_true(nn_net_layer(half.net, 1).activation_bytes * 2 == nn_net_layer(full.net, 1).activation_bytes);
  assert_true(nn_net_arenas(half.net).count == nn_net_arenas(full.net).count);
  tear_down(&half);
  tear_down(&full);
}

static void nan_reaches_the_loss(void **state) {
  (void)state;
  need_bfloat16();
  static float images[BATCH * PIXELS];
  int32_t labels[BATCH];
  for (int i = 0; i < NN_BODIES; ++i) {
    rig r = {0};
    set_up(&r, &nn_bodies[i], NN_BFLOAT16, false);
    make_batch(0, images, labels);
    images[PIXELS + 555 % PIXELS] = NAN;
    assert_int_equal(nn_plan_forward(r.train, images, labels, &(nn_step_desc){0}), GP_OK);
    if (!isnan(nn_plan_loss(r.train))) fail_msg("%s: the loss is %g", nn_bodies[i].name, nn_plan_loss(r.train));
    tear_down(&r);
  }
}

static void a_machine_without_it_says_so(void **state) {
  (void)state;
  nn_net *net = NULL;
  if (machine_has_bfloat16()) skip();
  assert_int_equal(try_net(&net, &nn_bodies[0], NN_BFLOAT16), GP_ERROR_UNSUPPORTED);
  assert_null(net);
  assert_non_null(strstr(gp_last_error(), "AVX-512"));
  assert_non_null(strstr(gp_last_error(), "float32"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(conversion_is_that_of_single_numbers),
      cmocka_unit_test(copies_convert_layout_and_type),
      cmocka_unit_test(both_agree),
      cmocka_unit_test(steps_repeat_bit_for_bit),
      cmocka_unit_test(memory_is_about_half),
      cmocka_unit_test(nan_reaches_the_loss),
      cmocka_unit_test(a_machine_without_it_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
