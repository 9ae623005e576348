/* Small nets that together hold every op and way of sharing gradients: each from the image to a map or vector. */
#ifndef GP_TEST_NN_BODIES_H
#define GP_TEST_NN_BODIES_H

#include "nn/nn.h"

enum { BODY_SIDE = 10, BODY_CHANNELS = 3 }; /* of the image */

typedef nn_ref (*body_fn)(nn_graph *g, nn_ref x);

static inline nn_ref conv(nn_graph *g, nn_ref x, const char *name, int64_t out, int32_t kernel, int32_t stride) {
  return nn_conv(g, x,
                 &(nn_conv_desc){.name = name, .out = out, .kernel = kernel, .stride = stride, .padding = kernel / 2});
}

static inline nn_ref norm(nn_graph *g, nn_ref x, const char *name) {
  return nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = name});
}

static inline nn_ref plain_body(nn_graph *g, nn_ref x) {
  x = nn_relu(g, norm(g, conv(g, x, "c1", 16, 3, 1), "n1"));
  x = nn_conv(g, x, &(nn_conv_desc){.name = "c2", .out = 32, .kernel = 3, .dilation = 2, .groups = 2, .bias = true});
  return nn_sigmoid(g, x);
}

/* Odd channel counts: padding lanes of blocked layouts; a ReLU of its own, read twice. */
static inline nn_ref odd_body(nn_graph *g, nn_ref x) {
  x = nn_relu(g, conv(g, x, "c1", 13, 3, 2));
  return nn_add(g, norm(g, conv(g, x, "c2", 13, 1, 1), "n2"), x);
}

/* Residual chains: gradients shared, then added to; a tensor read three times. */
static inline nn_ref residual_body(nn_graph *g, nn_ref x) {
  x = nn_relu(g, norm(g, conv(g, x, "c0", 16, 3, 1), "n0"));
  for (int i = 0; i < 2; ++i) {
    nn_push_scope(g, "block%d", i);
    nn_ref y = norm(g, conv(g, nn_relu(g, norm(g, conv(g, x, "c1", 16, 3, 1), "n1")), "c2", 16, 3, 1), "n2");
    x = nn_relu(g, nn_add(g, y, x));
    nn_pop_scope(g);
  }
  nn_ref twice = nn_add(g, x, x);
  return nn_add(g, twice, conv(g, x, "c3", 16, 1, 1));
}

static inline nn_ref dense_body(nn_graph *g, nn_ref x) {
  nn_ref a = nn_relu(g, conv(g, x, "c0", 16, 3, 1)), b = conv(g, a, "c1", 32, 3, 1);
  nn_ref joined = nn_concat(g, (nn_ref[]){a, b, a}, 3);
  return nn_relu(g, norm(g, conv(g, joined, "c2", 16, 1, 1), "n2"));
}

static inline nn_ref gaussian(nn_graph *g, nn_ref x, gp_stochasticity stochasticity, int32_t kernel, int32_t padding) {
  nn_ref z = nn_global_avg_pool(g, x);
  int64_t channels = nn_shape_of(g, x).channels;
  z = nn_relu(g, norm(g, nn_linear(g, z, &(nn_linear_desc){.name = "hidden", .out = 8, .conv_shape = true}), "hn"));
  nn_ref mu = norm(g, nn_linear(g, z, &(nn_linear_desc){.name = "mu", .out = channels, .conv_shape = true}), "mn");
  nn_ref sigma = nn_linear(g, z, &(nn_linear_desc){.name = "sigma", .out = channels, .conv_shape = true});
  return nn_pool(g, x,
                 &(nn_pool_desc){.name = "pool",
                                 .kind = GP_POOL_ISP_GAUSSIAN,
                                 .kernel = kernel,
                                 .stride = 2,
                                 .padding = padding,
                                 .stochasticity = stochasticity,
                                 .mu = mu,
                                 .sigma = nn_sigmoid(g, norm(g, sigma, "sn"))});
}

