/* A net's nodes in ONNX's operators. */
#include "base/memory.h"
#include "base/status.h"
#include "export/onnx_model.h"
#include "export/onnx_pool.h"
#include "nn/node.h"

#include <inttypes.h>
#include <stdio.h>

/* A net being translated. */
typedef struct translation {
  onnx_model *m;
  const nn_net *net;
  onnx_value *values; /* of each node */
  bool *rows;         /* whether that is [n][c] instead of [n][c][h][w] */
  bool *live;         /* whether the logits depend on it at inference */
} translation;

static const nn_node *node_of(const translation *t, nn_ref x) { return nn_net_node(t->net, x); }
static nn_ref source_of(const translation *t, nn_ref x, int32_t k) { return node_of(t, x)->inputs[k]; }

static void mark_live(translation *t) {
  t->live[nn_net_logits(t->net)] = true;
  for (nn_ref x = nn_net_logits(t->net); x >= 0; --x)
    for (int32_t k = 0; t->live[x] && k < nn_inputs_read(node_of(t, x), NN_INFER); ++k)
      t->live[source_of(t, x, k)] = true;
}

/* ---- Inputs ---- */

static onnx_value input_as_it_is(const translation *t, nn_ref x, int32_t k) { return t->values[source_of(t, x, k)]; }

static onnx_value input_as_map(translation *t, nn_ref x, int32_t k) {
  onnx_value value = input_as_it_is(t, x, k);
  if (!t->rows[source_of(t, x, k)]) return value;
  return onnx_op2(t->m, "Unsqueeze", value, onnx_int64s(t->m, (int64_t[]){2, 3}, 2));
}

static onnx_value flatten(translation *t, nn_ref x) {
  if (t->rows[x]) return t->values[x];
  return onnx_node(t->m, &(onnx_node_desc){.op = "Flatten", .in = {t->values[x]}, .attributes = {ONNX_INT("axis", 1)}});
}

/* The tensor of the state dict at that place of the node, or NULL where it has none. */
static onnx_value state(translation *t, nn_ref x, int32_t place) {
  if (place >= node_of(t, x)->param_count) return NULL;
  const int32_t index = nn_net_first_state(t->net, x) + place;
  const nn_state_info info = nn_net_state(t->net, index);
  float *values = onnx_floats(t->m, info.elements);
  if (values == NULL) return NULL;
  gp_status status = nn_net_state_read(t->net, index, NN_VALUE, values);
  if (status != GP_OK) onnx_model_fail(t->m, status, "%s", gp_last_error());
  return onnx_float_tensor(t->m, info.name, false, info.shape, info.rank, values);
}

/* ---- Nodes ---- */

static onnx_value convolution(translation *t, nn_ref x) {
  const nn_conv_desc *d = &node_of(t, x)->as.conv;
  return onnx_node(
      t->m,
      &(onnx_node_desc){.op = "Conv",
                        .in = {input_as_map(t, x, 0), state(t, x, NN_WEIGHT), state(t, x, NN_BIAS)},
                        .attributes = {ONNX_INTS2("dilations", d->dilation, d->dilation), ONNX_INT("group", d->groups),
                                       ONNX_INTS2("kernel_shape", d->kernel, d->kernel),
                                       ONNX_INTS4("pads", d->padding, d->padding, d->padding, d->padding),
                                       ONNX_INTS2("strides", d->stride, d->stride)}});
}

static onnx_value batch_norm(translation *t, nn_ref x) {
  return onnx_node(t->m,
                   &(onnx_node_desc){.op = "BatchNormalization",
                                     .in = {input_as_it_is(t, x, 0), state(t, x, NN_WEIGHT), state(t, x, NN_BIAS),
                                            state(t, x, NN_RUNNING_MEAN), state(t, x, NN_RUNNING_VAR)},
                                     .attributes = {ONNX_FLOAT("epsilon", (float)node_of(t, x)->as.batch_norm.eps)}});
}

/* In a convolution's shape it is one, of 1×1. */
static onnx_value linear(translation *t, nn_ref x) {
  if (node_of(t, x)->as.linear.conv_shape)
    return onnx_op3(t->m, "Conv", input_as_map(t, x, 0), state(t, x, NN_WEIGHT), state(t, x, NN_BIAS));
  onnx_value flat = flatten(t, source_of(t, x, 0));
  t->rows[x] = true;
  return onnx_node(t->m, &(onnx_node_desc){.op = "Gemm",
                                           .in = {flat, state(t, x, NN_WEIGHT), state(t, x, NN_BIAS)},
                                           .attributes = {ONNX_INT("transB", 1)}});
}

static onnx_value add(translation *t, nn_ref x) {
  return onnx_op2(t->m, "Add", input_as_map(t, x, 0), input_as_map(t, x, 1));
}

static onnx_value concatenation(translation *t, nn_ref x) {
  onnx_node_desc node = {.op = "Concat", .attributes = {ONNX_INT("axis", 1)}};
  for (int32_t k = 0; k < node_of(t, x)->input_count; ++k) node.in[k] = input_as_map(t, x, k);
  return onnx_node(t->m, &node);
}

