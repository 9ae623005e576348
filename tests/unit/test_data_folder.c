/* Image folders and their kept listings. */
#include "test_data_sets.h"

#include "base/memory.h"
#include "data/folder_index.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- Folders --------------------------------------------------------------------------------- */

static void folders_are_classes(void **state) {
  const test_folder *folder = *state;
  static const char *const tests[] = {"test", "val", "val_dir"};
  data_source *source = NULL;
  test_make_set(folder, "test");
  test_expect_ok(test_open_set(&source, folder, DATA_TRAIN, false));
  const data_source_info *info = data_source_get_info(source);
  assert_int_equal(info->classes, 2);
  assert_string_equal(info->class_names[0], "Ant");
  assert_string_equal(info->class_names[1], "zebra");
  assert_int_equal(info->height + info->width, 0);
  assert_int_equal(info->crop_size * 1000 + info->resize, 224256);
  assert_null(info->note);
  test_expect_samples(source, test_train_names, (const int32_t[]){0, 1, 1}, 3);
  data_source_destroy(&source);
  /* The usual name of the test folder comes first, whatever others are there. */
  for (int i = 0; i < 3; ++i) {
    char names[2][64], path[256], rest[256];
    if (i > 0) {
      test_path_in(folder, tests[i], path);
      test_path_in(folder, "test", rest);
      assert_int_equal(symlink(rest, path), 0);
    }
    test_expect_ok(test_open_set(&source, folder, DATA_TEST, false));
    for (int k = 0; k < 2; ++k) snprintf(names[k], sizeof names[k], "%s/%s/x%d", tests[i], k == 0 ? "Ant" : "zebra", k);
    char name[DATA_NAME_SIZE];
    data_source_name(source, 1, name, sizeof name);
    assert_string_equal(name, names[1]);
    data_source_destroy(&source);
  }
}

static void says_what_is_missing(void **state) {
  const test_folder *folder = *state;
  data_source *source = NULL;
  test_expect_failure(test_open_set(&source, folder, DATA_TRAIN, false), GP_ERROR_NOT_FOUND, folder->path, "train",
                      NULL);
  test_expect_failure(test_open_set(&source, folder, DATA_TEST, false), GP_ERROR_NOT_FOUND, "val_dir, val or test",
                      NULL);
  test_folder none = {"/nonexistent/place"};
  test_expect_failure(test_open_set(&source, &none, DATA_TRAIN, true), GP_ERROR_NOT_FOUND, none.path, "no such folder",
                      NULL);
  test_make_folder(folder, "train");
  test_expect_failure(test_open_set(&source, folder, DATA_TRAIN, false), GP_ERROR_CORRUPT, "train", "found none", NULL);
  test_make_folder(folder, "train/a");
  test_expect_failure(test_open_set(&source, folder, DATA_TRAIN, true), GP_ERROR_CORRUPT, "no images", NULL);
}

static void odd_classes_are_errors_or_left_out(void **state) {
  const test_folder *folder = *state;
  data_source *source = NULL;
  test_make_set(folder, "val");
  test_make_folder(folder, "train/empty");
  test_make_folder(folder, "val/unknown");
  test_make_file(folder, "val/unknown/y");
  test_expect_failure(test_open_set(&source, folder, DATA_TRAIN, false), GP_ERROR_CORRUPT, "train/empty",
                      "holds no images", "--on-bad-image skip", NULL);
  test_expect_failure(test_open_set(&source, folder, DATA_TEST, false), GP_ERROR_CORRUPT, "val/unknown", "training set",
                      NULL);
  test_expect_ok(test_open_set(&source, folder, DATA_TRAIN, true));
  assert_int_equal(data_source_get_info(source)->classes, 3); /* the empty one keeps its number */
  assert_non_null(strstr(data_source_get_info(source)->note, "1 class folder without images (empty)"));
  assert_int_equal(data_source_label(source, 2), 2);
  data_source_destroy(&source);
  test_expect_ok(test_open_set(&source, folder, DATA_TEST, true));
  assert_int_equal(data_source_get_info(source)->count, 2);
  assert_non_null(strstr(data_source_get_info(source)->note, "unknown"));
  data_source_destroy(&source);
}

