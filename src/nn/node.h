/* What the nodes of a graph are, to be read: by the engine's own files, and by those who write a net down in another form. */
#ifndef GP_NN_NODE_H
#define GP_NN_NODE_H

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

/* "conv", "batch_norm", … */
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
  union {       /* the builder's description, zeros replaced by the defaults; its name and references are not kept */
    nn_conv_desc conv;
    nn_batch_norm_desc batch_norm;
    nn_linear_desc linear;
    nn_pool_desc pool;
    nn_cross_entropy_desc cross_entropy;
    double dropout;
  } as;
} nn_node;

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

/* The operator's description of a pooling of one sample of this shape, as in training; dtype and layout are the defaults. */
gp_pool_desc nn_pool_operation(const nn_pool_desc *d, nn_shape in);

/* Inputs that a node reads in this mode: without a draw, a pooling that has mu does not need sigma. */
static inline int32_t nn_inputs_read(const nn_node *node, nn_mode mode) {
  if (node->op != NN_OP_POOL || mode != NN_INFER) return node->input_count;
  nn_pool_places at = nn_pool_places_of(&node->as.pool);
  return at.mu > 0 && at.sigma > 0 ? at.sigma : node->input_count;
}

/* Node x of a net, 0 to nn_net_layer_count() - 1: inputs stand before what reads them, the loss is last. Owned by the net. */
const nn_node *nn_net_node(const nn_net *net, nn_ref x);

/* The input of the loss. */
nn_ref nn_net_logits(const nn_net *net);

/* Index, for nn_net_state() and the like, of a node's first state tensor; its others follow, as in nn_node.params. */
int32_t nn_net_first_state(const nn_net *net, nn_ref x);

#endif
