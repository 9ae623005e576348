/* Data sets of many files: image folders, their kept listings, packed shards, CIFAR-10's binary files, made-up images. */
#include "test_data_files.h"

#include "base/memory.h"
#include "data/folder_index.h"
#include "data/pack.h"
#include "data/shards.h"
#include "data/source.h"
#include "data/tar.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- Folders --------------------------------------------------------------------------------- */

/* A temporary folder with folders in it. */
static int setup(void **state) {
  test_folder *folder = malloc(sizeof *folder);
  *folder = test_folder_make();
  *state = folder;
  setenv("GAUSSPOOL_CACHE", "off", 1);
  return folder == NULL;
}

static int teardown(void **state) {
  test_folder *folder = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder->path);
  const int code = system(command);
  free(folder);
  return code;
}

static void path_in(const test_folder *folder, const char *name, char path[256]) {
  snprintf(path, 256, "%s/%s", folder->path, name);
}

static void make_folder(const test_folder *folder, const char *name) {
  char path[256];
  path_in(folder, name, path);
  if (mkdir(path, 0777) != 0) fail_msg("cannot make %s", path);
}

/* A file that holds its own name: enough for everything but decoding. */
static void make_file(const test_folder *folder, const char *name) {
  test_write(folder, name, (const uint8_t *)name, strlen(name), false);
}

static void make_image(const test_folder *folder, const char *name, uint8_t grey) {
  char text[64];
  const int length = snprintf(text, sizeof text, "P2 3 3 255\n%u 0 0 0 0 0 0 0 0\n", grey);
  test_write(folder, name, (const uint8_t *)text, (size_t)length, false);
}

/* Two classes, three training and two test files. */
static void make_set(const test_folder *folder, const char *test) {
  char name[128];
  make_folder(folder, "train");
  make_folder(folder, "train/zebra");
  make_folder(folder, "train/Ant");
  make_file(folder, "train/zebra/b.jpg");
  make_file(folder, "train/zebra/a");
  make_file(folder, "train/Ant/c.png");
  make_file(folder, "train/Ant/.hidden");
  make_file(folder, "train/list.txt");
  make_folder(folder, test);
  for (int i = 0; i < 2; ++i) {
    snprintf(name, sizeof name, "%s/%s", test, i == 0 ? "Ant" : "zebra");
    make_folder(folder, name);
    snprintf(name, sizeof name, "%s/%s/x%d", test, i == 0 ? "Ant" : "zebra", i);
    make_file(folder, name);
  }
}

static gp_status open_set(data_source **out, const test_folder *folder, data_split split, bool lenient) {
  return data_source_create(
      out, &(data_source_desc){.dataset = "imagenet", .dir = folder->path, .split = split, .lenient = lenient});
}

static void expect_samples(const data_source *source, const char *const *names, const int32_t *labels, int64_t count) {
  char name[DATA_NAME_SIZE];
  data_sample sample = {0};
  assert_int_equal(data_source_get_info(source)->count, count);
  for (int64_t i = 0; i < count; ++i) {
    data_source_name(source, i, name, sizeof name);
    assert_string_equal(name, names[i]);
    assert_int_equal(data_source_label(source, i), labels[i]);
    test_expect_ok(data_source_fetch(source, i, &sample));
    assert_true(sample.encoded);
    assert_int_equal(sample.size, strlen(names[i]));
    assert_memory_equal(sample.bytes, names[i], sample.size);
  }
  data_sample_free(&sample);
}

static const char *const train_names[] = {"train/Ant/c.png", "train/zebra/a", "train/zebra/b.jpg"};

