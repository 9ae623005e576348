/* Batch norm and ReLU applied by the pooling that reads them, against the same net that stores them: losses, logits,
 * gradients, running statistics; and the one-pass moments against double precision. The layout of activations is the
 * library's choice: nn.cmake runs this program for several instruction sets. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/parallel.h"
#include "base/philox.h"
#include "nn/element.h"
#include "nn/nn.h"
#include "nn/onednn/moments.h"

enum { BATCH = 7, IMAGE_CHANNELS = 3, SIDE = 18, CLASSES = 5, PIXELS = IMAGE_CHANNELS * SIDE * SIDE, STEPS = 3 };

static float uniform(uint64_t key, uint64_t i) {
  return 2 * gp_unit_float(gp_philox(key, (uint32_t)(i / 4), 0, 0, 0).word[i % 4]) - 1;
}

/* ---- Nets: conv → batch norm → ReLU → pooling ---- */

typedef struct variant {
  const char *name;
  int64_t channels;
  gp_pool_kind kind;
  gp_stochasticity stochasticity;
  bool guided; /* mu and sigma, or the weight, from the activation's global average */
  int32_t kernel, stride, padding;
  bool no_conv;       /* the batch norm reads the image: nobody wants its gradient */
  bool second_reader; /* a sum reads the activation too: it must be stored */
} variant;

static const variant variants[] = {
    {"CN", 32, GP_POOL_ISP_GAUSSIAN, GP_STOCHASTIC_CN, true, 2, 2, 0, false, false},
    {"HWCN, overlapping", 16, GP_POOL_ISP_GAUSSIAN, GP_STOCHASTIC_HWCN, true, 3, 2, 1, false, false},
    {"CN, padding lanes", 13, GP_POOL_ISP_GAUSSIAN, GP_STOCHASTIC_CN, true, 2, 2, 0, false, false},
    {"HWCN, padding lanes", 21, GP_POOL_ISP_GAUSSIAN, GP_STOCHASTIC_HWCN, true, 2, 2, 0, false, false},
    {"CN, plain layout", 5, GP_POOL_ISP_GAUSSIAN, GP_STOCHASTIC_CN, true, 3, 2, 1, false, false},
    {"average", 16, GP_POOL_AVERAGE, GP_STOCHASTIC_NONE, false, 2, 2, 0, false, false},
    {"average, padding lanes", 11, GP_POOL_AVERAGE, GP_STOCHASTIC_NONE, false, 3, 2, 1, false, false},
    {"max", 16, GP_POOL_MAX, GP_STOCHASTIC_NONE, false, 2, 2, 0, false, false},
    {"max, plain layout", 7, GP_POOL_MAX, GP_STOCHASTIC_NONE, false, 3, 2, 1, false, false},
    {"weighted", 16, GP_POOL_WEIGHTED, GP_STOCHASTIC_NONE, true, 2, 2, 0, false, false},
    {"to one position", 13, GP_POOL_AVERAGE, GP_STOCHASTIC_NONE, false, SIDE, SIDE, 0, false, false},
    {"of the image", 3, GP_POOL_ISP_GAUSSIAN, GP_STOCHASTIC_CN, true, 2, 2, 0, true, false},
    {"read twice", 16, GP_POOL_AVERAGE, GP_STOCHASTIC_NONE, false, 3, 1, 1, false, true},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static nn_ref norm(nn_graph *g, nn_ref x, const char *name) {
  return nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = name});
}

static nn_ref linear(nn_graph *g, nn_ref x, const char *name, int64_t out) {
  return nn_linear(g, x, &(nn_linear_desc){.name = name, .out = out});
}

static nn_ref build(nn_graph *g, const variant *v) {
  nn_ref x = nn_input(g, IMAGE_CHANNELS, SIDE, SIDE);
  if (!v->no_conv)
    x = nn_conv(g, x, &(nn_conv_desc){.name = "conv", .out = v->channels, .kernel = 3, .padding = 1, .bias = true});
  x = nn_relu(g, norm(g, x, "norm"));
  nn_pool_desc pool = {.kind = v->kind,
                       .kernel = v->kernel,
                       .stride = v->stride,
                       .padding = v->padding,
                       .stochasticity = v->stochasticity};
  if (v->guided) {
    nn_ref z = nn_relu(g, norm(g, linear(g, nn_global_avg_pool(g, x), "hidden", 8), "hidden_norm"));
    pool.mu = pool.weight = norm(g, linear(g, z, "mu", v->channels), "mu_norm");
    pool.sigma = nn_sigmoid(g, norm(g, linear(g, z, "sigma", v->channels), "sigma_norm"));
  }
  nn_ref y = nn_pool(g, x, &pool);
  if (v->second_reader) y = nn_add(g, y, x);
  y = linear(g, y, "fc", CLASSES);
  nn_cross_entropy(g, y, &(nn_cross_entropy_desc){0});
  return y;
}

