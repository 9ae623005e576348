#include "nn/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"

const char *nn_op_name(nn_op op) {
  static const char *const names[NN_OP_COUNT] = {
      [NN_OP_INPUT] = "input",
      [NN_OP_CONV] = "conv",
      [NN_OP_BATCH_NORM] = "batch_norm",
      [NN_OP_RELU] = "relu",
      [NN_OP_SIGMOID] = "sigmoid",
      [NN_OP_DROPOUT] = "dropout",
      [NN_OP_ADD] = "add",
      [NN_OP_CONCAT] = "concat",
      [NN_OP_LINEAR] = "linear",
      [NN_OP_GLOBAL_AVG_POOL] = "global_avg_pool",
      [NN_OP_ADAPTIVE_AVG_POOL] = "adaptive_avg_pool",
      [NN_OP_POOL] = "pool",
      [NN_OP_CROSS_ENTROPY] = "cross_entropy",
  };
  return names[op];
}

gp_status nn_graph_create(nn_graph **out) {
  gp_status status = GP_ALLOC(out, 1);
  if (status == GP_OK) (*out)->logits = -1;
  return status;
}

void nn_graph_destroy(nn_graph **graph) {
  nn_graph *g = *graph;
  if (g == NULL) return;
  for (int32_t i = 0; i < g->count; ++i) {
    gp_free(g->nodes[i]->name);
    gp_free(g->nodes[i]);
  }
  gp_free(g->nodes);
  gp_free(g->message);
  gp_free(g);
  *graph = NULL;
}

/* Keeps the first failure, whose message is this thread's last one. */
static void stick(nn_graph *g, gp_status status) {
  if (g->status != GP_OK) return;
  g->status = status;
  if (gp_strdup(&g->message, gp_last_error()) != GP_OK) g->message = NULL;
}

nn_ref nn_graph_fail(nn_graph *g, gp_status status, const char *format, ...) {
  if (g->status != GP_OK) return -1;
  char message[512];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  stick(g, gp_fail(status, "%s", message));
  return -1;
}

gp_status nn_graph_status(const nn_graph *g) {
  if (g->status == GP_OK) return GP_OK;
  return gp_fail(g->status, "%s", g->message == NULL ? "building the net failed" : g->message);
}

void nn_push_scope(nn_graph *g, const char *format, ...) {
  size_t used = strlen(g->scope);
  char part[128];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(part, sizeof part, format, args);
  va_end(args);
  if (length < 0 || (size_t)length >= sizeof part || used + (size_t)length + 2 > sizeof g->scope ||
      g->scope_depth == (int32_t)(sizeof g->scope_ends / sizeof g->scope_ends[0])) {
    nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "scope '%s%.40s…' is too deep or too long", g->scope, part);
    return;
  }
  g->scope_ends[g->scope_depth++] = used;
  snprintf(g->scope + used, sizeof g->scope - used, "%s.", part);
}

void nn_pop_scope(nn_graph *g) {
  if (g->scope_depth == 0) {
    nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "nn_pop_scope without nn_push_scope");
    return;
  }
  g->scope[g->scope_ends[--g->scope_depth]] = '\0';
}

nn_shape nn_shape_of(const nn_graph *g, nn_ref x) {
  return x >= 0 && x < g->count ? g->nodes[x]->shape : (nn_shape){0, 0, 0};
}

bool nn_graph_check(nn_graph *g, nn_op op, const nn_ref *inputs, int32_t count) {
  if (g->status != GP_OK) return false;
  if (g->logits >= 0) {
    nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "%s after the loss: the loss ends the graph", nn_op_name(op));
    return false;
  }
  for (int32_t i = 0; i < count; ++i) {
    if (inputs[i] >= 0 && inputs[i] < g->count) continue;
    nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "%s: input %d is reference %d, the graph has 0 to %d", nn_op_name(op),
                  i, inputs[i], g->count - 1);
    return false;
  }
  return true;
}

static gp_status grow(nn_graph *g) {
  if (g->count < g->capacity) return GP_OK;
  int32_t capacity = g->capacity == 0 ? 64 : 2 * g->capacity;
  nn_node **nodes;
  gp_status status = GP_ALLOC(&nodes, (size_t)capacity);
  if (status != GP_OK) return status;
  if (g->count > 0) memcpy(nodes, g->nodes, (size_t)g->count * sizeof *nodes);
  gp_free(g->nodes);
  g->nodes = nodes;
  g->capacity = capacity;
  return GP_OK;
}

nn_node *nn_graph_add(nn_graph *g, nn_op op, const char *name, const nn_ref *inputs, int32_t input_count,
                      nn_shape shape) {
  if (g->status != GP_OK) return NULL;
  gp_status status = GP_OK;
  nn_node *node = NULL;
  char full[512] = "";
  if (name != NULL && strlen(name) > 200) {
    nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "a node's name has %zu characters, at most 200", strlen(name));
    return NULL;
  }
  int64_t elements;
  if (__builtin_mul_overflow(shape.channels, shape.height, &elements) ||
      __builtin_mul_overflow(elements, shape.width, &elements) || elements > (int64_t)1 << 40) {
    nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "%s: %lldx%lldx%lld is more than 2^40 elements per sample",
                  nn_op_name(op), (long long)shape.channels, (long long)shape.height, (long long)shape.width);
    return NULL;
  }
  if (name != NULL) snprintf(full, sizeof full, "%s%.200s", g->scope, name);
  GP_TRY(grow(g));
  GP_TRY(GP_ALLOC(&node, 1));
  GP_TRY(gp_strdup(&node->name, full));
  node->op = op;
  node->shape = shape;
  node->input_count = input_count;
  for (int32_t i = 0; i < input_count; ++i) node->inputs[i] = inputs[i];
  g->nodes[g->count++] = node;
  return node;
cleanup:
  gp_free(node);
  stick(g, status);
  return NULL;
}

void nn_node_declare(nn_node *node, nn_param param) { node->params[node->param_count++] = param; }
