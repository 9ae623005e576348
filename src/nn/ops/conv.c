/* Convolution: torch.nn.Conv2d with square kernels. */
#include "nn/graph.h"

static int32_t or_one(int32_t value) { return value == 0 ? 1 : value; }

nn_ref nn_conv(nn_graph *g, nn_ref x, const nn_conv_desc *desc) {
  if (!nn_graph_check(g, NN_OP_CONV, &x, 1)) return -1;
  nn_conv_desc d = *desc;
  d.kernel = or_one(d.kernel);
  d.stride = or_one(d.stride);
  d.dilation = or_one(d.dilation);
  d.groups = or_one(d.groups);
  nn_shape in = nn_shape_of(g, x);
  if (d.name == NULL) return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "conv: a name is needed for its weight");
  if (d.kernel < 1 || d.stride < 1 || d.dilation < 1 || d.groups < 1 || d.padding < 0 || d.out < 1)
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT,
                         "conv '%s': out %lld, kernel %d, stride %d, dilation %d and groups %d must be at least 1, "
                         "padding %d at least 0",
                         d.name, (long long)d.out, d.kernel, d.stride, d.dilation, d.groups, d.padding);
  if (in.channels % d.groups != 0 || d.out % d.groups != 0)
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT,
                         "conv '%s': %lld channels in and %lld out are not both multiples of %d groups", d.name,
                         (long long)in.channels, (long long)d.out, d.groups);
  int64_t reach = (int64_t)d.dilation * (d.kernel - 1) + 1;
  int64_t height = in.height + 2 * (int64_t)d.padding - reach, width = in.width + 2 * (int64_t)d.padding - reach;
  if (height < 0 || width < 0)
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT,
                         "conv '%s': its window of %lld does not fit %lldx%lld with padding %d: the image is too small",
                         d.name, (long long)reach, (long long)in.height, (long long)in.width, d.padding);
  nn_shape out = {d.out, height / d.stride + 1, width / d.stride + 1};
  nn_node *node = nn_graph_add(g, NN_OP_CONV, d.name, &x, 1, out);
  if (node == NULL) return -1;
  int64_t shape[4] = {d.out, in.channels / d.groups, d.kernel, d.kernel};
  nn_node_declare_weights(node, d.init, 4, shape, d.bias);
  node->macs = shape[1] * shape[2] * shape[3] * nn_shape_elements(out);
  d.name = NULL;
  node->as.conv = d;
  return g->count - 1;
}
