/* Files of which only some are open at a time: content, how many, failures, and several threads at once. */
#include "test_data_sets.h"

#include "base/memory.h"
#include "data/open_files.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 23, BYTES = 40, THREADS = 6, READS = 2000 };

static char paths[FILES][256];
static data_known_file known[FILES];

static uint8_t byte_of(int32_t file, uint64_t at) { return (uint8_t)(file * 37 + (int)at * 3); }

static void make_files(const test_folder *folder) {
  for (int32_t i = 0; i < FILES; ++i) {
    char name[16];
    uint8_t bytes[BYTES];
    snprintf(name, sizeof name, "f%d", i);
    for (uint64_t k = 0; k < BYTES; ++k) bytes[k] = byte_of(i, k);
    test_write(folder, name, bytes, BYTES, false);
    test_path_in(folder, name, paths[i]);
    known[i] = (data_known_file){.path = paths[i], .size = BYTES};
  }
}

/* Open files of this process, the folder that is read for it among them. */
static int count_open(void) {
  int count = 0;
  DIR *folder = opendir("/proc/self/fd");
  assert_non_null(folder);
  while (readdir(folder) != NULL) ++count;
  closedir(folder);
  return count;
}

static bool reads(data_open_files *files, int32_t number, uint64_t offset, size_t size) {
  uint8_t bytes[BYTES];
  if (data_open_files_read(files, number, bytes, size, offset) != GP_OK) return false;
  for (size_t i = 0; i < size; ++i)
    if (bytes[i] != byte_of(number, offset + i)) return false;
  return true;
}

static data_open_files *open_some(int32_t most) {
  data_open_files *files = NULL;
  test_expect_ok(data_open_files_create(&files, known, FILES, most));
  return files;
}

static void no_more_are_open_than_may_be(void **state) {
  make_files(*state);
  const int before = count_open();
  for (int32_t most = 1; most <= FILES; most += 11) {
    data_open_files *files = open_some(most);
    assert_int_equal(count_open(), before);
    for (int32_t i = 0; i < 3 * FILES; ++i) {
      assert_true(reads(files, i * 5 % FILES, (uint64_t)(i % 30), 10));
      assert_int_equal(count_open() - before, i + 1 < most ? i + 1 : most);
    }
    data_open_files_destroy(&files);
    assert_null(files);
    assert_int_equal(count_open(), before);
  }
}

/* What was used last stays open, which a file shows that is not to be found any more. */
static void the_least_used_is_closed(void **state) {
  make_files(*state);
  data_open_files *files = open_some(3);
  uint8_t byte = 0;
  for (int32_t i = 0; i < 3; ++i) assert_true(reads(files, i, 0, 1));
  assert_true(reads(files, 0, 1, 1));
  assert_true(reads(files, 3, 0, 1)); /* in the place of 1 */
  for (int32_t i = 0; i < 3; ++i) assert_int_equal(unlink(paths[i]), 0);
  assert_true(reads(files, 0, 2, 1) && reads(files, 2, 2, 1) && reads(files, 3, 2, 1));
  test_expect_failure(data_open_files_read(files, 1, &byte, 1, 0), GP_ERROR_NOT_FOUND, paths[1], NULL);
  data_open_files_destroy(&files);
}

static void failures_leave_the_others(void **state) {
  const test_folder *folder = *state;
  make_files(folder);
  data_open_files *files = open_some(2);
  uint8_t bytes[2 * BYTES];
  assert_int_equal(unlink(paths[0]), 0);
  test_write(folder, "f1", bytes, 7, false);
  for (int again = 0; again < 2; ++again) {
    test_expect_failure(data_open_files_read(files, 0, bytes, 1, 0), GP_ERROR_NOT_FOUND, paths[0], NULL);
    test_expect_failure(data_open_files_read(files, 1, bytes, 1, 0), GP_ERROR_CORRUPT, paths[1], "7 bytes", "had 40",
                        NULL);
    test_expect_failure(data_open_files_read(files, 2, bytes, BYTES, 1), GP_ERROR_IO, paths[2], "39 of 40", NULL);
    for (int32_t i = 2; i < FILES; ++i) assert_true(reads(files, i, 3, 30));
  }
  make_files(folder);
  for (int32_t i = 0; i < FILES; ++i) assert_true(reads(files, i, 0, BYTES));
  data_open_files_destroy(&files);
}

typedef struct reader {
  data_open_files *files;
  int32_t number;
  atomic_int *wrong;
} reader;

static void *read_much(void *argument) {
  const reader *self = argument;
  for (int32_t i = 0; i < READS; ++i) {
    const int32_t file = (int32_t)((uint32_t)(i * 7919 + self->number * 104729) * 2654435761u >> 8) % FILES;
    const bool missing = file == FILES - 1;
    if (reads(self->files, file, (uint64_t)(i % 20), 20) == missing) atomic_fetch_add(self->wrong, 1);
  }
  return NULL;
}

/* Fewer places than threads, as many, more. One of the files is not there. */
static void threads_share_the_files(void **state) {
  make_files(*state);
  assert_int_equal(unlink(paths[FILES - 1]), 0);
  static const int32_t most[] = {1, 2, THREADS, 2 * THREADS};
  for (size_t k = 0; k < sizeof most / sizeof *most; ++k) {
    atomic_int wrong = 0;
    pthread_t threads[THREADS];
    reader readers[THREADS];
    data_open_files *files = open_some(most[k]);
    for (int32_t i = 0; i < THREADS; ++i) {
      readers[i] = (reader){files, i, &wrong};
      assert_int_equal(pthread_create(&threads[i], NULL, read_much, &readers[i]), 0);
    }
    for (int32_t i = 0; i < THREADS; ++i) assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&wrong), 0);
    data_open_files_destroy(&files);
  }
}

static void creation_survives_want_of_memory(void **state) {
  (void)state;
  data_open_files *files = NULL;
  const uint64_t before = gp_alloc_count();
  data_open_files *made = open_some(3);
  const uint64_t needed = gp_alloc_count() - before;
  data_open_files_destroy(&made);
  for (uint64_t n = 1; n <= needed; ++n) {
    gp_alloc_fail_after(n);
    test_expect_failure(data_open_files_create(&files, known, FILES, 3), GP_ERROR_OUT_OF_MEMORY, NULL);
    assert_null(files);
  }
  gp_alloc_fail_after(0);
  data_open_files_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_FOLDER(no_more_are_open_than_may_be),
      WITH_FOLDER(the_least_used_is_closed),
      WITH_FOLDER(failures_leave_the_others),
      WITH_FOLDER(threads_share_the_files),
      cmocka_unit_test(creation_survives_want_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
