/* The public entry points of gausspool_cuda.h: check what the caller gave, turn to its device, queue the kernels. */
#include <gausspool/gausspool_cuda.h>

#include "base/status.h"
#include "pool/arguments.h"
#include "pool/cuda/device.h"
#include "pool/cuda/plan.h"
#include "pool/params.h"

gp_status gp_cuda_available(void) { return gp_cuda_device_check(); }

static gp_status check_workspace(const void *workspace, size_t bytes, const char *query) {
  if (bytes == 0 || (workspace != NULL && (uintptr_t)workspace % 64 == 0)) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                 "pooling on CUDA: `workspace` must be %zu bytes aligned to 64 (%s), found %p", bytes, query,
                 workspace);
}

/* ---- Forward ------------------------------------------------------------------------------- */

gp_status gp_cuda_pool_forward_workspace(const gp_pool_desc *desc, size_t *bytes) {
  gp_pool_plan plan;
  gp_cuda_plan cuda;
  gp_status status = GP_OK;
  GP_TRY(gp_pool_begin_query(&plan, desc, bytes));
  if (plan.desc.batch > 0) GP_TRY(gp_cuda_plan_forward(&cuda, bytes, &plan, NULL));
cleanup:
  return status;
}

static gp_status launch_forward(const gp_cuda_plan *plan, void *stream) {
  switch (plan->desc.dtype) {
    case GP_FLOAT64: return gp_cuda_forward_float64(plan, stream);
    case GP_BFLOAT16: return gp_cuda_forward_bfloat16(plan, stream);
    case GP_FLOAT16: return gp_cuda_forward_float16(plan, stream);
    default: return gp_cuda_forward_float32(plan, stream);
  }
}

gp_status gp_cuda_pool_forward(const gp_pool_desc *desc, const gp_pool_forward_args *args, void *stream) {
  gp_pool_plan plan;
  gp_cuda_plan cuda;
  size_t bytes = 0;
  int before = 0;
  gp_status status = GP_OK;
  GP_TRY(gp_pool_begin_call(&plan, desc, args));
  if (plan.desc.batch == 0) return GP_OK;
  GP_TRY(gp_pool_check_forward(&plan, args));
  GP_TRY(gp_cuda_plan_forward(&cuda, &bytes, &plan, args));
  GP_TRY(check_workspace(args->workspace, bytes, "gp_cuda_pool_forward_workspace"));
  GP_TRY(gp_cuda_device_enter(args->x, "x", &before));
  status = launch_forward(&cuda, stream);
  gp_cuda_device_leave(before);
cleanup:
  return status;
}

/* ---- Backward ------------------------------------------------------------------------------ */

gp_status gp_cuda_pool_backward_workspace(const gp_pool_desc *desc, size_t *bytes) {
  gp_pool_plan plan;
  gp_cuda_plan cuda;
  gp_status status = GP_OK;
  GP_TRY(gp_pool_begin_query(&plan, desc, bytes));
  if (plan.desc.batch > 0) GP_TRY(gp_cuda_plan_backward(&cuda, bytes, &plan, NULL));
cleanup:
  return status;
}

/* The sums over no samples. Parameters of a shape with the batch in it have no elements then. */
static gp_status clear_param_gradients(const gp_pool_plan *plan, const gp_pool_backward_args *args, void *stream) {
  gp_status status = GP_OK;
  size_t elements = gp_param_elements(plan), channels = (size_t)plan->desc.channels;
  size_t size = gp_dtype_size(gp_dtype_of_params(plan->desc.dtype));
  void *const gradients[] = {args->grad_mu, args->grad_sigma, args->grad_weight, args->grad_scale, args->grad_shift};
  for (int i = 0; i < 5; ++i) {
    size_t bytes = (i < 3 ? elements : channels) * size;
    if (gradients[i] == NULL || bytes == 0) continue;
    int before = 0;
    GP_TRY(gp_cuda_device_enter(gradients[i], "gradient", &before));
    status = gp_cuda_device_clear(gradients[i], bytes, stream);
    gp_cuda_device_leave(before);
    if (status != GP_OK) break;
  }
cleanup:
  return status;
}

static gp_status launch_backward(const gp_cuda_plan *plan, void *stream) {
  switch (plan->desc.dtype) {
    case GP_FLOAT64: return gp_cuda_backward_float64(plan, stream);
    case GP_BFLOAT16: return gp_cuda_backward_bfloat16(plan, stream);
    case GP_FLOAT16: return gp_cuda_backward_float16(plan, stream);
    default: return gp_cuda_backward_float32(plan, stream);
  }
}

gp_status gp_cuda_pool_backward(const gp_pool_desc *desc, const gp_pool_backward_args *args, void *stream) {
  gp_pool_plan plan;
  gp_cuda_plan cuda;
  size_t bytes = 0;
  int before = 0;
  gp_status status = GP_OK;
  GP_TRY(gp_pool_begin_call(&plan, desc, args));
  gp_pool_backward_args wanted = gp_pool_wanted_gradients(&plan, args);
  if (plan.desc.batch == 0) return clear_param_gradients(&plan, &wanted, stream);
  GP_TRY(gp_pool_check_backward(&plan, &wanted));
  if (!gp_pool_backward_reads_x(&plan, &wanted)) {
    if (wanted.grad_x == NULL) return GP_OK;
    wanted.x = NULL;
  }
  GP_TRY(gp_cuda_plan_backward(&cuda, &bytes, &plan, &wanted));
  GP_TRY(check_workspace(args->workspace, bytes, "gp_cuda_pool_backward_workspace"));
  GP_TRY(gp_cuda_device_enter(wanted.grad_y, "grad_y", &before));
  status = launch_backward(&cuda, stream);
  gp_cuda_device_leave(before);
cleanup:
  return status;
}