static inline nn_ref gauss_cn_body(nn_graph *g, nn_ref x) {
  return gaussian(g, nn_relu(g, norm(g, conv(g, x, "c1", 16, 3, 1), "n1")), GP_STOCHASTIC_CN, 2, 0);
}

static inline nn_ref gauss_hwcn_body(nn_graph *g, nn_ref x) {
  return gaussian(g, nn_relu(g, norm(g, conv(g, x, "c1", 16, 3, 1), "n1")), GP_STOCHASTIC_HWCN, 3, 1);
}

static inline nn_ref weighted_body(nn_graph *g, nn_ref x) {
  x = norm(g, conv(g, x, "c1", 16, 3, 1), "n1");
  nn_ref weight = nn_linear(g, nn_global_avg_pool(g, x), &(nn_linear_desc){.name = "w", .out = 16});
  return nn_pool(g, x, &(nn_pool_desc){.kind = GP_POOL_WEIGHTED, .kernel = 3, .padding = 1, .weight = weight});
}

static inline nn_ref extrema_body(nn_graph *g, nn_ref x) {
  x = conv(g, x, "c1", 16, 3, 1);
  nn_ref most = nn_pool(g, x, &(nn_pool_desc){.kind = GP_POOL_MAX, .kernel = 3, .stride = 2, .padding = 1});
  nn_ref mean = nn_pool(g, x, &(nn_pool_desc){.kind = GP_POOL_AVERAGE, .kernel = 2});
  return nn_adaptive_avg_pool(g, nn_add(g, most, mean), 3, 2);
}

static inline nn_ref dropout_body(nn_graph *g, nn_ref x) {
  x = nn_dropout(g, norm(g, conv(g, x, "c1", 13, 3, 2), "n1"), 0.3);
  return nn_dropout(g, nn_global_avg_pool(g, x), 0.5);
}

/* A sum that adds to a gradient which it also hands on. */
static inline nn_ref shared_body(nn_graph *g, nn_ref x) {
  nn_ref a = conv(g, x, "a", 16, 3, 1), b = conv(g, x, "b", 16, 3, 1);
  return nn_add(g, nn_add(g, a, b), a);
}

/* A sum with ReLU whose gradient has three parts, the first two of them the same. */
static inline nn_ref doubled_body(nn_graph *g, nn_ref x) {
  nn_ref a = conv(g, x, "a", 16, 3, 1), b = conv(g, x, "b", 16, 3, 1);
  nn_ref y = nn_relu(g, nn_add(g, a, b));
  nn_ref c = conv(g, y, "c", 16, 3, 1);
  return nn_add(g, nn_relu(g, nn_add(g, y, y)), c);
}

/* A pooling that adds to the gradient it reads, handed on by a sum. */
static inline nn_ref pool_and_skip_body(nn_graph *g, nn_ref x) {
  nn_ref a = conv(g, x, "a", 16, 3, 1);
  nn_pool_desc same = {.kind = GP_POOL_AVERAGE, .kernel = 3, .stride = 1, .padding = 1};
  return nn_add(g, nn_pool(g, a, &same), a);
}

static inline nn_ref odd_concat_body(nn_graph *g, nn_ref x) {
  nn_ref a = nn_sigmoid(g, conv(g, x, "a", 20, 3, 2)), b = conv(g, x, "b", 5, 3, 2);
  nn_ref joined = nn_concat(g, (nn_ref[]){a, b, a, nn_sigmoid(g, b)}, 4);
  return nn_dropout(g, conv(g, nn_sigmoid(g, joined), "c", 24, 3, 1), 0.2);
}

/* Layouts change where a map has one position: pooling down to it with padding lanes, and up from it. */
static inline nn_ref one_position_body(nn_graph *g, nn_ref x) {
  x = nn_pool(g, conv(g, x, "c1", 13, 3, 1), &(nn_pool_desc){.kind = GP_POOL_AVERAGE, .kernel = BODY_SIDE});
  x = nn_linear(g, x, &(nn_linear_desc){.name = "wide", .out = 24});
  x = nn_pool(g, x, &(nn_pool_desc){.kind = GP_POOL_AVERAGE, .kernel = 2, .stride = 1, .padding = 1});
  return conv(g, x, "c2", 16, 3, 1);
}

