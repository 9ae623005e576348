/* Inside of the graph: how nodes are added to it. For the engine's own files. */
#ifndef GP_NN_GRAPH_H
#define GP_NN_GRAPH_H

#include "nn/node.h"

struct nn_graph {
  gp_status status; /* the first error; sticky */
  char *message;    /* of that error; NULL when it could not be kept */
  nn_node **nodes;
  int32_t count, capacity;
  char scope[256];
  size_t scope_ends[16];
  int32_t scope_depth;
  nn_ref logits; /* input of the loss; -1 before there is one */
};

static inline const nn_node *nn_graph_node(const nn_graph *g, nn_ref x) { return g->nodes[x]; }
static inline int64_t nn_shape_elements(nn_shape s) { return s.channels * s.height * s.width; }

/* Adds a node, or returns NULL when the graph has failed (now or before). `name` may be NULL for nodes without
 * parameters. Its reference is g->count - 1. */
nn_node *nn_graph_add(nn_graph *g, nn_op op, const char *name, const nn_ref *inputs, int32_t input_count,
                      nn_shape shape);

/* True when all references are tensors of this graph; else the graph fails. */
bool nn_graph_check(nn_graph *g, nn_op op, const nn_ref *inputs, int32_t count);

/* Declares the node's next state tensor (in the order of the places in nn/node.h). */
void nn_node_declare(nn_node *node, nn_param param);

/* Declares weight and bias of a convolution or linear layer by the rule. */
void nn_node_declare_weights(nn_node *node, nn_init_rule rule, int32_t rank, const int64_t *shape, bool bias);

#endif
