/* Nets by name, as graphs: sizes as published, names and shapes of parameters, how they start, refusals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "models/models.h"
#include "nn/graph.h"

static nn_graph *build_for(const char *arch, const char *pool, int64_t channels, int64_t side, int64_t classes) {
  nn_graph *g = NULL;
  model_desc desc = {
      .arch = arch, .pool = pool, .classes = classes, .channels = channels, .height = side, .width = side};
  if (model_build(&g, &desc) != GP_OK) fail_msg("%s", gp_last_error());
  return g;
}

/* As the net was published. */
static nn_graph *build(const char *arch, const char *pool) {
  model_usual usual;
  if (model_usual_of(&usual, arch) != GP_OK) fail_msg("%s", gp_last_error());
  return build_for(arch, pool, usual.channels, usual.side, usual.classes);
}

static int64_t elements_of(const nn_param *param) {
  int64_t elements = 1;
  for (int32_t i = 0; i < param->rank; ++i) elements *= param->shape[i];
  return elements;
}

static int64_t parameters_of(const nn_graph *g) {
  int64_t sum = 0;
  for (int32_t i = 0; i < g->count; ++i)
    for (int32_t p = 0; p < g->nodes[i]->param_count; ++p)
      if (g->nodes[i]->params[p].is_parameter) sum += elements_of(&g->nodes[i]->params[p]);
  return sum;
}

static int64_t macs_of(const nn_graph *g) {
  int64_t sum = 0;
  for (int32_t i = 0; i < g->count; ++i) sum += g->nodes[i]->macs;
  return sum;
}

static const nn_node *find_node(const nn_graph *g, const char *name) {
  for (int32_t i = 0; i < g->count; ++i)
    if (strcmp(g->nodes[i]->name, name) == 0) return g->nodes[i];
  return NULL;
}

static const nn_node *node_of(const nn_graph *g, const char *name) {
  const nn_node *node = find_node(g, name);
  if (node == NULL) fail_msg("no node '%s'", name);
  return node;
}

/* The state tensor "node.suffix", or NULL. */
static const nn_param *find(const nn_graph *g, const char *name) {
  const char *dot = strrchr(name, '.');
  for (int32_t i = 0; i < g->count; ++i) {
    const nn_node *node = g->nodes[i];
    if (strlen(node->name) != (size_t)(dot - name) || strncmp(node->name, name, (size_t)(dot - name)) != 0) continue;
    for (int32_t p = 0; p < node->param_count; ++p)
      if (strcmp(node->params[p].suffix, dot + 1) == 0) return &node->params[p];
  }
  return NULL;
}

static bool has(const nn_graph *g, const char *name) { return find(g, name) != NULL; }

static void expect_shape(const nn_graph *g, const char *name, int32_t rank, const int64_t *shape) {
  const nn_param *param = find(g, name);
  if (param == NULL) fail_msg("no state tensor '%s'", name);
  assert_int_equal(param->rank, rank);
  for (int32_t i = 0; i < rank; ++i)
    if (param->shape[i] != shape[i])
      fail_msg("%s: axis %d has %lld, expected %lld", name, i, (long long)param->shape[i], (long long)shape[i]);
}

/* ---- Sizes ---- */

/* Parameters and GMAC (to two decimals) of torchvision's nets, where ours are the same: DenseNet's skip has its parameters
 * and `avg` its work, VGG all of it. Batch norm adds 2·4096 for each hidden layer to torchvision's vgg16_bn. */
