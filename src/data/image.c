#include "data/image.h"

#include "base/memory.h"
#include "base/status.h"

gp_status data_image_reserve(data_image *image, int32_t height, int32_t width, int32_t channels) {
  if (height < 1 || width < 1 || channels < 1 || channels > 4)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "image of %d x %d pixels with %d channels: sides must be at least 1, channels 1 to 4", height, width,
                   channels);
  size_t bytes = 0;
  gp_status status = GP_OK;
  GP_TRY(gp_mul_size(&bytes, (size_t)height, (size_t)width));
  GP_TRY(gp_mul_size(&bytes, bytes, (size_t)channels));
  if (bytes > image->capacity) {
    data_image_free(image);
    GP_TRY(GP_ALLOC(&image->pixels, bytes));
    image->capacity = bytes;
  }
  image->height = height;
  image->width = width;
  image->channels = channels;
cleanup:
  return status;
}

void data_image_free(data_image *image) {
  if (image == NULL) return;
  gp_free(image->pixels);
  *image = (data_image){0};
}

/* L = 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point; grey stays what it is, as the weights add up to 65536. */
static uint8_t luma(const uint8_t *rgb) {
  return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

static gp_status grey_to_rgb(data_image *image) {
  size_t pixels = (size_t)image->height * (size_t)image->width;
  size_t bytes = 0;
  gp_status status = GP_OK;
  uint8_t *target = image->pixels;
  GP_TRY(gp_mul_size(&bytes, pixels, 3));
  if (bytes > image->capacity) GP_TRY(GP_ALLOC(&target, bytes));
  /* From the end, so that in place nothing is overwritten before it is read. */
  for (size_t i = pixels; i-- > 0;) {
    uint8_t grey = image->pixels[i];
    for (size_t c = 0; c < 3; ++c) target[3 * i + c] = grey;
  }
  if (target != image->pixels) {
    gp_free(image->pixels);
    image->pixels = target;
    image->capacity = bytes;
  }
  image->channels = 3;
cleanup:
  return status;
}

gp_status data_image_convert(data_image *image, int32_t channels) {
  if (image->channels == channels) return GP_OK;
  if (image->channels == 1 && channels == 3) return grey_to_rgb(image);
  if (image->channels != 3 || channels != 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "an image of %d channels cannot become one of %d: expected 1 (grey) or 3 (RGB)", image->channels,
                   channels);
  size_t pixels = (size_t)image->height * (size_t)image->width;
  for (size_t i = 0; i < pixels; ++i) image->pixels[i] = luma(image->pixels + 3 * i);
  image->channels = 1;
  return GP_OK;
}
