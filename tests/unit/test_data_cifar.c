/* CIFAR-10's binary files, and made-up images. */
#include "test_data_sets.h"

#include <stdio.h>
#include <stdlib.h>

enum { RECORD = 3073 };

static void write_cifar(const test_folder *folder, const char *name, int first, int count) {
  uint8_t *bytes = calloc((size_t)count, RECORD);
  for (int i = 0; i < count; ++i) {
    bytes[i * RECORD] = (uint8_t)((first + i) % 10);
    for (int p = 0; p < 3072; ++p) bytes[i * RECORD + 1 + p] = (uint8_t)(first + i + p / 1024 * 50 + p % 1024 % 7);
  }
  test_write(folder, name, bytes, (size_t)count * RECORD, false);
  free(bytes);
}

static void reads_cifar_files(void **state) {
  const test_folder *folder = *state;
  data_source *source = NULL;
  data_sample sample = {0};
  test_make_folder(folder, "cifar-10-batches-bin");
  for (int i = 0; i < 5; ++i) {
    char name[64];
    snprintf(name, sizeof name, "cifar-10-batches-bin/data_batch_%d.bin", i + 1);
    write_cifar(folder, name, 2 * i, 2);
  }
  write_cifar(folder, "cifar-10-batches-bin/test_batch.bin", 30, 3);
  const char *const roots[] = {folder->path, NULL};
  data_source_desc desc = {.dataset = "cifar10", .dir = roots[0]};
  test_expect_ok(data_source_create(&source, &desc));
  const data_source_info *info = data_source_get_info(source);
  assert_int_equal(info->count * 100 + info->classes, 1010);
  assert_int_equal(info->height * 100 + info->channels, 3203);
  for (int i = 0; i < 10; ++i) {
    assert_int_equal(data_source_label(source, i), i);
    test_expect_ok(data_source_read(source, i, &sample));
    for (int p = 0; p < 3072; ++p) assert_int_equal(sample.image.pixels[p], (uint8_t)(i + p % 3 * 50 + p / 3 % 7));
  }
  char name[DATA_NAME_SIZE];
  data_source_name(source, 7, name, sizeof name);
  assert_string_equal(name, "data_batch_4.bin#1");
  data_source_destroy(&source);
  desc.split = DATA_TEST;
  test_expect_ok(data_source_create(&source, &desc));
  assert_int_equal(data_source_get_info(source)->count, 3);
  data_source_destroy(&source);
  write_cifar(folder, "cifar-10-batches-bin/test_batch.bin", 30, 3);
  test_write(folder, "cifar-10-batches-bin/test_batch.bin", (const uint8_t[RECORD - 1]){0}, RECORD - 1, false);
  test_expect_failure(data_source_create(&source, &desc), GP_ERROR_CORRUPT, "test_batch.bin", "3073", NULL);
  test_write(folder, "cifar-10-batches-bin/test_batch.bin", (const uint8_t[RECORD]){10}, RECORD, false);
  test_expect_failure(data_source_create(&source, &desc), GP_ERROR_CORRUPT, "label 0 is 10", NULL);
  data_sample_free(&sample);
}

static void makes_synthetic_images(void **state) {
  (void)state;
  data_source *source = NULL;
  data_sample one = {0}, other = {0};
  test_expect_ok(data_source_create(&source, &(data_source_desc){.dataset = "synthetic", .side = 33}));
  assert_int_equal(data_source_get_info(source)->height, 33);
  test_expect_ok(data_source_read(source, 1234, &one));
  test_expect_ok(data_source_read(source, 1234, &other));
  assert_memory_equal(one.image.pixels, other.image.pixels, 33 * 33 * 3);
  test_expect_ok(data_source_read(source, 2234, &other)); /* the same class */
  assert_int_equal(data_source_label(source, 1234), data_source_label(source, 2234));
  assert_memory_not_equal(one.image.pixels, other.image.pixels, 33 * 33 * 3);
  data_source_destroy(&source);
  test_expect_failure(data_source_create(&source, &(data_source_desc){.dataset = "synthetic", .side = -1}),
                      GP_ERROR_INVALID_ARGUMENT, "side", NULL);
  data_sample_free(&one);
  data_sample_free(&other);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_FOLDER(reads_cifar_files),
      cmocka_unit_test(makes_synthetic_images),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
