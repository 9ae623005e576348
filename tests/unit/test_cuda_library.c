/* How libgausspool finds libgausspool_cuda, and what it says when it does not. The library is looked for once in a process, so
 * each case is a process of its own, which opens a copy of libgausspool and makes the first calls. */
#include <gausspool/gausspool_cuda.h>

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 8, TEXT = 2048 };

/* ---- In the child -------------------------------------------------------------------------- */

struct library {
  gp_status (*available)(void);
  gp_status (*workspace)(const gp_pool_desc *desc, size_t *bytes);
  const char *(*last_error)(void);
};

static void find(void *library, const char *name, void *function) {
  void *symbol = dlsym(library, name);
  if (symbol == NULL) _exit(101);
  memcpy(function, &symbol, sizeof symbol);
}

static struct library library_at(const char *path) {
  struct library library;
  void *opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (opened == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    _exit(102);
  }
  find(opened, "gp_cuda_available", &library.available);
  find(opened, "gp_cuda_pool_forward_workspace", &library.workspace);
  find(opened, "gp_last_error", &library.last_error);
  return library;
}

struct caller {
  struct library library;
  pthread_barrier_t *barrier;
  gp_status status;
  char message[TEXT];
};

static void *call(void *data) {
  struct caller *caller = data;
  (void)pthread_barrier_wait(caller->barrier);
  caller->status = caller->library.available();
  snprintf(caller->message, sizeof caller->message, "%s", caller->library.last_error());
  return NULL;
}

/* The first calls of all threads at once: all must end alike. */
static gp_status available(struct library library, char message[TEXT]) {
  struct caller callers[THREADS] = {0};
  pthread_t threads[THREADS];
  pthread_barrier_t barrier;
  if (pthread_barrier_init(&barrier, NULL, THREADS) != 0) _exit(103);
  for (int i = 0; i < THREADS; ++i) {
    callers[i].library = library;
    callers[i].barrier = &barrier;
    if (pthread_create(&threads[i], NULL, call, &callers[i]) != 0) _exit(104);
  }
  for (int i = 0; i < THREADS; ++i)
    if (pthread_join(threads[i], NULL) != 0) _exit(105);
  for (int i = 1; i < THREADS; ++i)
    if (callers[i].status != callers[0].status || strcmp(callers[i].message, callers[0].message) != 0) _exit(106);
  memcpy(message, callers[0].message, TEXT);
  return callers[0].status;
}

/* Tells the parent the status and message of the first call, and those of a call that the CUDA library refuses. */
static void child(const char *path, int out) {
  char message[TEXT];
  size_t bytes = 0;
  struct library library = library_at(path);
  gp_status status = available(library, message);
  gp_pool_desc wrong = {.kernel = {2, 2}};
  gp_status refused = library.workspace(&wrong, &bytes);
  dprintf(out, "%d|%s|%d|%s", (int)status, message, (int)refused, library.last_error());
  _exit(0);
}

/* ---- In the parent ------------------------------------------------------------------------- */

/* What the child tells with `given` in GAUSSPOOL_CUDA_LIBRARY; NULL: without the variable. */
static void run(char told[TEXT * 3], const char *path, const char *given) {
  int ends[2], status = 0;
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    close(ends[0]);
    if (given != NULL)
      setenv("GAUSSPOOL_CUDA_LIBRARY", given, 1);
    else
      unsetenv("GAUSSPOOL_CUDA_LIBRARY");
    child(path, ends[1]);
  }
  close(ends[1]);
  size_t length = 0;
  for (ssize_t got; length < TEXT * 3 - 1; length += (size_t)got) {
    got = read(ends[0], told + length, TEXT * 3 - 1 - length);
    if (got < 0 && errno == EINTR)
      got = 0;
    else if (got <= 0)
      break;
  }
  told[length] = '\0';
  close(ends[0]);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("the child ended with %#x: %s", status, told);
}