static void sizes_are_the_published_ones(void **state) {
  (void)state;
  static const struct {
    const char *arch, *pool;
    int64_t parameters;
    int centi_gmac; /* 0: not compared */
  } nets[] = {
      {"resnet18", "skip", 11689512, 181},
      {"resnet34", "skip", 21797672, 366},
      {"resnet50", "skip", 25557032, 409},
      {"resnet101", "skip", 44549160, 780},
      {"resnet152", "skip", 60192808, 1151},
      {"resnext50_32x4d", "skip", 25028904, 423},
      {"resnext101_32x8d", "skip", 88791336, 1641},
      {"densenet121", "skip", 7978856, 0},
      {"densenet161", "skip", 28681000, 0},
      {"densenet169", "skip", 14149480, 0},
      {"densenet201", "skip", 20013928, 0},
      {"densenet121", "avg", 7978856 + 2 * (128 + 256 + 512), 283},
      {"densenet161", "avg", 28681000 + 2 * (192 + 384 + 1056), 773},
      {"vgg11orig", "max", 132863336, 761},
      {"vgg13orig", "max", 133047848, 1131},
      {"vgg16orig", "max", 138357544, 1547},
      {"vgg19orig", "max", 143667240, 1963},
      {"vgg16orig_bn", "max", 138365992 + 4 * 4096, 1547},
      /* Spec: 6.87 GMAC with any pooling at the block ends, and the heads of gauss_CN take 8.3 M parameters. */
      {"resnet50", "avg", 25557032, 687},
      {"resnet50", "max", 25557032, 687},
      {"resnet50", "gauss_CN", 33854696, 688},
      {"resnet50", "gauss_HWCN", 33854696, 688},
      {"resnet50", "gauss_cuda_CN", 33854696, 688},
  };
  for (size_t i = 0; i < sizeof nets / sizeof nets[0]; ++i) {
    nn_graph *g = build(nets[i].arch, nets[i].pool);
    int centi_gmac = (int)lround((double)macs_of(g) / 1e7);
    if (parameters_of(g) != nets[i].parameters)
      fail_msg("%s %s: %lld parameters", nets[i].arch, nets[i].pool, (long long)parameters_of(g));
    if (nets[i].centi_gmac > 0 && centi_gmac != nets[i].centi_gmac)
      fail_msg("%s %s: %.2f GMAC", nets[i].arch, nets[i].pool, 0.01 * centi_gmac);
    nn_graph_destroy(&g);
  }
}

/* He et al. 2016, table 6 (shortcuts without parameters there; ours adds 16·32 + 32·64 weights and their batch norms):
 * 0.27, 0.46, 0.66, 0.85 M. */
static void small_nets_have_their_sizes(void **state) {
  (void)state;
  static const struct {
    const char *arch;
    int64_t parameters;
  } nets[] = {{"resnet20", 269722}, {"resnet32", 464154}, {"resnet44", 658586}, {"resnet56", 853018}};
  for (size_t i = 0; i < sizeof nets / sizeof nets[0]; ++i) {
    nn_graph *g = build(nets[i].arch, "skip");
    assert_int_equal(parameters_of(g), nets[i].parameters + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64);
    nn_graph_destroy(&g);
  }
  nn_graph *g = build("resnet20", "skip");
  assert_int_equal(macs_of(g), 40551040 + 2 * 131072); /* 40.6 M and the two shortcuts */
  nn_graph_destroy(&g);
}

/* ---- Poolings ---- */

/* What a pooling declares under its own name. */
static const struct pooling_state {
  const char *pool, *names[4];
} poolings[] = {
    {"max", {NULL}},
    {"avg", {NULL}},
    {"gauss_CN", {"ToHidden.1.weight", "ToMean.0.bias", "ToMean.1.weight", "ToSigma.1.running_var"}},
    {"gauss_HWCN", {"ToHidden.2.running_mean", "ToMean.0.weight", "ToSigma.0.bias", "ToSigma.1.num_batches_tracked"}},
    {"gauss_cuda_CN", {"ToHidden.1.weight", "ToMean.0.bias", "ToMean.1.weight", "ToSigma.1.running_var"}},
    {"gauss_cuda_HWCN", {"ToHidden.1.weight", "ToMean.0.bias", "ToMean.1.weight", "ToSigma.1.running_var"}},
    {"gaussian_CN", {"ToHidden.1.weight", "ToMean.0.bias", "ToMean.1.weight", "ToSigma.1.running_var"}},
    {"gaussian_HWCN", {"ToHidden.1.weight", "ToMean.0.bias", "ToMean.1.weight", "ToSigma.1.running_var"}},
    {"half_gauss_CN", {"ToHidden.1.weight", "ToHidden.2.bias", "ToSigma.0.weight", "ToSigma.1.weight"}},
    {"half_gauss_HWCN", {"ToHidden.1.weight", "ToHidden.2.bias", "ToSigma.0.weight", "ToSigma.1.weight"}},
    {"max_ent", {"ToParam.1.weight", "ToParam.2.running_mean", "ToParam.4.bias", "ToParam.5.weight"}},
    {"softpool", {NULL}},
    {"stochastic", {NULL}},
    {"mixed", {"weight"}},
    {"gated", {"mask"}},
    {"lp", {NULL}},
};
enum { POOLINGS = sizeof poolings / sizeof poolings[0] };

