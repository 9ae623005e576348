#include "data/decode.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/decode_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct format {
  const char *name;
  const char *signature;
  size_t signature_bytes;
  gp_status (*decode)(data_image *image, const data_encoded *file); /* NULL: left out of this build */
  const char *package;                                              /* Debian's, for building it */
} format;

static const format formats[] = {
#ifdef DATA_HAVE_PNG
    {"PNG", "\x89PNG\r\n\x1a\n", 8, data_png_decode, "libspng-dev"},
#else
    {"PNG", "\x89PNG\r\n\x1a\n", 8, NULL, "libspng-dev"},
#endif
#ifdef DATA_HAVE_JPEG
    {"JPEG", "\xff\xd8\xff", 3, data_jpeg_decode, "libjpeg62-turbo-dev"},
#else
    {"JPEG", "\xff\xd8\xff", 3, NULL, "libjpeg62-turbo-dev"},
#endif
    {"PGM", "P2", 2, data_pnm_decode, NULL},
    {"PPM", "P3", 2, data_pnm_decode, NULL},
    {"PGM", "P5", 2, data_pnm_decode, NULL},
    {"PPM", "P6", 2, data_pnm_decode, NULL},
};

gp_status data_check_size(const data_encoded *file, uint64_t height, uint64_t width) {
  if (height < 1 || width < 1)
    return gp_fail(GP_ERROR_CORRUPT, "%s: the image is empty: %" PRIu64 " x %" PRIu64 " pixels", file->name, height,
                   width);
  if (height > DATA_MAX_SIDE || width > DATA_MAX_SIDE)
    return gp_fail(GP_ERROR_UNSUPPORTED, "%s: the image has %" PRIu64 " x %" PRIu64 " pixels; sides may be at most %d",
                   file->name, height, width, DATA_MAX_SIDE);
  if (height * width > (uint64_t)file->max_pixels)
    return gp_fail(GP_ERROR_UNSUPPORTED, "%s: the image has %" PRIu64 " x %" PRIu64 " pixels, more than %" PRId64,
                   file->name, height, width, file->max_pixels);
  return GP_OK;
}

static gp_status find_format(const data_encoded *file, const format **out) {
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; ++i) {
    const format *candidate = &formats[i];
    if (file->size < candidate->signature_bytes) continue;
    if (memcmp(file->bytes, candidate->signature, candidate->signature_bytes) != 0) continue;
    *out = candidate;
    return GP_OK;
  }
  if (file->size == 0) return gp_fail(GP_ERROR_CORRUPT, "%s: the file is empty", file->name);
  char start[3 * 4 + 1] = "";
  for (size_t i = 0; i < 4 && i < file->size; ++i) snprintf(start + 3 * i, 4, " %02x", file->bytes[i]);
  return gp_fail(GP_ERROR_UNSUPPORTED, "%s: expected PNG, JPEG, PGM or PPM; the file begins with%s", file->name, start);
}

gp_status data_decode(data_image *image, const uint8_t *bytes, size_t size, const data_decode_desc *desc) {
  data_encoded file = {.bytes = bytes,
                       .size = size,
                       .name = desc->name != NULL ? desc->name : "image",
                       .max_pixels = desc->max_pixels > 0 ? desc->max_pixels : DATA_MAX_PIXELS};
  const format *found = NULL;
  gp_status status = GP_OK;
  if (desc->channels != 0 && desc->channels != 1 && desc->channels != 3)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: decoding to %d channels: expected 0, 1 or 3", file.name,
                   desc->channels);
  GP_TRY(find_format(&file, &found));
  if (found->decode == NULL)
    GP_TRY(gp_fail(GP_ERROR_UNSUPPORTED, "%s: this build cannot read %s: install Debian's %s and build again",
                   file.name, found->name, found->package));
  GP_TRY(found->decode(image, &file));
  if (desc->channels != 0) GP_TRY(data_image_convert(image, desc->channels));
cleanup:
  return status;
}

gp_status data_decode_file(data_image *image, const char *path, const data_decode_desc *desc) {
  uint8_t *bytes = NULL;
  size_t size = 0;
  gp_status status = GP_OK;
  data_decode_desc named = *desc;
  if (named.name == NULL) named.name = path;
  GP_TRY(data_read_file(path, &bytes, &size));
  GP_TRY(data_decode(image, bytes, size, &named));
cleanup:
  gp_free(bytes);
  return status;
}

static gp_status file_fail(const char *path, const char *what) {
  gp_status status = errno == ENOENT || errno == ENOTDIR ? GP_ERROR_NOT_FOUND : GP_ERROR_IO;
  return gp_fail(status, "%s: cannot %s: %s", path, what, strerror(errno));
}

/* Reads exactly `size` bytes: a file that shrinks meanwhile is an error, one that grows is cut. */
static gp_status read_all(int handle, const char *path, uint8_t *bytes, size_t size) {
  size_t done = 0;
  while (done < size) {
    ssize_t got = read(handle, bytes + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_fail(path, "read");
    if (got == 0) return gp_fail(GP_ERROR_IO, "%s: the file ended after %zu of %zu bytes", path, done, size);
    done += (size_t)got;
  }
  return GP_OK;
}

gp_status data_read_file(const char *path, uint8_t **bytes, size_t *size) {
  *bytes = NULL;
  *size = 0;
  /* Non-blocking, so that opening a pipe does not wait for a writer before we see that it is none of ours. */
  int handle = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (handle < 0) return file_fail(path, "open");
  gp_status status = GP_OK;
  struct stat info;
  if (fstat(handle, &info) != 0) GP_TRY(file_fail(path, "stat"));
  if (!S_ISREG(info.st_mode))
    GP_TRY(
        gp_fail(GP_ERROR_IO, "%s: expected a file, found %s", path, S_ISDIR(info.st_mode) ? "a folder" : "a device"));
  GP_TRY(GP_ALLOC(bytes, (size_t)info.st_size));
  GP_TRY(read_all(handle, path, *bytes, (size_t)info.st_size));
  *size = (size_t)info.st_size;
cleanup:
  close(handle);
  if (status != GP_OK) {
    gp_free(*bytes);
    *bytes = NULL;
  }
  return status;
}
