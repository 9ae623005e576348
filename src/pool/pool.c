/* The public entry points: check what the caller gave, then hand it to the kernels. */
#include "base/status.h"
#include "pool/kernels.h"
#include "pool/params.h"

#include <inttypes.h>
#include <string.h>

static gp_status check_pointer(const gp_pool_plan *plan, const void *pointer, const char *name) {
  if (pointer == NULL)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `%s` is NULL, and kind %s needs it", name, plan->kind->name);
  if ((uintptr_t)pointer % gp_dtype_size(plan->desc.dtype) != 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `%s` is not aligned to its elements of %zu bytes", name,
                   gp_dtype_size(plan->desc.dtype));
  return GP_OK;
}

static gp_status check_optional(const gp_pool_plan *plan, const void *pointer, const char *name) {
  return pointer == NULL ? GP_OK : check_pointer(plan, pointer, name);
}

static gp_status check_params(const gp_pool_plan *plan, const void *mu, const void *sigma, const void *weight) {
  gp_status status = GP_OK;
  if (plan->kind->link == GP_LINK_SOFTPLUS) {
    GP_TRY(check_pointer(plan, mu, "mu"));
    if (plan->desc.stochasticity != GP_STOCHASTIC_NONE) GP_TRY(check_pointer(plan, sigma, "sigma"));
  }
  if (plan->kind->link == GP_LINK_GIVEN) GP_TRY(check_pointer(plan, weight, "weight"));
cleanup:
  return status;
}

gp_status gp_pool_output_size(const gp_pool_desc *desc, int64_t *height, int64_t *width) {
  gp_pool_plan plan;
  gp_status status = gp_pool_plan_make(&plan, desc);
  if (status != GP_OK) return status;
  if (height != NULL) *height = plan.out_height;
  if (width != NULL) *width = plan.out_width;
  return GP_OK;
}

gp_status gp_pool_forward(const gp_pool_desc *desc, const gp_pool_forward_args *args) {
  gp_pool_plan plan;
  gp_status status = GP_OK;
  GP_TRY(gp_pool_plan_make(&plan, desc));
  if (args == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: the arguments are NULL");
  if (plan.desc.batch == 0) return GP_OK;
  GP_TRY(check_pointer(&plan, args->x, "x"));
  GP_TRY(check_pointer(&plan, args->y, "y"));
  GP_TRY(check_params(&plan, args->mu, args->sigma, args->weight));
  gp_pool_kernels_for(&plan)->forward(&plan, args);
cleanup:
  return status;
}

gp_status gp_pool_backward_workspace(const gp_pool_desc *desc, size_t *bytes) {
  gp_pool_plan plan;
  gp_status status = gp_pool_plan_make(&plan, desc);
  if (status != GP_OK) return status;
  if (bytes == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `bytes` is NULL");
  *bytes = plan.desc.batch == 0 ? 0 : gp_pool_kernels_for(&plan)->backward_workspace(&plan);
  return GP_OK;
}

/* The gradients a kind has, the others set to NULL: the kernels look at nothing else. */
static gp_pool_backward_args wanted_gradients(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  gp_pool_backward_args wanted = *args;
  if (plan->kind->link != GP_LINK_SOFTPLUS) wanted.grad_mu = wanted.grad_sigma = NULL;
  if (plan->kind->link != GP_LINK_GIVEN) wanted.grad_weight = NULL;
  return wanted;
}

static gp_status check_backward(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  gp_status status = GP_OK;
  GP_TRY(check_pointer(plan, args->x, "x"));
  GP_TRY(check_pointer(plan, args->grad_y, "grad_y"));
  GP_TRY(check_params(plan, args->mu, args->sigma, args->weight));
  GP_TRY(check_optional(plan, args->grad_x, "grad_x"));
  GP_TRY(check_optional(plan, args->grad_mu, "grad_mu"));
  GP_TRY(check_optional(plan, args->grad_sigma, "grad_sigma"));
  GP_TRY(check_optional(plan, args->grad_weight, "grad_weight"));
cleanup:
  return status;
}

/* The sum over no samples. Parameters of a shape with the batch in it have no elements then. */
static void zero_param_gradients(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  size_t bytes = gp_param_elements(plan) * gp_dtype_size(plan->desc.dtype);
  void *gradients[] = {args->grad_mu, args->grad_sigma, args->grad_weight};
  for (size_t i = 0; i < sizeof gradients / sizeof gradients[0]; ++i)
    if (gradients[i] != NULL && bytes > 0) memset(gradients[i], 0, bytes);
}

gp_status gp_pool_backward(const gp_pool_desc *desc, const gp_pool_backward_args *args) {
  gp_pool_plan plan;
  gp_status status = GP_OK;
  GP_TRY(gp_pool_plan_make(&plan, desc));
  if (args == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: the arguments are NULL");
  gp_pool_backward_args wanted = wanted_gradients(&plan, args);
  if (plan.desc.batch == 0) {
    zero_param_gradients(&plan, &wanted);
    return GP_OK;
  }
  GP_TRY(check_backward(&plan, &wanted));
  const gp_pool_kernels *kernels = gp_pool_kernels_for(&plan);
  size_t bytes = kernels->backward_workspace(&plan);
  if (bytes > 0 && (args->workspace == NULL || (uintptr_t)args->workspace % 64 != 0))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: `workspace` must be %zu bytes aligned to 64 (gp_pool_backward_workspace), found %p", bytes,
                   args->workspace);
  kernels->backward(&plan, &wanted);
cleanup:
  return status;
}