static void every_pooling_is_tried(void **state) {
  (void)state;
  int32_t known = 0;
  while (model_pool_name(known) != NULL) ++known;
  assert_int_equal(known, POOLINGS + 1);
  for (int32_t i = 0; i < POOLINGS; ++i) {
    bool found = false;
    for (int32_t k = 0; k < known; ++k) found |= strcmp(model_pool_name(k), poolings[i].pool) == 0;
    if (!found) fail_msg("%s is not a pooling's name", poolings[i].pool);
  }
}

static void other_names_have_a_plain_one(void **state) {
  (void)state;
  assert_string_equal(model_pool_plain_name("gauss_cuda_CN"), "gauss_CN");
  assert_string_equal(model_pool_plain_name("gauss_cuda_HWCN"), "gauss_HWCN");
  for (int32_t i = 0; model_pool_name(i) != NULL; ++i)
    if (strncmp(model_pool_name(i), "gauss_cuda_", 11) != 0)
      assert_string_equal(model_pool_plain_name(model_pool_name(i)), model_pool_name(i));
  assert_string_equal(model_pool_plain_name("none of them"), "none of them");
}

/* Where the poolings of one net of each family sit, and with what windows; some places where none is. */
typedef struct place {
  const char *name;
  int64_t channels, side; /* of the output */
  int32_t kernel;
} place;

static const struct net_places {
  const char *arch;
  place places[5];
  const char *none[3];
} places[] = {
    {"resnet20", {{"layer2.0.pooling", 32, 16, 2}, {"layer3.0.pooling", 64, 8, 2}}, {"pool", "layer1.0.pooling"}},
    {"resnet50",
     {{"pool1", 64, 112, 2},
      {"pool", 64, 56, 3},
      {"layer2.0.pooling", 512, 28, 2},
      {"layer3.0.pooling", 1024, 14, 2},
      {"layer4.0.pooling", 2048, 7, 2}},
     {"layer1.0.pooling", "layer2.1.pooling"}},
    {"resnetp18",
     {{"pool", 64, 56, 4},
      {"layer2.0.pooling", 128, 28, 2},
      {"layer3.0.pooling", 256, 14, 2},
      {"layer4.0.pooling", 512, 7, 2}},
     {"pool1", "layer1.0.pooling"}},
    {"vgg16orig",
     {{"features.4", 64, 112, 2},
      {"features.9", 128, 56, 2},
      {"features.16", 256, 28, 2},
      {"features.23", 512, 14, 2},
      {"features.30", 512, 7, 2}},
     {"features.3"}},
    {"vgg16bow_bn",
     {{"features.6", 64, 112, 2},
      {"features.13", 128, 56, 2},
      {"features.23", 256, 28, 2},
      {"features.33", 512, 14, 2}},
     {"features.44"}},
    {"densenet169",
     {{"features.pool00", 64, 112, 2},
      {"features.pool0", 64, 56, 3},
      {"features.transition1.pool", 128, 28, 2},
      {"features.transition2.pool", 256, 14, 2},
      {"features.transition3.pool", 640, 7, 2}},
     {"features.transition4.pool"}},
};

