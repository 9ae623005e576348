#include "test_data_fake.h"

#include "test_data_files.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

static int32_t fake_label(const data_source *source, int64_t index) {
  (void)source;
  return (int32_t)(index * 5 % 11);
}

static void fake_name(const data_source *source, int64_t index, char *name, size_t size) {
  (void)source;
  snprintf(name, size, "fake#%d", (int)index);
}

static gp_status fail_to_read(void) { return data_image_reserve(&(data_image){0}, 0, 77, 1); }

static gp_status fake_read(const data_source *source, int64_t index, data_sample *sample) {
  data_image *image = &sample->image;
  const fake_source *self = (const fake_source *)source;
  if (index == self->bad || (self->bad_every > 0 && index % self->bad_every == 0)) {
    if (self->slow) usleep((useconds_t)(source->info.count - index) * 100);
    return fail_to_read();
  }
  /* Some samples take longer, so that workers overtake each other. */
  for (int64_t i = 0; i < index * 7 % 13; ++i) sched_yield();
  gp_status status = data_image_reserve(image, 6, 5, 3);
  if (status != GP_OK) return status;
  for (int32_t i = 0; i < 6 * 5 * 3; ++i) image->pixels[i] = (uint8_t)(index * 31 + i * 3);
  return GP_OK;
}

static void fake_destroy(data_source *source) { (void)source; }

static const data_source_ops fake_ops = {fake_label, fake_name, fake_read, fake_destroy};

fake_source fake(int64_t count) {
  data_source_info info = {.dataset = "fake", .count = count, .classes = 11, .channels = 3, .height = 6, .width = 5};
  return (fake_source){.base = {&fake_ops, info}, .bad = -1};
}

static const data_transform transform = {
    .channels = 3, .height = 6, .width = 5, .train = true, .padding = 1, .flip = 0.5f, .std = {1.0f, 0.5f, 2.0f}};

data_loader_desc usual_desc(const fake_source *source) {
  return (data_loader_desc){
      .source = &source->base, .transform = transform, .batch_size = 7, .shuffle = true, .seed = 12};
}

data_loader *make_loader(const data_loader_desc *desc) {
  data_loader *loader = NULL;
  test_expect_ok(data_loader_create(&loader, desc));
  return loader;
}

uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size) {
  for (size_t i = 0; i < size; ++i) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
  return hash;
}

uint64_t hash_batch(uint64_t hash, const data_batch *batch) {
  size_t count = (size_t)batch->count;
  hash = hash_bytes(hash, batch->images, count * FAKE_FLOATS * sizeof(float));
  hash = hash_bytes(hash, batch->labels, count * sizeof(int32_t));
  hash = hash_bytes(hash, batch->indices, count * sizeof(int64_t));
  return hash_bytes(hash, &batch->number, sizeof batch->number);
}

uint64_t hash_epoch(data_loader *loader, int64_t epoch, int64_t first, int64_t *batches) {
  uint64_t hash = 14695981039346656037u;
  const data_batch *batch = NULL;
  *batches = 0;
  test_expect_ok(data_loader_start(loader, epoch, first));
  for (;; ++*batches) {
    test_expect_ok(data_loader_next(loader, &batch));
    if (batch == NULL) return hash;
    assert_int_equal(batch->number, first + *batches);
    hash = hash_batch(hash, batch);
  }
}