static void folders_are_classes(void **state) {
  const test_folder *folder = *state;
  static const char *const tests[] = {"test", "val", "val_dir"};
  data_source *source = NULL;
  make_set(folder, "test");
  test_expect_ok(open_set(&source, folder, DATA_TRAIN, false));
  const data_source_info *info = data_source_get_info(source);
  assert_int_equal(info->classes, 2);
  assert_string_equal(info->class_names[0], "Ant");
  assert_string_equal(info->class_names[1], "zebra");
  assert_int_equal(info->height + info->width, 0);
  assert_int_equal(info->crop_size * 1000 + info->resize, 224256);
  assert_null(info->note);
  expect_samples(source, train_names, (const int32_t[]){0, 1, 1}, 3);
  data_source_destroy(&source);
  /* The usual name of the test folder comes first, whatever others are there. */
  for (int i = 0; i < 3; ++i) {
    char names[2][64], path[256], rest[256];
    if (i > 0) {
      path_in(folder, tests[i], path);
      path_in(folder, "test", rest);
      assert_int_equal(symlink(rest, path), 0);
    }
    test_expect_ok(open_set(&source, folder, DATA_TEST, false));
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
  test_expect_failure(open_set(&source, folder, DATA_TRAIN, false), GP_ERROR_NOT_FOUND, folder->path, "train", NULL);
  test_expect_failure(open_set(&source, folder, DATA_TEST, false), GP_ERROR_NOT_FOUND, "val_dir, val or test", NULL);
  test_folder none = {"/nonexistent/place"};
  test_expect_failure(open_set(&source, &none, DATA_TRAIN, true), GP_ERROR_NOT_FOUND, none.path, "no such folder",
                      NULL);
  make_folder(folder, "train");
  test_expect_failure(open_set(&source, folder, DATA_TRAIN, false), GP_ERROR_CORRUPT, "train", "found none", NULL);
  make_folder(folder, "train/a");
  test_expect_failure(open_set(&source, folder, DATA_TRAIN, true), GP_ERROR_CORRUPT, "no images", NULL);
}

static void odd_classes_are_errors_or_left_out(void **state) {
  const test_folder *folder = *state;
  data_source *source = NULL;
  make_set(folder, "val");
  make_folder(folder, "train/empty");
  make_folder(folder, "val/unknown");
  make_file(folder, "val/unknown/y");
  test_expect_failure(open_set(&source, folder, DATA_TRAIN, false), GP_ERROR_CORRUPT, "train/empty", "holds no images",
                      "--on-bad-image skip", NULL);
  test_expect_failure(open_set(&source, folder, DATA_TEST, false), GP_ERROR_CORRUPT, "val/unknown", "training set",
                      NULL);
  test_expect_ok(open_set(&source, folder, DATA_TRAIN, true));
  assert_int_equal(data_source_get_info(source)->classes, 3); /* the empty one keeps its number */
  assert_non_null(strstr(data_source_get_info(source)->note, "1 class folder without images (empty)"));
  assert_int_equal(data_source_label(source, 2), 2);
  data_source_destroy(&source);
  test_expect_ok(open_set(&source, folder, DATA_TEST, true));
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
  make_set(folder, "val");
  for (int i = 0; i < 2; ++i) {
    path_in(folder, "train/middle", path);
    assert_int_equal(symlink(targets[i], path), 0);
    test_expect_failure(open_set(&source, folder, DATA_TRAIN, false), GP_ERROR_CORRUPT, "train/middle", "leads nowhere",
                        "--on-bad-image skip", NULL);
    test_expect_ok(open_set(&source, folder, DATA_TRAIN, true));
    assert_non_null(strstr(data_source_get_info(source)->note, "1 class folder without images (middle)"));
    expect_samples(source, train_names, (const int32_t[]){0, 2, 2}, 3);
    data_source_destroy(&source);
    assert_int_equal(unlink(path), 0);
  }
  path_in(folder, "val/other", path);
  assert_int_equal(symlink("nowhere", path), 0);
  test_expect_failure(open_set(&source, folder, DATA_TEST, false), GP_ERROR_CORRUPT, "val/other", NULL);
}

static void classes_can_be_told(void **state) {
  const test_folder *folder = *state;
  data_source *source = NULL;
  make_set(folder, "val");
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
  make_set(folder, "val");
  test_expect_ok(open_set(&source, folder, DATA_TRAIN, false));
  path_in(folder, "train/zebra/a", path);
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
  make_set(folder, "val");
  for (uint64_t n = 1;; ++n) {
    data_source *source = NULL;
    gp_alloc_fail_after(n);
    const gp_status status = open_set(&source, folder, DATA_TEST, false);
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
  path_in(folder, name, path);
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

static void listings_are_kept_until_a_folder_changes(void **state) {
  const test_folder *folder = *state;
  char path[256], file[256];
  static const char *const classes[] = {"Ant", "zebra"};
  make_set(folder, "val");
  path_in(folder, "train", path);
  path_in(folder, "kept.list", file);
  const data_folder_desc desc = {.path = path, .classes = classes, .class_count = 2};
  /* Just made: a change within the same tick of the clock could not be seen, so nothing is kept. */
  assert_false(scan(&desc, file, 3));
  assert_false(scan(&desc, file, 3));
  assert_int_equal(access(file, F_OK), -1);
  /* The folders' own times cannot be set back, so this takes as long as it takes for them to settle. */
  for (int wait = 0; wait < 60 && access(file, F_OK) != 0; ++wait) {
    usleep(200000);
    assert_false(scan(&desc, file, 3));
  }
  assert_int_equal(access(file, F_OK), 0);
  assert_true(scan(&desc, file, 3));
  make_file(folder, "train/zebra/new");
  assert_false(scan(&desc, file, 4));
  path_in(folder, "train/zebra/new", path);
  assert_int_equal(unlink(path), 0);
  path_in(folder, "train", path);
  age(folder, "train/zebra", 100);
  assert_false(scan(&desc, file, 3)); /* what is kept is of another time */
}

static void damaged_listings_are_not_used(void **state) {
  const test_folder *folder = *state;
  char path[256], file[256];
  static const char *const classes[] = {"Ant", "zebra"};
  make_set(folder, "val");
  path_in(folder, "train", path);
  path_in(folder, "kept.list", file);
  const data_folder_desc desc = {.path = path, .classes = classes, .class_count = 2};
  for (int wait = 0; wait < 60 && access(file, F_OK) != 0; ++wait) {
    usleep(200000);
    assert_false(scan(&desc, file, 3));
  }
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

/* ---- Shards ---------------------------------------------------------------------------------- */

static data_pack_result pack(const test_folder *folder, data_split split, int64_t shard_bytes) {
  char out[256];
  data_pack_result result;
  path_in(folder, "out", out);
  (void)mkdir(out, 0777);
  test_expect_ok(data_pack(
      &(data_pack_desc){
          .dataset = "imagenet", .dir = folder->path, .split = split, .out = out, .shard_bytes = shard_bytes},
      &result));
  return result;
}

static void shards_hold_what_the_folder_held(void **state) {
  const test_folder *folder = *state;
  data_source *source = NULL;
  char out[256];
  make_set(folder, "val");
  path_in(folder, "out", out);
  assert_int_equal(pack(folder, DATA_TRAIN, 1).shards, 3);
  assert_int_equal(pack(folder, DATA_TEST, 1 << 20).shards, 1);
  data_source_desc desc = {.dataset = "imagenet", .dir = out, .split = DATA_TRAIN};
  test_expect_ok(data_source_create(&source, &desc));
  assert_string_equal(data_source_get_info(source)->class_names[1], "zebra");
  expect_samples(source, train_names, (const int32_t[]){0, 1, 1}, 3);
  data_source_destroy(&source);
  desc.split = DATA_TEST;
  test_expect_ok(data_source_create(&source, &desc));
  expect_samples(source, (const char *const[]){"val/Ant/x0", "val/zebra/x1"}, (const int32_t[]){0, 1}, 2);
  data_source_destroy(&source);
  desc.class_names = (const char *const[]){"zebra", "Ant"};
  desc.classes = 2;
  test_expect_ok(data_source_create(&source, &desc));
  assert_int_equal(data_source_label(source, 0), 1);
  data_source_destroy(&source);
  data_pack_result result;
  test_expect_failure(
      data_pack(&(data_pack_desc){.dataset = "imagenet", .dir = folder->path, .out = out, .shard_bytes = 9}, &result),
      GP_ERROR_INVALID_ARGUMENT, "there already", NULL);
}

/* As long as a name can be. */
static void shards_take_long_names(void **state) {
  const test_folder *folder = *state;
  data_source *source = NULL;
  char out[256], name[NAME_MAX + 1], path[512];
  make_folder(folder, "train");
  make_folder(folder, "train/a");
  memset(name, 'n', NAME_MAX);
  name[NAME_MAX] = '\0';
  snprintf(path, sizeof path, "%s/train/a/%s", folder->path, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fputs("x", file) < 0 || fclose(file) != 0, 0);
  assert_int_equal(pack(folder, DATA_TRAIN, 1).images, 1);
  path_in(folder, "out", out);
  test_expect_ok(data_source_create(&source, &(data_source_desc){.dataset = "imagenet", .dir = out}));
  data_source_name(source, 0, path, sizeof path);
  assert_string_equal(path + strlen("train/a/"), name);
  data_source_destroy(&source);
}

/* In a process of its own: a hard limit cannot be raised again. True if it opens the shards, false
 * if they are too many; its limit is `expected` then. */
static bool opens_with_files(const char *out, rlim_t soft, rlim_t hard, rlim_t expected) {
  int code = -1;
  const pid_t child = fork();
  if (child != 0) {
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) < 2);
    return WEXITSTATUS(code) == 0;
  }
  data_source *source = NULL;
  struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(2);
  const gp_status status = data_source_create(&source, &(data_source_desc){.dataset = "imagenet", .dir = out});
  data_source_destroy(&source);
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur != expected) _exit(3);
  if (status == GP_OK) _exit(0);
  const char *message = gp_last_error();
  const bool clear = strstr(message, "90 tar files") && strstr(message, "the limit is 100") &&
                     strstr(message, "ulimit -n") && strstr(message, "--shard-mib");
  _exit(status == GP_ERROR_IO && clear ? 1 : 4);
}

static void many_shards_raise_the_limit_on_open_files(void **state) {
  const test_folder *folder = *state;
  char out[256], name[64];
  make_folder(folder, "train");
  make_folder(folder, "train/a");
  for (int i = 0; i < 90; ++i) {
    snprintf(name, sizeof name, "train/a/%d", i);
    make_file(folder, name);
  }
  assert_int_equal(pack(folder, DATA_TRAIN, 1).shards, 90);
  path_in(folder, "out", out);
  assert_true(opens_with_files(out, 50, 300, 300));
  assert_true(opens_with_files(out, 250, 300, 250)); /* enough as it is */
  assert_false(opens_with_files(out, 50, 100, 50));
}

typedef struct index_case {
  const char *find, *replace, *message;
} index_case;

static void broken_indices_are_refused(void **state) {
  const test_folder *folder = *state;
  static const index_case cases[] = {{"shards 1\n", "shards 2\n", "line 1"},
                                     {"classes 2", "classes 3", "line"},
                                     {"classes 2", "classes 99999999999", "line 3"},
                                     {"Ant\n", "../x\n", "line 4"},
                                     {"train-00000.tar\n", "/etc/passwd\n", "line 7"},
                                     {"samples 3", "samples 4", "ends in line"},
                                     {"samples 3", "samples 2", "the end"},
                                     {"samples 3", "samples 0", "above 0"},
                                     {"0 512 15 0 c.png", "0 512 15 2 c.png", "label"},
                                     {"0 512 15 0 c.png", "1 512 15 0 c.png", "shard"},
                                     {"0 512 15 0 c.png", "0 9999999 15 0 c.png", "inside its shard"},
                                     {"0 512 15 0 c.png", "0 -1 15 0 c.png", "offset"},
                                     {"0 512 15 0 c.png", "0 512 15 0 a/b", "name"},
                                     {"0 512 15 0 c.png", "", "expected"}};
  char out[256], index[256], text[2048] = "", broken[4096];
  make_set(folder, "val");
  path_in(folder, "out", out);
  path_in(folder, "out/train.index", index);
  (void)pack(folder, DATA_TRAIN, 1 << 20);
  FILE *file = fopen(index, "rb");
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  fclose(file);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const char *at = strstr(text, cases[i].find);
    if (at == NULL) fail_msg("no \"%s\" in the index:\n%s", cases[i].find, text);
    const int length = snprintf(broken, sizeof broken, "%.*s%s%s", (int)(at - text), text, cases[i].replace,
                                at + strlen(cases[i].find));
    test_write(folder, "out/train.index", (const uint8_t *)broken, (size_t)length, false);
    data_source *source = NULL;
    test_expect_failure(data_source_create(&source, &(data_source_desc){.dataset = "imagenet", .dir = out}),
                        GP_ERROR_CORRUPT, "train.index", cases[i].message, NULL);
  }
  test_write(folder, "out/train.index", (const uint8_t *)text, strlen(text), false);
  test_write(folder, "out/train-00000.tar", (const uint8_t *)text, 100, false);
  data_source *source = NULL;
  test_expect_failure(data_source_create(&source, &(data_source_desc){.dataset = "imagenet", .dir = out}),
                      GP_ERROR_CORRUPT, "train-00000.tar", "100 bytes", NULL);
}