static void expect_places(const nn_graph *g, const struct net_places *net, const struct pooling_state *pooling) {
  char name[128];
  for (int32_t i = 0; i < 5 && net->places[i].name != NULL; ++i) {
    const place *p = &net->places[i];
    const nn_node *node = node_of(g, p->name);
    assert_int_equal(node->op, NN_OP_POOL);
    assert_int_equal(node->as.pool.kernel, p->kernel);
    assert_int_equal(node->shape.channels, p->channels);
    assert_int_equal(node->shape.height, p->side);
    for (int32_t k = 0; k < 4 && pooling->names[k] != NULL; ++k) {
      snprintf(name, sizeof name, "%s.%s", p->name, pooling->names[k]);
      if (!has(g, name)) fail_msg("%s %s: no %s", net->arch, pooling->pool, name);
    }
  }
  for (int32_t i = 0; i < 3 && net->none[i] != NULL; ++i) {
    const nn_node *node = find_node(g, net->none[i]);
    assert_true(node == NULL || node->op != NN_OP_POOL);
  }
}

static void poolings_sit_where_they_should(void **state) {
  (void)state;
  for (size_t n = 0; n < sizeof places / sizeof places[0]; ++n)
    for (int32_t p = 0; p < POOLINGS; ++p) {
      if (strcmp(poolings[p].pool, "avg") == 0 && strncmp(places[n].arch, "densenet", 8) == 0) continue; /* below */
      nn_graph *g = build(places[n].arch, poolings[p].pool);
      expect_places(g, &places[n], &poolings[p]);
      nn_graph_destroy(&g);
    }
}

/* The strided convolutions of `skip`, and the stems that differ. */
static void strides_do_it_without_a_pooling(void **state) {
  (void)state;
  static const struct {
    const char *arch, *pool, *name;
    int64_t channels, side;
  } nodes[] = {
      {"resnet50", "skip", "conv1", 64, 112},
      {"resnet50", "skip", "pool", 64, 56},
      {"resnet50", "skip", "layer2.0.conv1", 128, 56}, /* the 3×3 convolution has the stride */
      {"resnet50", "skip", "layer2.0.conv2", 128, 28},
      {"resnet50", "skip", "layer2.0.downsample.0", 512, 28},
      {"resnet50", "avg", "conv1", 64, 224},
      {"resnet50", "avg", "layer2.0.downsample.0", 512, 56},
      {"resnet50", "avg", "layer2.1.conv2", 128, 28},
      {"resnet18", "skip", "layer3.0.conv1", 256, 14},
      {"resnext101_32x8d", "skip", "layer4.0.conv2", 2048, 7},
      {"resnetp50", "skip", "conv1", 64, 56},
      {"resnetp50", "lp", "conv1", 64, 224},
      {"densenet121", "skip", "features.conv0", 64, 56},
      {"densenet121", "skip", "features.transition1.conv", 128, 28},
      {"densenet121", "avg", "features.conv0", 64, 112},
      {"densenet121", "avg", "features.pool0", 64, 56},
      {"densenet121", "avg", "features.transition1.conv", 128, 56},
      {"densenet121", "avg", "features.transition1.pool", 128, 28},
      {"densenet121", "max", "features.conv0", 64, 224},
      {"densenet161", "max", "features.norm5", 2208, 7},
      {"vgg16bow", "max", "features.30", 4096, 14},
  };
  for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; ++i) {
    nn_graph *g = build(nodes[i].arch, nodes[i].pool);
    nn_shape shape = node_of(g, nodes[i].name)->shape;
    if (shape.channels != nodes[i].channels || shape.height != nodes[i].side || shape.width != nodes[i].side)
      fail_msg("%s %s: %s makes %lldx%lldx%lld", nodes[i].arch, nodes[i].pool, nodes[i].name, (long long)shape.channels,
               (long long)shape.height, (long long)shape.width);
    nn_graph_destroy(&g);
  }
  nn_graph *g = build("resnet50", "skip");
  assert_int_equal(node_of(g, "pool")->as.pool.kind, GP_POOL_MAX);
  assert_null(find_node(g, "pool1"));
  nn_graph_destroy(&g);
  g = build("densenet121", "avg");
  assert_int_equal(node_of(g, "features.pool0")->as.pool.kind, GP_POOL_MAX);
  assert_int_equal(node_of(g, "features.transition2.pool")->as.pool.kind, GP_POOL_AVERAGE);
  assert_null(find_node(g, "features.pool00"));
  assert_true(has(g, "features.transition1.norm2.weight"));
  nn_graph_destroy(&g);
  g = build("densenet121", "skip");
  assert_null(find_node(g, "features.pool0"));
  assert_false(has(g, "features.transition1.norm2.weight"));
  nn_graph_destroy(&g);
}

