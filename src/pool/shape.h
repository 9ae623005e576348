/* Shapes: descriptor checks, PyTorch's window rule and the place of an element in each memory layout. */
#ifndef GP_POOL_SHAPE_H
#define GP_POOL_SHAPE_H

#include "base/device.h"
#include "pool/kinds.h"

/* A descriptor that passed its checks, with the defaults filled in. All the kernels work from this. */
typedef struct gp_pool_plan {
  gp_pool_desc
      desc; /* stride (but with `adaptive`), eps, norm and the strides of tensors are never 0; stochasticity is NONE
                      * for a kind that draws nothing */
  const gp_pool_kind_info *kind;
  int64_t out_height, out_width;
  gp_strides map_stride; /* of a weight map and of the draws: y's shape, dense */
  bool x_unread; /* a backward call that does not depend on x: it stands at a valid place, but is not looked at */
} gp_pool_plan;

/* Checks the descriptor. Errors: GP_ERROR_INVALID_ARGUMENT, naming the field. */
GP_NODISCARD gp_status gp_pool_plan_make(gp_pool_plan *plan, const gp_pool_desc *desc);

/* A window along one axis. */
typedef struct gp_pool_span {
  int64_t begin, end; /* its real elements; at least one */
  int64_t divisor;    /* how many elements of this axis the mean counts */
} gp_pool_span;

/* The window of output index `out` along an axis (0: height, 1: width). As AvgPool2d: with GP_COUNT_INCLUDE_PAD the
 * divisor counts the window cut at input + padding, so what ceil_mode adds beyond that is not counted. */
GP_HD static inline gp_pool_span gp_pool_span_at(const gp_pool_desc *desc, int axis, int64_t out) {
  int64_t size = axis == 0 ? desc->height : desc->width;
  int64_t outputs = desc->adaptive[axis];
  if (outputs > 0) {
    int64_t first = out * size / outputs, last = ((out + 1) * size + outputs - 1) / outputs;
    gp_pool_span span = {first, last, last - first};
    return span;
  }
  int64_t begin = out * desc->stride[axis] - desc->padding[axis];
  int64_t end = begin + desc->kernel[axis];
  int64_t padded_end = end < size + desc->padding[axis] ? end : size + desc->padding[axis];
  gp_pool_span span = {begin > 0 ? begin : 0, end < size ? end : size, padded_end - begin};
  if (desc->pad_count == GP_COUNT_EXCLUDE_PAD) span.divisor = span.end - span.begin;
  return span;
}

/* Elements of the kernel along an axis: with `adaptive`, of the span. */
GP_HD static inline int64_t gp_pool_kernel_of(const gp_pool_desc *desc, int axis, const gp_pool_span *span) {
  return desc->adaptive[axis] > 0 ? span->end - span->begin : desc->kernel[axis];
}

/* Channels in a block: 8 or 16, or 0 for the layouts without blocks. */
GP_HD static inline int64_t gp_layout_block(gp_layout layout) {
  return layout == GP_NCHW8C ? 8 : layout == GP_NCHW16C ? 16 : 0;
}

/* Channels rounded up to whole blocks. */
GP_HD static inline int64_t gp_layout_channels(gp_layout layout, int64_t channels) {
  int64_t block = gp_layout_block(layout);
  return block == 0 ? channels : (channels + block - 1) / block * block;
}

/* Strides of a dense tensor. */
static inline gp_strides gp_strides_dense(gp_layout layout, int64_t channels, int64_t height, int64_t width) {
  int64_t plane = height * width, block = gp_layout_block(layout);
  gp_strides rows = {channels * plane, plane, width, 1};
  gp_strides pixels = {channels * plane, 1, width * channels, channels};
  gp_strides blocks = {gp_layout_channels(layout, channels) * plane, plane * block, width * block, block};
  return layout == GP_NCHW ? rows : layout == GP_NHWC ? pixels : blocks;
}

/* Element (n, c, h, w) = base + h·row + w·pixel, in elements. */
typedef struct gp_pool_plane {
  int64_t base, row, pixel;
} gp_pool_plane;

/* The plane of (n, c) in a tensor of the given layout and strides. c may be a padding lane. */
GP_HD static inline gp_pool_plane gp_pool_plane_at(gp_layout layout, const gp_strides *strides, int64_t n, int64_t c) {
  int64_t block = gp_layout_block(layout);
  int64_t base = n * strides->n + (block > 0 ? c / block * strides->c + c % block : c * strides->c);
  gp_pool_plane plane = {base, strides->h, strides->w};
  return plane;
}

/* The planes of the tensors of a plan; map: of a weight map. */
static inline gp_pool_plane gp_pool_x_plane(const gp_pool_plan *plan, int64_t n, int64_t c) {
  return gp_pool_plane_at(plan->desc.layout, &plan->desc.x_stride, n, c);
}
static inline gp_pool_plane gp_pool_y_plane(const gp_pool_plan *plan, int64_t n, int64_t c) {
  return gp_pool_plane_at(plan->desc.layout, &plan->desc.y_stride, n, c);
}
static inline gp_pool_plane gp_pool_grad_x_plane(const gp_pool_plan *plan, int64_t n, int64_t c) {
  return gp_pool_plane_at(plan->desc.layout, &plan->desc.grad_x_stride, n, c);
}
static inline gp_pool_plane gp_pool_grad_y_plane(const gp_pool_plan *plan, int64_t n, int64_t c) {
  return gp_pool_plane_at(plan->desc.layout, &plan->desc.grad_y_stride, n, c);
}
static inline gp_pool_plane gp_pool_map_plane(const gp_pool_plan *plan, int64_t n, int64_t c) {
  return gp_pool_plane_at(plan->desc.layout, &plan->map_stride, n, c);
}

#endif