typedef struct rig {
  nn_net *net;
  nn_plan *train, *infer;
} rig;

/* Weights and biases of the batch norm away from 1 and 0, some of them negative, one zero. */
static void disturb_norm(nn_net *net, int64_t channels) {
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    nn_state_info info = nn_net_state(net, i);
    bool weight = strcmp(info.name, "norm.weight") == 0;
    if (!weight && strcmp(info.name, "norm.bias") != 0) continue;
    float values[64];
    for (int64_t c = 0; c < channels; ++c) values[c] = (weight ? 0.6f : 0) + uniform(77 + weight, (uint64_t)c);
    if (weight) values[channels / 2] = 0;
    assert_int_equal(nn_net_state_write(net, i, NN_VALUE, values), GP_OK);
  }
}

static void set_up(rig *r, const variant *v, bool store) {
  nn_graph *g = NULL;
  assert_int_equal(nn_graph_create(&g), GP_OK);
  build(g, v);
  if (nn_net_create(&r->net, &g, &(nn_net_desc){.batch = BATCH, .trainable = true}) != GP_OK)
    fail_msg("%s: %s", v->name, gp_last_error());
  assert_int_equal(nn_net_init(r->net, 3), GP_OK);
  disturb_norm(r->net, v->no_conv ? IMAGE_CHANNELS : v->channels);
  nn_plan_desc desc = {.batch = BATCH, .mode = NN_TRAIN, .store_activations = store};
  if (nn_plan_create(&r->train, r->net, &desc) != GP_OK) fail_msg("%s: %s", v->name, gp_last_error());
  desc.mode = NN_INFER;
  if (nn_plan_create(&r->infer, r->net, &desc) != GP_OK) fail_msg("%s: %s", v->name, gp_last_error());
}

static void tear_down(rig *r) {
  nn_plan_destroy(&r->train);
  nn_plan_destroy(&r->infer);
  nn_net_destroy(&r->net);
}

/* ---- Comparison ---- */

static void make_batch(uint32_t step, float *images, int32_t *labels) {
  for (uint64_t i = 0; i < BATCH * PIXELS; ++i) images[i] = 0.5f + uniform(11 + step, i);
  for (int32_t n = 0; n < BATCH; ++n) labels[n] = (2 * n + (int32_t)step) % CLASSES;
}

/* Gradients of biases in front of a batch norm are zero but for rounding, of 1e-6 in this net: hence the second bound. */
static void compare(const char *name, const char *what, const float *fused, const float *stored, int64_t count) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < count; ++i) {
    difference += (fused[i] - (double)stored[i]) * (fused[i] - (double)stored[i]);
    size += stored[i] * (double)stored[i];
  }
  if (!(sqrt(difference) <= 2e-5 * sqrt(size) + 1e-5 * sqrt((double)count)))
    fail_msg("%s: %s differs by %g, of size %g", name, what, sqrt(difference), sqrt(size));
}

static void compare_state(const char *name, rig *fused, rig *stored, nn_state_part part) {
  for (int32_t i = 0; i < nn_net_state_count(fused->net); ++i) {
    nn_state_info info = nn_net_state(fused->net, i);
    if (part != NN_VALUE && !info.is_parameter) continue;
    float *a = calloc((size_t)info.elements, 8), *b = calloc((size_t)info.elements, 8);
    assert_true(a != NULL && b != NULL);
    assert_int_equal(nn_net_state_read(fused->net, i, part, a), GP_OK);
    assert_int_equal(nn_net_state_read(stored->net, i, part, b), GP_OK);
    if (info.is_int64)
      assert_memory_equal(a, b, (size_t)info.elements * 8);
    else
      compare(name, info.name, a, b, info.elements);
    free(a);
    free(b);
  }
}

