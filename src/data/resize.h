/* Resizing for images that are not the net's size. */
#ifndef GP_DATA_RESIZE_H
#define GP_DATA_RESIZE_H

#include "data/image.h"

/* ---- Parts of images, with buffers that are kept ---- */

/* One axis of a resize: a stretch of the input becomes `to` pixels, of which `count` from `first` on are made. Inputs are
 * counted from the whole image's edge. */
typedef struct data_axis {
  double start, extent; /* the stretch, in inputs; may begin and end between two */
  int32_t low, high;    /* inputs low … high-1 are looked at, as if there were no others */
  int32_t to, first, count;
} data_axis;

/* The inputs that the axis' filter reaches: *low … *high-1. */
void data_axis_reach(const data_axis *axis, int32_t *low, int32_t *high);

/* For each position of the result along one axis: the first input it takes, how many, and their weights. */
typedef struct data_axis_filter {
  int32_t taps;                        /* room for each position */
  int32_t *first, *used, *weight;      /* [count], [count], [count][taps]: fixed point, sum 1 */
  double *exact;                       /* [taps], scratch */
  size_t positions, weights, tap_room; /* elements behind the pointers */
} data_axis_filter;

/* Zero-initialise; data_resizer_free() when done. */
typedef struct data_resizer {
  data_axis_filter x, y;
  data_image between;
} data_resizer;

void data_resizer_free(data_resizer *resizer);

/* Makes dst (reserved here) y.count × x.count pixels: separable triangle filter, widened by the scale when shrinking
 * (antialiasing), in the fixed point of Pillow's BILINEAR, rows before columns (as Pillow up to 12 always does). src
 * holds the whole image's pixels from row `top` and column `left` on, at least as many as data_axis_reach() says.
 * Allocates only where the buffers are too small. Errors: invalid argument, out of memory. */
GP_NODISCARD gp_status data_resize_part(data_image *dst, const data_image *src, int32_t top, int32_t left,
                                        const data_axis *y, const data_axis *x, data_resizer *resizer);

/* ---- Whole images ---- */

/* Resizes to height × width. `dst` and `src` are different images; dst is reserved here.
 * Errors: invalid argument (empty image or size), out of memory. */
GP_NODISCARD gp_status data_resize(data_image *dst, const data_image *src, int32_t height, int32_t width);

/* The size of a height × width image whose shorter side becomes `side`, the other in proportion (rounded down), as
 * torchvision's Resize(side). Errors: invalid argument. */
GP_NODISCARD gp_status data_shorter_size(int32_t *new_height, int32_t *new_width, int32_t height, int32_t width,
                                         int32_t side);

/* Resizes to that size. */
GP_NODISCARD gp_status data_resize_shorter(data_image *dst, const data_image *src, int32_t side);

/* Cuts the middle height × width out of the image, in place. It must be at least that large. */
GP_NODISCARD gp_status data_centre_crop(data_image *image, int32_t height, int32_t width);

/* Makes any image height × width: scales so that the whole target is covered, then centre crop. An image of that size
 * is copied. For the `predict` command. */
GP_NODISCARD gp_status data_fit(data_image *dst, const data_image *src, int32_t height, int32_t width);

#endif