/* It keeps its number, so that the classes after it keep theirs. */
static void a_class_that_is_a_broken_link_is_named(void **state) {
  const test_folder *folder = *state;
  static const char *const targets[] = {"nowhere", "middle"}; /* the second leads to itself */
  data_source *source = NULL;
  char path[256];
  test_make_set(folder, "val");
  for (int i = 0; i < 2; ++i) {
    test_path_in(folder, "train/middle", path);
    assert_int_equal(symlink(targets[i], path), 0);
    test_expect_failure(test_open_set(&source, folder, DATA_TRAIN, false), GP_ERROR_CORRUPT, "train/middle",
                        "leads nowhere", "--on-bad-image skip", NULL);
    test_expect_ok(test_open_set(&source, folder, DATA_TRAIN, true));
    assert_non_null(strstr(data_source_get_info(source)->note, "1 class folder without images (middle)"));
    test_expect_samples(source, test_train_names, (const int32_t[]){0, 2, 2}, 3);
    data_source_destroy(&source);
    assert_int_equal(unlink(path), 0);
  }
  test_path_in(folder, "val/other", path);
  assert_int_equal(symlink("nowhere", path), 0);
  test_expect_failure(test_open_set(&source, folder, DATA_TEST, false), GP_ERROR_CORRUPT, "val/other", NULL);
}

static void classes_can_be_told(void **state) {
  const test_folder *folder = *state;
  data_source *source = NULL;
  test_make_set(folder, "val");
  static const char *const classes[] = {"zebra", "Ant", "more"};
  data_source_desc desc = {.dataset = "imagenet", .dir = folder->path, .split = DATA_TEST, .class_names = classes};
  desc.classes = 3;
  test_expect_ok(data_source_create(&source, &desc));
  assert_int_equal(data_source_get_info(source)->classes, 3);
  assert_int_equal(data_source_label(source, 0) * 10 + data_source_label(source, 1), 10);
  data_source_destroy(&source);
  desc.classes = 1;
  test_expect_failure(data_source_create(&source, &desc), GP_ERROR_CORRUPT, "val/Ant", NULL);
}

static void a_vanished_file_is_named(void **state) {
  const test_folder *folder = *state;
  data_source *source = NULL;
  data_sample sample = {0};
  char path[256];
  test_make_set(folder, "val");
  test_expect_ok(test_open_set(&source, folder, DATA_TRAIN, false));
  test_path_in(folder, "train/zebra/a", path);
  assert_int_equal(unlink(path), 0);
  test_expect_failure(data_source_fetch(source, 1, &sample), GP_ERROR_NOT_FOUND, "train/zebra/a", NULL);
  test_expect_failure(data_source_read(source, 0, &sample), GP_ERROR_UNSUPPORTED, "train/Ant/c.png", "expected PNG",
                      NULL);
  data_source_destroy(&source);
  data_sample_free(&sample);
}

/* Failing allocations, one after the other, until it works. */
static void survives_lack_of_memory(void **state) {
  const test_folder *folder = *state;
  test_make_set(folder, "val");
  for (uint64_t n = 1;; ++n) {
    data_source *source = NULL;
    gp_alloc_fail_after(n);
    const gp_status status = test_open_set(&source, folder, DATA_TEST, false);
    gp_alloc_fail_after(0);
    data_source_destroy(&source);
    if (status == GP_OK) break;
    assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    assert_true(n < 1000);
  }
}

/* ---- Kept listings --------------------------------------------------------------------------- */

/* Sets all times of the folders back, so that they count as settled. */
static void age(const test_folder *folder, const char *name, int64_t seconds) {
  char path[256];
  test_path_in(folder, name, path);
  const struct timespec then = {.tv_sec = time(NULL) - seconds};
  assert_int_equal(utimensat(AT_FDCWD, path, (const struct timespec[]){then, then}, 0), 0);
}

static bool scan(const data_folder_desc *desc, const char *file, int64_t expected) {
  data_listing listing = {0};
  char note[DATA_NOTE_SIZE];
  bool used = false;
  test_expect_ok(data_folder_scan_at(&listing, desc, note, file, 1, &used));
  assert_int_equal(listing.count, expected);
  assert_string_equal(data_listing_name(&listing, 0), "c.png");
  assert_string_equal(data_listing_name(&listing, 1), "a");
  assert_int_equal(listing.labels[1], 1);
  data_listing_free(&listing);
  return used;
}

