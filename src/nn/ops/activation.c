/* Element-wise ops of one input: ReLU, sigmoid, dropout. And the input itself. */
#include "nn/graph.h"

nn_ref nn_input(nn_graph *g, int64_t channels, int64_t height, int64_t width) {
  if (!nn_graph_check(g, NN_OP_INPUT, NULL, 0)) return -1;
  if (g->count > 0) return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "the input must be the graph's first node");
  if (channels < 1 || height < 1 || width < 1)
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "an input of %lld channels, %lldx%lld: each must be at least 1",
                         (long long)channels, (long long)height, (long long)width);
  return nn_graph_add(g, NN_OP_INPUT, NULL, NULL, 0, (nn_shape){channels, height, width}) ? 0 : -1;
}

static nn_ref elementwise(nn_graph *g, nn_op op, nn_ref x) {
  if (!nn_graph_check(g, op, &x, 1)) return -1;
  return nn_graph_add(g, op, NULL, &x, 1, nn_shape_of(g, x)) ? g->count - 1 : -1;
}

nn_ref nn_relu(nn_graph *g, nn_ref x) { return elementwise(g, NN_OP_RELU, x); }

nn_ref nn_sigmoid(nn_graph *g, nn_ref x) { return elementwise(g, NN_OP_SIGMOID, x); }

nn_ref nn_dropout(nn_graph *g, nn_ref x, double probability) {
  if (!(probability >= 0 && probability < 1))
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "dropout: probability %g is not in [0, 1)", probability);
  nn_ref y = elementwise(g, NN_OP_DROPOUT, x);
  if (y >= 0) g->nodes[y]->as.dropout = probability;
  return y;
}