#ifdef DATA_HAVE_JPEG
static void shards_can_be_made_smaller(void **state) {
  const test_folder *folder = *state;
  char out[256];
  data_pack_result result;
  make_folder(folder, "train");
  make_folder(folder, "train/a");
  make_image(folder, "train/a/1", 90);
  make_file(folder, "train/a/2");
  make_image(folder, "train/a/3", 90);
  make_folder(folder, "out");
  path_in(folder, "out", out);
  data_pack_desc desc = {
      .dataset = "imagenet", .dir = folder->path, .out = out, .shard_bytes = 1 << 20, .side = 2, .quality = 95};
  test_expect_failure(data_pack(&desc, &result), GP_ERROR_UNSUPPORTED, "train/a/2", NULL);
  char tar[256];
  path_in(folder, "out/train-00000.tar", tar);
  (void)unlink(tar);
  desc.lenient = true;
  test_expect_ok(data_pack(&desc, &result));
  assert_int_equal(result.images * 100 + result.resized * 10 + result.left_out, 221);
  data_source *source = NULL;
  data_sample sample = {0};
  test_expect_ok(data_source_create(&source, &(data_source_desc){.dataset = "imagenet", .dir = out}));
  for (int i = 0; i < 2; ++i) {
    test_expect_ok(data_source_read(source, i, &sample));
    assert_int_equal(sample.image.height * 10 + sample.image.width, 22);
  }
  data_source_destroy(&source);
  data_sample_free(&sample);
}
#endif

