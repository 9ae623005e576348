/* From graph to program: what is live, what fuses, which kernels, where everything lies. */
#include <limits.h>

#include "base/memory.h"
#include "base/status.h"
#include "nn/plan.h"

nn_tensor nn_plan_tensor(const nn_plan *plan, nn_ref x) { return nn_net_tensor(plan->net, x, plan->desc.batch); }

gp_status nn_plan_buffer(nn_plan *plan, size_t bytes, int32_t time, int32_t *out) {
  *out = -1;
  if (bytes == 0) return GP_OK;
  if (plan->buffer_count == plan->buffer_capacity)
    return gp_fail(GP_ERROR_LIBRARY, "the plan holds %d buffers, its bound", plan->buffer_capacity);
  *out = plan->buffer_count++;
  plan->buffers[*out] = (nn_buffer){.bytes = bytes, .first = time, .last = time};
  return GP_OK;
}

void nn_plan_touch(nn_plan *plan, int32_t buffer, int32_t time) {
  if (buffer >= 0 && plan->buffers[buffer].last < time) plan->buffers[buffer].last = time;
}

static bool is_identity(const nn_node *node, nn_mode mode) {
  return node->op == NN_OP_DROPOUT && (mode == NN_INFER || node->as.dropout == 0);
}

static void mark_live(nn_plan *plan) {
  const nn_graph *g = plan->net->graph;
  plan->nodes[g->count - 1].live = true; /* the loss is last: it ends the graph */
  for (int32_t i = g->count - 1; i >= 0; --i) {
    nn_plan_node *node = &plan->nodes[i];
    node->stands_for = i;
    node->input_count = nn_inputs_read(g->nodes[i], plan->desc.mode);
    for (int32_t k = 0; node->live && k < node->input_count; ++k) plan->nodes[g->nodes[i]->inputs[k]].live = true;
  }
}

static int32_t count_readers(const nn_plan *plan, nn_ref x) {
  int32_t readers = 0;
  for (int32_t i = x + 1; i < plan->count; ++i)
    for (int32_t k = 0; plan->nodes[i].live && k < plan->nodes[i].input_count; ++k)
      readers += nn_plan_source(plan, i, k) == x;
  return readers;
}

/* At inference a batch norm is a scale and a shift, which the convolution in front of it, if nobody else reads that, applies. */
static bool folds(const nn_plan *plan, int32_t i) {
  const nn_graph *g = plan->net->graph;
  nn_ref x = nn_plan_source(plan, i, 0);
  if (plan->desc.mode != NN_INFER || plan->desc.store_activations || g->nodes[i]->op != NN_OP_BATCH_NORM) return false;
  if (g->nodes[x]->op != NN_OP_CONV || count_readers(plan, x) != 1) return false;
  if (plan->nodes[x].folded >= 0 || plan->nodes[x].fuse_relu) return false; /* it stands behind those */
  return plan->net->device_class->folds_batch_norm(g->nodes[x], plan->net->slots[plan->net->first_slot[x]].layout);
}

/* What a ReLU becomes a part of, if nobody else reads it. */
static bool takes_relu(const nn_plan *plan, nn_ref x) {
  nn_op op = plan->net->graph->nodes[x]->op;
  bool infers = plan->desc.mode == NN_INFER && !plan->desc.store_activations;
  return op == NN_OP_BATCH_NORM || op == NN_OP_ADD || (op == NN_OP_CONV && infers);
}

/* Batch norms at inference go into convolutions, ReLUs into batch norms, sums and at inference into convolutions. */
static void fuse(nn_plan *plan) {
  const nn_graph *g = plan->net->graph;
  for (int32_t i = 0; i < plan->count; ++i) {
    nn_plan_node *node = &plan->nodes[i];
    if (!node->live) continue;
    bool drop = is_identity(g->nodes[i], plan->desc.mode);
    if (g->nodes[i]->op == NN_OP_RELU) {
      nn_ref x = nn_plan_source(plan, i, 0);
      drop = takes_relu(plan, x) && !plan->nodes[x].fuse_relu && count_readers(plan, x) == 1;
      if (drop) plan->nodes[x].fuse_relu = true;
    }
    if (folds(plan, i)) {
      plan->nodes[nn_plan_source(plan, i, 0)].folded = i;
      drop = true;
    }
    if (!drop) continue;
    node->stands_for = nn_plan_source(plan, i, 0);
    node->live = false;
  }
}

/* What can apply a batch norm to what it reads: the operator, and the global average that guides it. */
static bool applies_affine(const nn_node *reader, int32_t input) {
  return input == 0 && (reader->op == NN_OP_POOL || reader->op == NN_OP_GLOBAL_AVG_POOL);
}