static onnx_value adaptive_average(translation *t, nn_ref x) {
  const nn_shape from = node_of(t, source_of(t, x, 0))->shape, to = node_of(t, x)->shape;
  return onnx_adaptive_average(t->m, input_as_map(t, x, 0), (int64_t[]){from.height, from.width},
                               (int64_t[]){to.height, to.width});
}

static onnx_value pooling(translation *t, nn_ref x) {
  const nn_node *node = node_of(t, x);
  const nn_pool_places at = nn_pool_places_of(&node->as.pool);
  const int32_t read = nn_inputs_read(node, NN_INFER);
  const gp_pool_desc operation = nn_pool_operation(&node->as.pool, node_of(t, source_of(t, x, 0))->shape);
  onnx_pool_inputs in = {.x = input_as_map(t, x, 0)};
  if (at.mu > 0) in.mu = input_as_map(t, x, at.mu);
  if (at.sigma > 0 && at.sigma < read) in.sigma = input_as_map(t, x, at.sigma);
  in.weight = at.weight > 0 ? input_as_map(t, x, at.weight) : state(t, x, NN_WEIGHT);
  return onnx_pool(t->m, &operation, &in);
}

/* Element by element, of any shape. */
static onnx_value elementwise(translation *t, nn_ref x, const char *op) {
  t->rows[x] = t->rows[source_of(t, x, 0)];
  return onnx_op(t->m, op, input_as_it_is(t, x, 0));
}

static onnx_value image(translation *t) {
  const nn_shape s = nn_net_input_shape(t->net);
  return onnx_input(t->m, ONNX_INPUT, (int64_t[]){s.channels, s.height, s.width}, 3);
}

static onnx_value translate(translation *t, nn_ref x) {
  const nn_node *node = node_of(t, x);
  switch (node->op) {
    case NN_OP_INPUT: return image(t);
    case NN_OP_CONV: return convolution(t, x);
    case NN_OP_BATCH_NORM: t->rows[x] = t->rows[source_of(t, x, 0)]; return batch_norm(t, x);
    case NN_OP_RELU: return elementwise(t, x, "Relu");
    case NN_OP_SIGMOID: return elementwise(t, x, "Sigmoid");
    case NN_OP_DROPOUT: t->rows[x] = t->rows[source_of(t, x, 0)]; return input_as_it_is(t, x, 0);
    case NN_OP_ADD: return add(t, x);
    case NN_OP_CONCAT: return concatenation(t, x);
    case NN_OP_LINEAR: return linear(t, x);
    case NN_OP_GLOBAL_AVG_POOL: return onnx_op(t->m, "GlobalAveragePool", input_as_map(t, x, 0));
    case NN_OP_ADAPTIVE_AVG_POOL: return adaptive_average(t, x);
    case NN_OP_POOL: return pooling(t, x);
    case NN_OP_CROSS_ENTROPY:
    case NN_OP_COUNT: break;
  }
  onnx_model_fail(t->m, GP_ERROR_UNSUPPORTED, "%s has no form in ONNX's operators", nn_op_name(node->op));
  return NULL;
}

/* Nodes without a name of their own are called by what they are, and their number. */
static void name_scope(translation *t, nn_ref x) {
  const nn_node *node = node_of(t, x);
  char name[64];
  snprintf(name, sizeof name, "%s_%" PRId32, nn_op_name(node->op), x);
  onnx_scope(t->m, node->name[0] != '\0' ? node->name : name);
}

/* Ops whose tensor is another node's, or the input. */
static bool passes_on(nn_op op) { return op == NN_OP_INPUT || op == NN_OP_DROPOUT; }

static gp_status translate_all(translation *t) {
  gp_status status = GP_OK;
  const nn_ref logits = nn_net_logits(t->net);
  const int64_t classes = nn_net_classes(t->net);
  for (nn_ref x = 0; x <= logits; ++x) {
    if (!t->live[x]) continue;
    name_scope(t, x);
    t->values[x] = translate(t, x);
    GP_TRY(onnx_model_status(t->m));
  }
  onnx_scope(t->m, ONNX_OUTPUT);
  onnx_value output = flatten(t, logits);
  /* What is no node's own cannot be given the output's name. */
  if (passes_on(node_of(t, logits)->op)) output = onnx_op(t->m, "Identity", output);
  onnx_output(t->m, output, ONNX_OUTPUT, &classes, 1);
  GP_TRY(onnx_model_status(t->m));
cleanup:
  return status;
}

gp_status onnx_available(void) { return GP_OK; }

gp_status onnx_write(const char *path, const nn_net *net, const model_info *info, onnx_summary *summary) {
  gp_status status = GP_OK;
  translation t = {.net = net};
  const size_t count = (size_t)nn_net_layer_count(net);
  GP_TRY(onnx_model_create(&t.m));
  GP_TRY(GP_ALLOC(&t.values, count));
  GP_TRY(GP_ALLOC(&t.rows, count));
  GP_TRY(GP_ALLOC(&t.live, count));
  mark_live(&t);
  GP_TRY(translate_all(&t));
  GP_TRY(model_info_describe(info, onnx_model_describe, t.m));
  GP_TRY(onnx_model_commit(t.m, path, summary));
cleanup:
  onnx_model_destroy(&t.m);
  gp_free(t.values);
  gp_free(t.rows);
  gp_free(t.live);
  return status;
}
