/* Inside of the graph: nodes and the parameters they declare. For the engine's own files. */
#ifndef GP_NN_GRAPH_H
#define GP_NN_GRAPH_H

#include "nn/nn.h"

typedef enum nn_op {
  NN_OP_INPUT = 0,
  NN_OP_CONV,
  NN_OP_BATCH_NORM,
  NN_OP_RELU,
  NN_OP_SIGMOID,
  NN_OP_DROPOUT,
  NN_OP_ADD,
  NN_OP_CONCAT,
  NN_OP_LINEAR,
  NN_OP_GLOBAL_AVG_POOL,
  NN_OP_ADAPTIVE_AVG_POOL,
  NN_OP_POOL,
  NN_OP_CROSS_ENTROPY,
  NN_OP_COUNT,
} nn_op;

const char *nn_op_name(nn_op op);

/* How a state tensor starts: constant, uniform in ±value, or normal with deviation value. */
typedef enum nn_fill { NN_FILL_CONSTANT = 0, NN_FILL_UNIFORM, NN_FILL_NORMAL } nn_fill;

/* A state tensor that a node declares, in PyTorch's name and shape. */
typedef struct nn_param {
  const char *suffix; /* a literal: "weight", "running_mean", … */
  bool is_parameter, is_int64;
  int32_t rank;
  int64_t shape[4];
  nn_fill fill;
  double fill_value;
} nn_param;

/* Places of a node's state tensors, the same in every op that has them. */
enum {
  NN_WEIGHT = 0,
  NN_BIAS,
  NN_RUNNING_MEAN,
  NN_RUNNING_VAR,
  NN_BATCHES_TRACKED,
  NN_MAX_PARAMS,
};

typedef struct nn_node {
  nn_op op;
  char *name; /* full, scopes included; "" for nodes without parameters */
  nn_shape shape;
  int32_t input_count;
  nn_ref inputs[NN_MAX_INPUTS];
  int32_t param_count;
  nn_param params[NN_MAX_PARAMS];
  int64_t macs; /* per sample */
  union {       /* the builder's description, zeros replaced by the defaults; its name is not kept */
    nn_conv_desc conv;
    nn_batch_norm_desc batch_norm;
    nn_linear_desc linear;
    nn_pool_desc pool;
    nn_cross_entropy_desc cross_entropy;
    double dropout;
  } as;
} nn_node;

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

/* Where a pooling's guiding tensors stand among its inputs; 0: it has none. */
typedef struct nn_pool_places {
  int32_t mu, sigma, weight;
  int32_t count; /* of the inputs */
} nn_pool_places;

static inline nn_pool_places nn_pool_places_of(const nn_pool_desc *d) {
  bool mu = d->kind == GP_POOL_ISP_GAUSSIAN || d->kind == GP_POOL_GAUSSIAN;
  bool sigma = d->kind == GP_POOL_HALF_GAUSSIAN || (mu && d->stochasticity != GP_STOCHASTIC_NONE);
  bool weight = d->kind == GP_POOL_WEIGHTED || d->kind == GP_POOL_MAX_ENTROPY;
  nn_pool_places p = {.count = 1};
  if (mu) p.mu = p.count++;
  if (sigma) p.sigma = p.count++;
  if (weight) p.weight = p.count++;
  return p;
}

static inline const nn_node *nn_graph_node(const nn_graph *g, nn_ref x) { return g->nodes[x]; }
static inline int64_t nn_shape_elements(nn_shape s) { return s.channels * s.height * s.width; }

/* Adds a node, or returns NULL when the graph has failed (now or before). `name` may be NULL for nodes without
 * parameters. Its reference is g->count - 1. */
nn_node *nn_graph_add(nn_graph *g, nn_op op, const char *name, const nn_ref *inputs, int32_t input_count,
                      nn_shape shape);

/* True when all references are tensors of this graph; else the graph fails. */
bool nn_graph_check(nn_graph *g, nn_op op, const nn_ref *inputs, int32_t count);

/* Declares the node's next state tensor (in the order of the places above). */
void nn_node_declare(nn_node *node, nn_param param);

/* Declares weight and bias of a convolution or linear layer by the rule. */
void nn_node_declare_weights(nn_node *node, nn_init_rule rule, int32_t rank, const int64_t *shape, bool bias);

#endif