/* What tar(1) makes of the names, long ones too. */
static void tar_unpacks(void **state) {
  const test_folder *folder = *state;
  static const size_t lengths[] = {1, 99, 100, 101, 155, 200, 254, 255};
  char path[256], name[600], command[1200];
  data_tar tar;
  uint64_t offset = 0;
  path_in(folder, "t.tar", path);
  test_expect_ok(data_tar_create(&tar, path));
  for (int folders = 0; folders < 2; ++folders)
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
      memset(name, folders ? 'f' : 'p', sizeof name);
      if (folders) memcpy(name, "train/class/", 12);
      const size_t length = lengths[i] + (folders ? 12 : 0);
      name[length] = '\0';
      test_expect_ok(data_tar_add(&tar, name, (const uint8_t *)name, length, &offset));
    }
  test_expect_ok(data_tar_finish(&tar));
  data_tar_close(&tar);
  test_expect_failure(data_tar_create(&tar, path), GP_ERROR_IO, "exists", NULL);
  snprintf(command, sizeof command,
           "cd '%s' && mkdir x && tar -xf t.tar -C x && cd x && find . -type f | while read f; do "
           "[ \"$(cat \"$f\")\" = \"${f#./}\" ] || exit 1; done && [ $(find . -type f | wc -l) = 16 ]",
           folder->path);
  assert_int_equal(system(command), 0);
}

/* ---- Others ---------------------------------------------------------------------------------- */

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
  make_folder(folder, "cifar-10-batches-bin");
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

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

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
      WITH_FOLDER(shards_hold_what_the_folder_held),
      WITH_FOLDER(shards_take_long_names),
      WITH_FOLDER(many_shards_raise_the_limit_on_open_files),
      WITH_FOLDER(broken_indices_are_refused),
#ifdef DATA_HAVE_JPEG
      WITH_FOLDER(shards_can_be_made_smaller),
#endif
      WITH_FOLDER(tar_unpacks),
      WITH_FOLDER(reads_cifar_files),
      cmocka_unit_test(makes_synthetic_images),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