static void every_net_builds_with_every_pooling(void **state) {
  (void)state;
  int32_t nets = 0;
  for (; model_arch_name(nets) != NULL; ++nets)
    for (int32_t p = 0; model_pool_name(p) != NULL; ++p) {
      const char *arch = model_arch_name(nets), *pool = model_pool_name(p);
      if (strncmp(arch, "vgg", 3) == 0 && strcmp(pool, "skip") == 0) continue;
      nn_graph *g = build_for(arch, pool, 3, 64, 7);
      assert_int_equal(nn_shape_of(g, g->logits).channels, 7);
      nn_graph_destroy(&g);
    }
  assert_int_equal(nets, 5 + 7 + 7 + 16 + 4);
}

static void parameters_have_the_published_shapes(void **state) {
  (void)state;
  nn_graph *g = build("resnet50", "gauss_HWCN");
  expect_shape(g, "layer3.0.pooling.ToHidden.1.weight", 4, (int64_t[]){512, 1024, 1, 1});
  expect_shape(g, "layer3.0.pooling.ToSigma.0.weight", 4, (int64_t[]){1024, 512, 1, 1});
  expect_shape(g, "pool.ToMean.1.running_mean", 1, (int64_t[]){64});
  expect_shape(g, "fc.weight", 2, (int64_t[]){1000, 2048});
  nn_graph_destroy(&g);
  g = build("resnext50_32x4d", "skip");
  expect_shape(g, "layer1.0.conv2.weight", 4, (int64_t[]){128, 4, 3, 3});
  nn_graph_destroy(&g);
  g = build("resnet50", "gated");
  expect_shape(g, "pool.mask", 2, (int64_t[]){3, 3});
  expect_shape(g, "pool1.mask", 2, (int64_t[]){2, 2});
  nn_graph_destroy(&g);
  g = build("resnet50", "mixed");
  expect_shape(g, "pool.weight", 1, (int64_t[]){1});
  nn_graph_destroy(&g);
  g = build("resnet50", "half_gauss_CN");
  assert_false(has(g, "pool.ToMean.0.weight")); /* it has no mean */
  nn_graph_destroy(&g);
  g = build("vgg16orig_bn", "max");
  expect_shape(g, "classifier.0.weight", 2, (int64_t[]){4096, 25088});
  expect_shape(g, "classifier.1.running_var", 1, (int64_t[]){4096});
  expect_shape(g, "classifier.6.weight", 2, (int64_t[]){1000, 4096});
  assert_true(node_of(g, "features.1")->as.batch_norm.eps == 1e-4);
  assert_true(node_of(g, "classifier.4")->as.batch_norm.eps == 1e-4);
  nn_graph_destroy(&g);
  g = build("vgg16bow", "avg");
  expect_shape(g, "features.30.weight", 4, (int64_t[]){4096, 512, 1, 1});
  expect_shape(g, "classifier.0.weight", 2, (int64_t[]){4096, 4096});
  expect_shape(g, "classifier.2.weight", 2, (int64_t[]){1000, 4096});
  nn_graph_destroy(&g);
}

/* ---- First values ---- */

static void expect_start(const nn_graph *g, const char *name, nn_fill fill, double value) {
  const nn_param *param = find(g, name);
  if (param == NULL) fail_msg("no state tensor '%s'", name);
  if (param->fill != fill || fabs(param->fill_value - value) > 1e-12 * fabs(value))
    fail_msg("%s starts by rule %d with %g, expected %d with %g", name, (int)param->fill, param->fill_value, (int)fill,
             value);
}

