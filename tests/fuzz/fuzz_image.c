/* The image decoders on any bytes, and the conversion and resizing of what they give. */
#include "data/decode.h"
#include "data/resize.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  data_image image = {0}, fitted = {0};
  /* Small limits: large images only make the search slow. */
  data_decode_desc desc = {.name = "fuzz", .channels = size % 2 == 0 ? 0 : 3, .max_pixels = 1 << 18};
  gp_status status = data_decode(&image, bytes, size, &desc);
  if (status == GP_OK && image.channels != 1 && image.channels != 3) abort();
  if (status == GP_OK) status = data_image_convert(&image, 1);
  if (status == GP_OK && data_fit(&fitted, &image, 28, 28) == GP_OK && fitted.width != 28) abort();
  data_image_free(&image);
  data_image_free(&fitted);
  return 0;
}
