/* Running a plan. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/vectorize.h"
#include "nn/element.h"
#include "nn/layout.h"
#include "nn/plan.h"

static void *at(const nn_plan *plan, int32_t buffer) {
  return buffer < 0 ? NULL : (char *)plan->net->activations + plan->buffers[buffer].offset;
}

/* The values of a batch norm that node i applies. */
static void bind_folded(nn_plan *plan, int32_t i, nn_bindings *at_node) {
  const nn_net *net = plan->net;
  nn_ref norm = plan->nodes[i].folded;
  for (int32_t p = 0; norm >= 0 && p < net->graph->nodes[norm]->param_count; ++p) {
    const nn_param *param = &net->graph->nodes[norm]->params[p];
    const nn_slot *slot = &net->slots[net->first_slot[norm] + p];
    if (!param->is_int64)
      at_node->folded_value[p] = (param->is_parameter ? net->arenas.value : net->arenas.statistics) + slot->offset;
  }
}

static void bind_state(nn_plan *plan, int32_t i, nn_bindings *at_node) {
  nn_net *net = plan->net;
  const nn_node *definition = net->graph->nodes[i];
  for (int32_t p = 0; p < definition->param_count; ++p) {
    const nn_slot *slot = &net->slots[net->first_slot[i] + p];
    if (definition->params[p].is_int64) {
      at_node->batches_tracked = &net->counters[slot->offset];
    } else if (definition->params[p].is_parameter) {
      at_node->value[p] = net->arenas.value + slot->offset;
      at_node->gradient[p] = net->arenas.gradient == NULL ? NULL : net->arenas.gradient + slot->offset;
    } else {
      at_node->value[p] = net->arenas.statistics + slot->offset;
    }
  }
}

static gp_status bind_node(nn_plan *plan, int32_t i) {
  nn_plan_node *node = &plan->nodes[i];
  if (node->kernel == NULL) return GP_OK;
  nn_bindings *b = &node->kernel->at;
  *b = (nn_bindings){.out = at(plan, node->value),
                     .again = at(plan, node->again),
                     .grad_out = at(plan, node->grad),
                     .grad_out_addend = at(plan, node->grad_addend),
                     .saved = at(plan, node->saved),
                     .scratch_forward = at(plan, node->scratch_forward),
                     .scratch_backward = at(plan, node->scratch_backward),
                     .scratch_repeat = at(plan, node->scratch_repeat),
                     .step = &plan->step,
                     .labels = &plan->current_labels,
                     .loss = &plan->loss};
  for (int32_t k = 0; k < node->input_count; ++k) {
    nn_ref x = nn_plan_source(plan, i, k);
    b->in[k] = at(plan, nn_plan_value(plan, x));
    b->in_backward[k] = plan->nodes[x].repeated ? at(plan, plan->nodes[x].again) : b->in[k];
    if (plan->nodes[x].unstored) b->affine = at(plan, plan->nodes[x].saved);
    b->grad_in[k] = at(plan, node->grad_in[k]);
    b->accumulate[k] = node->accumulate[k];
  }
  bind_state(plan, i, b);
  bind_folded(plan, i, b);
  return node->kernel->bind == NULL ? GP_OK : node->kernel->bind(node->kernel);
}

static gp_status bind(nn_plan *plan) {
  gp_status status = GP_OK;
  GP_TRY(
      nn_net_reserve_activations(plan->net, plan->bytes)); /* lost when another plan's larger arena was not to be had */
  if (plan->bound_generation == plan->net->activation_generation) goto cleanup;
  for (int32_t i = 0; i < plan->count; ++i) GP_TRY(bind_node(plan, i));
  plan->bound_generation = plan->net->activation_generation;
cleanup:
  return status;
}

static gp_status check_labels(const nn_plan *plan, const int32_t *labels) {
  int64_t classes = nn_net_classes(plan->net);
  for (int64_t n = 0; labels != NULL && n < plan->desc.batch; ++n)
    if (labels[n] < 0 || labels[n] >= classes)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "label %d of sample %lld is not in 0 to %lld", labels[n], (long long)n,
                     (long long)classes - 1);
  return GP_OK;
}

gp_status nn_plan_time(nn_plan *plan) {
  plan->timed_steps = 0;
  if (plan->times == NULL) return GP_ALLOC(&plan->times, (size_t)plan->count);
  memset(plan->times, 0, (size_t)plan->count * sizeof *plan->times);
  return GP_OK;
}

nn_layer_time nn_plan_layer_time(const nn_plan *plan, int32_t index) {
  return plan->times == NULL ? (nn_layer_time){0} : plan->times[index];
}

int64_t nn_plan_timed_steps(const nn_plan *plan) { return plan->timed_steps; }

static double now(const nn_plan *plan) { return plan->times == NULL ? 0 : gp_seconds(); }

static gp_status run_forward(nn_plan *plan, int32_t i) {
  nn_kernel *kernel = plan->nodes[i].kernel;
  if (kernel == NULL) return GP_OK;
  double started = now(plan);
  gp_status status = kernel->forward(kernel);
  if (plan->times != NULL) plan->times[i].forward += now(plan) - started;
  return status;
}