static void wait_until_kept(const data_folder_desc *desc, const char *file) {
  for (int wait = 0; wait < 60 && access(file, F_OK) != 0; ++wait) {
    usleep(200000);
    assert_false(scan(desc, file, 3));
  }
}

static void listings_are_kept_until_a_folder_changes(void **state) {
  const test_folder *folder = *state;
  char path[256], file[256];
  static const char *const classes[] = {"Ant", "zebra"};
  test_make_set(folder, "val");
  test_path_in(folder, "train", path);
  test_path_in(folder, "kept.list", file);
  const data_folder_desc desc = {.path = path, .classes = classes, .class_count = 2};
  /* Just made: a change within the same tick of the clock could not be seen, so nothing is kept. */
  assert_false(scan(&desc, file, 3));
  assert_false(scan(&desc, file, 3));
  assert_int_equal(access(file, F_OK), -1);
  /* The folders' own times cannot be set back, so this takes as long as it takes for them to settle. */
  wait_until_kept(&desc, file);
  assert_int_equal(access(file, F_OK), 0);
  assert_true(scan(&desc, file, 3));
  test_make_file(folder, "train/zebra/new");
  assert_false(scan(&desc, file, 4));
  test_path_in(folder, "train/zebra/new", path);
  assert_int_equal(unlink(path), 0);
  test_path_in(folder, "train", path);
  age(folder, "train/zebra", 100);
  assert_false(scan(&desc, file, 3)); /* what is kept is of another time */
}

static void damaged_listings_are_not_used(void **state) {
  const test_folder *folder = *state;
  char path[256], file[256];
  static const char *const classes[] = {"Ant", "zebra"};
  test_make_set(folder, "val");
  test_path_in(folder, "train", path);
  test_path_in(folder, "kept.list", file);
  const data_folder_desc desc = {.path = path, .classes = classes, .class_count = 2};
  wait_until_kept(&desc, file);
  assert_true(scan(&desc, file, 3));
  struct stat info;
  assert_int_equal(stat(file, &info), 0);
  uint8_t *bytes = malloc((size_t)info.st_size);
  FILE *stream = fopen(file, "rb");
  assert_int_equal(fread(bytes, 1, (size_t)info.st_size, stream), info.st_size);
  fclose(stream);
  for (off_t i = 0; i < info.st_size; i += 3) {
    bytes[i] ^= 0x10;
    test_write(folder, "kept.list", bytes, (size_t)info.st_size, false);
    bytes[i] ^= 0x10;
    assert_false(scan(&desc, file, 3));
  }
  for (off_t size = 0; size < info.st_size; size += 7) {
    test_write(folder, "kept.list", bytes, (size_t)size, false);
    assert_false(scan(&desc, file, 3));
  }
  free(bytes);
}

/* Nowhere to keep them: below a file, or where a folder is. The listing is good all the same. */
static void listings_that_cannot_be_kept_are_no_error(void **state) {
  const test_folder *folder = *state;
  char path[256], file[256];
  static const char *const classes[] = {"Ant", "zebra"};
  test_make_set(folder, "val");
  test_path_in(folder, "train", path);
  test_path_in(folder, "kept.list", file);
  const data_folder_desc desc = {.path = path, .classes = classes, .class_count = 2};
  wait_until_kept(&desc, file); /* from here on it would be kept */
  test_path_in(folder, "train/zebra/a/kept.list", file);
  assert_false(scan(&desc, file, 3));
  assert_false(scan(&desc, folder->path, 3));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_FOLDER(folders_are_classes),
      WITH_FOLDER(says_what_is_missing),
      WITH_FOLDER(odd_classes_are_errors_or_left_out),
      WITH_FOLDER(a_class_that_is_a_broken_link_is_named),
      WITH_FOLDER(classes_can_be_told),
      WITH_FOLDER(a_vanished_file_is_named),
      WITH_FOLDER(survives_lack_of_memory),
      WITH_FOLDER(listings_are_kept_until_a_folder_changes),
      WITH_FOLDER(damaged_listings_are_not_used),
      WITH_FOLDER(listings_that_cannot_be_kept_are_no_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
