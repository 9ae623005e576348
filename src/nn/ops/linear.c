/* Linear layer: torch.nn.Linear over the flattened map, or a 1×1 convolution on a 1×1 map. */
#include "nn/graph.h"

nn_ref nn_linear(nn_graph *g, nn_ref x, const nn_linear_desc *desc) {
  if (!nn_graph_check(g, NN_OP_LINEAR, &x, 1)) return -1;
  nn_linear_desc d = *desc;
  nn_shape in = nn_shape_of(g, x);
  if (d.name == NULL) return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "linear: a name is needed for its weight");
  if (d.out < 1)
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "linear '%s': out is %lld, must be at least 1", d.name,
                         (long long)d.out);
  if (d.conv_shape && (in.height != 1 || in.width != 1))
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT,
                         "linear '%s' in a convolution's shape needs a 1x1 map, got %lldx%lld", d.name,
                         (long long)in.height, (long long)in.width);
  nn_node *node = nn_graph_add(g, NN_OP_LINEAR, d.name, &x, 1, (nn_shape){d.out, 1, 1});
  if (node == NULL) return -1;
  int64_t shape[4] = {d.out, nn_shape_elements(in), 1, 1};
  nn_node_declare_weights(node, d.init, d.conv_shape ? 4 : 2, shape, !d.no_bias);
  node->macs = shape[0] * shape[1];
  d.name = NULL;
  node->as.linear = d;
  return g->count - 1;
}