/* Paths of the built libraries, and a folder with a copy of libgausspool alone in it. */
static const char *libgausspool, *host, *other_version, *incomplete;
static char folder[PATH_MAX], alone[PATH_MAX + 32], beside[PATH_MAX + 32];

static void copy(const char *from, const char *to) {
  char buffer[1 << 16];
  FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
  assert_non_null(in);
  assert_non_null(out);
  for (size_t got; (got = fread(buffer, 1, sizeof buffer, in)) > 0;) assert_int_equal(fwrite(buffer, 1, got, out), got);
  assert_int_equal(fclose(out), 0);
  fclose(in);
}

static int make_folder(void **state) {
  (void)state;
  const char *temporary = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/gausspool-XXXXXX", temporary != NULL ? temporary : "/tmp");
  assert_non_null(mkdtemp(folder));
  snprintf(alone, sizeof alone, "%s/libgausspool.so.0", folder);
  snprintf(beside, sizeof beside, "%s/libgausspool_cuda.so.0", folder);
  copy(libgausspool, alone);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  unlink(alone);
  unlink(beside);
  return rmdir(folder);
}

static void starts_with(const char *told, gp_status status, const char *message) {
  char start[TEXT];
  snprintf(start, sizeof start, "%d|%s", (int)status, message);
  if (strncmp(told, start, strlen(start)) != 0) fail_msg("expected \"%s…\", found \"%s\"", start, told);
}

/* Found and used: the CUDA library's own message comes through. */
static void found(const char *told) {
  starts_with(told, GP_OK, "|1|");
  assert_non_null(strstr(told, "channels"));
}

static void test_by_variable(void **state) {
  (void)state;
  char told[TEXT * 3];
  run(told, alone, host);
  found(told);
}

static void test_beside_libgausspool(void **state) {
  (void)state;
  char told[TEXT * 3];
  copy(host, beside);
  run(told, alone, NULL);
  found(told);
  run(told, alone, ""); /* an empty variable is none */
  found(told);
  /* The variable goes first, and what it names is not replaced by what lies at hand. */
  run(told, alone, "/nowhere/lib.so");
  starts_with(told, GP_ERROR_NOT_FOUND, "pooling on CUDA needs libgausspool_cuda.so.0");
}

static void test_missing(void **state) {
  (void)state;
  char told[TEXT * 3];
  unlink(beside);
  run(told, alone, NULL);
  starts_with(told, GP_ERROR_NOT_FOUND, "pooling on CUDA needs libgausspool_cuda.so.0");
  assert_non_null(strstr(told, "GAUSSPOOL_CUDA_LIBRARY"));
  /* Every call says so. */
  assert_non_null(strstr(told + 2, "|4|pooling on CUDA needs"));
}

static void test_other_version(void **state) {
  (void)state;
  char told[TEXT * 3];
  run(told, alone, other_version);
  starts_with(told, GP_ERROR_NOT_FOUND, "expected libgausspool_cuda.so.0 of version ");
  assert_non_null(strstr(told, "found 0.0.0"));
}

static void test_incomplete(void **state) {
  (void)state;
  char told[TEXT * 3];
  run(told, alone, incomplete);
  starts_with(told, GP_ERROR_NOT_FOUND, "libgausspool_cuda.so.0: not gausspool's library of that name");
}

int main(int count, char **arguments) {
  if (count != 5) {
    fprintf(stderr, "usage: %s libgausspool libgausspool_cuda_host OTHER_VERSION INCOMPLETE\n", arguments[0]);
    return 2;
  }
  libgausspool = arguments[1];
  host = arguments[2];
  other_version = arguments[3];
  incomplete = arguments[4];
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_by_variable),   cmocka_unit_test(test_beside_libgausspool), cmocka_unit_test(test_missing),
      cmocka_unit_test(test_other_version), cmocka_unit_test(test_incomplete),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
