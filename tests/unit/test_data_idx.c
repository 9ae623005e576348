/* The IDX reader and the data sets made of it: what is good is read, every kind of damage is named. */
#include "test_data_files.h"

#include "base/memory.h"
#include "data/idx.h"
#include "data/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Parsing --------------------------------------------------------------------------------- */

static const uint8_t six[] = {1, 2, 3, 4, 5, 6};

/* 1 × 2 × 3 elements, plain or gzip. */
static uint8_t *good_file(bool gzip, size_t *size) {
  uint8_t *plain = test_idx(3, (uint32_t[]){1, 2, 3}, six, 6, size);
  if (!gzip) return plain;
  uint8_t *packed = test_gzip(plain, *size, size);
  free(plain);
  return packed;
}

static void reads_plain_and_gzip(void **state) {
  (void)state;
  for (int gzip = 0; gzip < 2; ++gzip) {
    size_t size = 0;
    uint8_t *file = good_file(gzip, &size);
    data_idx idx;
    test_expect_ok(data_idx_parse(&idx, file, size, 3, "f"));
    assert_int_equal(idx.dims, 3);
    assert_int_equal(idx.size[0] * 100 + idx.size[1] * 10 + idx.size[2], 123);
    assert_int_equal(idx.count, 6);
    assert_memory_equal(idx.elements, six, 6);
    data_idx_free(&idx);
    assert_null(idx.elements);
    free(file);
  }
}

static void reads_gzip_members_in_a_row(void **state) {
  (void)state;
  size_t size = 0, first = 0, second = 0;
  uint8_t *plain = good_file(false, &size);
  uint8_t *a = test_gzip(plain, 9, &first), *b = test_gzip(plain + 9, size - 9, &second);
  uint8_t *both = malloc(first + second);
  memcpy(both, a, first);
  memcpy(both + first, b, second);
  data_idx idx;
  test_expect_ok(data_idx_parse(&idx, both, first + second, 3, "f"));
  assert_memory_equal(idx.elements, six, 6);
  data_idx_free(&idx);
  free(plain);
  free(a);
  free(b);
  free(both);
}

/* Every prefix of a file is truncated. The bytes lie at the end of their allocation, for AddressSanitizer. */
static void refuses_every_truncation(void **state) {
  (void)state;
  for (int gzip = 0; gzip < 2; ++gzip) {
    size_t size = 0;
    uint8_t *file = good_file(gzip, &size);
    for (size_t cut = 0; cut < size; ++cut) {
      uint8_t *part = malloc(cut + (cut == 0));
      memcpy(part, file, cut);
      data_idx idx;
      test_expect_failure(data_idx_parse(&idx, part, cut, 3, "f"), GP_ERROR_CORRUPT, "f: ", "truncated", NULL);
      assert_null(idx.elements);
      free(part);
    }
    free(file);
  }
}

static void refuses_trailing_bytes(void **state) {
  (void)state;
  size_t size = 0, packed_size = 0;
  uint8_t *plain = test_idx(3, (uint32_t[]){1, 2, 2}, six, 6, &size);
  uint8_t *packed = test_gzip(plain, size, &packed_size);
  uint8_t *good = good_file(true, &size), *longer = calloc(1, size + 1);
  memcpy(longer, good, size);
  data_idx idx;
  test_expect_failure(data_idx_parse(&idx, plain, 16 + 6, 3, "f"), GP_ERROR_CORRUPT, "trailing bytes", "4 elements",
                      NULL);
  test_expect_failure(data_idx_parse(&idx, packed, packed_size, 3, "f"), GP_ERROR_CORRUPT, "trailing bytes", NULL);
  test_expect_failure(data_idx_parse(&idx, longer, size + 1, 3, "f"), GP_ERROR_CORRUPT, "trailing bytes", NULL);
  free(plain);
  free(packed);
  free(good);
  free(longer);
}