/* One step on both. A step of the optimiser is left out: each step compares gradients at the same parameters. */
static void step_both(const variant *v, rig *fused, rig *stored, uint32_t step) {
  static float images[BATCH * PIXELS];
  int32_t labels[BATCH];
  const nn_step_desc desc = {.seed = 5, .step = step};
  make_batch(step, images, labels);
  assert_int_equal(nn_plan_forward(fused->train, images, labels, &desc), GP_OK);
  assert_int_equal(nn_plan_forward(stored->train, images, labels, &desc), GP_OK);
  if (!(fabs(nn_plan_loss(fused->train) - nn_plan_loss(stored->train)) < 1e-5))
    fail_msg("%s: loss %.9g, stored %.9g", v->name, nn_plan_loss(fused->train), nn_plan_loss(stored->train));
  compare(v->name, "logits", nn_plan_logits(fused->train), nn_plan_logits(stored->train), BATCH * CLASSES);
  assert_int_equal(nn_plan_backward(fused->train), GP_OK);
  assert_int_equal(nn_plan_backward(stored->train), GP_OK);
  compare_state(v->name, fused, stored, NN_GRADIENT);
  compare_state(v->name, fused, stored, NN_VALUE);
  assert_int_equal(nn_plan_forward(fused->infer, images, labels, &desc), GP_OK);
  assert_int_equal(nn_plan_forward(stored->infer, images, labels, &desc), GP_OK);
  compare(v->name, "logits of inference", nn_plan_logits(fused->infer), nn_plan_logits(stored->infer), BATCH * CLASSES);
}

static void both_agree(void **state) {
  (void)state;
  for (int i = 0; i < VARIANTS; ++i) {
    rig fused = {0}, stored = {0};
    set_up(&fused, &variants[i], false);
    set_up(&stored, &variants[i], true);
    for (uint32_t step = 0; step < STEPS; ++step) step_both(&variants[i], &fused, &stored, step);
    tear_down(&fused);
    tear_down(&stored);
  }
}

/* The activation takes no memory, unless somebody else reads it. */
static void the_activation_is_not_stored(void **state) {
  (void)state;
  for (int i = 0; i < VARIANTS; ++i) {
    rig fused = {0}, stored = {0};
    set_up(&fused, &variants[i], false);
    set_up(&stored, &variants[i], true);
    size_t less = nn_plan_activation_bytes_without_reuse(fused.train),
           more = nn_plan_activation_bytes_without_reuse(stored.train);
    int64_t channels = variants[i].no_conv ? IMAGE_CHANNELS : variants[i].channels;
    size_t saved = (size_t)(BATCH * channels * SIDE * SIDE) * sizeof(float) - 4096; /* less the small arrays */
    /* At inference the convolution applies the batch norm, whoever reads it. */
    if (variants[i].second_reader ? less != more : more < less + saved)
      fail_msg("%s: %zu bytes, %zu when stored", variants[i].name, less, more);
    tear_down(&fused);
    tear_down(&stored);
  }
}

/* Statistics, bit for bit, on any number of threads. (Gradients pass through the library, which makes no such promise.) */
static void threads_change_nothing(void **state) {
  (void)state;
  static float images[BATCH * PIXELS];
  int32_t labels[BATCH], threads = gp_max_threads();
  make_batch(0, images, labels);
  float first[2][64];
  for (int32_t run = 0; run < 3; ++run) {
    rig r = {0};
    gp_set_max_threads(run + 1);
    set_up(&r, &variants[2], false);
    assert_int_equal(nn_plan_forward(r.train, images, labels, &(nn_step_desc){.seed = 5}), GP_OK);
    for (int32_t i = 0; i < nn_net_state_count(r.net); ++i) {
      const char *name = nn_net_state(r.net, i).name;
      int which = strcmp(name, "norm.running_mean") == 0 ? 0 : strcmp(name, "norm.running_var") == 0 ? 1 : -1;
      float values[64];
      if (which < 0) continue;
      assert_int_equal(nn_net_state_read(r.net, i, NN_VALUE, values), GP_OK);
      if (run == 0) memcpy(first[which], values, sizeof values);
      assert_memory_equal(first[which], values, (size_t)variants[2].channels * sizeof(float));
    }
    tear_down(&r);
  }
  gp_set_max_threads(threads);
}

