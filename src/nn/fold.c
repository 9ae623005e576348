#include "nn/fold.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "nn/net.h"

/* The only node that reads x, or -1. */
static nn_ref only_reader(const nn_graph *g, nn_ref x) {
  nn_ref reader = -1;
  for (int32_t i = x + 1; i < g->count; ++i)
    for (int32_t k = 0; k < g->nodes[i]->input_count; ++k) {
      if (g->nodes[i]->inputs[k] != x) continue;
      if (reader >= 0) return -1;
      reader = i;
    }
  return reader;
}

/* The batch norm that layer x takes in, or -1. */
static nn_ref taken_in(const nn_graph *g, nn_ref x) {
  nn_op op = g->nodes[x]->op;
  if (op != NN_OP_CONV && op != NN_OP_LINEAR) return -1;
  nn_ref reader = only_reader(g, x);
  return reader >= 0 && g->nodes[reader]->op == NN_OP_BATCH_NORM ? reader : -1;
}

/* ---- The graph ---- */

static void give_bias(nn_node *node) {
  if (node->op == NN_OP_CONV) node->as.conv.bias = true;
  if (node->op == NN_OP_LINEAR) node->as.linear.no_bias = false;
  if (node->param_count > NN_BIAS) return;
  nn_node_declare(node, (nn_param){.suffix = "bias", .is_parameter = true, .rank = 1, .shape = {node->shape.channels}});
}

/* Removes the batch norms whose entry in `into` is a layer; for the others it is -1. */
static void remove_nodes(nn_graph *g, const nn_ref *into, nn_ref *moved) {
  int32_t kept = 0;
  for (int32_t i = 0; i < g->count; ++i) {
    nn_node *node = g->nodes[i];
    for (int32_t k = 0; k < node->input_count; ++k) node->inputs[k] = moved[node->inputs[k]];
    if (into[i] < 0) {
      moved[i] = kept;
      g->nodes[kept++] = node;
      continue;
    }
    moved[i] = moved[into[i]];
    gp_free(node->name);
    gp_free(node);
  }
  g->count = kept;
  if (g->logits >= 0) g->logits = moved[g->logits];
}

void nn_graph_fold_batch_norms(nn_graph *g) {
  gp_status status = nn_graph_status(g);
  nn_ref *into = NULL, *moved = NULL;
  if (status != GP_OK) return;
  GP_TRY(GP_ALLOC(&into, (size_t)g->count));
  GP_TRY(GP_ALLOC(&moved, (size_t)g->count));
  for (int32_t i = 0; i < g->count; ++i) into[i] = -1;
  for (int32_t i = 0; i < g->count; ++i) {
    nn_ref norm = taken_in(g, i);
    if (norm < 0) continue;
    into[norm] = i;
    give_bias(g->nodes[i]);
  }
  remove_nodes(g, into, moved);
cleanup:
  if (status != GP_OK) nn_graph_fail(g, status, "folding batch norms: out of memory");
  gp_free(into);
  gp_free(moved);
}

int32_t nn_net_foldable_batch_norms(const nn_net *net) {
  int32_t count = 0;
  for (int32_t i = 0; i < net->graph->count; ++i) count += taken_in(net->graph, i) >= 0;
  return count;
}

/* ---- The values ---- */

/* Reads a node's state tensor into new memory. */
static gp_status read_state(const nn_net *net, nn_ref node, int32_t place, void **out) {
  gp_status status = GP_OK;
  const int32_t index = nn_net_first_state(net, node) + place;
  GP_TRY(gp_alloc(out, (size_t)nn_net_state(net, index).elements, sizeof(int64_t)));
  GP_TRY(nn_net_state_read(net, index, NN_VALUE, *out));
cleanup:
  return status;
}

/* Writes the tensor of that name. */
static gp_status write_state(nn_net *net, const char *layer, const char *suffix, int64_t elements, const void *values) {
  const size_t length = strlen(layer);
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (strncmp(state.name, layer, length) != 0 || state.name[length] != '.') continue;
    if (strcmp(state.name + length + 1, suffix) == 0 && state.elements == elements)
      return nn_net_state_write(net, i, NN_VALUE, values);
  }
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "the folded net has no %s.%s of %lld elements: it is of another graph",
                 layer, suffix, (long long)elements);
}

