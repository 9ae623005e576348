#include "train/file.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static gp_status read_fully(int fd, const char *path, unsigned char *data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    size_t rest = bytes - done;
    ssize_t count = read(fd, data + done, rest < (1u << 30) ? rest : (1u << 30));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return gp_fail(GP_ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    if (count == 0)
      return gp_fail(GP_ERROR_IO, "cannot read %s: expected %zu bytes, found %zu (does something still write it?)",
                     path, bytes, done);
    done += (size_t)count;
  }
  return GP_OK;
}

static gp_status check_file(int fd, const char *path, uint64_t limit, size_t *bytes) {
  struct stat info;
  if (fstat(fd, &info) != 0) return gp_fail(GP_ERROR_IO, "cannot read %s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "cannot read %s: expected a regular file, found a %s", path,
                   S_ISDIR(info.st_mode) ? "folder" : "device or pipe");
  uint64_t size = (uint64_t)info.st_size;
  if (limit == 0) limit = SIZE_MAX - 1;
  if (size > limit)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "cannot read %s: expected at most %llu bytes, found %llu", path,
                   (unsigned long long)limit, (unsigned long long)size);
  *bytes = (size_t)size;
  return GP_OK;
}

gp_status file_read_whole(const char *path, uint64_t limit, void **data, size_t *bytes) {
  gp_status status = GP_OK;
  unsigned char *content = NULL;
  size_t size = 0;
  *data = NULL;
  *bytes = 0;
  /* Without O_NONBLOCK opening a pipe that nobody writes would wait for ever. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return gp_fail(errno == ENOENT || errno == ENOTDIR ? GP_ERROR_NOT_FOUND : GP_ERROR_IO, "cannot read %s: %s", path,
                   strerror(errno));
  GP_TRY(check_file(fd, path, limit, &size));
  GP_TRY(GP_ALLOC(&content, size + 1));
  GP_TRY(read_fully(fd, path, content, size));
  *data = content;
  *bytes = size;
  content = NULL;
cleanup:
  gp_free(content);
  close(fd);
  return status;
}

gp_status path_join(char **out, const char *folder, const char *name) {
  size_t folder_length = name[0] == '/' ? 0 : strlen(folder), name_length = strlen(name);
  bool slash = folder_length > 0 && folder[folder_length - 1] != '/';
  gp_status status = GP_ALLOC(out, folder_length + slash + name_length + 1);
  if (status != GP_OK) return status;
  memcpy(*out, folder, folder_length);
  if (slash) (*out)[folder_length] = '/';
  memcpy(*out + folder_length + slash, name, name_length);
  return GP_OK;
}

static gp_status make_one_folder(const char *path) {
  struct stat info;
  if (mkdir(path, 0777) == 0) return GP_OK;
  int error = errno;
  if (stat(path, &info) == 0) {
    if (S_ISDIR(info.st_mode)) return GP_OK;
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "cannot create the folder %s: a file of that name is there", path);
  }
  return gp_fail(GP_ERROR_IO, "cannot create the folder %s: %s", path, strerror(error));
}

gp_status path_make_folder(const char *path) {
  gp_status status = GP_OK;
  char *part = NULL;
  if (path[0] == '\0') return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected the name of a folder, found \"\"");
  GP_TRY(gp_strdup(&part, path));
  for (char *at = part + 1; *at != '\0'; ++at) {
    if (*at != '/') continue;
    *at = '\0';
    GP_TRY(make_one_folder(part));
    *at = '/';
  }
  GP_TRY(make_one_folder(part));
cleanup:
  gp_free(part);
  return status;
}
