/* What the tests of the train floor share: a scratch folder, files, and messages. */
#ifndef GP_TEST_TRAIN_UTIL_H
#define GP_TEST_TRAIN_UTIL_H

#include "base/memory.h"
#include "base/status.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEST_PATH_SIZE = 512 };

/* The scratch folder of this test, empty at its start. */
static char test_folder[TEST_PATH_SIZE / 2];

static int remove_entry(const char *name) {
  char path[TEST_PATH_SIZE];
  snprintf(path, sizeof path, "%s/%s", test_folder, name);
  return remove(path);
}

static inline int make_test_folder(void **state) {
  (void)state;
  const char *base = getenv("TMPDIR");
  snprintf(test_folder, sizeof test_folder, "%s/gausspool-test-XXXXXX", base == NULL ? "/tmp" : base);
  return mkdtemp(test_folder) == NULL ? -1 : 0;
}

static inline int remove_test_folder(void **state) {
  (void)state;
  gp_alloc_fail_after(0);
  DIR *folder = opendir(test_folder);
  if (folder == NULL) return -1;
  for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder))
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) remove_entry(entry->d_name);
  closedir(folder);
  return rmdir(test_folder);
}

/* A path in the scratch folder; four of them are alive at a time. */
static inline const char *in_folder(const char *name) {
  static char paths[4][TEST_PATH_SIZE];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, TEST_PATH_SIZE, "%s/%s", test_folder, name);
  return path;
}

static inline void put_file(const char *path, const void *data, size_t bytes) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
}

static inline void put_text(const char *path, const char *text) { put_file(path, text, strlen(text)); }

/* The file's content with a zero byte behind it, for free(). */
static inline char *get_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  assert_int_equal(fseek(file, 0, SEEK_END), 0);
  size_t size = (size_t)ftell(file);
  rewind(file);
  char *data = calloc(size + 1, 1);
  assert_non_null(data);
  assert_int_equal(fread(data, 1, size, file), size);
  fclose(file);
  if (bytes != NULL) *bytes = size;
  return data;
}

static inline bool file_exists(const char *path) { return access(path, F_OK) == 0; }

#define assert_ok(expr)                                                          \
  do {                                                                           \
    gp_status assert_status = (expr);                                            \
    if (assert_status != GP_OK) print_error("%s: %s\n", #expr, gp_last_error()); \
    assert_int_equal(assert_status, GP_OK);                                      \
  } while (0)

/* The call fails with this status, and its message has this part and is one line. */
#define assert_fails(expr, expected, part)                                                    \
  do {                                                                                        \
    gp_status assert_status = (expr);                                                         \
    if (assert_status != (expected) || strstr(gp_last_error(), (part)) == NULL)               \
      print_error("%s: %s: \"%s\"\n", #expr, gp_status_name(assert_status), gp_last_error()); \
    assert_int_equal(assert_status, (expected));                                              \
    assert_non_null(strstr(gp_last_error(), (part)));                                         \
    assert_null(strchr(gp_last_error(), '\n'));                                               \
  } while (0)

/* cmocka's own compares in single precision. */
#define assert_near(a, b, tolerance)                                                                         \
  do {                                                                                                       \
    double near_a = (a), near_b = (b);                                                                       \
    if (!(fabs(near_a - near_b) <= (tolerance))) fail_msg("%s = %.17g, expected %.17g", #a, near_a, near_b); \
  } while (0)

#define test_in_folder(function) cmocka_unit_test_setup_teardown(function, make_test_folder, remove_test_folder)

#endif