static void families_start_as_specified(void **state) {
  (void)state;
  nn_graph *g = build("resnet50", "gauss_CN");
  expect_start(g, "layer1.0.conv2.weight", NN_FILL_NORMAL, sqrt(2.0 / (64 * 9)));
  expect_start(g, "layer2.0.pooling.ToHidden.1.weight", NN_FILL_NORMAL, sqrt(2.0 / 256)); /* fan out */
  expect_start(g, "layer2.0.pooling.ToHidden.1.bias", NN_FILL_UNIFORM, 1 / sqrt(512));
  expect_start(g, "bn1.weight", NN_FILL_CONSTANT, 1);
  expect_start(g, "fc.weight", NN_FILL_UNIFORM, 1 / sqrt(2048));
  expect_start(g, "fc.bias", NN_FILL_UNIFORM, 1 / sqrt(2048));
  nn_graph_destroy(&g);
  g = build("resnext50_32x4d", "skip"); /* PyTorch's fan out counts all output channels */
  expect_start(g, "layer1.0.conv2.weight", NN_FILL_NORMAL, sqrt(2.0 / (128 * 9)));
  nn_graph_destroy(&g);
  g = build("vgg11orig_bn", "gauss_CN");
  expect_start(g, "features.0.weight", NN_FILL_NORMAL, 0.01);
  expect_start(g, "features.0.bias", NN_FILL_CONSTANT, 0);
  expect_start(g, "features.3.ToMean.0.weight", NN_FILL_NORMAL, 0.01);
  expect_start(g, "features.3.ToMean.0.bias", NN_FILL_CONSTANT, 0);
  expect_start(g, "classifier.3.weight", NN_FILL_NORMAL, 0.01);
  expect_start(g, "classifier.3.bias", NN_FILL_CONSTANT, 0);
  nn_graph_destroy(&g);
  g = build("densenet121", "gauss_CN");
  expect_start(g, "features.conv0.weight", NN_FILL_NORMAL, sqrt(2.0 / (3 * 49)));
  expect_start(g, "features.pool0.ToHidden.1.weight", NN_FILL_NORMAL, sqrt(2.0 / 64)); /* fan in */
  expect_start(g, "classifier.weight", NN_FILL_UNIFORM, 1 / sqrt(1024));
  expect_start(g, "classifier.bias", NN_FILL_CONSTANT, 0);
  nn_graph_destroy(&g);
  g = build("resnet50", "mixed");
  expect_start(g, "pool.weight", NN_FILL_CONSTANT, 0.5);
  nn_graph_destroy(&g);
}

static void last_norms_can_start_at_zero(void **state) {
  (void)state;
  static const char *const nets[][2] = {{"resnet50", "bn3"}, {"resnet34", "bn2"}, {"resnet8", "bn2"}};
  for (size_t i = 0; i < sizeof nets / sizeof nets[0]; ++i)
    for (int zero = 0; zero <= 1; ++zero) {
      nn_graph *g = NULL;
      char name[64];
      model_desc desc = {.arch = nets[i][0], .pool = "avg", .classes = 10, .channels = 3, .height = 64, .width = 64};
      desc.zero_init_residual = zero != 0;
      assert_int_equal(model_build(&g, &desc), GP_OK);
      snprintf(name, sizeof name, "layer2.0.%s.weight", nets[i][1]);
      expect_start(g, name, NN_FILL_CONSTANT, 1 - zero);
      expect_start(g, "layer2.0.bn1.weight", NN_FILL_CONSTANT, 1);
      expect_start(g, "layer2.0.downsample.1.weight", NN_FILL_CONSTANT, 1);
      nn_graph_destroy(&g);
    }
}

/* ---- Refusals ---- */

static void expect_refusal(model_desc desc, gp_status status, const char *words) {
  nn_graph *g = NULL;
  assert_int_equal(model_build(&g, &desc), status);
  if (strstr(gp_last_error(), words) == NULL) fail_msg("'%s' is not in '%s'", words, gp_last_error());
  assert_null(g);
}

