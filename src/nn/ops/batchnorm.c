/* Batch normalisation: torch.nn.BatchNorm2d (Ioffe and Szegedy 2015). */
#include "nn/graph.h"

nn_ref nn_batch_norm(nn_graph *g, nn_ref x, const nn_batch_norm_desc *desc) {
  if (!nn_graph_check(g, NN_OP_BATCH_NORM, &x, 1)) return -1;
  nn_batch_norm_desc d = *desc;
  if (d.eps == 0) d.eps = 1e-5;
  if (d.momentum == 0) d.momentum = 0.1;
  if (d.name == NULL) return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "batch_norm: a name is needed for its state");
  if (!(d.eps > 0) || !(d.momentum > 0 && d.momentum <= 1))
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "batch_norm '%s': eps %g must be above 0, momentum %g in (0, 1]",
                         d.name, d.eps, d.momentum);
  nn_shape shape = nn_shape_of(g, x);
  nn_node *node = nn_graph_add(g, NN_OP_BATCH_NORM, d.name, &x, 1, shape);
  if (node == NULL) return -1;
  nn_param channelwise = {.suffix = "weight", .is_parameter = true, .rank = 1, .shape = {shape.channels}};
  channelwise.fill_value = d.zero_init ? 0 : 1;
  nn_node_declare(node, channelwise);
  channelwise.suffix = "bias";
  channelwise.fill_value = 0;
  nn_node_declare(node, channelwise);
  channelwise.is_parameter = false;
  channelwise.suffix = "running_mean";
  nn_node_declare(node, channelwise);
  channelwise.suffix = "running_var";
  channelwise.fill_value = 1;
  nn_node_declare(node, channelwise);
  nn_node_declare(node, (nn_param){.suffix = "num_batches_tracked", .is_int64 = true});
  d.name = NULL;
  node->as.batch_norm = d;
  return g->count - 1;
}
