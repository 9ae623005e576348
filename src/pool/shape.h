/* Shapes: descriptor checks, PyTorch's window rule and the place of an element in each memory layout. */
#ifndef GP_POOL_SHAPE_H
#define GP_POOL_SHAPE_H

#include "pool/kinds.h"

/* A descriptor that passed its checks, with the defaults filled in. All the kernels work from this. */
typedef struct gp_pool_plan {
  gp_pool_desc desc; /* stride and eps are never 0; stochasticity is NONE for a kind that draws nothing */
  const gp_pool_kind_info *kind;
  int64_t out_height, out_width;
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
static inline gp_pool_span gp_pool_span_at(const gp_pool_desc *desc, int axis, int64_t out) {
  int64_t size = axis == 0 ? desc->height : desc->width;
  int64_t begin = out * desc->stride[axis] - desc->padding[axis];
  int64_t end = begin + desc->kernel[axis];
  int64_t padded_end = end < size + desc->padding[axis] ? end : size + desc->padding[axis];
  gp_pool_span span = {begin > 0 ? begin : 0, end < size ? end : size, padded_end - begin};
  if (desc->pad_count == GP_COUNT_EXCLUDE_PAD) span.divisor = span.end - span.begin;
  return span;
}

/* Channels in a block: 8 or 16, or 0 for the layouts without blocks. */
static inline int64_t gp_layout_block(gp_layout layout) {
  return layout == GP_NCHW8C ? 8 : layout == GP_NCHW16C ? 16 : 0;
}

/* Channels rounded up to whole blocks. */
static inline int64_t gp_layout_channels(gp_layout layout, int64_t channels) {
  int64_t block = gp_layout_block(layout);
  return block == 0 ? channels : (channels + block - 1) / block * block;
}

/* Element (n, c, h, w) = base + h·row + w·pixel, in elements. */
typedef struct gp_pool_plane {
  int64_t base, row, pixel;
} gp_pool_plane;

/* The plane of (n, c) in a tensor of the given channels, height and width. c may be a padding lane. */
static inline gp_pool_plane gp_pool_plane_at(gp_layout layout, int64_t channels, int64_t height, int64_t width,
                                             int64_t n, int64_t c) {
  if (layout == GP_NCHW) return (gp_pool_plane){(n * channels + c) * height * width, width, 1};
  if (layout == GP_NHWC) return (gp_pool_plane){n * height * width * channels + c, width * channels, channels};
  int64_t block = gp_layout_block(layout), padded = gp_layout_channels(layout, channels);
  int64_t base = (n * padded + c / block * block) * height * width + c % block;
  return (gp_pool_plane){base, width * block, block};
}

/* The planes of x and of y. */
static inline gp_pool_plane gp_pool_input_plane(const gp_pool_plan *plan, int64_t n, int64_t c) {
  const gp_pool_desc *desc = &plan->desc;
  return gp_pool_plane_at(desc->layout, desc->channels, desc->height, desc->width, n, c);
}
static inline gp_pool_plane gp_pool_output_plane(const gp_pool_plan *plan, int64_t n, int64_t c) {
  return gp_pool_plane_at(plan->desc.layout, plan->desc.channels, plan->out_height, plan->out_width, n, c);
}

#endif
