/* Residual nets: ResNet (He et al., CVPR 2016), ResNeXt (Xie et al., CVPR 2017), both also with a single pooling of 4×4 in
 * the stem (ResNet-P), and the CIFAR-style ones (He et al., section 4.2). Names of parameters as torchvision's. */
#include "models/registry.h"

typedef enum stem_kind {
  STEM_7X7,   /* 7×7 convolution and the reduction to a quarter in two steps */
  STEM_PATCH, /* the same in one step */
  STEM_3X3,   /* 3×3 convolution alone, for small images */
} stem_kind;

enum { STAGES = 4 };

typedef struct spec {
  const char *arch;
  stem_kind stem;
  bool bottleneck;
  int32_t blocks[STAGES]; /* of each stage; 0 past the last */
  int32_t width;          /* channels of the first stage, which double from stage to stage */
  int32_t groups;         /* of the 3×3 convolutions; 0 means 1 */
  int32_t group_width;    /* a bottleneck's channels in each group are width·group_width/64; 0 means 64 */
} spec;

static const spec imagenet_nets[] = {
    {"resnet18", STEM_7X7, false, {2, 2, 2, 2}, 64, 0, 0},
    {"resnet34", STEM_7X7, false, {3, 4, 6, 3}, 64, 0, 0},
    {"resnet50", STEM_7X7, true, {3, 4, 6, 3}, 64, 0, 0},
    {"resnet101", STEM_7X7, true, {3, 4, 23, 3}, 64, 0, 0},
    {"resnet152", STEM_7X7, true, {3, 8, 36, 3}, 64, 0, 0},
    {"resnext50_32x4d", STEM_7X7, true, {3, 4, 6, 3}, 64, 32, 4},
    {"resnext101_32x8d", STEM_7X7, true, {3, 4, 23, 3}, 64, 32, 8},
};

static const spec patch_nets[] = {
    {"resnetp18", STEM_PATCH, false, {2, 2, 2, 2}, 64, 0, 0},
    {"resnetp34", STEM_PATCH, false, {3, 4, 6, 3}, 64, 0, 0},
    {"resnetp50", STEM_PATCH, true, {3, 4, 6, 3}, 64, 0, 0},
    {"resnetp101", STEM_PATCH, true, {3, 4, 23, 3}, 64, 0, 0},
    {"resnetp152", STEM_PATCH, true, {3, 8, 36, 3}, 64, 0, 0},
    {"resnextp50_32x4d", STEM_PATCH, true, {3, 4, 6, 3}, 64, 32, 4},
    {"resnextp101_32x8d", STEM_PATCH, true, {3, 4, 23, 3}, 64, 32, 8},
};

/* Depth 6n + 2 with n blocks a stage. */
static const spec cifar_nets[] = {
    {"resnet8", STEM_3X3, false, {1, 1, 1}, 16, 0, 0},  {"resnet20", STEM_3X3, false, {3, 3, 3}, 16, 0, 0},
    {"resnet32", STEM_3X3, false, {5, 5, 5}, 16, 0, 0}, {"resnet44", STEM_3X3, false, {7, 7, 7}, 16, 0, 0},
    {"resnet56", STEM_3X3, false, {9, 9, 9}, 16, 0, 0},
};

/* ---- Blocks ---- */

/* Convolution and batch norm. The padding keeps the sides where the stride is 1. */
typedef struct layer {
  const char *conv, *norm;
  int64_t out;
  int32_t kernel, stride, groups;
  bool zero_init;
} layer;

static nn_ref conv_norm(const model_context *m, nn_ref x, layer l) {
  x = nn_conv(m->graph, x,
              &(nn_conv_desc){.name = l.conv,
                              .out = l.out,
                              .kernel = l.kernel,
                              .stride = l.stride,
                              .padding = l.kernel / 2,
                              .groups = l.groups,
                              .init = m->family->convolution_init});
  return nn_batch_norm(m->graph, x, &(nn_batch_norm_desc){.name = l.norm, .zero_init = l.zero_init});
}

static nn_ref basic_branch(const model_context *m, nn_ref x, int64_t width, int32_t stride) {
  x = nn_relu(m->graph, conv_norm(m, x, (layer){"conv1", "bn1", width, 3, stride, 1, false}));
  return conv_norm(m, x, (layer){"conv2", "bn2", width, 3, 1, 1, m->desc->zero_init_residual});
}

