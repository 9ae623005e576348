/* What is drawn for a sample. Each kind of draw has a block of random words of its own, so that turning one off leaves
 * the others as they are. */
#include "base/normal.h"
#include "data/augment.h"
#include "data/colour.h"
#include "data/order.h"

#include <math.h>

/* Numbers of blocks. The first is that of the window and the flip. */
enum { BLOCK_WINDOW = 0, BLOCK_CROP = 1, CROP_TRIES = 10, BLOCK_JITTER = BLOCK_CROP + CROP_TRIES, BLOCK_LIGHT };

static gp_philox_block random_block(const data_draw_key *key, uint64_t number) {
  const uint64_t index = (uint64_t)key->index, epoch = (uint64_t)key->epoch;
  return gp_philox(gp_mix_seed(key->seed, DATA_STREAM_AUGMENT + number), (uint32_t)index, (uint32_t)(index >> 32),
                   (uint32_t)epoch, (uint32_t)(epoch >> 32));
}

/* [low, high). */
static double uniform(uint32_t word, double low, double high) { return low + (high - low) * ((double)word * 0x1p-32); }

/* Height or width of a part with this area and ratio; halves go to the even number, as Python's round() has it. */
static double side(double square) { return nearbyint(sqrt(square)); }

/* The middle, as large as the ratio allows. */
static data_box middle_crop(const data_transform *transform, int32_t height, int32_t width) {
  const double ratio = (double)width / height;
  data_box box = {.height = height, .width = width};
  if (ratio < (double)transform->ratio[0]) box.height = (int32_t)nearbyint(width / (double)transform->ratio[0]);
  if (ratio > (double)transform->ratio[1]) box.width = (int32_t)nearbyint(height * (double)transform->ratio[1]);
  if (box.height < 1) box.height = 1;
  if (box.width < 1) box.width = 1;
  box.top = (height - box.height) / 2;
  box.left = (width - box.width) / 2;
  return box;
}

/* torchvision's RandomResizedCrop: ten tries at a part of random area and ratio that fits, else the middle. */
static data_box random_crop(const data_transform *transform, int32_t height, int32_t width, const data_draw_key *key) {
  const double log_low = log((double)transform->ratio[0]), log_high = log((double)transform->ratio[1]);
  for (uint64_t i = 0; i < CROP_TRIES; ++i) {
    const gp_philox_block random = random_block(key, BLOCK_CROP + i);
    const double area =
        (double)height * width * uniform(random.word[0], (double)transform->area[0], (double)transform->area[1]);
    const double ratio = exp(uniform(random.word[1], log_low, log_high));
    const double crop_height = side(area / ratio), crop_width = side(area * ratio);
    if (!(crop_height >= 1 && crop_height <= height && crop_width >= 1 && crop_width <= width)) continue;
    data_box box = {.height = (int32_t)crop_height, .width = (int32_t)crop_width};
    box.top = (int32_t)gp_bounded(random.word[2], (uint32_t)(height - box.height + 1));
    box.left = (int32_t)gp_bounded(random.word[3], (uint32_t)(width - box.width + 1));
    return box;
  }
  return middle_crop(transform, height, width);
}

static void draw_jitter(const data_transform *transform, const data_draw_key *key, data_draws *draws) {
  static const int32_t orders[6][DATA_JITTERS] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  const float strength[DATA_JITTERS] = {transform->brightness, transform->contrast, transform->saturation};
  const gp_philox_block random = random_block(key, BLOCK_JITTER);
  const int32_t *order = orders[gp_bounded(random.word[3], 6)];
  for (int32_t i = 0; i < DATA_JITTERS; ++i) {
    draws->order[i] = order[i];
    draws->factor[i] = 1.0f + strength[i] * (2.0f * gp_unit_float(random.word[i]) - 1.0f);
  }
}

void data_augmenter_draw(const data_augmenter *augmenter, int32_t height, int32_t width, const data_draw_key *key,
                         data_draws *draws) {
  const data_transform *transform = &augmenter->transform;
  *draws = (data_draws){.factor = {1, 1, 1}, .order = {0, 1, 2}};
  draws->box = (data_box){.top = data_centre_offset(height, transform->height),
                          .left = data_centre_offset(width, transform->width),
                          .height = transform->height,
                          .width = transform->width};
  if (!transform->train) return;
  const gp_philox_block random = random_block(key, BLOCK_WINDOW);
  draws->flip = gp_unit_float(random.word[2]) < transform->flip;
  if (transform->resize > 0) {
    draws->box = random_crop(transform, height, width, key);
  } else {
    const int32_t padding = transform->padding;
    const uint32_t places_y = (uint32_t)(height - transform->height + 2 * padding + 1);
    const uint32_t places_x = (uint32_t)(width - transform->width + 2 * padding + 1);
    draws->box.top = (int32_t)gp_bounded(random.word[0], places_y) - padding;
    draws->box.left = (int32_t)gp_bounded(random.word[1], places_x) - padding;
  }
  if (transform->brightness + transform->contrast + transform->saturation > 0.0f) draw_jitter(transform, key, draws);
  if (transform->lighting > 0.0f) {
    float normal[4];
    gp_normal4(random_block(key, BLOCK_LIGHT), normal);
    data_light_noise(draws->light, normal, transform->lighting);
  }
}
