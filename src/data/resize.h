/* Resizing for images that are not the net's size. */
#ifndef GP_DATA_RESIZE_H
#define GP_DATA_RESIZE_H

#include "data/image.h"

/* Resizes to height × width: separable triangle filter, widened by the scale when shrinking (antialiasing), in the
 * fixed point of Pillow's BILINEAR, rows before columns (as Pillow up to 12 always does). `dst` and `src` are different images; dst is reserved here.
 * Errors: invalid argument (empty image or size), out of memory. */
GP_NODISCARD gp_status data_resize(data_image *dst, const data_image *src, int32_t height, int32_t width);

/* Resizes so that the shorter side is `side`, the other in proportion (rounded down), as torchvision's Resize(side). */
GP_NODISCARD gp_status data_resize_shorter(data_image *dst, const data_image *src, int32_t side);

/* Cuts the middle height × width out of the image, in place. It must be at least that large. */
GP_NODISCARD gp_status data_centre_crop(data_image *image, int32_t height, int32_t width);

/* Makes any image height × width: scales so that the whole target is covered, then centre crop. An image of that size
 * is copied. For the `predict` command. */
GP_NODISCARD gp_status data_fit(data_image *dst, const data_image *src, int32_t height, int32_t width);

#endif
