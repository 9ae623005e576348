/* An image in memory, 8 bits a channel, and its conversion between grey and RGB. */
#ifndef GP_DATA_IMAGE_H
#define GP_DATA_IMAGE_H

#include <gausspool/gausspool.h>

/* A buffer that is used again for image after image. Zero-initialise; data_image_free() when done. */
typedef struct data_image {
  uint8_t *pixels; /* [height][width][channels], without gaps */
  int32_t height, width, channels;
  size_t capacity; /* bytes behind `pixels` */
} data_image;

/* A part of an image. */
typedef struct data_box {
  int32_t top, left, height, width;
} data_box;

/* Gives the image this shape (each at least 1, channels at most 4) and a buffer for it; allocates only when the one
 * it has is too small. The pixels are undefined afterwards. Errors: invalid shape, out of memory (the image is empty). */
GP_NODISCARD gp_status data_image_reserve(data_image *image, int32_t height, int32_t width, int32_t channels);

/* Releases the buffer and empties the image. NULL is fine. */
void data_image_free(data_image *image);

/* Converts in place between 1 channel (grey), 3 (RGB) and 4 (RGBX, the fourth without meaning); the same number is no
 * work. Grey is the luma of ITU-R BT.601 in the fixed point of Pillow's mode "L".
 * Errors: invalid argument for other channel numbers, out of memory. */
GP_NODISCARD gp_status data_image_convert(data_image *image, int32_t channels);

/* Where the middle `part` of `whole` begins; a half is rounded to the even number, as Python's round() does it in
 * torchvision's CenterCrop. part ≤ whole. */
static inline int32_t data_centre_offset(int32_t whole, int32_t part) {
  int32_t spare = whole - part, half = spare / 2;
  return half + (spare % 2 != 0 && half % 2 != 0);
}

#endif
