/* Ops of several inputs: sum and concatenation. */
#include "nn/graph.h"

nn_ref nn_add(nn_graph *g, nn_ref a, nn_ref b) {
  nn_ref inputs[2] = {a, b};
  if (!nn_graph_check(g, NN_OP_ADD, inputs, 2)) return -1;
  nn_shape s = nn_shape_of(g, a), t = nn_shape_of(g, b);
  if (s.channels != t.channels || s.height != t.height || s.width != t.width)
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "add: shapes %lldx%lldx%lld and %lldx%lldx%lld differ",
                         (long long)s.channels, (long long)s.height, (long long)s.width, (long long)t.channels,
                         (long long)t.height, (long long)t.width);
  return nn_graph_add(g, NN_OP_ADD, NULL, inputs, 2, s) ? g->count - 1 : -1;
}

nn_ref nn_concat(nn_graph *g, const nn_ref *inputs, int32_t count) {
  if (count < 1 || count > NN_MAX_INPUTS)
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "concat: %d inputs, expected 1 to %d", count, NN_MAX_INPUTS);
  if (!nn_graph_check(g, NN_OP_CONCAT, inputs, count)) return -1;
  nn_shape shape = nn_shape_of(g, inputs[0]);
  for (int32_t i = 1; i < count; ++i) {
    nn_shape s = nn_shape_of(g, inputs[i]);
    if (s.height != shape.height || s.width != shape.width)
      return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "concat: input %d is %lldx%lld, input 0 is %lldx%lld", i,
                           (long long)s.height, (long long)s.width, (long long)shape.height, (long long)shape.width);
    shape.channels += s.channels;
  }
  return nn_graph_add(g, NN_OP_CONCAT, NULL, inputs, count, shape) ? g->count - 1 : -1;
}