gp_status nn_plan_forward(nn_plan *plan, const float *images, const int32_t *labels, const nn_step_desc *step) {
  gp_status status = GP_OK;
  plan->forward_done = false;
  GP_TRY(check_labels(plan, labels));
  GP_TRY(bind(plan));
  plan->net->last_run = plan;
  plan->step = *step;
  if (labels != NULL) memcpy(plan->labels, labels, (size_t)plan->desc.batch * sizeof *labels);
  plan->current_labels = labels == NULL ? NULL : plan->labels;
  plan->loss = 0;
  ++plan->timed_steps;
  nn_tensor input = nn_plan_tensor(plan, 0), plain = input;
  plain.layout = GP_NCHW;
  plain.type = GP_FLOAT32;
  nn_copy_channels(&plain, images, 0, &input, at(plan, plan->nodes[0].value), 0, input.shape.channels);
  nn_clear_padding(&input, at(plan, plan->nodes[0].value));
  for (int32_t i = 0; i < plan->count; ++i) GP_TRY(run_forward(plan, i));
  plan->forward_done = labels != NULL;
cleanup:
  return status;
}

/* `target` may be a or b. */
static void add(float *target, const float *a, const float *b, size_t count) {
  GP_INDEPENDENT
  for (size_t i = 0; i < count; ++i) target[i] = a[i] + b[i];
}

static void run_addition(const nn_plan *plan, const nn_backward_step *step) {
  nn_tensor tensor = nn_plan_tensor(plan, step->node);
  nn_run_loop(add, tensor.type, at(plan, step->target), at(plan, step->a), at(plan, step->b),
              nn_tensor_elements(&tensor));
}

static gp_status run_step(nn_plan *plan, const nn_backward_step *step) {
  nn_kernel *kernel = plan->nodes[step->node].kernel;
  gp_status status = GP_OK;
  double started = now(plan);
  if (step->kind == NN_STEP_ADD)
    run_addition(plan, step);
  else
    status = step->kind == NN_STEP_REPEAT ? kernel->repeat(kernel) : kernel->backward(kernel);
  if (plan->times != NULL) plan->times[step->node].backward += now(plan) - started;
  return status;
}

gp_status nn_plan_run_op(nn_plan *plan, const char *op) {
  gp_status status = GP_OK;
  const nn_graph *g = plan->net->graph;
  plan->forward_done = false;
  GP_TRY(bind(plan));
  for (int32_t i = 0; i < plan->count; ++i)
    if (strcmp(nn_op_name(g->nodes[i]->op), op) == 0) GP_TRY(run_forward(plan, i));
  for (int32_t s = 0; s < plan->step_count; ++s)
    if (plan->steps[s].kind == NN_STEP_BACKWARD && strcmp(nn_op_name(g->nodes[plan->steps[s].node]->op), op) == 0)
      GP_TRY(run_step(plan, &plan->steps[s]));
cleanup:
  return status;
}

void nn_plan_watch_gradients(nn_plan *plan, nn_gradients_fn watch, void *context) {
  plan->watch = watch;
  plan->watch_context = context;
}

/* Steps go through the nodes in reverse, parameters lie in the order of nodes, and a node's gradients are written by its own step. */
static gp_status tell_gradients(const nn_plan *plan, const nn_backward_step *step, size_t *first) {
  const nn_net *net = plan->net;
  if (plan->watch == NULL) return GP_OK;
  if (step->kind == NN_STEP_BACKWARD)
    for (int32_t p = net->graph->nodes[step->node]->param_count - 1; p >= 0; --p)
      if (net->graph->nodes[step->node]->params[p].is_parameter)
        *first = net->slots[net->first_slot[step->node] + p].offset;
  return plan->watch(plan->watch_context, *first);
}

gp_status nn_plan_backward(nn_plan *plan) {
  size_t first = plan->net->arenas.count;
  gp_status status = GP_OK;
  if (plan->desc.mode != NN_TRAIN || !plan->forward_done)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "backward needs a plan for training whose forward call had labels"));
  if (plan->net->last_run != plan || plan->bound_generation != plan->net->activation_generation)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "backward must follow its plan's forward call at once: another plan of the net has used the arena"));
  for (int32_t s = 0; s < plan->step_count; ++s) {
    GP_TRY(run_step(plan, &plan->steps[s]));
    GP_TRY(tell_gradients(plan, &plan->steps[s], &first));
  }
  if (plan->watch != NULL && first > 0)
    GP_TRY(plan->watch(plan->watch_context, 0)); /* layers that the loss does not need */
cleanup:
  plan->forward_done = false; /* gradients in place have used up what forward left */
  return status;
}

const float *nn_plan_logits(const nn_plan *plan) {
  return at(plan, plan->nodes[plan->nodes[plan->net->graph->logits].stands_for].value);
}

double nn_plan_loss(const nn_plan *plan) { return plan->loss; }

gp_status nn_plan_reserve(nn_plan *plan) { return nn_net_reserve_activations(plan->net, plan->bytes); }

size_t nn_plan_activation_bytes(const nn_plan *plan) { return plan->bytes; }

size_t nn_plan_activation_bytes_without_reuse(const nn_plan *plan) { return plan->bytes_without_reuse; }
