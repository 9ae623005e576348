/* One pooling as ONNX, and what the operator makes of the same images, for tests/cli/test_onnx.py:
 *
 *   onnx_pool KIND KERNEL STRIDE PADDING CEIL EXCLUDE_PAD HEIGHT WIDTH NORM IMAGES OUT.onnx POOLED
 *
 * IMAGES are [2][5][HEIGHT][WIDTH] float32, POOLED becomes [2][5·H'·W']: a linear layer whose weight is the identity
 * makes the pooled maps the net's scores. Guides are made from the images by a linear layer, so that they differ from sample to sample;
 * the images' mean, which may be large, is no part of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/philox.h"
#include "base/status.h"
#include "export/onnx.h"
#include "nn/nn.h"
#include "train/atomic_file.h"
#include "train/file.h"

enum { BATCH = 2, CHANNELS = 5 };

typedef struct pool_case {
  nn_pool_desc pool;
  int64_t height, width;
  const char *images, *onnx, *pooled;
} pool_case;

static bool read_case(pool_case *c, char **argv) {
  *c = (pool_case){.pool = {.name = "pool",
                            .kernel = atoi(argv[2]),
                            .stride = atoi(argv[3]),
                            .padding = atoi(argv[4]),
                            .ceil_mode = atoi(argv[5]) != 0,
                            .pad_count = atoi(argv[6]) != 0 ? GP_COUNT_EXCLUDE_PAD : GP_COUNT_INCLUDE_PAD,
                            .norm = atof(argv[9])},
                   .height = atoll(argv[7]),
                   .width = atoll(argv[8]),
                   .images = argv[10],
                   .onnx = argv[11],
                   .pooled = argv[12]};
  while (gp_pool_kind_name(c->pool.kind) != NULL && strcmp(gp_pool_kind_name(c->pool.kind), argv[1]) != 0)
    ++c->pool.kind;
  return gp_pool_kind_name(c->pool.kind) != NULL;
}

/* The batch norm takes the images' mean off. */
static nn_ref guide(nn_graph *g, nn_ref x) {
  nn_ref z = nn_batch_norm(g, nn_global_avg_pool(g, x), &(nn_batch_norm_desc){.name = "norm"});
  return nn_linear(g, z, &(nn_linear_desc){.name = "guide", .out = CHANNELS, .conv_shape = true});
}

static gp_status build(nn_net **net, const pool_case *c) {
  gp_status status = GP_OK;
  nn_graph *g = NULL;
  nn_pool_desc pool = c->pool;
  GP_TRY(nn_graph_create(&g));
  nn_ref x = nn_input(g, CHANNELS, c->height, c->width);
  pool.mu = pool.sigma = pool.weight = guide(g, x);
  x = nn_pool(g, x, &pool);
  const nn_shape s = nn_shape_of(g, x);
  x = nn_linear(g, x, &(nn_linear_desc){.name = "last", .out = s.channels * s.height * s.width, .no_bias = true});
  nn_cross_entropy(g, x, &(nn_cross_entropy_desc){0});
  GP_TRY(nn_net_create(net, &g, &(nn_net_desc){.batch = BATCH}));
  GP_TRY(nn_net_init(*net, 1));
cleanup:
  nn_graph_destroy(&g);
  return status;
}

static gp_status fill(nn_net *net, float mean) {
  gp_status status = GP_OK;
  float *values = NULL;
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info info = nn_net_state(net, i);
    if (info.is_int64 || strcmp(info.name, "norm.running_var") == 0) continue;
    gp_free(values);
    GP_TRY(GP_ALLOC(&values, (size_t)info.elements));
    for (int64_t k = 0; k < info.elements; ++k)
      values[k] = 2 * gp_unit_float(gp_philox((uint64_t)i, (uint32_t)k, 0, 0, 0).word[0]) - 1;
    if (strcmp(info.name, "norm.running_mean") == 0)
      for (int64_t k = 0; k < info.elements; ++k) values[k] += mean;
    if (strcmp(info.name, "last.weight") == 0)
      for (int64_t k = 0; k < info.elements; ++k) values[k] = k / info.shape[1] == k % info.shape[1];
    /* Beside a large mean, a gate that is not wholly to one side, and guides that do not hang on the rounding of averages. */
    if (strcmp(info.name, "pool.mask") == 0 || strcmp(info.name, "guide.weight") == 0)
      for (int64_t k = 0; k < info.elements; ++k) values[k] /= 1 + mean;
    GP_TRY(nn_net_state_write(net, i, NN_VALUE, values));
  }
cleanup:
  gp_free(values);
  return status;
}

static gp_status run(const pool_case *c) {
  gp_status status = GP_OK;
  nn_net *net = NULL;
  nn_plan *plan = NULL;
  float *images = NULL;
  size_t bytes = 0;
  GP_TRY(file_read_whole(c->images, 0, (void **)&images, &bytes));
  if (bytes != sizeof *images * BATCH * CHANNELS * (size_t)(c->height * c->width))
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: found %zu bytes", c->images, bytes));
  GP_TRY(build(&net, c));
  GP_TRY(fill(net, images[0]));
  GP_TRY(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = BATCH, .mode = NN_INFER}));
  GP_TRY(nn_plan_forward(plan, images, NULL, &(nn_step_desc){0}));
  GP_TRY(atomic_file_replace(c->pooled, nn_plan_logits(plan), sizeof(float) * BATCH * (size_t)nn_net_classes(net)));
  char name[] = "x";
  char **names = NULL;
  GP_TRY(GP_ALLOC(&names, (size_t)nn_net_classes(net)));
  for (int64_t i = 0; i < nn_net_classes(net); ++i) names[i] = name;
  const model_info info = {.arch = "pool",
                           .pool = "pool",
                           .dataset = "none",
                           .classes = nn_net_classes(net),
                           .class_names = names,
                           .channels = 1 /* of no matter here */,
                           .height = c->height,
                           .width = c->width};
  status = onnx_write(c->onnx, net, &info, NULL);
  gp_free(names);
cleanup:
  nn_plan_destroy(&plan);
  nn_net_destroy(&net);
  gp_free(images);
  return status;
}

int main(int argc, char **argv) {
  pool_case c;
  if (argc != 13 || !read_case(&c, argv)) {
    fprintf(stderr,
            "usage: onnx_pool KIND KERNEL STRIDE PADDING CEIL EXCLUDE_PAD HEIGHT WIDTH NORM IMAGES OUT.onnx POOLED\n");
    return 2;
  }
  if (run(&c) == GP_OK) return 0;
  fprintf(stderr, "onnx_pool: %s\n", gp_last_error());
  return 1;
}