static gp_status copy_node(nn_net *folded, const nn_net *net, nn_ref x) {
  gp_status status = GP_OK;
  const nn_node *node = nn_net_node(net, x);
  void *values = NULL;
  for (int32_t p = 0; p < node->param_count; ++p) {
    gp_free(values);
    GP_TRY(read_state(net, x, p, &values));
    GP_TRY(write_state(folded, node->name, node->params[p].suffix,
                       nn_net_state(net, nn_net_first_state(net, x) + p).elements, values));
  }
cleanup:
  gp_free(values);
  return status;
}

/* weight' = f·weight, bias' = f·(bias - running_mean) + norm_bias with f = norm_weight / sqrt(running_var + eps), of each
 * output channel. */
typedef struct layer_values {
  float *weight, *bias; /* [channels][window], [channels] */
  float *norm[NN_BATCHES_TRACKED];
  int64_t channels, window;
} layer_values;

static bool fold_values(layer_values *v, double eps) {
  bool finite = true;
  for (int64_t c = 0; c < v->channels; ++c) {
    double factor = v->norm[NN_WEIGHT][c] / sqrt(v->norm[NN_RUNNING_VAR][c] + eps);
    double difference = (double)v->bias[c] - v->norm[NN_RUNNING_MEAN][c];
    v->bias[c] = (float)(v->norm[NN_BIAS][c] + factor * difference);
    finite = finite && isfinite(v->bias[c]);
    for (int64_t i = c * v->window; i < (c + 1) * v->window; ++i) {
      v->weight[i] = (float)(factor * v->weight[i]);
      finite = finite && isfinite(v->weight[i]);
    }
  }
  return finite;
}

static gp_status fold_node(nn_net *folded, const nn_net *net, nn_ref x, nn_ref norm) {
  gp_status status = GP_OK;
  const nn_node *node = nn_net_node(net, x), *norm_node = nn_net_node(net, norm);
  layer_values v = {.channels = node->shape.channels};
  const int64_t elements = nn_net_state(net, nn_net_first_state(net, x) + NN_WEIGHT).elements;
  v.window = elements / v.channels;
  GP_TRY(read_state(net, x, NN_WEIGHT, (void **)&v.weight));
  if (node->param_count > NN_BIAS)
    GP_TRY(read_state(net, x, NN_BIAS, (void **)&v.bias));
  else
    GP_TRY(GP_ALLOC(&v.bias, (size_t)v.channels));
  for (int32_t p = 0; p < NN_BATCHES_TRACKED; ++p) GP_TRY(read_state(net, norm, p, (void **)&v.norm[p]));
  if (!fold_values(&v, norm_node->as.batch_norm.eps))
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "folding %s into %s: expected finite weights, found others, there or behind the scaling",
                   norm_node->name, node->name));
  GP_TRY(write_state(folded, node->name, "weight", elements, v.weight));
  GP_TRY(write_state(folded, node->name, "bias", v.channels, v.bias));
cleanup:
  gp_free(v.weight);
  gp_free(v.bias);
  for (int32_t p = 0; p < NN_BATCHES_TRACKED; ++p) gp_free(v.norm[p]);
  return status;
}

gp_status nn_net_fold(nn_net *folded, const nn_net *net) {
  gp_status status = GP_OK;
  const nn_graph *g = net->graph;
  bool *gone = NULL;
  GP_TRY(GP_ALLOC(&gone, (size_t)g->count));
  for (int32_t i = 0; i < g->count; ++i) {
    nn_ref norm = taken_in(g, i);
    if (norm >= 0) gone[norm] = true;
    if (!gone[i]) GP_TRY(norm >= 0 ? fold_node(folded, net, i, norm) : copy_node(folded, net, i));
  }
cleanup:
  gp_free(gone);
  return status;
}
