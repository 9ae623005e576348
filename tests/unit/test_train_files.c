#include "test_train_util.h"

#include "train/atomic_file.h"
#include "train/file.h"
#include "train/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { BIG = 300000 };

static char big[BIG];

static void fill_big(void) {
  for (size_t i = 0; i < BIG; ++i) big[i] = (char)(i * 2654435761u >> 24);
}

/* The file holds "old", and nothing of the failed one is left beside it. */
static void assert_untouched(const char *path) {
  char temporary[TEST_PATH_SIZE + 8];
  char *content = get_file(path, NULL);
  assert_string_equal(content, "old");
  free(content);
  snprintf(temporary, sizeof temporary, "%s.tmp", path);
  assert_false(file_exists(temporary));
}

static void writes_in_pieces(void **state) {
  (void)state;
  atomic_file *file = NULL;
  size_t size = 0;
  const char *path = in_folder("a");
  put_text(path, "old");
  assert_ok(atomic_file_create(&file, path, 0));
  assert_ok(atomic_file_printf(file, "%d lines\n", 3));
  assert_ok(atomic_file_write(file, big, 65530));
  assert_ok(atomic_file_write(file, big, 1));
  assert_ok(atomic_file_write(file, NULL, 0));
  assert_ok(atomic_file_write(file, big, BIG));
  assert_ok(atomic_file_write(file, "end", 3));
  char *before = get_file(path, NULL);
  assert_string_equal(before, "old"); /* until the commit */
  assert_ok(atomic_file_commit(file));
  atomic_file_destroy(&file);
  assert_null(file);
  char *content = get_file(path, &size);
  assert_int_equal(size, 8 + 65530 + 1 + BIG + 3);
  assert_memory_equal(content, "3 lines\n", 8);
  assert_memory_equal(content + 8, big, 65530);
  assert_memory_equal(content + 8 + 65531, big, BIG);
  assert_memory_equal(content + size - 3, "end", 3);
  assert_false(file_exists(in_folder("a.tmp")));
  free(content);
  free(before);
}

static void gives_up_without_a_trace(void **state) {
  (void)state;
  atomic_file *file = NULL;
  const char *path = in_folder("a");
  put_text(path, "old");
  assert_ok(atomic_file_create(&file, path, 0));
  assert_ok(atomic_file_write(file, big, BIG));
  assert_true(file_exists(in_folder("a.tmp")));
  atomic_file_destroy(&file);
  assert_untouched(path);
  atomic_file_destroy(&file);
}

static void takes_over_what_a_killed_process_left(void **state) {
  (void)state;
  put_file(in_folder("a.tmp"), big, 1000);
  assert_ok(atomic_file_replace(in_folder("a"), "new", 3));
  char *content = get_file(in_folder("a"), NULL);
  assert_string_equal(content, "new");
  assert_false(file_exists(in_folder("a.tmp")));
  free(content);
}

static void keeps_two_writers_apart(void **state) {
  (void)state;
  atomic_file *first = NULL, *second = NULL;
  assert_ok(atomic_file_create(&first, in_folder("a"), 0));
  assert_ok(atomic_file_write(first, "first", 5));
  assert_fails(atomic_file_create(&second, in_folder("a"), 0), GP_ERROR_IO, "a: another process is writing it");
  assert_null(second);
  assert_ok(atomic_file_commit(first));
  atomic_file_destroy(&first);
  char *content = get_file(in_folder("a"), NULL);
  assert_string_equal(content, "first");
  free(content);
}

