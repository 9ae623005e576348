/* Inside of a plan: the compiled program. compile.c makes it, run.c runs it. */
#ifndef GP_NN_PLAN_H
#define GP_NN_PLAN_H

#include "nn/arena.h"
#include "nn/net.h"

/* One step of the backward program: a node's kernel, or target = a + b over gradients. */
typedef struct nn_backward_step {
  int32_t node; /* the kernel's; for an addition the node whose gradient it is */
  enum { NN_STEP_BACKWARD = 0, NN_STEP_REPEAT, NN_STEP_ADD } kind;
  int32_t target, a, b; /* buffers of the addition, of the node's tensor's size and type */
} nn_backward_step;

/* What the plan knows of a node. Buffers are indices, -1 for none. */
typedef struct nn_plan_node {
  nn_ref stands_for; /* the node whose tensor this one's is: itself, or another that it is fused into or the same as */
  bool live;         /* the loss depends on it, and it has a kernel of its own or is the input */
  bool fuse_relu;
  nn_ref folded; /* a convolution's: the batch norm that it applies to its output; else -1 */
  bool unstored; /* a batch norm and ReLU that its readers apply as they read: its tensor is its input's */
  bool requires_grad;
  bool repeated; /* its tensor is not kept for the backward pass but made again there, in the buffer `again` */
  bool done;     /* while the backward program is made: its step has been */
  nn_kernel *kernel;
  int32_t input_count; /* of those that this mode reads */
  int32_t value, again, grad, grad_addend, saved, scratch_forward, scratch_backward, scratch_repeat;
  int32_t grad_in[NN_MAX_INPUTS];
  bool accumulate[NN_MAX_INPUTS];
} nn_plan_node;

struct nn_plan {
  nn_net *net;
  nn_plan_desc desc;
  int32_t count;
  nn_plan_node *nodes;
  nn_buffer *buffers;
  int32_t buffer_count, buffer_capacity;
  nn_backward_step *steps;
  int32_t step_count, step_capacity;
  size_t bytes, bytes_without_reuse;
  uint32_t bound_generation; /* of the arena that the kernels' bindings point into; 0: none */
  bool forward_done;         /* backward may follow */
  nn_step_desc step;
  int32_t *labels;               /* [batch], a copy */
  const int32_t *current_labels; /* labels, or NULL: the last call had none */
  double loss;
  nn_gradients_fn watch; /* told of gradients that are final; NULL: nobody */
  void *watch_context;
  nn_layer_time *times; /* [count]; NULL: not measured */
  int64_t timed_steps;
};

/* The node whose tensor input k of node i is. */
static inline nn_ref nn_plan_source(const nn_plan *plan, int32_t i, int32_t k) {
  return plan->nodes[plan->net->graph->nodes[i]->inputs[k]].stands_for;
}

/* The buffer in which the tensor of node x is, or that which its readers make it from. */
static inline int32_t nn_plan_value(const nn_plan *plan, nn_ref x) {
  return plan->nodes[plan->nodes[x].unstored ? nn_plan_source(plan, x, 0) : x].value;
}

/* A new buffer that lives at `time`, grown by nn_plan_touch. */
GP_NODISCARD gp_status nn_plan_buffer(nn_plan *plan, size_t bytes, int32_t time, int32_t *out);
void nn_plan_touch(nn_plan *plan, int32_t buffer, int32_t time);

/* The tensor of a node in this plan's batch. */
nn_tensor nn_plan_tensor(const nn_plan *plan, nn_ref x);

/* Makes the backward program; forward steps take the times 0 … count-1, backward steps those from count on. */
GP_NODISCARD gp_status nn_plan_backward_program(nn_plan *plan);

#endif
