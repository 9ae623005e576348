#include "train/atomic_file.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BUFFER_SIZE = 1 << 16, WRITE_LIMIT = 1 << 30, LINE_SIZE = 4096 };

struct atomic_file {
  char *path, *temporary;
  int fd, folder_fd; /* folder_fd -1: a folder one may write to but not list */
  bool mine;         /* the temporary file is ours to remove */
  uint64_t bytes;    /* announced; 0: unknown */
  uint64_t written;
  size_t buffered;
  unsigned char buffer[BUFFER_SIZE];
};

/* ---- Opening ---- */

static gp_status check_target(const char *path) {
  struct stat info;
  if (path[0] == '\0') return gp_fail(GP_ERROR_INVALID_ARGUMENT, "cannot write: expected a file name, found \"\"");
  if (stat(path, &info) != 0) return GP_OK; /* new, or open() will say why not */
  if (S_ISREG(info.st_mode)) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "cannot write %s: expected a regular file or nothing there, found a %s",
                 path, S_ISDIR(info.st_mode) ? "folder" : "device or pipe");
}

/* Before anything is written, so that after the rename nothing but the disk can fail. */
static gp_status open_folder(atomic_file *file) {
  char *folder = NULL;
  gp_status status = gp_strdup(&folder, file->path);
  if (status != GP_OK) return status;
  char *slash = strrchr(folder, '/');
  const char *name = slash == folder ? "/" : slash == NULL ? "." : folder;
  if (slash != NULL) *slash = '\0';
  file->folder_fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int error = errno;
  gp_free(folder);
  if (file->folder_fd >= 0 || error == EACCES) return GP_OK;
  return gp_fail(GP_ERROR_IO, "cannot write %s: %s", file->path, strerror(error));
}

static bool same_file(int fd, const char *path) {
  struct stat opened, named;
  return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

/* The temporary name is fixed, so that one left by a killed process is used again rather than piling up; the lock
 * keeps two living processes apart. */
static gp_status open_temporary(atomic_file *file) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    int fd = open(file->temporary, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) return gp_fail(GP_ERROR_IO, "cannot write %s: %s", file->path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      close(fd);
      return gp_fail(GP_ERROR_IO, "cannot write %s: another process is writing it", file->path);
    }
    /* Between open and lock its last owner may have renamed it: then it is a finished file, and not ours. */
    if (same_file(fd, file->temporary)) {
      file->fd = fd;
      file->mine = true;
      if (ftruncate(fd, 0) == 0) return GP_OK;
      return gp_fail(GP_ERROR_IO, "cannot write %s: %s", file->path, strerror(errno));
    }
    close(fd);
  }
  return gp_fail(GP_ERROR_IO, "cannot write %s: another process keeps writing it", file->path);
}

gp_status atomic_file_create(atomic_file **out, const char *path, uint64_t bytes) {
  gp_status status = GP_OK;
  atomic_file *file = NULL;
  size_t length = strlen(path);
  *out = NULL;
  GP_TRY(check_target(path));
  GP_TRY(GP_ALLOC(&file, 1));
  file->fd = file->folder_fd = -1;
  file->bytes = bytes;
  GP_TRY(gp_strdup(&file->path, path));
  GP_TRY(GP_ALLOC(&file->temporary, length + sizeof ".tmp"));
  memcpy(file->temporary, path, length);
  memcpy(file->temporary + length, ".tmp", sizeof ".tmp");
  GP_TRY(open_folder(file));
  GP_TRY(open_temporary(file));
  *out = file;
  file = NULL;
cleanup:
  atomic_file_destroy(&file);
  return status;
}

void atomic_file_destroy(atomic_file **out) {
  atomic_file *file = *out;
  if (file == NULL) return;
  if (file->mine) unlink(file->temporary);
  if (file->fd >= 0) close(file->fd);
  if (file->folder_fd >= 0) close(file->folder_fd);
  gp_free(file->path);
  gp_free(file->temporary);
  gp_free(file);
  *out = NULL;
}

/* ---- Writing ---- */

static gp_status fail_to_write(const atomic_file *file, int error) {
  struct statvfs disk;
  if ((error != ENOSPC && error != EDQUOT) || fstatvfs(file->fd, &disk) != 0)
    return gp_fail(GP_ERROR_IO, "cannot write %s: %s", file->path, strerror(error));
  unsigned long long available = (unsigned long long)disk.f_bavail * disk.f_frsize;
  if (file->bytes <= file->written)
    return gp_fail(GP_ERROR_IO, "cannot write %s: %s (%llu bytes available)", file->path, strerror(error), available);
  return gp_fail(GP_ERROR_IO, "cannot write %s: %s (%llu more bytes needed, %llu available)", file->path,
                 strerror(error), (unsigned long long)(file->bytes - file->written), available);
}

static gp_status write_out(atomic_file *file, const unsigned char *data, size_t bytes) {
  while (bytes > 0) {
    ssize_t count = write(file->fd, data, bytes < WRITE_LIMIT ? bytes : WRITE_LIMIT);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return fail_to_write(file, count == 0 ? ENOSPC : errno);
    data += count;
    bytes -= (size_t)count;
    file->written += (uint64_t)count;
  }
  return GP_OK;
}

static gp_status flush_buffer(atomic_file *file) {
  size_t bytes = file->buffered;
  file->buffered = 0;
  return write_out(file, file->buffer, bytes);
}

gp_status atomic_file_write(atomic_file *file, const void *data, size_t bytes) {
  gp_status status = GP_OK;
  if (bytes > BUFFER_SIZE - file->buffered) GP_TRY(flush_buffer(file));
  if (bytes >= BUFFER_SIZE) return write_out(file, data, bytes);
  if (bytes > 0) memcpy(file->buffer + file->buffered, data, bytes);
  file->buffered += bytes;
cleanup:
  return status;
}

gp_status atomic_file_printf(atomic_file *file, const char *format, ...) {
  char line[LINE_SIZE];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(line, sizeof line, format, args);
  va_end(args);
  if (length < 0 || (size_t)length >= sizeof line)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "cannot write %s: expected a line of at most %d bytes, found %d",
                   file->path, LINE_SIZE - 1, length);
  return atomic_file_write(file, line, (size_t)length);
}

/* ---- Committing ---- */

gp_status atomic_file_commit(atomic_file *file) {
  gp_status status = GP_OK;
  GP_TRY(flush_buffer(file));
  if (fsync(file->fd) != 0) return fail_to_write(file, errno);
  if (rename(file->temporary, file->path) != 0) return fail_to_write(file, errno);
  file->mine = false;
  /* Closing shows late errors of network file systems, and gives the lock back. */
  int fd = file->fd;
  file->fd = -1;
  if (close(fd) != 0 && errno != EINTR) return gp_fail(GP_ERROR_IO, "cannot write %s: %s", file->path, strerror(errno));
  /* The rename itself must reach the disk. Some file systems cannot flush a folder (EINVAL): that is no failure. */
  if (file->folder_fd >= 0 && fsync(file->folder_fd) != 0 && errno != EINVAL && errno != ENOTSUP)
    return gp_fail(GP_ERROR_IO, "cannot flush the folder of %s: %s", file->path, strerror(errno));
cleanup:
  return status;
}

gp_status atomic_file_replace(const char *path, const void *data, size_t bytes) {
  gp_status status = GP_OK;
  atomic_file *file = NULL;
  GP_TRY(atomic_file_create(&file, path, bytes));
  GP_TRY(atomic_file_write(file, data, bytes));
  GP_TRY(atomic_file_commit(file));
cleanup:
  atomic_file_destroy(&file);
  return status;
}
