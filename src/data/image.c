#include "data/image.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/pixels.h"

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

/* Pixel i of `from` channels to one of `to`; the fourth channel has no meaning. */
static void convert_pixel(uint8_t *target, int32_t to, const uint8_t *source, int32_t from) {
  const uint8_t pixel[3] = {source[0], source[from == 1 ? 0 : 1], source[from == 1 ? 0 : 2]};
  if (to == 1) {
    target[0] = from == 1 ? pixel[0] : data_luma(pixel);
    return;
  }
  for (int32_t c = 0; c < 3; ++c) target[c] = pixel[c];
  if (to == 4) target[3] = 255;
}

static gp_status widen(data_image *image, int32_t channels) {
  const size_t pixels = (size_t)image->height * (size_t)image->width, from = (size_t)image->channels;
  size_t bytes = 0;
  gp_status status = GP_OK;
  uint8_t *target = image->pixels;
  GP_TRY(gp_mul_size(&bytes, pixels, (size_t)channels));
  if (bytes > image->capacity) GP_TRY(GP_ALLOC(&target, bytes));
  /* From the end, so that in place nothing is overwritten before it is read. */
  for (size_t i = pixels; i-- > 0;)
    convert_pixel(target + i * (size_t)channels, channels, image->pixels + i * from, image->channels);
  if (target != image->pixels) {
    gp_free(image->pixels);
    image->pixels = target;
    image->capacity = bytes;
  }
  image->channels = channels;
cleanup:
  return status;
}

static bool is_known(int32_t channels) { return channels == 1 || channels == 3 || channels == 4; }

gp_status data_image_convert(data_image *image, int32_t channels) {
  if (image->channels == channels) return GP_OK;
  if (!is_known(image->channels) || !is_known(channels))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "an image of %d channels cannot become one of %d: expected 1 (grey), 3 (RGB) or 4 (RGBX)",
                   image->channels, channels);
  if (channels > image->channels) return widen(image, channels);
  const size_t pixels = (size_t)image->height * (size_t)image->width, from = (size_t)image->channels;
  for (size_t i = 0; i < pixels; ++i)
    convert_pixel(image->pixels + i * (size_t)channels, channels, image->pixels + i * from, image->channels);
  image->channels = channels;
  return GP_OK;
}