static void refuses_what_is_no_file(void **state) {
  (void)state;
  atomic_file *file = NULL;
  assert_int_equal(mkdir(in_folder("d"), 0777), 0);
  assert_fails(atomic_file_create(&file, in_folder("d"), 0), GP_ERROR_INVALID_ARGUMENT,
               "d: expected a regular file or nothing there, found a folder");
  assert_fails(atomic_file_create(&file, "/dev/null", 0), GP_ERROR_INVALID_ARGUMENT, "found a device");
  assert_fails(atomic_file_create(&file, "", 0), GP_ERROR_INVALID_ARGUMENT, "found \"\"");
  assert_fails(atomic_file_create(&file, in_folder("none/a"), 0), GP_ERROR_IO, "none/a: No such file or directory");
  assert_int_equal(symlink("elsewhere", in_folder("a.tmp")), 0);
  assert_fails(atomic_file_create(&file, in_folder("a"), 0), GP_ERROR_IO, "cannot write");
  assert_null(file);
}

/* ---- Failing writes ---- */

static void reports_a_size_limit(void **state) {
  (void)state;
  struct rlimit before, limit;
  const char *path = in_folder("a");
  put_text(path, "old");
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  for (rlim_t bytes = 1; bytes < BIG; bytes = bytes * 8 + 1) {
    limit = (struct rlimit){.rlim_cur = bytes, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    gp_status status = atomic_file_replace(path, big, BIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_fails(status, GP_ERROR_IO, "a: File too large");
    assert_untouched(path);
  }
  signal(SIGXFSZ, handler);
  assert_ok(atomic_file_replace(path, big, BIG));
}

/* In a child with mounts of its own. Returns 0 if the full disk was reported as it should, 77 if it may not mount. */
static int try_full_disk(const char *folder) {
  char path[TEST_PATH_SIZE], temporary[TEST_PATH_SIZE];
  snprintf(path, sizeof path, "%s/a", folder);
  snprintf(temporary, sizeof temporary, "%s/a.tmp", folder);
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
      mount("tmpfs", folder, "tmpfs", 0, "size=128k") != 0)
    return 77;
  if (atomic_file_replace(path, "old", 3) != GP_OK) return 1;
  gp_status status = atomic_file_replace(path, big, BIG);
  const char *message = gp_last_error(), *needed = strstr(message, "more bytes needed, ");
  if (status != GP_ERROR_IO || strstr(message, path) == NULL || strstr(message, "No space left") == NULL) return 2;
  if (needed == NULL || strstr(needed, "available") == NULL) return 3;
  if (file_exists(temporary)) return 4;
  char *content = get_file(path, NULL);
  if (strcmp(content, "old") != 0) return 5;
  return atomic_file_replace(path, big, 60000) == GP_OK ? 0 : 6;
}

static void reports_a_full_disk(void **state) {
  (void)state;
  assert_int_equal(mkdir(in_folder("small"), 0777), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) _exit(try_full_disk(in_folder("small")));
  int result = 0;
  assert_int_equal(waitpid(child, &result, 0), child);
  assert_true(WIFEXITED(result));
  if (WEXITSTATUS(result) == 77) skip(); /* mounting is root's */
  assert_int_equal(WEXITSTATUS(result), 0);
}

static void survives_want_of_memory(void **state) {
  (void)state;
  put_text(in_folder("a"), "old");
  for (uint64_t n = 1;; ++n) {
    gp_alloc_fail_after(n);
    gp_status status = atomic_file_replace(in_folder("a"), "new", 3);
    gp_alloc_fail_after(0);
    if (status == GP_OK) break;
    assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    assert_false(file_exists(in_folder("a.tmp")));
    assert_true(n < 20);
  }
}

/* ---- Reading, paths ---- */

static void reads_whole_files(void **state) {
  (void)state;
  void *data = NULL;
  size_t size = 9;
  put_file(in_folder("a"), big, BIG);
  assert_ok(file_read_whole(in_folder("a"), BIG, &data, &size));
  assert_int_equal(size, BIG);
  assert_memory_equal(data, big, BIG);
  assert_int_equal(((char *)data)[BIG], 0);
  gp_free(data);
  assert_fails(file_read_whole(in_folder("a"), BIG - 1, &data, &size), GP_ERROR_INVALID_ARGUMENT,
               "a: expected at most 299999 bytes, found 300000");
  assert_null(data);
  put_text(in_folder("a"), "");
  assert_ok(file_read_whole(in_folder("a"), 0, &data, &size));
  assert_int_equal(size, 0);
  gp_free(data);
  assert_fails(file_read_whole(in_folder("b"), 0, &data, &size), GP_ERROR_NOT_FOUND, "b: No such file");
  assert_fails(file_read_whole(test_folder, 0, &data, &size), GP_ERROR_INVALID_ARGUMENT, "found a folder");
  assert_int_equal(mkfifo(in_folder("pipe"), 0666), 0);
  assert_fails(file_read_whole(in_folder("pipe"), 0, &data, &size), GP_ERROR_INVALID_ARGUMENT,
               "found a device or pipe");
}

static void joins_paths(void **state) {
  (void)state;
  static const char *const cases[][3] = {
      {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"a", "/b", "/b"}, {"/", "b", "/b"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    char *path = NULL;
    assert_ok(path_join(&path, cases[i][0], cases[i][1]));
    assert_string_equal(path, cases[i][2]);
    gp_free(path);
  }
}

static void makes_folders(void **state) {
  (void)state;
  assert_ok(path_make_folder(in_folder("x/y//z/")));
  assert_ok(path_make_folder(in_folder("x/y/z")));
  assert_true(file_exists(in_folder("x/y/z")));
  put_text(in_folder("f"), "");
  assert_fails(path_make_folder(in_folder("f")), GP_ERROR_INVALID_ARGUMENT, "f: a file of that name is there");
  assert_fails(path_make_folder(in_folder("f/g")), GP_ERROR_INVALID_ARGUMENT, "f: a file of that name is there");
  assert_fails(path_make_folder(""), GP_ERROR_INVALID_ARGUMENT, "found \"\"");
  assert_fails(path_make_folder("/proc/none/x"), GP_ERROR_IO, "cannot create the folder /proc/none");
  assert_int_equal(rmdir(in_folder("x/y/z")), 0);
  assert_int_equal(rmdir(in_folder("x/y")), 0);
}

static void writes_npy(void **state) {
  (void)state;
  const float values[6] = {1, 2, 3, 4, 5, -6.5f};
  size_t size = 0;
  assert_ok(npy_write_float32(in_folder("a.npy"), values, 2, 3));
  char *content = get_file(in_folder("a.npy"), &size);
  assert_int_equal(size, 128 + 24);
  assert_memory_equal(content, "\x93NUMPY\x01\x00\x76\x00", 10);
  const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  assert_memory_equal(content + 10, header, sizeof header - 1);
  for (size_t i = 10 + sizeof header - 1; i < 127; ++i) assert_int_equal(content[i], ' ');
  assert_int_equal(content[127], '\n');
  assert_memory_equal(content + 128, values, 24);
  free(content);
  assert_ok(npy_write_float32(in_folder("a.npy"), values, 0, INT64_MAX));
  assert_fails(npy_write_float32(in_folder("a.npy"), values, -1, 3), GP_ERROR_INVALID_ARGUMENT, "found (-1, 3)");
  assert_fails(npy_write_float32(in_folder("x/a.npy"), values, 2, 3), GP_ERROR_IO, "x/a.npy: No such file");
}

int main(void) {
  fill_big();
  const struct CMUnitTest tests[] = {
      test_in_folder(writes_in_pieces),
      test_in_folder(gives_up_without_a_trace),
      test_in_folder(takes_over_what_a_killed_process_left),
      test_in_folder(keeps_two_writers_apart),
      test_in_folder(refuses_what_is_no_file),
      test_in_folder(reports_a_size_limit),
      test_in_folder(reports_a_full_disk),
      test_in_folder(survives_want_of_memory),
      test_in_folder(reads_whole_files),
      cmocka_unit_test(joins_paths),
      test_in_folder(makes_folders),
      test_in_folder(writes_npy),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
