#include "data/augment.h"

#include "base/status.h"
#include "data/colour.h"

#include <string.h>

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
  if (transform->resize < 0 ||
      (transform->resize > 0 && (transform->resize < transform->height || transform->resize < transform->width)))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "transform: resize must be at least the size %d x %d, not %d",
                   transform->height, transform->width, transform->resize);
  return GP_OK;
}

/* Fills in the usual limits of the random part. */
static gp_status check_crop(data_transform *transform) {
  float *area = transform->area, *ratio = transform->ratio;
  if (area[0] == 0.0f && area[1] == 0.0f) {
    area[0] = 0.08f;
    area[1] = 1.0f;
  }
  if (ratio[0] == 0.0f && ratio[1] == 0.0f) {
    ratio[0] = 3.0f / 4.0f;
    ratio[1] = 4.0f / 3.0f;
  }
  if (!(area[0] > 0.0f && area[0] <= area[1] && area[1] <= 1.0f))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "transform: the crop's area must be within 0 to 1, not %g to %g",
                   (double)area[0], (double)area[1]);
  if (!(ratio[0] > 0.0f && ratio[0] <= ratio[1] && ratio[1] < 1e6f))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "transform: the crop's ratio must be above 0 and ascending, not %g to %g",
                   (double)ratio[0], (double)ratio[1]);
  return GP_OK;
}

static gp_status check_colour(const data_transform *transform) {
  const struct {
    const char *name;
    float value;
  } strengths[] = {{"brightness", transform->brightness},
                   {"contrast", transform->contrast},
                   {"saturation", transform->saturation},
                   {"lighting", transform->lighting}};
  for (size_t i = 0; i < sizeof strengths / sizeof *strengths; ++i) {
    const float value = strengths[i].value;
    if (!(value >= 0.0f && value <= 1.0f))
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "transform: %s must be 0 to 1, not %g", strengths[i].name,
                     (double)value);
    if (value > 0.0f && transform->channels != 3)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "transform: %s needs colour images, not images of %d channel",
                     strengths[i].name, transform->channels);
  }
  return GP_OK;
}

/* In float and in this order, as torchvision's ToTensor and Normalize round. */
static void fill_values(float value[256], float light, float mean, float std) {
  for (int32_t x = 0; x < 256; ++x) value[x] = ((float)x / 255.0f + light - mean) / std;
}

gp_status data_augmenter_init(data_augmenter *augmenter, const data_transform *transform) {
  gp_status status = check_transform(transform);
  if (status == GP_OK) status = check_colour(transform);
  if (status != GP_OK) return status;
  *augmenter = (data_augmenter){.transform = *transform};
  status = check_crop(&augmenter->transform);
  if (status != GP_OK) return status;
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
    fill_values(augmenter->value[c], 0.0f, mean, std);
  }
  return GP_OK;
}

/* ---- From pixels ----------------------------------------------------------------------------- */

/* One row of one channel: `row` is the image's row from that channel's first pixel on, NULL for a row of padding. */
static void write_row(float *dst, const uint8_t *row, const data_image *image, const data_draws *cut, int32_t width,
                      const float value[256]) {
  const int32_t channels = image->channels;
  if (row != NULL && cut->box.left >= 0 && cut->box.left <= image->width - width) {
    const ptrdiff_t step = cut->flip ? -channels : channels;
    row += (ptrdiff_t)(cut->box.left + (cut->flip ? width - 1 : 0)) * channels;
    for (int32_t x = 0; x < width; ++x, row += step) dst[x] = value[*row];
    return;
  }
  for (int32_t x = 0; x < width; ++x) {
    const int32_t column = cut->box.left + (cut->flip ? width - 1 - x : x);
    const bool inside = row != NULL && column >= 0 && column < image->width;
    dst[x] = value[inside ? row[(size_t)column * (size_t)channels] : 0];
  }
}

/* Cuts draws->box, of the result's size, out of the image. */
static void write_window(const data_augmenter *augmenter, const data_image *image, const data_draws *draws,
                         float *dst) {
  const data_transform *transform = &augmenter->transform;
  const size_t row_bytes = (size_t)image->width * (size_t)image->channels;
  float lit[256];
  for (int32_t c = 0; c < transform->channels; ++c) {
    const float *value = augmenter->value[c];
    if (draws->light[c] != 0.0f) {
      fill_values(lit, draws->light[c], transform->mean[c], transform->std[c]);
      value = lit;
    }
    for (int32_t y = 0; y < transform->height; ++y, dst += transform->width) {
      const int32_t line = y + draws->box.top;
      const bool inside = line >= 0 && line < image->height;
      const uint8_t *row = inside ? image->pixels + (size_t)line * row_bytes + c : NULL;
      write_row(dst, row, image, draws, transform->width, value);
    }
  }
}