static void unknown_names_are_refused(void **state) {
  (void)state;
  model_desc good = {.arch = "resnet8", .pool = "max", .classes = 10, .channels = 1, .height = 28, .width = 28};
  model_usual usual;
  model_desc bad = good;
  bad.arch = "resnet9";
  expect_refusal(bad, GP_ERROR_NOT_FOUND, "unknown net 'resnet9'; known: resnet8, resnet20");
  expect_refusal(bad, GP_ERROR_NOT_FOUND, "densenet201"); /* the last one is listed too */
  assert_int_equal(model_usual_of(&usual, "resnet9"), GP_ERROR_NOT_FOUND);
  bad.arch = "vgg16_bn";
  expect_refusal(bad, GP_ERROR_NOT_FOUND,
                 "unknown net 'vgg16_bn'; vgg16orig_bn is torchvision's vgg16_bn with eps 1e-4");
  bad.arch = "vgg11";
  expect_refusal(bad, GP_ERROR_NOT_FOUND, "unknown net 'vgg11'; vgg11orig is torchvision's vgg11 without its dropout");
  bad.arch = "vgg12";
  expect_refusal(bad, GP_ERROR_NOT_FOUND, "unknown net 'vgg12'; known: ");
  bad = good;
  bad.pool = "gauss";
  expect_refusal(bad, GP_ERROR_NOT_FOUND, "unknown pooling 'gauss'; known: skip, max");
  bad = good;
  bad.classes = 0;
  expect_refusal(bad, GP_ERROR_INVALID_ARGUMENT, "0 classes");
}

static void what_a_net_cannot_do_is_refused(void **state) {
  (void)state;
  model_desc desc = {.arch = "vgg16bow_bn", .pool = "skip", .classes = 10, .channels = 3, .height = 64, .width = 64};
  expect_refusal(desc, GP_ERROR_INVALID_ARGUMENT, "vgg16bow_bn has no pooling 'skip'");
  desc.arch = "resnet18";
  desc.pool = "avg";
  desc.width = 17;
  expect_refusal(desc, GP_ERROR_INVALID_ARGUMENT, "resnet18 with pooling 'avg' for images of 64x17");
  expect_refusal(desc, GP_ERROR_INVALID_ARGUMENT, "pool 'layer4.0.pooling'");
  desc.width = 64;
  static const struct {
    const char *arch, *pool;
    int64_t least; /* side of the images */
  } nets[] = {{"resnet8", "max", 4},     {"resnet50", "gauss_CN", 30}, {"resnetp50", "avg", 32},
              {"vgg11orig", "max", 32},  {"vgg11bow", "max", 16},      {"densenet121", "max", 30},
              {"densenet121", "avg", 29}};
  for (size_t i = 0; i < sizeof nets / sizeof nets[0]; ++i) {
    desc.arch = nets[i].arch;
    desc.pool = nets[i].pool;
    desc.height = nets[i].least - 1;
    expect_refusal(desc, GP_ERROR_INVALID_ARGUMENT, nets[i].arch);
    expect_refusal(desc, GP_ERROR_INVALID_ARGUMENT, "does not fit");
    nn_graph *g = build_for(nets[i].arch, nets[i].pool, 3, nets[i].least, 10);
    nn_graph_destroy(&g);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_are_the_published_ones),
      cmocka_unit_test(small_nets_have_their_sizes),
      cmocka_unit_test(every_pooling_is_tried),
      cmocka_unit_test(other_names_have_a_plain_one),
      cmocka_unit_test(poolings_sit_where_they_should),
      cmocka_unit_test(strides_do_it_without_a_pooling),
      cmocka_unit_test(every_net_builds_with_every_pooling),
      cmocka_unit_test(parameters_have_the_published_shapes),
      cmocka_unit_test(families_start_as_specified),
      cmocka_unit_test(last_norms_can_start_at_zero),
      cmocka_unit_test(unknown_names_are_refused),
      cmocka_unit_test(what_a_net_cannot_do_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
