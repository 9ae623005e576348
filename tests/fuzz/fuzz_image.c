/* The image decoders on any bytes, the conversion and resizing of what they give, and decoding in part and shrunk, which must
 * give the pixels of the whole. */
#include "data/augment.h"
#include "data/decode.h"
#include "data/resize.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { MAX_PIXELS = 1 << 18 }; /* large images only make the search slow */

static void decode_whole(const uint8_t *bytes, size_t size) {
  data_image image = {0}, fitted = {0};
  data_decode_desc desc = {.name = "fuzz", .channels = size % 2 == 0 ? 0 : 3, .max_pixels = MAX_PIXELS};
  gp_status status = data_decode(&image, bytes, size, &desc);
  if (status == GP_OK && image.channels != 1 && image.channels != 3) abort();
  if (status == GP_OK) status = data_image_convert(&image, 1);
  if (status == GP_OK && data_fit(&fitted, &image, 28, 28) == GP_OK && fitted.width != 28) abort();
  data_image_free(&image);
  data_image_free(&fitted);
}

/* A part that the input's own length chooses. */
typedef struct choice {
  size_t seed;
  int32_t shrink;
  bool whole;
} choice;

static int32_t take(size_t *seed, int32_t bound) {
  *seed = *seed * 1103515245u + 12345u;
  return (int32_t)((*seed >> 16) % (size_t)bound);
}

static gp_status choose(void *context, int32_t height, int32_t width, data_region *region) {
  choice *c = context;
  region->shrink = c->shrink;
  if (c->whole) return GP_OK;
  region->box.height = 1 + take(&c->seed, height);
  region->box.width = 1 + take(&c->seed, width);
  region->box.top = take(&c->seed, height - region->box.height + 1);
  region->box.left = take(&c->seed, width - region->box.width + 1);
  return GP_OK;
}

static gp_status decode_region(data_image *image, data_region *region, choice c, const uint8_t *bytes, size_t size) {
  const data_decode_desc desc = {
      .name = "fuzz", .channels = 4, .max_pixels = MAX_PIXELS, .choose = choose, .context = &c, .region = region};
  return data_decode(image, bytes, size, &desc);
}

static void compare(const data_image *part, const data_region *region, const data_image *whole) {
  const int32_t shrink = region->shrink, first = region->box.left / shrink;
  const int32_t bottom = (region->box.top + region->box.height + shrink - 1) / shrink;
  const int32_t right = (region->box.left + region->box.width + shrink - 1) / shrink;
  for (int32_t y = region->box.top / shrink; y < bottom; ++y)
    for (int32_t x = first; x < right; ++x) {
      const size_t at = (size_t)(y - region->top) * (size_t)part->width + (size_t)(x - region->left);
      const size_t other = (size_t)y * (size_t)whole->width + (size_t)x;
      if (memcmp(part->pixels + 4 * at, whole->pixels + 4 * other, 3) != 0) abort();
    }
}

static void decode_parts(const uint8_t *bytes, size_t size) {
  data_image part = {0}, whole = {0};
  data_region region = {.shrink = 1}, all = {.shrink = 1};
  const choice c = {.seed = size, .shrink = 1 << (size / 2 % 4)};
  const choice everything = {.shrink = c.shrink, .whole = true};
  const gp_status of_part = decode_region(&part, &region, c, bytes, size);
  const gp_status of_whole = decode_region(&whole, &all, everything, bytes, size);
  /* Damage outside the part may stop the whole alone. */
  if (of_part == GP_OK && of_whole == GP_OK) compare(&part, &region, &whole);
  data_image_free(&part);
  data_image_free(&whole);
}

static void transform(const uint8_t *bytes, size_t size) {
  static float values[3 * 24 * 24];
  data_augmenter augmenter;
  data_sample sample = {.encoded = true};
  const data_transform desc = {
      .channels = 3, .height = 24, .width = 24, .resize = 27, .train = size % 2 == 0, .flip = 0.5f, .saturation = 0.4f};
  if (data_augmenter_init(&augmenter, &desc) != GP_OK || data_sample_reserve(&sample, size) != GP_OK) abort();
  memcpy(sample.bytes, bytes, size);
  (void)!data_augmenter_run(&augmenter, &sample, &(data_draw_key){.index = (int64_t)size}, values);
  data_sample_free(&sample);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  decode_whole(bytes, size);
  decode_parts(bytes, size);
  if (size < 1 << 16) transform(bytes, size);
  return 0;
}