static inline nn_ref norm_first_body(nn_graph *g, nn_ref x) { return nn_relu(g, norm(g, x, "n0")); }

/* Convolutions down to a map of one position and up from it. */
static inline nn_ref narrow_conv_body(nn_graph *g, nn_ref x) {
  x = nn_sigmoid(g, conv(g, x, "c1", 20, 3, 1));
  x = nn_conv(g, x, &(nn_conv_desc){.name = "c2", .out = 24, .kernel = BODY_SIDE, .bias = true});
  x = nn_conv(g, nn_sigmoid(g, x), &(nn_conv_desc){.name = "c3", .out = 24, .kernel = 1});
  return nn_conv(g, x, &(nn_conv_desc){.name = "c4", .out = 16, .kernel = 2, .padding = 1, .bias = true});
}

/* Groups of fewer channels than a block has, and of one. */
static inline nn_ref grouped_body(nn_graph *g, nn_ref x) {
  x = nn_sigmoid(g, norm(g, conv(g, x, "c1", 32, 3, 1), "n1"));
  x = nn_conv(g, x, &(nn_conv_desc){.name = "c2", .out = 32, .kernel = 3, .padding = 1, .groups = 8});
  return nn_conv(g, x, &(nn_conv_desc){.name = "c3", .out = 32, .kernel = 3, .stride = 2, .groups = 32});
}

/* The other kinds of pooling, but for those that decide. */
static inline nn_ref kinds_body(nn_graph *g, nn_ref x) {
  static const gp_pool_kind kinds[] = {GP_POOL_SOFTPOOL, GP_POOL_MIXED, GP_POOL_GATED, GP_POOL_LP};
  x = nn_sigmoid(g, conv(g, x, "c1", 16, 3, 1));
  nn_ref weight = nn_linear(g, nn_global_avg_pool(g, x), &(nn_linear_desc){.name = "w", .out = 16});
  nn_ref y = nn_pool(g, x, &(nn_pool_desc){.kind = GP_POOL_MAX_ENTROPY, .kernel = 2, .weight = nn_sigmoid(g, weight)});
  for (int i = 0; i < 4; ++i) {
    nn_push_scope(g, "pool%d", i);
    y = nn_add(g, y, nn_pool(g, x, &(nn_pool_desc){.name = "pool", .kind = kinds[i], .kernel = 2}));
    nn_pop_scope(g);
  }
  return y;
}

typedef struct nn_body {
  const char *name;
  body_fn build;
  double smoothing; /* of the labels */
  bool decides;     /* a ReLU or maximum, which rounding can turn over */
} nn_body;

static const nn_body nn_bodies[] = {
    {"plain", plain_body, 0, true},
    {"odd channels", odd_body, 0, true},
    {"residual", residual_body, 0, true},
    {"dense", dense_body, 0.1, true},
    {"gauss_CN", gauss_cn_body, 0, true},
    {"gauss_HWCN", gauss_hwcn_body, 0, true},
    {"weighted", weighted_body, 0, false},
    {"extrema", extrema_body, 0.2, true},
    {"dropout", dropout_body, 0, false},
    {"shared", shared_body, 0, false},
    {"doubled", doubled_body, 0, true},
    {"pool and skip", pool_and_skip_body, 0, false},
    {"odd concat", odd_concat_body, 0, false},
    {"one position", one_position_body, 0, false},
    {"norm first", norm_first_body, 0, true},
    {"narrow conv", narrow_conv_body, 0, false},
    {"grouped", grouped_body, 0, false},
    {"kinds", kinds_body, 0, true},
};
enum { NN_BODIES = sizeof nn_bodies / sizeof nn_bodies[0] };

#endif
