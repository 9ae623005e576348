#include "data/tar.h"

#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 512 };

/* The header of POSIX.1-1988; numbers are octal text. */
typedef struct tar_header {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2],
      user[32], group[32], major[8], minor[8], prefix[155], rest[12];
} tar_header;
_Static_assert(sizeof(tar_header) == BLOCK, "a header is a block");

static gp_status tar_fail(const data_tar *tar, const char *what) {
  return gp_fail(GP_ERROR_IO, "%s: cannot %s: %s", tar->path, what,
                 errno != 0 ? strerror(errno) : "input/output error");
}

gp_status data_tar_create(data_tar *tar, const char *path) {
  *tar = (data_tar){.path = path};
  const int handle = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (handle < 0) return tar_fail(tar, "create");
  tar->file = fdopen(handle, "wb");
  if (tar->file != NULL) return GP_OK;
  close(handle);
  return tar_fail(tar, "create");
}

static gp_status put(data_tar *tar, const void *bytes, size_t size) {
  static const char zeros[BLOCK];
  const size_t padding = (BLOCK - size % BLOCK) % BLOCK;
  errno = 0;
  if (fwrite(bytes, 1, size, tar->file) != size || fwrite(zeros, 1, padding, tar->file) != padding)
    return tar_fail(tar, "write");
  tar->size += size + padding;
  return GP_OK;
}

/* Where the name is cut into prefix and name, at a slash; 0: it fits the name; -1: it cannot be cut. */
static int64_t cut_of(const char *name, size_t length) {
  if (length <= sizeof((tar_header *)0)->name) return 0;
  for (size_t i = length - 1; i > 0; --i) {
    if (length - i - 1 > sizeof((tar_header *)0)->name) return -1;
    if (name[i] == '/' && i <= sizeof((tar_header *)0)->prefix && i + 1 < length) return (int64_t)i;
  }
  return -1;
}

static gp_status put_header(data_tar *tar, char type, const char *name, size_t length, int64_t cut, size_t size) {
  tar_header header = {.mode = "0000644",
                       .uid = "0000000",
                       .gid = "0000000",
                       .mtime = "00000000000",
                       .type = type,
                       .version = {'0', '0'}};
  const size_t start = cut > 0 ? (size_t)cut + 1 : 0;
  const size_t kept = length - start < sizeof header.name ? length - start : sizeof header.name;
  memcpy(header.name, name + start, kept);
  if (cut > 0) memcpy(header.prefix, name, (size_t)cut);
  memcpy(header.magic, "ustar", 6);
  snprintf(header.size, sizeof header.size, "%011llo", (unsigned long long)size);
  /* The sum counts its own field as blanks. */
  memset(header.checksum, ' ', sizeof header.checksum);
  unsigned sum = 0;
  for (size_t i = 0; i < sizeof header; ++i) sum += ((const unsigned char *)&header)[i];
  snprintf(header.checksum, sizeof header.checksum, "%06o", sum);
  header.checksum[7] = ' ';
  return put(tar, &header, sizeof header);
}

/* An extended header: "LENGTH path=NAME\n", whose length counts its own digits. */
static gp_status put_long_name(data_tar *tar, const char *name, size_t length) {
  char record[8192];
  gp_status status = GP_OK;
  size_t total = length + sizeof " path=\n" - 1;
  for (size_t digits = 1, limit = 10; digits < 5; ++digits, limit *= 10)
    if (total + digits < limit) {
      total += digits;
      break;
    }
  const int wrote = snprintf(record, sizeof record, "%zu path=%s\n", total, name);
  if (wrote < 0 || (size_t)wrote != total)
    return gp_fail(GP_ERROR_UNSUPPORTED, "%s: the name %.60s… is too long", tar->path, name);
  GP_TRY(put_header(tar, 'x', "name", 4, 0, total));
  GP_TRY(put(tar, record, total));
cleanup:
  return status;
}

gp_status data_tar_add(data_tar *tar, const char *name, const uint8_t *bytes, size_t size, uint64_t *offset) {
  gp_status status = GP_OK;
  const size_t length = strlen(name);
  const int64_t cut = cut_of(name, length);
  if (cut < 0) GP_TRY(put_long_name(tar, name, length));
  GP_TRY(put_header(tar, '0', name, length, cut, size));
  *offset = tar->size;
  GP_TRY(put(tar, bytes, size));
cleanup:
  return status;
}

gp_status data_tar_finish(data_tar *tar) {
  static const char zeros[2 * BLOCK];
  gp_status status = GP_OK;
  GP_TRY(put(tar, zeros, sizeof zeros));
  if (fflush(tar->file) != 0 || fsync(fileno(tar->file)) != 0) GP_TRY(tar_fail(tar, "write"));
  FILE *file = tar->file;
  tar->file = NULL;
  if (fclose(file) != 0) GP_TRY(tar_fail(tar, "write"));
cleanup:
  return status;
}

void data_tar_close(data_tar *tar) {
  if (tar->file != NULL) fclose(tar->file);
  tar->file = NULL;
}