/* True when exactly one pooling, and beside it at most global averages, read the batch norm x. */
static bool only_pooled(const nn_plan *plan, nn_ref x) {
  int32_t pools = 0;
  for (int32_t i = x + 1; i < plan->count; ++i)
    for (int32_t k = 0; plan->nodes[i].live && k < plan->nodes[i].input_count; ++k) {
      if (nn_plan_source(plan, i, k) != x) continue;
      const nn_node *reader = plan->net->graph->nodes[i];
      if (!applies_affine(reader, k)) return false;
      pools += reader->op == NN_OP_POOL;
    }
  return pools == 1;
}

/* A batch norm and ReLU that only a pooling reads are not stored: it applies them. */
static void leave_unstored(nn_plan *plan) {
  if (plan->desc.store_activations || !plan->net->device_class->applies_affine) return;
  for (int32_t i = 0; i < plan->count; ++i) {
    nn_plan_node *node = &plan->nodes[i];
    bool candidate = node->live && node->fuse_relu && plan->net->graph->nodes[i]->op == NN_OP_BATCH_NORM;
    node->unstored = candidate && only_pooled(plan, i);
  }
}

static void mark_gradients(nn_plan *plan) {
  const nn_graph *g = plan->net->graph;
  if (plan->desc.mode != NN_TRAIN) return;
  for (int32_t i = 0; i < plan->count; ++i) {
    nn_plan_node *node = &plan->nodes[i];
    for (int32_t p = 0; p < g->nodes[i]->param_count; ++p) node->requires_grad |= g->nodes[i]->params[p].is_parameter;
    for (int32_t k = 0; k < node->input_count; ++k)
      node->requires_grad |= plan->nodes[nn_plan_source(plan, i, k)].requires_grad;
  }
}

static gp_status make_kernel(nn_plan *plan, int32_t i) {
  nn_net *net = plan->net;
  nn_plan_node *node = &plan->nodes[i];
  const nn_node *definition = net->graph->nodes[i];
  nn_tensor in[NN_MAX_INPUTS];
  nn_kernel_desc desc = {.node = definition,
                         .index = i,
                         .mode = plan->desc.mode,
                         .fuse_relu = node->fuse_relu,
                         .unstored = node->unstored,
                         .sync = plan->desc.sync,
                         .whole_batch = plan->desc.whole_batch,
                         .in = in,
                         .out = nn_plan_tensor(plan, i)};
  for (int32_t k = 0; k < node->input_count; ++k) {
    nn_ref x = nn_plan_source(plan, i, k);
    in[k] = nn_plan_tensor(plan, x);
    desc.reads_affine |= plan->nodes[x].unstored;
    desc.wants_grad[k] = plan->nodes[x].requires_grad;
  }
  if (node->folded >= 0) desc.folded = net->graph->nodes[node->folded];
  if (definition->param_count > 0) desc.weight_layout = net->slots[net->first_slot[i]].layout;
  gp_status status = net->device_class->kernel(&node->kernel, net->device, &desc);
  return status == GP_OK ? GP_OK
                         : gp_fail_in(status, "%s%s%s", nn_op_name(definition->op), definition->name[0] ? " " : "",
                                      definition->name);
}

/* Whether everyone who reads x going backward can read it from elsewhere than going forward, and someone does. */
static bool read_again(const nn_plan *plan, nn_ref x) {
  bool read = false;
  for (int32_t i = x + 1; i < plan->count; ++i) {
    const nn_kernel *kernel = plan->nodes[i].kernel;
    for (int32_t k = 0; kernel != NULL && kernel->needs_input && k < plan->nodes[i].input_count; ++k) {
      if (nn_plan_source(plan, i, k) != x) continue;
      if (!kernel->takes_again) return false;
      read = true;
    }
  }
  return read;
}

/* What is cheap to make again is not kept from the forward to the backward pass. */
static void choose_repeated(nn_plan *plan) {
  if (plan->desc.mode != NN_TRAIN || plan->desc.store_activations) return;
  for (int32_t i = 0; i < plan->count; ++i) {
    nn_plan_node *node = &plan->nodes[i];
    if (node->kernel == NULL || node->kernel->repeat == NULL || node->kernel->needs_output) continue;
    node->repeated = node->requires_grad && !node->unstored && read_again(plan, i);
  }
}

