/* The public entry points: check what the caller gave, then hand it to the kernels. */
#include "base/status.h"
#include "pool/arguments.h"
#include "pool/kernels.h"
#include "pool/params.h"

#include <inttypes.h>
#include <string.h>

/* The query is a search; a call that brings memory does not pay for it. */
static gp_status check_workspace(const gp_pool_plan *plan, const void *workspace,
                                 size_t (*query)(const gp_pool_plan *plan), const char *name) {
  if (workspace != NULL && (uintptr_t)workspace % 64 == 0) return GP_OK;
  size_t bytes = query(plan);
  if (bytes > 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `workspace` must be %zu bytes aligned to 64 (%s), found %p",
                   bytes, name, workspace);
  return GP_OK;
}

/* ---- Forward ------------------------------------------------------------------------------- */

gp_status gp_pool_forward_workspace(const gp_pool_desc *desc, size_t *bytes) {
  gp_pool_plan plan;
  gp_status status = gp_pool_begin_query(&plan, desc, bytes);
  if (status != GP_OK) return status;
  if (plan.desc.batch > 0) *bytes = gp_pool_kernels_for(&plan)->forward_workspace(&plan);
  return GP_OK;
}

gp_status gp_pool_forward(const gp_pool_desc *desc, const gp_pool_forward_args *args) {
  gp_pool_plan plan;
  gp_status status = GP_OK;
  GP_TRY(gp_pool_begin_call(&plan, desc, args));
  if (plan.desc.batch == 0) return GP_OK;
  GP_TRY(gp_pool_check_forward(&plan, args));
  if (args->seed != NULL) plan.desc.seed = *args->seed;
  const gp_pool_kernels *kernels = gp_pool_kernels_for(&plan);
  if (args->average_y != NULL)
    GP_TRY(check_workspace(&plan, args->workspace, kernels->forward_workspace, "gp_pool_forward_workspace"));
  kernels->forward(&plan, args);
cleanup:
  return status;
}

/* ---- Backward ------------------------------------------------------------------------------ */

gp_status gp_pool_backward_workspace(const gp_pool_desc *desc, size_t *bytes) {
  gp_pool_plan plan;
  gp_status status = gp_pool_begin_query(&plan, desc, bytes);
  if (status != GP_OK) return status;
  if (plan.desc.batch > 0) *bytes = gp_pool_kernels_for(&plan)->backward_workspace(&plan);
  return GP_OK;
}

static void zero(void *gradient, size_t elements, gp_dtype dtype) {
  if (gradient != NULL && elements > 0) memset(gradient, 0, elements * gp_dtype_size(dtype));
}

/* The sums over no samples. Parameters of a shape with the batch in it have no elements then. */
static void zero_param_gradients(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  size_t elements = gp_param_elements(plan), channels = (size_t)plan->desc.channels;
  gp_dtype dtype = gp_dtype_of_params(plan->desc.dtype);
  zero(args->grad_mu, elements, dtype);
  zero(args->grad_sigma, elements, dtype);
  zero(args->grad_weight, elements, dtype);
  zero(args->grad_scale, channels, dtype);
  zero(args->grad_shift, channels, dtype);
}

gp_status gp_pool_backward(const gp_pool_desc *desc, const gp_pool_backward_args *args) {
  gp_pool_plan plan;
  gp_status status = GP_OK;
  GP_TRY(gp_pool_begin_call(&plan, desc, args));
  gp_pool_backward_args wanted = gp_pool_wanted_gradients(&plan, args);
  if (plan.desc.batch == 0) {
    zero_param_gradients(&plan, &wanted);
    return GP_OK;
  }
  GP_TRY(gp_pool_check_backward(&plan, &wanted));
  if (wanted.seed != NULL) plan.desc.seed = *wanted.seed;
  const gp_pool_kernels *kernels = gp_pool_kernels_for(&plan);
  GP_TRY(check_workspace(&plan, args->workspace, kernels->backward_workspace, "gp_pool_backward_workspace"));
  if (!gp_pool_backward_reads_x(&plan, &wanted)) {
    if (wanted.grad_x == NULL) return GP_OK;
    plan.x_unread = true;
    plan.desc.x_stride = plan.desc.grad_x_stride;
    wanted.x = wanted.grad_x;
  }
  kernels->backward(&plan, &wanted);
cleanup:
  return status;
}