/* Whether the image can be cut as it is. */
static gp_status check_image(const data_transform *transform, const data_image *image) {
  const int32_t padding = transform->train ? transform->padding : 0;
  if (image->channels != transform->channels)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "the image has %d channels, the transform expects %d", image->channels,
                   transform->channels);
  if (image->height + 2 * padding < transform->height || image->width + 2 * padding < transform->width)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "the image has %d x %d pixels, too few to cut out %d x %d with padding %d", image->height,
                   image->width, transform->height, transform->width, padding);
  return GP_OK;
}

static bool jitters(const data_draws *draws) {
  return draws->factor[0] != 1.0f || draws->factor[1] != 1.0f || draws->factor[2] != 1.0f;
}

gp_status data_augmenter_apply(const data_augmenter *augmenter, const data_image *image, const data_draw_key *key,
                               float *dst) {
  data_draws draws;
  if (augmenter->transform.resize > 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "the transform resizes: it needs a sample to work on");
  gp_status status = check_image(&augmenter->transform, image);
  if (status != GP_OK) return status;
  data_augmenter_draw(augmenter, image->height, image->width, key, &draws);
  if (jitters(&draws))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "the transform jitters colours: it needs a sample to work on");
  write_window(augmenter, image, &draws, dst);
  return GP_OK;
}

/* ---- From a sample --------------------------------------------------------------------------- */

/* One sample on its way. */
typedef struct passage {
  const data_augmenter *augmenter;
  const data_sample *sample;
  const data_draw_key *key;
  data_draws draws;
  int32_t height, width; /* of the whole image */
  data_axis y, x;        /* of the resize, in the whole image's pixels */
} passage;

/* The axes of the resize for an image of that size. */
static gp_status plan_axes(passage *p, int32_t height, int32_t width) {
  const data_transform *transform = &p->augmenter->transform;
  gp_status status = GP_OK;
  p->height = height;
  p->width = width;
  if (transform->train) {
    data_augmenter_draw(p->augmenter, height, width, p->key, &p->draws);
    const data_box *box = &p->draws.box;
    p->y = (data_axis){.start = box->top,
                       .extent = box->height,
                       .low = box->top,
                       .high = box->top + box->height,
                       .to = transform->height,
                       .count = transform->height};
    p->x = (data_axis){.start = box->left,
                       .extent = box->width,
                       .low = box->left,
                       .high = box->left + box->width,
                       .to = transform->width,
                       .count = transform->width};
    return GP_OK;
  }
  p->y = (data_axis){.extent = height, .high = height, .count = transform->height};
  p->x = (data_axis){.extent = width, .high = width, .count = transform->width};
  GP_TRY(data_shorter_size(&p->y.to, &p->x.to, height, width, transform->resize));
  p->y.first = data_centre_offset(p->y.to, transform->height);
  p->x.first = data_centre_offset(p->x.to, transform->width);
cleanup:
  return status;
}

/* How far an axis may be shrunk in decoding, so that the stretch still has as many inputs as it gives pixels. */
static int32_t shrink_of(const data_axis *axis) {
  int32_t shrink = 8;
  while (shrink > 1 && axis->extent < (double)shrink * axis->to) shrink /= 2;
  return shrink;
}

/* data_decode()'s question. */
static gp_status choose_part(void *context, int32_t height, int32_t width, data_region *region) {
  passage *p = context;
  gp_status status = data_sample_check_size(p->sample, height, width);
  if (status == GP_OK) status = plan_axes(p, height, width);
  if (status != GP_OK) return status;
  int32_t bottom = 0, right = 0;
  data_axis_reach(&p->y, &region->box.top, &bottom);
  data_axis_reach(&p->x, &region->box.left, &right);
  region->box.height = bottom - region->box.top;
  region->box.width = right - region->box.left;
  const data_transform *transform = &p->augmenter->transform;
  const int32_t by_height = shrink_of(&p->y), by_width = shrink_of(&p->x);
  if (transform->train && !transform->exact_decode) region->shrink = by_height < by_width ? by_height : by_width;
  return GP_OK;
}

