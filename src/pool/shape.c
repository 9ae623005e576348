#include "pool/shape.h"

#include "base/status.h"

#include <inttypes.h>
#include <math.h>

static const char *const axis_names[2] = {"height", "width"};

size_t gp_dtype_size(gp_dtype dtype) { return dtype == GP_FLOAT64 ? 8 : dtype == GP_FLOAT32 ? 4 : 2; }

gp_dtype gp_dtype_of_params(gp_dtype dtype) { return dtype == GP_FLOAT64 ? GP_FLOAT64 : GP_FLOAT32; }

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
  if ((unsigned)desc->dtype > GP_FLOAT16)
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
  }
  return GP_OK;
}

static gp_status check_adaptive(const gp_pool_desc *desc) {
  for (int axis = 0; axis < 2; ++axis) {
    if (desc->adaptive[axis] < 1)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: the adaptive %s must be at least 1, found %" PRId32,
                     axis_names[axis], desc->adaptive[axis]);
    if (desc->kernel[axis] != 0 || desc->stride[axis] != 0 || desc->padding[axis] != 0)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                     "pooling: with `adaptive` kernel, stride and padding must be 0, found a %s of %" PRId32
                     ", %" PRId32 " and %" PRId32,
                     axis_names[axis], desc->kernel[axis], desc->stride[axis], desc->padding[axis]);
  }
  if (gp_pool_kind_find(desc->kind)->link == GP_LINK_GATE)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: kind gated has a mask of the kernel's size and cannot be adaptive");
  return GP_OK;
}

static gp_status check_window(const gp_pool_desc *desc) {
  if (desc->adaptive[0] != 0 || desc->adaptive[1] != 0) return check_adaptive(desc);
  for (int axis = 0; axis < 2; ++axis) {
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
  if (!(desc->norm == 0 || desc->norm >= 1) || isinf(desc->norm))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: norm must be finite and at least 1, or 0 for 2, found %g",
                   desc->norm);
  gp_pool_link link = gp_pool_kind_find(desc->kind)->link;
  if (desc->param_shape == GP_SHAPE_NCHW &&
      (link == GP_LINK_SOFTPLUS || link == GP_LINK_IDENTITY || link == GP_LINK_ABSOLUTE))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: mu and sigma of GP_SHAPE_NCHW are not offered; use GP_POOL_WEIGHTED for a weight map");
  if (link == GP_LINK_GATE && desc->param_shape != GP_SHAPE_C && desc->param_shape != GP_SHAPE_ONE)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: the mask of kind gated is of GP_SHAPE_ONE or GP_SHAPE_C, found param_shape %d",
                   (int)desc->param_shape);
  return GP_OK;
}

/* pooling_output_shape of PyTorch. In ceil_mode the last window must begin inside the input or the padding before
 * it. With padding ≤ kernel/2 every window then holds at least one real element. */
