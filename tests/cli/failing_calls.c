/* Preloaded, makes one call of the C library fail: the FAIL_AT-th of those below that work on files, in the order in which the
 * program makes them. FAIL_REPORT names a file for what became of that: the call's name and file, or the number of calls if
 * there were fewer. Files that the C library opens for itself (stdio) are not seen. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The C library's own function of this name; a pointer to an object, which POSIX lets be one to a function. */
#define REAL(name) (*(__typeof__(&name) *)&(void *){dlsym(RTLD_NEXT, #name)})

static atomic_long calls;
static long fail_at;

static void report(const char *format, ...) {
  const char *path = getenv("FAIL_REPORT");
  va_list args;
  const int file = path == NULL ? -1 : REAL(open)(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return;
  va_start(args, format);
  (void)!vdprintf(file, format, args);
  va_end(args);
  close(file);
}

__attribute__((constructor)) static void begin(void) {
  const char *text = getenv("FAIL_AT");
  fail_at = text == NULL ? 0 : atol(text);
  (void)unsetenv("LD_PRELOAD"); /* programs that this one starts are left alone */
}

__attribute__((destructor)) static void end(void) {
  if (fail_at == 0 || atomic_load(&calls) < fail_at) report("%ld", atomic_load(&calls));
}

static bool fails(const char *name, const char *path, int error) {
  if (atomic_fetch_add(&calls, 1) + 1 != fail_at) return false;
  report("%s %s", name, path);
  errno = error;
  return true;
}

static bool fails_on(const char *name, int file, int error) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = '\0';
  return fails(name, path, error);
}

#pragma GCC visibility push(default)

int open(const char *path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
  va_end(args);
  return fails("open", path, EMFILE) ? -1 : REAL(open)(path, flags, mode);
}

ssize_t read(int file, void *bytes, size_t size) {
  return file > STDERR_FILENO && fails_on("read", file, EIO) ? -1 : REAL(read)(file, bytes, size);
}

ssize_t pread(int file, void *bytes, size_t size, off_t offset) {
  return fails_on("pread", file, EIO) ? -1 : REAL(pread)(file, bytes, size, offset);
}

ssize_t write(int file, const void *bytes, size_t size) {
  return file > STDERR_FILENO && fails_on("write", file, ENOSPC) ? -1 : REAL(write)(file, bytes, size);
}

int fsync(int file) { return fails_on("fsync", file, EIO) ? -1 : REAL(fsync)(file); }
int ftruncate(int file, off_t size) { return fails_on("ftruncate", file, EIO) ? -1 : REAL(ftruncate)(file, size); }
int rename(const char *from, const char *to) { return fails("rename", to, EACCES) ? -1 : REAL(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return fails("mkdir", path, EACCES) ? -1 : REAL(mkdir)(path, mode); }

#pragma GCC visibility pop