static gp_status forward_buffers(nn_plan *plan) {
  gp_status status = GP_OK;
  for (int32_t i = 0; i < plan->count; ++i) {
    nn_plan_node *node = &plan->nodes[i];
    if (!node->live) continue;
    nn_tensor tensor = nn_plan_tensor(plan, i);
    GP_TRY(nn_plan_buffer(plan, node->unstored ? 0 : nn_tensor_bytes(&tensor), i, &node->value));
    for (int32_t k = 0; k < node->input_count; ++k) {
      nn_ref x = nn_plan_source(plan, i, k);
      nn_plan_touch(plan, nn_plan_value(plan, x), i);
      if (plan->nodes[x].unstored) nn_plan_touch(plan, plan->nodes[x].saved, i);
    }
    if (node->kernel == NULL) continue;
    GP_TRY(nn_plan_buffer(plan, node->kernel->saved_bytes, i, &node->saved));
    GP_TRY(nn_plan_buffer(plan, node->kernel->scratch_forward_bytes, i, &node->scratch_forward));
  }
  /* The logits are read by the caller after the last step. */
  nn_plan_touch(plan, plan->nodes[plan->nodes[plan->net->graph->logits].stands_for].value, INT_MAX);
cleanup:
  return status;
}

/* Before anything is computed from the sizes: no tensor beyond what an address space can hold many of. */
static gp_status check_sizes(const nn_plan *plan) {
  const size_t most = (size_t)1 << 46;
  for (int32_t i = 0; i < plan->count; ++i) {
    nn_tensor tensor = nn_plan_tensor(plan, i);
    if (nn_tensor_elements(&tensor) > most / sizeof(float))
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "batch size %lld: a tensor of %lldx%lldx%lld per sample gets too large",
                     (long long)plan->desc.batch, (long long)tensor.shape.channels, (long long)tensor.shape.height,
                     (long long)tensor.shape.width);
  }
  return GP_OK;
}

/* Bounds on the tables, from the graph's size. */
static gp_status allocate_tables(nn_plan *plan) {
  const nn_graph *g = plan->net->graph;
  gp_status status = GP_OK;
  int32_t edges = 0;
  for (int32_t i = 0; i < g->count; ++i) edges += g->nodes[i]->input_count;
  plan->buffer_capacity = 7 * g->count + 3 * edges;
  plan->step_capacity = 2 * g->count + edges;
  GP_TRY(GP_ALLOC(&plan->nodes, (size_t)plan->count));
  GP_TRY(GP_ALLOC(&plan->buffers, (size_t)plan->buffer_capacity));
  GP_TRY(GP_ALLOC(&plan->steps, (size_t)plan->step_capacity));
  GP_TRY(GP_ALLOC(&plan->labels, (size_t)plan->desc.batch));
  for (int32_t i = 0; i < plan->count; ++i) {
    nn_plan_node *node = &plan->nodes[i];
    node->folded = -1;
    node->value = node->again = node->grad = node->grad_addend = node->saved = -1;
    node->scratch_forward = node->scratch_backward = node->scratch_repeat = -1;
    for (int32_t k = 0; k < NN_MAX_INPUTS; ++k) node->grad_in[k] = -1;
  }
cleanup:
  return status;
}

gp_status nn_plan_create(nn_plan **out, nn_net *net, const nn_plan_desc *desc) {
  gp_status status = GP_OK;
  nn_plan *plan = NULL;
  *out = NULL;
  if (desc->batch < 1)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "batch size %lld, expected at least 1", (long long)desc->batch));
  if (desc->mode == NN_TRAIN && net->arenas.gradient == NULL)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "a plan for training needs a net created trainable"));
  GP_TRY(GP_ALLOC(&plan, 1));
  plan->net = net;
  plan->desc = *desc;
  plan->count = net->graph->count;
  GP_TRY(check_sizes(plan));
  GP_TRY(allocate_tables(plan));
  mark_live(plan);
  fuse(plan);
  leave_unstored(plan);
  mark_gradients(plan);
  for (int32_t i = 0; i < plan->count; ++i)
    if (plan->nodes[i].live && net->graph->nodes[i]->op != NN_OP_INPUT) GP_TRY(make_kernel(plan, i));
  choose_repeated(plan);
  GP_TRY(forward_buffers(plan));
  if (desc->mode == NN_TRAIN) GP_TRY(nn_plan_backward_program(plan));
  GP_TRY(nn_arena_plan(plan->buffers, plan->buffer_count, &plan->bytes, &plan->bytes_without_reuse));
  if (!desc->reserve_later) GP_TRY(nn_net_reserve_activations(net, plan->bytes));
  *out = plan;
  plan = NULL;
cleanup:
  nn_plan_destroy(&plan);
  return status;
}

void nn_plan_destroy(nn_plan **plan_pointer) {
  nn_plan *plan = *plan_pointer;
  if (plan == NULL) return;
  for (int32_t i = 0; plan->nodes != NULL && i < plan->count; ++i)
    if (plan->nodes[i].kernel != NULL) plan->nodes[i].kernel->destroy(plan->nodes[i].kernel);
  gp_free(plan->nodes);
  gp_free(plan->buffers);
  gp_free(plan->steps);
  gp_free(plan->labels);
  gp_free(plan->times);
  gp_free(plan);
  *plan_pointer = NULL;
}
