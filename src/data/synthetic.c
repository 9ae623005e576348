#include "data/synthetic.h"

#include "base/memory.h"
#include "base/philox.h"
#include "base/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CLASSES = 1000, TRAIN_COUNT = 50000, TEST_COUNT = 1000, USUAL_SIDE = 224, MAX_SIDE = 4096, BLOCK = 8 };

typedef struct synthetic_source {
  data_source base;
  uint64_t key; /* of the split */
  char names[CLASSES][4];
  const char *class_names[CLASSES];
} synthetic_source;

static int32_t synthetic_label(const data_source *source, int64_t index) {
  (void)source;
  return (int32_t)(index % CLASSES);
}

static void synthetic_name(const data_source *source, int64_t index, char *name, size_t size) {
  (void)source;
  snprintf(name, size, "synthetic#%" PRId64, index);
}

/* Blocks of 8 × 8 pixels of one colour: the class' own, give or take. */
static gp_status synthetic_fetch(const data_source *source, int64_t index, data_sample *sample) {
  const synthetic_source *self = (const synthetic_source *)source;
  const int32_t side = source->info.height, label = synthetic_label(source, index);
  const int32_t mean[3] = {64 + 12 * (label % 10), 64 + 12 * (label / 10 % 10), 64 + 12 * (label / 100)};
  gp_status status = data_image_reserve(&sample->image, side, side, 3);
  if (status != GP_OK) return status;
  sample->encoded = false;
  uint8_t *row = sample->image.pixels;
  const size_t row_bytes = 3 * (size_t)side;
  for (int32_t y = 0; y < side; ++y, row += row_bytes) {
    if (y % BLOCK != 0) {
      memcpy(row, row - row_bytes, row_bytes);
      continue;
    }
    for (int32_t x = 0; x < side; ++x) {
      if (x % BLOCK != 0) {
        memcpy(row + 3 * x, row + 3 * x - 3, 3);
        continue;
      }
      const gp_philox_block random = gp_philox(self->key, (uint32_t)index, (uint32_t)y, (uint32_t)x, 0);
      for (int c = 0; c < 3; ++c) row[3 * x + c] = (uint8_t)(mean[c] - 60 + (int32_t)(random.word[c] % 121));
    }
  }
  return GP_OK;
}

static void synthetic_destroy(data_source *source) { gp_free(source); }

static const data_source_ops synthetic_ops = {synthetic_label, synthetic_name, synthetic_fetch, synthetic_destroy};

gp_status data_synthetic_open(data_source **out, const data_set *set, const data_source_desc *desc) {
  synthetic_source *self = NULL;
  const int32_t side = desc->side != 0 ? desc->side : USUAL_SIDE;
  if (side < 1 || side > MAX_SIDE)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "synthetic images: the side must be 1 to %d pixels, not %d", MAX_SIDE,
                   side);
  gp_status status = GP_ALLOC(&self, 1);
  if (status != GP_OK) return status;
  for (int32_t i = 0; i < CLASSES; ++i) {
    snprintf(self->names[i], sizeof self->names[i], "%03u", (unsigned)i % 1000u);
    self->class_names[i] = self->names[i];
  }
  self->key = gp_mix_seed(0x73796e74, (uint64_t)desc->split);
  self->base.ops = &synthetic_ops;
  self->base.info = (data_source_info){.dataset = set->name,
                                       .count = desc->split == DATA_TRAIN ? TRAIN_COUNT : TEST_COUNT,
                                       .classes = CLASSES,
                                       .class_names = self->class_names,
                                       .channels = 3,
                                       .height = side,
                                       .width = side};
  memcpy(self->base.info.mean, set->mean, sizeof set->mean);
  memcpy(self->base.info.std, set->std, sizeof set->std);
  *out = &self->base;
  return GP_OK;
}