/* The stride is the 3×3 convolution's. */
static nn_ref bottleneck_branch(const model_context *m, const spec *s, nn_ref x, int64_t width, int32_t stride) {
  nn_graph *g = m->graph;
  int32_t groups = s->groups > 0 ? s->groups : 1;
  int64_t inner = width * (s->group_width > 0 ? s->group_width : 64) / 64 * groups;
  x = nn_relu(g, conv_norm(m, x, (layer){"conv1", "bn1", inner, 1, 1, 1, false}));
  x = nn_relu(g, conv_norm(m, x, (layer){"conv2", "bn2", inner, 3, stride, groups, false}));
  return conv_norm(m, x, (layer){"conv3", "bn3", 4 * width, 1, 1, 1, m->desc->zero_init_residual});
}

/* `halve`: the block's output has half the sides, by stride with `skip`, else by the pooling behind the last ReLU. */
static nn_ref residual_block(const model_context *m, const spec *s, nn_ref x, int64_t width, bool halve) {
  nn_graph *g = m->graph;
  int32_t stride = halve && m->pooling->skip ? 2 : 1;
  nn_ref y = s->bottleneck ? bottleneck_branch(m, s, x, width, stride) : basic_branch(m, x, width, stride);
  int64_t out = nn_shape_of(g, y).channels;
  if (stride != 1 || nn_shape_of(g, x).channels != out)
    x = conv_norm(m, x, (layer){"downsample.0", "downsample.1", out, 1, stride, 1, false});
  y = nn_relu(g, nn_add(g, y, x));
  return halve && !m->pooling->skip ? model_pool(m, y, "pooling", (model_window){2, 2, 0}) : y;
}

/* ---- Nets ---- */

static nn_ref stem(const model_context *m, const spec *s, nn_ref x) {
  nn_graph *g = m->graph;
  const bool skip = m->pooling->skip;
  const model_window halving = {3, 2, 1};
  if (s->stem == STEM_3X3) return nn_relu(g, conv_norm(m, x, (layer){"conv1", "bn1", s->width, 3, 1, 1, false}));
  int32_t stride = !skip ? 1 : s->stem == STEM_PATCH ? 4 : 2;
  x = nn_relu(g, conv_norm(m, x, (layer){"conv1", "bn1", s->width, 7, stride, 1, false}));
  if (s->stem == STEM_PATCH) return skip ? x : model_pool(m, x, "pool", (model_window){4, 4, 0});
  if (skip) return model_max_pool(m, x, "pool", halving);
  return model_pool(m, model_pool(m, x, "pool1", (model_window){2, 2, 0}), "pool", halving);
}

static nn_ref build(const model_context *m, const spec *s, nn_ref x) {
  nn_graph *g = m->graph;
  x = stem(m, s, x);
  for (int32_t stage = 0; stage < STAGES; ++stage)
    for (int32_t block = 0; block < s->blocks[stage]; ++block) {
      nn_push_scope(g, "layer%d.%d", stage + 1, block);
      x = residual_block(m, s, x, (int64_t)s->width << stage, stage > 0 && block == 0);
      nn_pop_scope(g);
    }
  return nn_linear(g, nn_global_avg_pool(g, x), &(nn_linear_desc){.name = "fc", .out = m->desc->classes});
}

#define NETS(table) ((int32_t)(sizeof table / sizeof *table))

static const char *imagenet_arch(int32_t net) { return net < NETS(imagenet_nets) ? imagenet_nets[net].arch : NULL; }
static const char *patch_arch(int32_t net) { return net < NETS(patch_nets) ? patch_nets[net].arch : NULL; }
static const char *cifar_arch(int32_t net) { return net < NETS(cifar_nets) ? cifar_nets[net].arch : NULL; }

static nn_ref build_imagenet(const model_context *m, nn_ref x, int32_t net) { return build(m, &imagenet_nets[net], x); }
static nn_ref build_patch(const model_context *m, nn_ref x, int32_t net) { return build(m, &patch_nets[net], x); }
static nn_ref build_cifar(const model_context *m, nn_ref x, int32_t net) { return build(m, &cifar_nets[net], x); }

const model_family model_resnet = {.usual = {"ResNet", 3, 224, 1000},
                                   .convolution_init = NN_INIT_KAIMING_NORMAL_FAN_OUT,
                                   .arch = imagenet_arch,
                                   .build = build_imagenet};
const model_family model_resnet_p = {.usual = {"ResNet-P", 3, 224, 1000},
                                     .convolution_init = NN_INIT_KAIMING_NORMAL_FAN_OUT,
                                     .arch = patch_arch,
                                     .build = build_patch};
const model_family model_cifar_resnet = {.usual = {"CIFAR-style ResNet", 3, 32, 10},
                                         .convolution_init = NN_INIT_KAIMING_NORMAL_FAN_OUT,
                                         .arch = cifar_arch,
                                         .build = build_cifar};
