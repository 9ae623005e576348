/* Softmax cross-entropy: torch.nn.CrossEntropyLoss, mean over the batch. */
#include "nn/graph.h"

nn_ref nn_cross_entropy(nn_graph *g, nn_ref x, const nn_cross_entropy_desc *desc) {
  if (!nn_graph_check(g, NN_OP_CROSS_ENTROPY, &x, 1)) return -1;
  nn_shape shape = nn_shape_of(g, x);
  if (shape.height != 1 || shape.width != 1)
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "cross_entropy needs 1x1 maps of logits, got %lldx%lld",
                         (long long)shape.height, (long long)shape.width);
  if (!(desc->label_smoothing >= 0 && desc->label_smoothing < 1))
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "cross_entropy: label smoothing %g is not in [0, 1)",
                         desc->label_smoothing);
  nn_node *node = nn_graph_add(g, NN_OP_CROSS_ENTROPY, NULL, &x, 1, (nn_shape){1, 1, 1});
  if (node == NULL) return -1;
  node->as.cross_entropy = *desc;
  g->logits = x;
  return g->count - 1;
}
