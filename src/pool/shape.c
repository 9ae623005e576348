#include "pool/shape.h"

#include "base/status.h"

#include <inttypes.h>
#include <math.h>

static const char *const axis_names[2] = {"height", "width"};

size_t gp_dtype_size(gp_dtype dtype) { return dtype == GP_FLOAT64 ? 8 : 4; }

size_t gp_layout_elements(gp_layout layout, int64_t batch, int64_t channels, int64_t height, int64_t width) {
  if (batch <= 0 || channels <= 0 || height <= 0 || width <= 0) return 0;
  if (channels > INT64_MAX - 16) return SIZE_MAX;
  size_t elements = (size_t)gp_layout_channels(layout, channels);
  if (__builtin_mul_overflow(elements, (size_t)height, &elements)) return SIZE_MAX;
  if (__builtin_mul_overflow(elements, (size_t)width, &elements)) return SIZE_MAX;
  if (__builtin_mul_overflow(elements, (size_t)batch, &elements)) return SIZE_MAX;
  return elements;
}

static gp_status check_enums(const gp_pool_desc *desc) {
  if (gp_pool_kind_find(desc->kind) == NULL)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: there is no kind %d", (int)desc->kind);
  if ((unsigned)desc->dtype > GP_FLOAT64)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: there is no dtype %d", (int)desc->dtype);
  if ((unsigned)desc->layout > GP_NCHW16C)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: there is no layout %d", (int)desc->layout);
  if ((unsigned)desc->pad_count > GP_COUNT_EXCLUDE_PAD)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: there is no pad_count %d", (int)desc->pad_count);
  if ((unsigned)desc->param_shape > GP_SHAPE_NCHW)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: there is no param_shape %d", (int)desc->param_shape);
  if ((unsigned)desc->stochasticity > GP_STOCHASTIC_HWCN)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: there is no stochasticity %d", (int)desc->stochasticity);
  return GP_OK;
}

static gp_status check_sizes(const gp_pool_desc *desc) {
  if (desc->batch < 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: batch must be at least 0, found %" PRId64, desc->batch);
  if (desc->channels < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: channels must be at least 1, found %" PRId64, desc->channels);
  for (int axis = 0; axis < 2; ++axis) {
    int64_t size = axis == 0 ? desc->height : desc->width;
    if (size < 1 || size > INT32_MAX)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: %s must be 1 to %d, found %" PRId64, axis_names[axis],
                     INT32_MAX, size);
    if (desc->kernel[axis] < 1)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: the kernel's %s must be at least 1, found %" PRId32,
                     axis_names[axis], desc->kernel[axis]);
    if (desc->stride[axis] < 0)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                     "pooling: the stride's %s must be at least 1, or 0 for the kernel's, found %" PRId32,
                     axis_names[axis], desc->stride[axis]);
    if (desc->padding[axis] < 0 || desc->padding[axis] > desc->kernel[axis] / 2)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                     "pooling: the padding's %s must be 0 to %" PRId32 ", half the kernel, found %" PRId32,
                     axis_names[axis], desc->kernel[axis] / 2, desc->padding[axis]);
  }
  return GP_OK;
}

static gp_status check_numbers(const gp_pool_desc *desc) {
  if (!(desc->eps >= 0) || isinf(desc->eps))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: eps must be finite and at least 0, found %g", desc->eps);
  if (desc->threads < 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: threads must be at least 0, found %" PRId32, desc->threads);
  int64_t last = 0;
  if (desc->first_sample < 0 || __builtin_add_overflow(desc->first_sample, desc->batch, &last) ||
      __builtin_mul_overflow(last, desc->channels, &last))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: first_sample must be at least 0 and (first_sample + batch) * channels fit 64 bits, "
                   "found first_sample %" PRId64 " with batch %" PRId64 " and %" PRId64 " channels",
                   desc->first_sample, desc->batch, desc->channels);
  if (gp_pool_kind_find(desc->kind)->link == GP_LINK_SOFTPLUS && desc->param_shape == GP_SHAPE_NCHW)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: mu and sigma of GP_SHAPE_NCHW are not offered; use GP_POOL_WEIGHTED for a weight map");
  return GP_OK;
}

/* pooling_output_shape of PyTorch. In ceil_mode the last window must begin inside the input or the padding before
 * it. With padding ≤ kernel/2 every window then holds at least one real element. */
static int64_t output_size(const gp_pool_desc *desc, int axis) {
  int64_t size = axis == 0 ? desc->height : desc->width;
  int64_t stride = desc->stride[axis], padding = desc->padding[axis];
  int64_t room = size + 2 * padding - desc->kernel[axis] + (desc->ceil_mode ? stride - 1 : 0);
  if (room < 0) return 0;
  int64_t out = room / stride + 1;
  if (desc->ceil_mode && (out - 1) * stride >= size + padding) --out;
  return out;
}

static gp_status check_memory(const gp_pool_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  /* Doubles and the largest signed offset bound both dtypes; planes, too, when the batch is empty. */
  size_t limit = (size_t)PTRDIFF_MAX / sizeof(double);
  int64_t batch = desc->batch > 0 ? desc->batch : 1;
  size_t in = gp_layout_elements(desc->layout, batch, desc->channels, desc->height, desc->width);
  size_t out = gp_layout_elements(desc->layout, batch, desc->channels, plan->out_height, plan->out_width);
  if (in > limit || out > limit)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: a tensor of %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64
                   " does not fit the address space",
                   desc->batch, desc->channels, desc->height, desc->width);
  return GP_OK;
}

gp_status gp_pool_plan_make(gp_pool_plan *plan, const gp_pool_desc *desc) {
  if (desc == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: the descriptor is NULL");
  gp_status status = GP_OK;
  GP_TRY(check_enums(desc));
  GP_TRY(check_sizes(desc));
  GP_TRY(check_numbers(desc));
  *plan = (gp_pool_plan){.desc = *desc, .kind = gp_pool_kind_find(desc->kind)};
  for (int axis = 0; axis < 2; ++axis)
    if (desc->stride[axis] == 0) plan->desc.stride[axis] = desc->kernel[axis];
  if (desc->eps == 0) plan->desc.eps = 1e-6;
  if (!gp_pool_kind_draws(plan->kind)) plan->desc.stochasticity = GP_STOCHASTIC_NONE;
  plan->out_height = output_size(&plan->desc, 0);
  plan->out_width = output_size(&plan->desc, 1);
  if (plan->out_height < 1 || plan->out_width < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: a kernel of %" PRId32 " x %" PRId32 " does not fit an input of %" PRId64 " x %" PRId64
                   " with padding %" PRId32 " x %" PRId32,
                   desc->kernel[0], desc->kernel[1], desc->height, desc->width, desc->padding[0], desc->padding[1]);
  GP_TRY(check_memory(plan));
cleanup:
  return status;
}