/* The axis in an image decoded at 1/shrink, which has `size` of these pixels. */
static data_axis shrunk(data_axis axis, int32_t shrink, int32_t size) {
  axis.start /= shrink;
  axis.extent /= shrink;
  axis.low /= shrink;
  axis.high = (axis.high + shrink - 1) / shrink;
  if (axis.high > size) axis.high = size;
  return axis;
}

static const char *name_of(const data_sample *sample) { return sample->name[0] != '\0' ? sample->name : NULL; }

static gp_status decode_and_resize(passage *p, data_sample *sample) {
  gp_status status = GP_OK;
  data_region region = {.shrink = 1};
  const data_transform *transform = &p->augmenter->transform;
  const data_decode_desc desc = {.name = name_of(sample),
                                 .channels = transform->channels == 3 ? 4 : 1,
                                 .choose = choose_part,
                                 .context = p,
                                 .region = &region};
  if (sample->encoded) {
    GP_TRY(data_decode(&sample->image, sample->bytes, sample->size, &desc));
  } else {
    GP_TRY(data_image_convert(&sample->image, desc.channels));
    GP_TRY(plan_axes(p, sample->image.height, sample->image.width));
  }
  const int32_t shrink = region.shrink;
  const data_axis y = shrunk(p->y, shrink, (p->height + shrink - 1) / shrink);
  const data_axis x = shrunk(p->x, shrink, (p->width + shrink - 1) / shrink);
  GP_TRY(data_resize_part(&sample->cut, &sample->image, region.top, region.left, &y, &x, &sample->resizer));
cleanup:
  return status;
}

/* An image that is cut at its own scale. Jitter works on what is cut out, so that this is copied first. */
static gp_status cut_pixels(passage *p, data_sample *sample) {
  gp_status status = GP_OK;
  const data_transform *transform = &p->augmenter->transform;
  const data_draws *draws = &p->draws;
  const data_image *image = &sample->image;
  data_image *cut = &sample->cut;
  const size_t channels = (size_t)image->channels;
  GP_TRY(data_image_reserve(cut, transform->height, transform->width, image->channels));
  uint8_t *out = cut->pixels;
  for (int32_t y = 0; y < cut->height; ++y)
    for (int32_t x = 0; x < cut->width; ++x, out += channels) {
      const int32_t row = y + draws->box.top, column = x + draws->box.left;
      const bool inside = row >= 0 && row < image->height && column >= 0 && column < image->width;
      if (inside)
        memcpy(out, image->pixels + ((size_t)row * (size_t)image->width + (size_t)column) * channels, channels);
      else
        memset(out, 0, channels);
    }
  GP_TRY(data_image_convert(cut, 4));
cleanup:
  return status;
}

static gp_status run_window(passage *p, data_sample *sample, float *dst) {
  gp_status status = GP_OK;
  const data_transform *transform = &p->augmenter->transform;
  data_draws *draws = &p->draws;
  if (sample->encoded)
    GP_TRY(data_decode(&sample->image, sample->bytes, sample->size,
                       &(data_decode_desc){.name = name_of(sample), .channels = transform->channels}));
  status = data_sample_check_size(sample, sample->image.height, sample->image.width);
  if (status != GP_OK) GP_TRY(gp_fail_in(status, "%s", sample->name));
  GP_TRY(check_image(transform, &sample->image));
  data_augmenter_draw(p->augmenter, sample->image.height, sample->image.width, p->key, draws);
  if (!jitters(draws)) {
    write_window(p->augmenter, &sample->image, draws, dst);
    goto cleanup;
  }
  GP_TRY(cut_pixels(p, sample));
  data_jitter(&sample->cut, draws);
  draws->box.top = draws->box.left = 0;
  write_window(p->augmenter, &sample->cut, draws, dst);
cleanup:
  return status;
}

gp_status data_augmenter_run(const data_augmenter *augmenter, data_sample *sample, const data_draw_key *key,
                             float *dst) {
  passage p = {.augmenter = augmenter, .sample = sample, .key = key};
  gp_status status = GP_OK;
  if (augmenter->transform.resize == 0) return run_window(&p, sample, dst);
  GP_TRY(decode_and_resize(&p, sample));
  if (!augmenter->transform.train) p.draws = (data_draws){.factor = {1, 1, 1}};
  if (jitters(&p.draws)) data_jitter(&sample->cut, &p.draws);
  p.draws.box.top = p.draws.box.left = 0;
  write_window(augmenter, &sample->cut, &p.draws, dst);
cleanup:
  return status;
}
