/* The backward program. Nodes go in reverse; each hands gradients to its inputs. A gradient that several nodes hand
 * on unchanged lies in one buffer for all of them, until one must write to it while another still has to read it. */
#include "base/status.h"
#include "nn/plan.h"

/* While the program is made: the time of the step at hand. */
typedef struct maker {
  nn_plan *plan;
  int32_t time;
} maker;

static size_t gradient_bytes(const nn_plan *plan, nn_ref x) {
  nn_tensor tensor = nn_plan_tensor(plan, x);
  return nn_tensor_bytes(&tensor);
}

/* Whether a node other than `owner` still has to read this gradient, or the owner once more, as its addend. */
static bool awaited(const nn_plan *plan, int32_t buffer, nn_ref owner) {
  for (int32_t i = 0; i < plan->count; ++i) {
    const nn_plan_node *node = &plan->nodes[i];
    if (node->grad_addend == buffer && !node->done) return true;
    if (i != owner && node->grad == buffer && !node->done) return true;
  }
  return false;
}

static void append(maker *m, nn_backward_step step) { m->plan->steps[m->plan->step_count++] = step; }

/* gradient of x += addend: in a step of its own, or as x's kernel reads it. */
static gp_status add_to(maker *m, nn_ref x, int32_t addend) {
  nn_plan *plan = m->plan;
  nn_plan_node *node = &plan->nodes[x];
  if (node->kernel != NULL && node->kernel->takes_addend && node->grad_addend < 0) {
    node->grad_addend = addend;
    return GP_OK;
  }
  int32_t sum = node->grad, before = node->grad;
  ++m->time;
  if (awaited(plan, before, x)) {
    gp_status status = nn_plan_buffer(plan, gradient_bytes(plan, x), m->time, &sum);
    if (status != GP_OK) return status;
  }
  nn_plan_touch(plan, before, m->time);
  nn_plan_touch(plan, addend, m->time);
  append(m, (nn_backward_step){.node = x, .kind = NN_STEP_ADD, .target = sum, .a = before, .b = addend});
  node->grad = sum;
  return GP_OK;
}

/* All inputs get the same gradient: grad_out, changed in place if nobody else awaits it. */
static gp_status pass_through(maker *m, int32_t i) {
  nn_plan *plan = m->plan;
  nn_plan_node *node = &plan->nodes[i];
  gp_status status = GP_OK;
  int32_t result = node->grad;
  if (node->kernel->changes_grad) {
    if (awaited(plan, node->grad, i)) GP_TRY(nn_plan_buffer(plan, gradient_bytes(plan, i), m->time, &result));
    node->grad_in[0] = result;
    append(m, (nn_backward_step){.node = i});
  }
  for (int32_t k = 0; k < node->input_count; ++k) {
    nn_ref x = nn_plan_source(plan, i, k);
    if (!plan->nodes[x].requires_grad) continue;
    if (plan->nodes[x].grad < 0)
      plan->nodes[x].grad = result;
    else
      GP_TRY(add_to(m, x, result));
  }
cleanup:
  return status;
}

/* Each input gets a gradient of its own; those that have one already get a sum. */
static gp_status write_each(maker *m, int32_t i) {
  nn_plan *plan = m->plan;
  nn_plan_node *node = &plan->nodes[i];
  gp_status status = GP_OK;
  int32_t start = m->time;
  append(m, (nn_backward_step){.node = i});
  for (int32_t k = 0; k < node->input_count; ++k) {
    nn_ref x = nn_plan_source(plan, i, k);
    nn_plan_node *input = &plan->nodes[x];
    if (!input->requires_grad || (k == 0 && node->kernel->spreads)) continue;
    if (k == 0 && input->grad >= 0 && node->kernel->accumulates && !awaited(plan, input->grad, x)) {
      node->grad_in[k] = input->grad;
      node->accumulate[k] = true;
      nn_plan_touch(plan, input->grad, start);
      continue;
    }
    GP_TRY(nn_plan_buffer(plan, gradient_bytes(plan, x), start, &node->grad_in[k]));
    if (input->grad < 0)
      input->grad = node->grad_in[k];
    else
      GP_TRY(add_to(m, x, node->grad_in[k]));
  }
cleanup:
  return status;
}

/* An input that was not kept: the first backward step that reads it has it made again. */
static gp_status touch_again(maker *m, nn_ref x) {
  nn_plan *plan = m->plan;
  nn_plan_node *node = &plan->nodes[x];
  if (node->again >= 0) {
    nn_plan_touch(plan, node->again, m->time);
    return GP_OK;
  }
  nn_plan_touch(plan, node->saved, m->time);
  for (int32_t k = 0; k < node->input_count; ++k)
    nn_plan_touch(plan, nn_plan_value(plan, nn_plan_source(plan, x, k)), m->time);
  append(m, (nn_backward_step){.node = x, .kind = NN_STEP_REPEAT});
  gp_status status = nn_plan_buffer(plan, node->kernel->scratch_repeat_bytes, m->time, &node->scratch_repeat);
  return status != GP_OK ? status : nn_plan_buffer(plan, gradient_bytes(plan, x), m->time, &node->again);
}

/* The buffers that the kernel reads in its backward step live until then. */
static gp_status touch_operands(maker *m, int32_t i) {
  nn_plan *plan = m->plan;
  nn_plan_node *node = &plan->nodes[i];
  nn_plan_touch(plan, node->grad, m->time);
  nn_plan_touch(plan, node->grad_addend, m->time);
  nn_plan_touch(plan, node->saved, m->time);
  if (node->kernel->needs_output) nn_plan_touch(plan, node->value, m->time);
  for (int32_t k = 0; k < node->input_count; ++k) {
    nn_ref x = nn_plan_source(plan, i, k);
    if (node->kernel->needs_input && plan->nodes[x].repeated) {
      gp_status status = touch_again(m, x);
      if (status != GP_OK) return status;
    } else if (node->kernel->needs_input) {
      nn_plan_touch(plan, nn_plan_value(plan, x), m->time);
    }
    if (plan->nodes[x].unstored) nn_plan_touch(plan, plan->nodes[x].saved, m->time);
  }
  return nn_plan_buffer(plan, node->kernel->scratch_backward_bytes, m->time, &node->scratch_backward);
}

gp_status nn_plan_backward_program(nn_plan *plan) {
  maker m = {plan, plan->count};
  gp_status status = GP_OK;
  for (int32_t i = plan->count - 1; i >= 0; --i) {
    nn_plan_node *node = &plan->nodes[i];
    if (node->live && node->requires_grad) {
      GP_TRY(touch_operands(&m, i));
      GP_TRY(node->kernel->pass_through ? pass_through(&m, i) : write_each(&m, i));
      ++m.time;
    }
    node->done = true; /* not before: until here it awaits its own gradient */
  }
cleanup:
  return status;
}
