/* What the caller gave: pointers there and aligned, gradients that the kind has. */
#include "pool/arguments.h"

#include "base/status.h"
#include "pool/params.h"

/* An argument: what it points to, and whether the call can do without. */
struct argument {
  const char *name;
  const void *pointer;
  gp_dtype dtype;
  bool needed;
};

static gp_status check_arguments(const gp_pool_plan *plan, const struct argument *arguments, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const struct argument *argument = &arguments[i];
    size_t size = gp_dtype_size(argument->dtype);
    if (argument->pointer == NULL && argument->needed)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `%s` is NULL, and kind %s needs it", argument->name,
                     plan->kind->name);
    if ((uintptr_t)argument->pointer % size != 0)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `%s` is not aligned to its elements of %zu bytes",
                     argument->name, size);
  }
  return GP_OK;
}

static gp_status check_scale(const void *scale, const void *shift) {
  if ((scale == NULL) != (shift == NULL))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `scale` and `shift` go together, found `%s` NULL",
                   scale == NULL ? "scale" : "shift");
  return GP_OK;
}

static bool needs_sigma(const gp_pool_plan *plan) {
  return gp_pool_kind_has_sigma(plan->kind) &&
         (plan->desc.stochasticity != GP_STOCHASTIC_NONE || plan->kind->link == GP_LINK_ABSOLUTE);
}

static gp_dtype weight_dtype(const gp_pool_plan *plan) {
  return plan->desc.param_shape == GP_SHAPE_NCHW ? plan->desc.dtype : gp_dtype_of_params(plan->desc.dtype);
}

static gp_status check_inputs(const gp_pool_plan *plan, const gp_pool_forward_args *args, bool needs_x) {
  gp_status status = GP_OK;
  gp_dtype tensor = plan->desc.dtype, param = gp_dtype_of_params(tensor);
  const struct argument arguments[] = {
      {"x", args->x, tensor, needs_x},
      {"y", args->y, tensor, true},
      {"mu", args->mu, param, true},
      {"sigma", args->sigma, param, needs_sigma(plan)},
      {"weight", args->weight, weight_dtype(plan), true},
      {"scale", args->scale, param, false},
      {"shift", args->shift, param, false},
      {"average_y", args->average_y, param, false},
      {"seed", args->seed, GP_FLOAT64, false}, /* of that size */
  };
  GP_TRY(check_scale(args->scale, args->shift));
  GP_TRY(check_arguments(plan, arguments, 2));
  if (gp_pool_kind_has_mu(plan->kind)) GP_TRY(check_arguments(plan, arguments + 2, 1));
  if (gp_pool_kind_has_sigma(plan->kind)) GP_TRY(check_arguments(plan, arguments + 3, 1));
  if (gp_pool_kind_has_weight(plan->kind)) GP_TRY(check_arguments(plan, arguments + 4, 1));
  GP_TRY(check_arguments(plan, arguments + 5, 4));
cleanup:
  return status;
}

gp_status gp_pool_begin_query(gp_pool_plan *plan, const gp_pool_desc *desc, size_t *bytes) {
  gp_status status = GP_OK;
  GP_TRY(gp_pool_plan_make(plan, desc));
  if (bytes == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `bytes` is NULL");
  *bytes = 0;
cleanup:
  return status;
}

gp_status gp_pool_begin_call(gp_pool_plan *plan, const gp_pool_desc *desc, const void *args) {
  gp_status status = gp_pool_plan_make(plan, desc);
  if (status == GP_OK && args == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: the arguments are NULL");
  return status;
}

gp_status gp_pool_check_forward(const gp_pool_plan *plan, const gp_pool_forward_args *args) {
  return check_inputs(plan, args, true);
}

gp_pool_backward_args gp_pool_wanted_gradients(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  gp_pool_backward_args wanted = *args;
  if (!gp_pool_kind_has_mu(plan->kind)) wanted.grad_mu = NULL;
  if (!gp_pool_kind_has_sigma(plan->kind)) wanted.grad_sigma = NULL;
  if (!gp_pool_kind_has_weight(plan->kind)) wanted.grad_weight = NULL;
  if (args->scale == NULL) wanted.grad_scale = wanted.grad_shift = NULL;
  return wanted;
}

bool gp_pool_backward_reads_x(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  return plan->kind->body != GP_BODY_MEAN || args->scale != NULL;
}

gp_pool_forward_args gp_pool_inputs(const gp_pool_backward_args *args) {
  return (gp_pool_forward_args){.x = args->x,
                                .mu = args->mu,
                                .sigma = args->sigma,
                                .weight = args->weight,
                                .scale = args->scale,
                                .shift = args->shift,
                                .seed = args->seed};
}

gp_status gp_pool_check_backward(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  gp_status status = GP_OK;
  gp_dtype tensor = plan->desc.dtype, param = gp_dtype_of_params(tensor);
  const struct argument arguments[] = {
      {"grad_y", args->grad_y, tensor, true},
      {"grad_x", args->grad_x, tensor, false},
      {"grad_average_y", args->grad_average_y, param, false},
      {"grad_average_x", args->grad_average_x, param, false},
      {"grad_mu", args->grad_mu, param, false},
      {"grad_sigma", args->grad_sigma, param, false},
      {"grad_weight", args->grad_weight, weight_dtype(plan), false},
      {"grad_scale", args->grad_scale, param, false},
      {"grad_shift", args->grad_shift, param, false},
  };
  gp_pool_forward_args inputs = gp_pool_inputs(args);
  /* y is no argument here, and is checked as what it is: grad_y stands in. */
  inputs.y = (void *)(uintptr_t)args->grad_y;
  GP_TRY(check_arguments(plan, arguments, sizeof arguments / sizeof arguments[0]));
  GP_TRY(check_inputs(plan, &inputs, gp_pool_backward_reads_x(plan, args)));
cleanup:
  return status;
}
