#include "test_data_sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A temporary folder with folders in it. */
int test_set_up(void **state) {
  test_folder *folder = malloc(sizeof *folder);
  if (folder == NULL) return 1;
  *folder = test_folder_make();
  *state = folder;
  setenv("GAUSSPOOL_CACHE", "off", 1);
  return 0;
}

int test_set_tear_down(void **state) {
  test_folder *folder = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder->path);
  const int code = system(command);
  free(folder);
  return code;
}

void test_path_in(const test_folder *folder, const char *name, char path[256]) {
  snprintf(path, 256, "%s/%s", folder->path, name);
}

void test_make_folder(const test_folder *folder, const char *name) {
  char path[256];
  test_path_in(folder, name, path);
  if (mkdir(path, 0777) != 0) fail_msg("cannot make %s", path);
}

/* A file that holds its own name: enough for everything but decoding. */
void test_make_file(const test_folder *folder, const char *name) {
  test_write(folder, name, (const uint8_t *)name, strlen(name), false);
}

void test_make_image(const test_folder *folder, const char *name, uint8_t grey) {
  char text[64];
  const int length = snprintf(text, sizeof text, "P2 3 3 255\n%u 0 0 0 0 0 0 0 0\n", grey);
  test_write(folder, name, (const uint8_t *)text, (size_t)length, false);
}

/* Two classes, three training and two test files. */
void test_make_set(const test_folder *folder, const char *test) {
  char name[128];
  test_make_folder(folder, "train");
  test_make_folder(folder, "train/zebra");
  test_make_folder(folder, "train/Ant");
  test_make_file(folder, "train/zebra/b.jpg");
  test_make_file(folder, "train/zebra/a");
  test_make_file(folder, "train/Ant/c.png");
  test_make_file(folder, "train/Ant/.hidden");
  test_make_file(folder, "train/list.txt");
  test_make_folder(folder, test);
  for (int i = 0; i < 2; ++i) {
    snprintf(name, sizeof name, "%s/%s", test, i == 0 ? "Ant" : "zebra");
    test_make_folder(folder, name);
    snprintf(name, sizeof name, "%s/%s/x%d", test, i == 0 ? "Ant" : "zebra", i);
    test_make_file(folder, name);
  }
}

gp_status test_open_set(data_source **out, const test_folder *folder, data_split split, bool lenient) {
  return data_source_create(
      out, &(data_source_desc){.dataset = "imagenet", .dir = folder->path, .split = split, .lenient = lenient});
}

void test_expect_samples(const data_source *source, const char *const *names, const int32_t *labels, int64_t count) {
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

const char *const test_train_names[3] = {"train/Ant/c.png", "train/zebra/a", "train/zebra/b.jpg"};
