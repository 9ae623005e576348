#include "data/file.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

gp_status data_join_path(char path[PATH_MAX], const char *folder, const char *name) {
  const int length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
  if (length >= 0 && length < PATH_MAX) return GP_OK;
  return gp_fail(GP_ERROR_IO, "%.100s…: the path is too long", folder);
}

static gp_status file_fail(const char *path, const char *what) {
  gp_status status = errno == ENOENT || errno == ENOTDIR ? GP_ERROR_NOT_FOUND : GP_ERROR_IO;
  return gp_fail(status, "%s: cannot %s: %s", path, what, strerror(errno));
}

gp_status data_open_file(const char *path, int *handle, size_t *size) {
  struct stat info;
  gp_status status = GP_OK;
  /* Non-blocking, so that opening a pipe does not wait for a writer before we see that it is none of ours. */
  *handle = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*handle < 0) return file_fail(path, "open");
  if (fstat(*handle, &info) != 0) GP_TRY(file_fail(path, "stat"));
  if (!S_ISREG(info.st_mode))
    GP_TRY(
        gp_fail(GP_ERROR_IO, "%s: expected a file, found %s", path, S_ISDIR(info.st_mode) ? "a folder" : "a device"));
  *size = (size_t)info.st_size;
cleanup:
  if (status != GP_OK) {
    close(*handle);
    *handle = -1;
  }
  return status;
}

gp_status data_read_at(int handle, const char *path, uint8_t *bytes, size_t size, uint64_t offset) {
  size_t done = 0;
  while (done < size) {
    ssize_t got = pread(handle, bytes + done, size - done, (off_t)(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_fail(path, "read");
    if (got == 0) return gp_fail(GP_ERROR_IO, "%s: the file ended after %zu of %zu bytes", path, done, size);
    done += (size_t)got;
  }
  return GP_OK;
}

gp_status data_read_file(const char *path, uint8_t **bytes, size_t *size) {
  int handle = -1;
  size_t found = 0;
  gp_status status = GP_OK;
  *bytes = NULL;
  *size = 0;
  GP_TRY(data_open_file(path, &handle, &found));
  GP_TRY(GP_ALLOC(bytes, found));
  GP_TRY(data_read_at(handle, path, *bytes, found, 0));
  *size = found;
cleanup:
  if (handle >= 0) close(handle);
  if (status != GP_OK) {
    gp_free(*bytes);
    *bytes = NULL;
  }
  return status;
}