static void refuses_other_headers(void **state) {
  (void)state;
  size_t size = 0;
  uint8_t *file = good_file(false, &size);
  data_idx idx;
  file[0] = 'P';
  test_expect_failure(data_idx_parse(&idx, file, size, 3, "f"), GP_ERROR_CORRUPT, "not an IDX file", "0x50000803",
                      "0x00000803", NULL);
  file[0] = 0;
  file[2] = 0x0d; /* float */
  test_expect_failure(data_idx_parse(&idx, file, size, 3, "f"), GP_ERROR_CORRUPT, "type 0x08", "type 0x0d", NULL);
  file[2] = 0x08;
  test_expect_failure(data_idx_parse(&idx, file, size, 1, "f"), GP_ERROR_CORRUPT, "1 dimensions", "found 3", NULL);
  test_expect_failure(data_idx_parse(&idx, file, size, 5, "f"), GP_ERROR_INVALID_ARGUMENT, "5 dimensions", NULL);
  free(file);
}

/* A header that promises more than the file can hold costs no memory. */
static void refuses_promises(void **state) {
  (void)state;
  static const uint32_t sizes[][3] = {
      {0xffffffff, 0xffffffff, 0xffffffff}, {0x80000000, 0x80000000, 4}, {60000, 28, 28}, {0xffffffff, 1, 1}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    size_t size = 0, packed_size = 0;
    uint8_t *plain = test_idx(3, sizes[i], six, 6, &size);
    uint8_t *packed = test_gzip(plain, size, &packed_size);
    data_idx idx;
    char number[16];
    snprintf(number, sizeof number, "%u x", sizes[i][0]);
    test_expect_failure(data_idx_parse(&idx, plain, size, 3, "f"), GP_ERROR_CORRUPT, number, NULL);
    test_expect_failure(data_idx_parse(&idx, packed, packed_size, 3, "f"), GP_ERROR_CORRUPT, number, NULL);
    free(plain);
    free(packed);
  }
}

