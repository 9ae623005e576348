/* Nets by name: sizes as published, names of parameters, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "models/models.h"

static nn_net *build(const char *arch, const char *pool, int64_t channels, int64_t side, int64_t classes) {
  nn_graph *g = NULL;
  nn_net *net = NULL;
  model_desc desc = {
      .arch = arch, .pool = pool, .classes = classes, .channels = channels, .height = side, .width = side};
  if (model_build(&g, &desc) != GP_OK) fail_msg("%s", gp_last_error());
  if (nn_net_create(&net, &g, &(nn_net_desc){.batch = 1}) != GP_OK) fail_msg("%s", gp_last_error());
  return net;
}

static bool has(const nn_net *net, const char *name) {
  for (int32_t i = 0; i < nn_net_state_count(net); ++i)
    if (strcmp(nn_net_state(net, i).name, name) == 0) return true;
  return false;
}

/* He et al. 2016, table 6 (shortcuts without parameters there; ours adds 16·32 + 32·64 weights and their batch norms):
 * 0.27, 0.46, 0.66, 0.85 M. */
static void sizes_are_the_published_ones(void **state) {
  (void)state;
  static const struct {
    const char *arch;
    int64_t parameters;
  } nets[] = {{"resnet20", 269722}, {"resnet32", 464154}, {"resnet44", 658586}, {"resnet56", 853018}};
  for (size_t i = 0; i < sizeof nets / sizeof nets[0]; ++i) {
    nn_net *net = build(nets[i].arch, "skip", 3, 32, 10);
    assert_int_equal(nn_net_parameter_count(net), nets[i].parameters + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64);
    nn_net_destroy(&net);
  }
  nn_net *net = build("resnet20", "skip", 3, 32, 10);
  assert_int_equal(nn_net_macs(net), 40551040 + 2 * 131072); /* 40.6 M and the two shortcuts */
  nn_net_destroy(&net);
}

static void every_pooling_builds(void **state) {
  (void)state;
  for (int32_t a = 0; model_arch_name(a) != NULL; ++a)
    for (int32_t p = 0; model_pool_name(p) != NULL; ++p) {
      nn_net *net = build(model_arch_name(a), model_pool_name(p), 1, 28, 10);
      bool guided = strncmp(model_pool_name(p), "gauss", 5) == 0;
      assert_int_equal(has(net, "layer2.0.pooling.ToHidden.1.weight"), guided);
      assert_int_equal(has(net, "layer3.0.pooling.ToSigma.1.running_var"), guided);
      assert_false(has(net, "layer1.0.pooling.ToMean.0.bias"));
      assert_true(has(net, "layer2.0.downsample.0.weight"));
      assert_int_equal(nn_net_classes(net), 10);
      nn_net_destroy(&net);
    }
}

static void heads_are_shaped_as_published(void **state) {
  (void)state;
  nn_net *net = build("resnet8", "gauss_HWCN", 1, 28, 10);
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    nn_state_info info = nn_net_state(net, i);
    if (strcmp(info.name, "layer3.0.pooling.ToHidden.1.weight") != 0) continue;
    assert_int_equal(info.rank, 4);
    assert_int_equal(info.shape[0], 32);
    assert_int_equal(info.shape[1], 64);
    assert_int_equal(info.shape[2] * info.shape[3], 1);
  }
  nn_net_destroy(&net);
}

static void expect_refusal(model_desc desc, gp_status status, const char *words) {
  nn_graph *g = NULL;
  nn_net *net = NULL;
  gp_status found = model_build(&g, &desc);
  if (found == GP_OK) found = nn_net_create(&net, &g, &(nn_net_desc){.batch = 1});
  assert_int_equal(found, status);
  if (strstr(gp_last_error(), words) == NULL) fail_msg("'%s' is not in '%s'", words, gp_last_error());
  assert_null(net);
}

static void unknown_names_and_small_images_are_refused(void **state) {
  (void)state;
  model_desc good = {.arch = "resnet8", .pool = "max", .classes = 10, .channels = 1, .height = 28, .width = 28};
  model_desc bad = good;
  bad.arch = "resnet9";
  expect_refusal(bad, GP_ERROR_NOT_FOUND, "unknown net 'resnet9'; known: resnet8, resnet20");
  bad = good;
  bad.pool = "gauss";
  expect_refusal(bad, GP_ERROR_NOT_FOUND, "unknown pooling 'gauss'; known: skip, max");
  bad = good;
  bad.height = 1;
  expect_refusal(bad, GP_ERROR_INVALID_ARGUMENT, "pool 'pooling'");
  bad = good;
  bad.classes = 0;
  expect_refusal(bad, GP_ERROR_INVALID_ARGUMENT, "0 classes");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_are_the_published_ones),
      cmocka_unit_test(every_pooling_builds),
      cmocka_unit_test(heads_are_shaped_as_published),
      cmocka_unit_test(unknown_names_and_small_images_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
