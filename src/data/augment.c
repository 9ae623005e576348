#include "data/augment.h"

#include "base/philox.h"
#include "base/status.h"
#include "data/order.h"

static gp_status check_transform(const data_transform *transform) {
  if (transform->channels != 1 && transform->channels != 3)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "transform: channels must be 1 or 3, not %d", transform->channels);
  if (transform->height < 1 || transform->width < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "transform: the size must be at least 1 x 1, not %d x %d",
                   transform->height, transform->width);
  if (transform->padding < 0 || transform->padding > 4096)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "transform: padding must be 0 to 4096 pixels, not %d",
                   transform->padding);
  if (!(transform->flip >= 0.0f && transform->flip <= 1.0f))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "transform: the flip probability must be 0 to 1, not %g",
                   (double)transform->flip);
  return GP_OK;
}

gp_status data_augmenter_init(data_augmenter *augmenter, const data_transform *transform) {
  gp_status status = check_transform(transform);
  if (status != GP_OK) return status;
  *augmenter = (data_augmenter){.transform = *transform};
  const float *given = transform->std;
  bool scaled = given[0] != 0.0f || given[1] != 0.0f || given[2] != 0.0f;
  for (int32_t c = 0; c < transform->channels; ++c) {
    float mean = transform->mean[c];
    float std = scaled ? given[c] : 1.0f;
    if (!(std > 0.0f && std < 1e6f) || !(mean > -1e6f && mean < 1e6f))
      return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                     "transform: mean %g and std %g of channel %d: std must be above 0, both finite", (double)mean,
                     (double)std, c);
    augmenter->transform.std[c] = std;
    /* In float and in this order, as torchvision's ToTensor and Normalize round. */
    for (int32_t x = 0; x < 256; ++x) augmenter->value[c][x] = ((float)x / 255.0f - mean) / std;
  }
  return GP_OK;
}

/* Where the result lies in the image: result (y, x) is pixel (y + top, x + left), mirrored or not; black outside. */
typedef struct window {
  int32_t top, left;
  bool flip;
} window;

static window choose_window(const data_transform *transform, const data_image *image, const data_draw_key *key) {
  if (!transform->train)
    return (window){.top = data_centre_offset(image->height, transform->height),
                    .left = data_centre_offset(image->width, transform->width)};
  int32_t spare_height = image->height - transform->height, spare_width = image->width - transform->width;
  uint64_t index = (uint64_t)key->index, epoch = (uint64_t)key->epoch;
  gp_philox_block random = gp_philox(gp_mix_seed(key->seed, DATA_STREAM_AUGMENT), (uint32_t)index,
                                     (uint32_t)(index >> 32), (uint32_t)epoch, (uint32_t)(epoch >> 32));
  int32_t padding = transform->padding;
  return (window){
      .top = (int32_t)gp_bounded(random.word[0], (uint32_t)(spare_height + 2 * padding + 1)) - padding,
      .left = (int32_t)gp_bounded(random.word[1], (uint32_t)(spare_width + 2 * padding + 1)) - padding,
      .flip = gp_unit_float(random.word[2]) < transform->flip,
  };
}

/* One row of one channel: `row` is the image's row from that channel's first pixel on, NULL for a row of padding. */
static void write_row(float *dst, const uint8_t *row, const data_image *image, const window *cut, int32_t width,
                      const float value[256]) {
  for (int32_t x = 0; x < width; ++x) {
    int32_t column = cut->left + (cut->flip ? width - 1 - x : x);
    bool inside = row != NULL && column >= 0 && column < image->width;
    dst[x] = value[inside ? row[(size_t)column * (size_t)image->channels] : 0];
  }
}

gp_status data_augmenter_apply(const data_augmenter *augmenter, const data_image *image, const data_draw_key *key,
                               float *dst) {
  const data_transform *transform = &augmenter->transform;
  int32_t padding = transform->train ? transform->padding : 0;
  if (image->channels != transform->channels)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "the image has %d channels, the transform expects %d", image->channels,
                   transform->channels);
  if (image->height + 2 * padding < transform->height || image->width + 2 * padding < transform->width)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "the image has %d x %d pixels, too few to cut out %d x %d with padding %d", image->height,
                   image->width, transform->height, transform->width, padding);
  window cut = choose_window(transform, image, key);
  size_t row_bytes = (size_t)image->width * (size_t)image->channels;
  for (int32_t c = 0; c < transform->channels; ++c) {
    for (int32_t y = 0; y < transform->height; ++y) {
      int32_t line = y + cut.top;
      bool inside = line >= 0 && line < image->height;
      const uint8_t *row = inside ? image->pixels + (size_t)line * row_bytes + c : NULL;
      write_row(dst, row, image, &cut, transform->width, augmenter->value[c]);
      dst += transform->width;
    }
  }
  return GP_OK;
}
