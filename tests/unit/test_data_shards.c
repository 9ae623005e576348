/* Packed shards. */
#include "test_data_sets.h"

#include "data/pack.h"
#include "data/tar.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static data_pack_result pack(const test_folder *folder, data_split split, int64_t shard_bytes) {
  char out[256];
  data_pack_result result;
  test_path_in(folder, "out", out);
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
  test_make_set(folder, "val");
  test_path_in(folder, "out", out);
  assert_int_equal(pack(folder, DATA_TRAIN, 1).shards, 3);
  assert_int_equal(pack(folder, DATA_TEST, 1 << 20).shards, 1);
  data_source_desc desc = {.dataset = "imagenet", .dir = out, .split = DATA_TRAIN};
  test_expect_ok(data_source_create(&source, &desc));
  assert_string_equal(data_source_get_info(source)->class_names[1], "zebra");
  test_expect_samples(source, test_train_names, (const int32_t[]){0, 1, 1}, 3);
  data_source_destroy(&source);
  desc.split = DATA_TEST;
  test_expect_ok(data_source_create(&source, &desc));
  test_expect_samples(source, (const char *const[]){"val/Ant/x0", "val/zebra/x1"}, (const int32_t[]){0, 1}, 2);
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
  test_make_folder(folder, "train");
  test_make_folder(folder, "train/a");
  memset(name, 'n', NAME_MAX);
  name[NAME_MAX] = '\0';
  snprintf(path, sizeof path, "%s/train/a/%s", folder->path, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fputs("x", file) < 0 || fclose(file) != 0, 0);
  assert_int_equal(pack(folder, DATA_TRAIN, 1).images, 1);
  test_path_in(folder, "out", out);
  test_expect_ok(data_source_create(&source, &(data_source_desc){.dataset = "imagenet", .dir = out}));
  data_source_name(source, 0, path, sizeof path);
  assert_string_equal(path + strlen("train/a/"), name);
  data_source_destroy(&source);
}

/* Reads all shards of two sets in a process of its own, which may have few files open; returns its exit status.
 * Only the soft limit is lowered: Valgrind, which keeps files of its own, does not let the hard one change. */
static int read_with_files(const char *out, const data_source_desc *other, int few) {
  int code = -1;
  const pid_t child = fork();
  if (child != 0) {
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code));
    return WEXITSTATUS(code);
  }
  data_source *source = NULL, *kept = NULL;
  data_sample sample = {0};
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(2);
  const int lowest = dup(0);
  close(lowest);
  limit.rlim_cur = (rlim_t)(lowest + few);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(3);
  if (data_source_create(&source, &(data_source_desc){.dataset = "imagenet", .dir = out}) != GP_OK) _exit(4);
  if (data_source_create(&kept, other) != GP_OK) _exit(5);
  const int64_t count = data_source_get_info(source)->count;
  for (int64_t i = 0; i < 3 * count; ++i) {
    const int64_t at = i * 7 % count;
    char name[300];
    data_source_name(source, at, name, sizeof name);
    for (int both = 0; both < 2; ++both) {
      if (data_source_fetch(both ? kept : source, at, &sample) != GP_OK) _exit(6);
      if (sample.size != strlen(name) || memcmp(sample.bytes, name, sample.size) != 0) _exit(7);
    }
  }
  /* There is room for what else a program opens. */
  int others = 0;
  while (others < 8 && dup(0) >= 0) ++others;
  _exit(others == 8 ? 0 : 8);
}

static void many_shards_need_few_open_files(void **state) {
  const test_folder *folder = *state;
  char out[256], name[64];
  test_make_folder(folder, "train");
  test_make_folder(folder, "train/a");
  for (int i = 0; i < 90; ++i) {
    snprintf(name, sizeof name, "train/a/%d", i);
    test_make_file(folder, name);
  }
  assert_int_equal(pack(folder, DATA_TRAIN, 1).shards, 90);
  test_path_in(folder, "out", out);
  const data_source_desc packed = {.dataset = "imagenet", .dir = out};
  assert_int_equal(read_with_files(out, &packed, 40), 0);
  assert_int_equal(read_with_files(out, &packed, 20), 0);
  assert_int_equal(read_with_files(out, &packed, 200), 0);
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
  test_make_set(folder, "val");
  test_path_in(folder, "out", out);
  test_path_in(folder, "out/train.index", index);
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
  for (size_t size = 0; size < strlen(text); ++size) {
    data_source *source = NULL;
    test_write(folder, "out/train.index", (const uint8_t *)text, size, false);
    test_expect_failure(data_source_create(&source, &(data_source_desc){.dataset = "imagenet", .dir = out}),
                        GP_ERROR_CORRUPT, "train.index", "line", NULL);
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
  test_make_folder(folder, "train");
  test_make_folder(folder, "train/a");
  test_make_image(folder, "train/a/1", 90);
  test_make_file(folder, "train/a/2");
  test_make_image(folder, "train/a/3", 90);
  test_make_folder(folder, "out");
  test_path_in(folder, "out", out);
  data_pack_desc desc = {
      .dataset = "imagenet", .dir = folder->path, .out = out, .shard_bytes = 1 << 20, .side = 2, .quality = 95};
  test_expect_failure(data_pack(&desc, &result), GP_ERROR_UNSUPPORTED, "train/a/2", NULL);
  char tar[256];
  test_path_in(folder, "out/train-00000.tar", tar);
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
  test_path_in(folder, "t.tar", path);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_FOLDER(shards_hold_what_the_folder_held),
      WITH_FOLDER(shards_take_long_names),
      WITH_FOLDER(many_shards_need_few_open_files),
      WITH_FOLDER(broken_indices_are_refused),
#ifdef DATA_HAVE_JPEG
      WITH_FOLDER(shards_can_be_made_smaller),
#endif
      WITH_FOLDER(tar_unpacks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