static void nan_reaches_the_loss(void **state) {
  (void)state;
  static float images[BATCH * PIXELS];
  int32_t labels[BATCH];
  rig r = {0};
  set_up(&r, &variants[0], false);
  make_batch(0, images, labels);
  images[PIXELS + 5] = NAN;
  assert_int_equal(nn_plan_forward(r.train, images, labels, &(nn_step_desc){0}), GP_OK);
  assert_true(isnan(nn_plan_loss(r.train)));
  tear_down(&r);
}

/* ---- Moments ---- */

/* Mean and variance in double, of channel c. */
static void reference_moments(const nn_tensor *t, const void *x, int64_t c, double *mean, double *variance) {
  nn_blocking b = nn_blocking_of(t);
  double count = (double)(t->batch * b.positions), sum = 0, squares = 0;
  for (int64_t n = 0; n < t->batch; ++n)
    for (int64_t i = 0; i < b.positions; ++i) sum += nn_load(t->type, x, nn_offset(&b, n, c, i));
  *mean = sum / count;
  for (int64_t n = 0; n < t->batch; ++n)
    for (int64_t i = 0; i < b.positions; ++i) {
      double d = nn_load(t->type, x, nn_offset(&b, n, c, i)) - *mean;
      squares += d * d;
    }
  *variance = squares / count;
}

static void check_moments(const nn_tensor *t, double centre, double deviation, bool step) {
  size_t elements = nn_tensor_elements(t), positions = (size_t)nn_blocking_of(t).positions;
  float mean[2][64], variance[2][64];
  void *x = malloc(nn_tensor_bytes(t)), *scratch = malloc(od_moments_bytes(t));
  assert_true(x != NULL && scratch != NULL);
  for (size_t i = 0; i < elements; ++i)
    nn_store(t->type, x, (int64_t)i, (float)((step && i < positions * 3 ? 0 : centre) + deviation * uniform(3, i)));
  for (int run = 0; run < 2; ++run) {
    gp_set_max_threads(run == 0 ? 1 : 3);
    od_moments(t, x, scratch, mean[run], variance[run]);
  }
  for (int64_t c = 0; c < t->shape.channels; ++c) {
    double m, v;
    reference_moments(t, x, c, &m, &v);
    bool equal = mean[0][c] == mean[1][c] && variance[0][c] == variance[1][c];
    if (!equal || !(fabs(mean[0][c] - m) <= 2 * FLT_EPSILON * fabs(m) + 1e-6 * sqrt(v)) ||
        !(fabs(variance[0][c] - v) <= (t->type == GP_FLOAT32 ? 1e-5 : 2e-5) * v))
      fail_msg(
          "type %d, layout %d, %lldx%lldx%lldx%lld, centre %g, deviation %g: channel %lld has mean %.9g, variance "
          "%.9g, "
          "expected %.9g, %.9g; on other threads %.9g, %.9g",
          t->type, t->layout, (long long)t->batch, (long long)t->shape.channels, (long long)t->shape.height,
          (long long)t->shape.width, centre, deviation, (long long)c, mean[0][c], variance[0][c], m, v, mean[1][c],
          variance[1][c]);
  }
  free(x);
  free(scratch);
}

static void moments_are_accurate(void **state) {
  (void)state;
  static const int64_t channels[] = {1, 3, 8, 13, 16, 35};
  static const int64_t sides[][2] = {{1, 1}, {3, 5}, {16, 16}, {7, 41}, {50, 47}};
  int32_t threads = gp_max_threads();
  for (int layout = GP_NCHW; layout <= GP_NCHW16C; ++layout)
    for (size_t c = 0; c < sizeof channels / sizeof channels[0]; ++c)
      for (size_t s = 0; s < sizeof sides / sizeof sides[0]; ++s) {
        nn_tensor t = {3, {channels[c], sides[s][0], sides[s][1]}, (gp_layout)layout, GP_FLOAT32};
        check_moments(&t, 0, 1, false);
        check_moments(&t, 1e4, 1e-1, false);
        check_moments(&t, -3, 1e-4, false);
        check_moments(&t, 100, 1, true);
        t.type = GP_BFLOAT16;
        check_moments(&t, -3, 1e-1, false);
        check_moments(&t, 100, 1, true);
      }
  gp_set_max_threads(threads);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_agree),
      cmocka_unit_test(the_activation_is_not_stored),
      cmocka_unit_test(threads_change_nothing),
      cmocka_unit_test(nan_reaches_the_loss),
      cmocka_unit_test(moments_are_accurate),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