static int64_t output_size(const gp_pool_desc *desc, int axis) {
  if (desc->adaptive[axis] > 0) return desc->adaptive[axis];
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
  /* Doubles and the largest signed offset bound all dtypes; planes, too, when the batch is empty. */
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

/* ---- Strides of tensors -------------------------------------------------------------------- */

struct axis {
  int64_t size, stride;
};

/* Elements, of `unit` values each, from the first to past the last; false when they do not fit the address space. */
static bool extent_fits(const struct axis axes[4], int64_t unit) {
  int64_t extent = 1;
  for (int i = 0; i < 4; ++i) {
    int64_t reach;
    if (__builtin_mul_overflow(axes[i].size - 1, axes[i].stride, &reach)) return false;
    if (__builtin_add_overflow(extent, reach, &extent)) return false;
  }
  return extent <= PTRDIFF_MAX / (int64_t)sizeof(double) / unit;
}

/* No two elements share memory: sorted by stride, each axis steps over all that the smaller ones span. Rejects some
 * tensors whose axes interlock without a clash; nobody makes them. */
static bool elements_distinct(struct axis axes[4]) {
  for (int i = 1; i < 4; ++i)
    for (int j = i; j > 0 && axes[j].stride < axes[j - 1].stride; --j) {
      struct axis swapped = axes[j];
      axes[j] = axes[j - 1];
      axes[j - 1] = swapped;
    }
  int64_t span = 1;
  for (int i = 0; i < 4; ++i) {
    if (axes[i].size == 1) continue;
    if (axes[i].stride < span) return false;
    span += (axes[i].size - 1) * axes[i].stride;
  }
  return true;
}

/* Fills in dense strides or checks the caller's. */
static gp_status resolve_strides(const gp_pool_plan *plan, gp_strides *strides, bool output_sized, bool written,
                                 const char *name) {
  const gp_pool_desc *desc = &plan->desc;
  int64_t height = output_sized ? plan->out_height : desc->height;
  int64_t width = output_sized ? plan->out_width : desc->width;
  gp_strides dense = gp_strides_dense(desc->layout, desc->channels, height, width);
  if (strides->n == 0 && strides->c == 0 && strides->h == 0 && strides->w == 0) {
    *strides = dense;
    return GP_OK;
  }
  int64_t block = gp_layout_block(desc->layout);
  int64_t blocks = block > 0 ? gp_layout_channels(desc->layout, desc->channels) / block : desc->channels;
  /* The stride of an axis of one element means nothing: frameworks put anything there. */
  if (desc->batch <= 1) strides->n = dense.n;
  if (blocks == 1) strides->c = dense.c;
  if (height == 1) strides->h = dense.h;
  if (width == 1) strides->w = dense.w;
  if (strides->n < 0 || strides->c < 0 || strides->h < 0 || strides->w < 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: %s must be at least 0, found %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64, name,
                   strides->n, strides->c, strides->h, strides->w);
  if (block > 0 &&
      (strides->n % block != 0 || strides->c % block != 0 || strides->h % block != 0 || strides->w % block != 0))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: %s must be multiples of the block of %" PRId64 " channels, found %" PRId64 ", %" PRId64
                   ", %" PRId64 ", %" PRId64,
                   name, block, strides->n, strides->c, strides->h, strides->w);
  int64_t unit = block > 0 ? block : 1; /* a block moves as one element */
  struct axis axes[4] = {{desc->batch > 0 ? desc->batch : 1, strides->n / unit},
                         {blocks, strides->c / unit},
                         {height, strides->h / unit},
                         {width, strides->w / unit}};
  if (!extent_fits(axes, unit))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: a tensor of %s does not fit the address space", name);
  if (written && !elements_distinct(axes))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: %s of %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64
                   " let elements share memory, which an output must not",
                   name, strides->n, strides->c, strides->h, strides->w);
  return GP_OK;
}

static gp_status resolve_all_strides(gp_pool_plan *plan) {
  gp_status status = GP_OK;
  gp_pool_desc *desc = &plan->desc;
  GP_TRY(resolve_strides(plan, &desc->x_stride, false, false, "x_stride"));
  GP_TRY(resolve_strides(plan, &desc->y_stride, true, true, "y_stride"));
  GP_TRY(resolve_strides(plan, &desc->grad_x_stride, false, true, "grad_x_stride"));
  GP_TRY(resolve_strides(plan, &desc->grad_y_stride, true, false, "grad_y_stride"));
cleanup:
  return status;
}

gp_status gp_pool_plan_make(gp_pool_plan *plan, const gp_pool_desc *desc) {
  if (desc == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: the descriptor is NULL");
  gp_status status = GP_OK;
  GP_TRY(check_enums(desc));
  GP_TRY(check_sizes(desc));
  GP_TRY(check_window(desc));
  GP_TRY(check_numbers(desc));
  *plan = (gp_pool_plan){.desc = *desc, .kind = gp_pool_kind_find(desc->kind)};
  for (int axis = 0; axis < 2; ++axis)
    if (desc->stride[axis] == 0) plan->desc.stride[axis] = desc->kernel[axis];
  if (desc->eps == 0) plan->desc.eps = 1e-6;
  if (desc->norm == 0) plan->desc.norm = 2;
  if (plan->kind->draws == GP_DRAWS_NOTHING) plan->desc.stochasticity = GP_STOCHASTIC_NONE;
  plan->out_height = output_size(&plan->desc, 0);
  plan->out_width = output_size(&plan->desc, 1);
  if (plan->out_height < 1 || plan->out_width < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: a kernel of %" PRId32 " x %" PRId32 " does not fit an input of %" PRId64 " x %" PRId64
                   " with padding %" PRId32 " x %" PRId32,
                   desc->kernel[0], desc->kernel[1], desc->height, desc->width, desc->padding[0], desc->padding[1]);
  GP_TRY(check_memory(plan));
  plan->map_stride = gp_strides_dense(desc->layout, desc->channels, plan->out_height, plan->out_width);
  GP_TRY(resolve_all_strides(plan));
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
