/* DenseNet-BC (Huang et al., CVPR 2017). Names of parameters as torchvision's; in front of a pooling at a transition stand a
 * second batch norm and ReLU, `norm2` and `relu2`, as published for Gaussian pooling. */
#include "models/registry.h"

enum { BLOCKS = 4, BOTTLENECK = 4 };

typedef struct spec {
  const char *arch;
  int32_t layers[BLOCKS];
  int64_t width;  /* channels of the stem */
  int64_t growth; /* channels that each layer adds */
} spec;

static const spec nets[] = {
    {"densenet121", {6, 12, 24, 16}, 64, 32},
    {"densenet161", {6, 12, 36, 24}, 96, 48},
    {"densenet169", {6, 12, 32, 32}, 64, 32},
    {"densenet201", {6, 12, 48, 32}, 64, 32},
};

static nn_ref convolve(const model_context *m, nn_ref x, const char *name, int64_t out, model_window window) {
  return nn_conv(m->graph, x,
                 &(nn_conv_desc){.name = name,
                                 .out = out,
                                 .kernel = window.kernel,
                                 .stride = window.stride,
                                 .padding = window.padding,
                                 .init = m->family->convolution_init});
}

static nn_ref norm_relu(const model_context *m, nn_ref x, const char *name) {
  return nn_relu(m->graph, nn_batch_norm(m->graph, x, &(nn_batch_norm_desc){.name = name}));
}

/* The usual stem with average pooling at the transitions; with others, the reduction is theirs. */
static nn_ref stem(const model_context *m, const spec *s, nn_ref x) {
  const model_window halving = {3, 2, 1};
  const bool usual = m->pooling->kind == GP_POOL_AVERAGE;
  int32_t stride = m->pooling->skip ? 4 : usual ? 2 : 1;
  x = norm_relu(m, convolve(m, x, "conv0", s->width, (model_window){7, stride, 3}), "norm0");
  if (m->pooling->skip) return x;
  if (usual) return model_max_pool(m, x, "pool0", halving);
  return model_pool(m, model_pool(m, x, "pool00", (model_window){2, 2, 0}), "pool0", halving);
}

/* x and, behind it, what the layer makes of it. */
static nn_ref dense_layer(const model_context *m, const spec *s, nn_ref x) {
  nn_ref y = convolve(m, norm_relu(m, x, "norm1"), "conv1", BOTTLENECK * s->growth, (model_window){1, 1, 0});
  y = convolve(m, norm_relu(m, y, "norm2"), "conv2", s->growth, (model_window){3, 1, 1});
  return nn_concat(m->graph, (nn_ref[]){x, y}, 2);
}

/* Half the channels and half the sides. */
static nn_ref transition(const model_context *m, nn_ref x) {
  int64_t out = nn_shape_of(m->graph, x).channels / 2;
  x = norm_relu(m, x, "norm");
  if (m->pooling->skip) return convolve(m, x, "conv", out, (model_window){1, 2, 0});
  x = norm_relu(m, convolve(m, x, "conv", out, (model_window){1, 1, 0}), "norm2");
  return model_pool(m, x, "pool", (model_window){2, 2, 0});
}

static nn_ref dense_block(const model_context *m, const spec *s, nn_ref x, int32_t block) {
  for (int32_t i = 0; i < s->layers[block]; ++i) {
    nn_push_scope(m->graph, "denseblock%d.denselayer%d", block + 1, i + 1);
    x = dense_layer(m, s, x);
    nn_pop_scope(m->graph);
  }
  if (block == BLOCKS - 1) return x;
  nn_push_scope(m->graph, "transition%d", block + 1);
  x = transition(m, x);
  nn_pop_scope(m->graph);
  return x;
}

static nn_ref build(const model_context *m, nn_ref x, int32_t net) {
  nn_graph *g = m->graph;
  const spec *s = &nets[net];
  nn_push_scope(g, "features");
  x = stem(m, s, x);
  for (int32_t block = 0; block < BLOCKS; ++block) x = dense_block(m, s, x, block);
  x = norm_relu(m, x, "norm5");
  nn_pop_scope(g);
  return nn_linear(g, nn_global_avg_pool(g, x),
                   &(nn_linear_desc){.name = "classifier", .out = m->desc->classes, .init = NN_INIT_TORCH_ZERO_BIAS});
}

static const char *arch(int32_t net) { return net < (int32_t)(sizeof nets / sizeof *nets) ? nets[net].arch : NULL; }

const model_family model_densenet = {.usual = {"DenseNet", 3, 224, 1000},
                                     .convolution_init = NN_INIT_KAIMING_NORMAL_FAN_IN,
                                     .arch = arch,
                                     .build = build};