/* A flip of any one bit of a gzip file is found: by its structure, or by the checksum at its end. */
static void finds_every_flipped_bit_of_gzip(void **state) {
  (void)state;
  size_t size = 0;
  int32_t unnoticed = 0;
  uint8_t *file = good_file(true, &size);
  for (size_t bit = 0; bit < 8 * size; ++bit) {
    if (bit / 8 >= 4 && bit / 8 < 10) continue; /* time, system and the like: mean nothing here */
    file[bit / 8] ^= (uint8_t)(1u << bit % 8);
    data_idx idx;
    gp_status status = data_idx_parse(&idx, file, size, 3, "f");
    /* A few bits mean nothing: flags, the rest of the data's last byte. */
    unnoticed += status == GP_OK;
    if (status == GP_OK) assert_memory_equal(idx.elements, six, 6);
    data_idx_free(&idx);
    file[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  assert_in_range(unnoticed, 0, 12);
  free(file);
}

/* More elements than the first room: memory grows with the data. */
static void reads_large_files(void **state) {
  (void)state;
  uint32_t count = (1u << 26) + 12345;
  uint8_t *elements = calloc(1, count);
  assert_non_null(elements);
  elements[3] = 9;
  elements[count - 1] = 42;
  elements[1u << 26] = 7;
  size_t size = 0;
  uint8_t *plain = test_idx(1, &count, elements, count, &size);
  data_idx idx;
  test_expect_ok(data_idx_parse(&idx, plain, size, 1, "f"));
  assert_int_equal(idx.count, count);
  assert_memory_equal(idx.elements, elements, count);
  data_idx_free(&idx);
  free(plain);
  free(elements);
}

/* ---- Data sets ------------------------------------------------------------------------------- */

static gp_status open_mnist(data_source **source, const test_folder *folder, data_split split) {
  return data_source_create(source, &(data_source_desc){.dataset = "mnist", .dir = folder->path, .split = split});
}

static void opens_folders(void **state) {
  (void)state;
  test_folder folder = test_folder_make();
  test_write_idx_set(&folder, "train", 25, 5, 4, false);
  test_write_idx_set(&folder, "t10k", 12, 5, 4, true);
  for (int split = 0; split < 2; ++split) {
    data_source *source = NULL;
    test_expect_ok(open_mnist(&source, &folder, (data_split)split));
    const data_source_info *info = data_source_get_info(source);
    assert_int_equal(info->count, split == 0 ? 25 : 12);
    assert_int_equal(info->classes, 10);
    assert_string_equal(info->class_names[7], "7");
    assert_string_equal(info->dataset, "mnist");
    assert_int_equal(info->channels * 100 + info->height * 10 + info->width, 154);
    assert_true(info->mean[0] == 0.1307f && info->std[0] == 0.3081f);
    data_sample sample = {0};
    test_expect_ok(data_source_read(source, 11, &sample));
    assert_int_equal(sample.image.height * 100 + sample.image.width * 10 + sample.image.channels, 541);
    for (int i = 0; i < 20; ++i) assert_int_equal(sample.image.pixels[i], 7 * 11 + 3 * (i / 4) + i % 4);
    assert_int_equal(data_source_label(source, 11), 1);
    char name[64];
    data_source_name(source, 11, name, sizeof name);
    assert_string_equal(name, split == 0 ? "train-images-idx3-ubyte#11" : "t10k-images-idx3-ubyte.gz#11");
    test_expect_failure(data_source_read(source, 25, &sample), GP_ERROR_INVALID_ARGUMENT, "sample 25", NULL);
    test_expect_failure(data_source_read(source, -1, &sample), GP_ERROR_INVALID_ARGUMENT, "sample -1", NULL);
    data_sample_free(&sample);
    data_source_destroy(&source);
    assert_null(source);
  }
  data_source_destroy(NULL);
  test_folder_remove(&folder);
}

static void refuses_unknown_and_missing(void **state) {
  (void)state;
  data_source *source = NULL;
  test_expect_failure(data_source_create(&source, &(data_source_desc){.dataset = "imagenot"}),
                      GP_ERROR_INVALID_ARGUMENT, "\"imagenot\"", "fashion-mnist, mnist", NULL);
  test_expect_failure(data_source_create(&source, &(data_source_desc){.dataset = NULL}), GP_ERROR_INVALID_ARGUMENT,
                      "fashion-mnist", NULL);
  test_expect_failure(data_source_create(&source, &(data_source_desc){.dataset = "mnist"}), GP_ERROR_INVALID_ARGUMENT,
                      "must be given", NULL);
  data_source_desc missing = {.dataset = "fashion-mnist", .dir = "/nonexistent/here"};
  test_expect_failure(data_source_create(&source, &missing), GP_ERROR_NOT_FOUND, "/nonexistent/here", "no such folder",
                      NULL);
  data_source_desc no_folder = {.dataset = "mnist", .dir = "/dev/null"};
  test_expect_failure(data_source_create(&source, &no_folder), GP_ERROR_NOT_FOUND, "expected a folder", NULL);
  test_folder folder = test_folder_make();
  test_expect_failure(open_mnist(&source, &folder, DATA_TEST), GP_ERROR_NOT_FOUND, folder.path,
                      "t10k-images-idx3-ubyte", ".gz", NULL);
  assert_null(source);
  test_folder_remove(&folder);
  assert_string_equal(data_set_name(0), "fashion-mnist");
  assert_null(data_set_name(5));
  assert_null(data_set_summary(-1));
}

static void write_idx(const test_folder *folder, const char *name, int32_t dims, const uint32_t *sizes, size_t count,
                      uint8_t fill) {
  uint8_t elements[64];
  memset(elements, fill, sizeof elements);
  size_t size = 0;
  uint8_t *file = test_idx(dims, sizes, elements, count, &size);
  test_write(folder, name, file, size, false);
  free(file);
}

static void refuses_sets_that_do_not_fit(void **state) {
  (void)state;
  data_source *source = NULL;
  const char *images = "train-images-idx3-ubyte", *labels = "train-labels-idx1-ubyte";
  test_folder folder = test_folder_make();
  write_idx(&folder, images, 3, (uint32_t[]){4, 2, 3}, 24, 1);
  test_expect_failure(open_mnist(&source, &folder, DATA_TRAIN), GP_ERROR_NOT_FOUND, labels, NULL);
  write_idx(&folder, labels, 1, (uint32_t[]){5}, 5, 1);
  test_expect_failure(open_mnist(&source, &folder, DATA_TRAIN), GP_ERROR_CORRUPT, labels, "5 labels", "4 images",
                      images, NULL);
  write_idx(&folder, labels, 1, (uint32_t[]){4}, 4, 10);
  test_expect_failure(open_mnist(&source, &folder, DATA_TRAIN), GP_ERROR_CORRUPT, labels, "label 0 is 10", "0 to 9",
                      NULL);
  write_idx(&folder, images, 3, (uint32_t[]){0, 2, 3}, 0, 0);
  test_expect_failure(open_mnist(&source, &folder, DATA_TRAIN), GP_ERROR_CORRUPT, images, "no images", NULL);
  write_idx(&folder, images, 3, (uint32_t[]){4, 0, 3}, 0, 0);
  test_expect_failure(open_mnist(&source, &folder, DATA_TRAIN), GP_ERROR_CORRUPT, images, "0 x 3", NULL);
  write_idx(&folder, images, 3, (uint32_t[]){4, 2, 3}, 23, 0);
  test_expect_failure(open_mnist(&source, &folder, DATA_TRAIN), GP_ERROR_CORRUPT, images, "truncated", "4 x 2 x 3",
                      NULL);
  assert_null(source);
  test_folder_remove(&folder);
}

static void opening_survives_want_of_memory(void **state) {
  (void)state;
  test_folder folder = test_folder_make();
  test_write_idx_set(&folder, "train", 25, 5, 4, true);
  uint64_t before = gp_alloc_count();
  data_source *source = NULL;
  test_expect_ok(open_mnist(&source, &folder, DATA_TRAIN));
  uint64_t needed = gp_alloc_count() - before;
  data_source_destroy(&source);
  assert_true(needed > 5);
  for (uint64_t n = 1; n <= needed; ++n) {
    gp_alloc_fail_after(n);
    test_expect_failure(open_mnist(&source, &folder, DATA_TRAIN), GP_ERROR_OUT_OF_MEMORY, NULL);
    assert_null(source);
  }
  gp_alloc_fail_after(0);
  test_folder_remove(&folder);
}

static void reads_fashion_mnist(void **state) {
  (void)state;
  if (access("/usr/share/datasets/fashion-mnist", R_OK) != 0) {
    print_message("skipped: Debian's dataset-fashion-mnist is not installed\n");
    skip();
  }
  static const int32_t first_labels[2][10] = {{9, 0, 0, 3, 0, 2, 7, 2, 5, 5}, {9, 2, 1, 1, 6, 1, 4, 6, 5, 7}};
  for (int split = 0; split < 2; ++split) {
    data_source *source = NULL;
    test_expect_ok(
        data_source_create(&source, &(data_source_desc){.dataset = "fashion-mnist", .split = (data_split)split}));
    const data_source_info *info = data_source_get_info(source);
    assert_int_equal(info->count, split == 0 ? 60000 : 10000);
    assert_string_equal(info->class_names[data_source_label(source, 0)], "Ankle boot");
    for (int i = 0; i < 10; ++i) assert_int_equal(data_source_label(source, i), first_labels[split][i]);
    double sum = 0.0;
    data_sample sample = {0};
    for (int64_t i = 0; i < info->count; i += 10) {
      test_expect_ok(data_source_read(source, i, &sample));
      for (int p = 0; p < 28 * 28; ++p) sum += sample.image.pixels[p] / 255.0;
    }
    double mean = sum / (28 * 28 * (double)info->count / 10);
    if (!(mean > info->mean[0] - 0.01 && mean < info->mean[0] + 0.01)) fail_msg("mean %g", mean);
    data_sample_free(&sample);
    data_source_destroy(&source);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_plain_and_gzip),
      cmocka_unit_test(reads_gzip_members_in_a_row),
      cmocka_unit_test(refuses_every_truncation),
      cmocka_unit_test(refuses_trailing_bytes),
      cmocka_unit_test(refuses_other_headers),
      cmocka_unit_test(refuses_promises),
      cmocka_unit_test(finds_every_flipped_bit_of_gzip),
      cmocka_unit_test(reads_large_files),
      cmocka_unit_test(opens_folders),
      cmocka_unit_test(refuses_unknown_and_missing),
      cmocka_unit_test(refuses_sets_that_do_not_fit),
      cmocka_unit_test(opening_survives_want_of_memory),
      cmocka_unit_test(reads_fashion_mnist),
  };
  return cmocka_run_group_tests_name("data/idx", tests, NULL, NULL);
}
