#include "test_data_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zlib.h>

void test_expect_failure(gp_status found, gp_status expected, ...) {
  if (found != expected)
    fail_msg("expected \"%s\", found \"%s\" (%s)", gp_status_name(expected), gp_status_name(found), gp_last_error());
  va_list parts;
  va_start(parts, expected);
  for (const char *part = va_arg(parts, const char *); part != NULL; part = va_arg(parts, const char *))
    if (strstr(gp_last_error(), part) == NULL) fail_msg("\"%s\" does not say \"%s\"", gp_last_error(), part);
  va_end(parts);
}

void test_expect_ok(gp_status status) {
  if (status != GP_OK) fail_msg("%s: %s", gp_status_name(status), gp_last_error());
}

test_folder test_folder_make(void) {
  test_folder folder = {"/tmp/gausspool-test-XXXXXX"};
  assert_non_null(mkdtemp(folder.path));
  return folder;
}

void test_folder_remove(const test_folder *folder) {
  DIR *list = opendir(folder->path);
  assert_non_null(list);
  for (struct dirent *entry = readdir(list); entry != NULL; entry = readdir(list))
    if (entry->d_name[0] != '.') assert_int_equal(unlinkat(dirfd(list), entry->d_name, 0), 0);
  closedir(list);
  assert_int_equal(rmdir(folder->path), 0);
}

uint8_t *test_gzip(const uint8_t *bytes, size_t size, size_t *packed_size) {
  z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)size};
  assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  size_t room = deflateBound(&z, size);
  uint8_t *packed = malloc(room);
  assert_non_null(packed);
  z.next_out = packed;
  z.avail_out = (uInt)room;
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  *packed_size = room - z.avail_out;
  deflateEnd(&z);
  return packed;
}

void test_write(const test_folder *folder, const char *name, const uint8_t *bytes, size_t size, bool gzip) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder->path, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  size_t written_size = size;
  uint8_t *packed = gzip ? test_gzip(bytes, size, &written_size) : NULL;
  if (written_size > 0) assert_int_equal(fwrite(gzip ? packed : bytes, 1, written_size, file), written_size);
  assert_int_equal(fclose(file), 0);
  free(packed);
}

uint8_t *test_idx(int32_t dims, const uint32_t *sizes, const uint8_t *elements, size_t count, size_t *size) {
  size_t header = 4 + 4 * (size_t)dims;
  uint8_t *file = calloc(1, header + count);
  assert_non_null(file);
  file[2] = 0x08;
  file[3] = (uint8_t)dims;
  for (int32_t i = 0; i < dims; ++i)
    for (int32_t b = 0; b < 4; ++b) file[4 + 4 * i + b] = (uint8_t)(sizes[i] >> (24 - 8 * b));
  if (count > 0) memcpy(file + header, elements, count);
  *size = header + count;
  return file;
}

void test_write_idx_set(const test_folder *folder, const char *split, uint32_t count, uint32_t height, uint32_t width,
                        bool gzip) {
  uint8_t *pixels = malloc((size_t)count * height * width + 1), *labels = malloc((size_t)count + 1), *at = pixels;
  assert_non_null(pixels);
  assert_non_null(labels);
  for (uint32_t i = 0; i < count; ++i) {
    labels[i] = (uint8_t)(i % 10);
    for (uint32_t y = 0; y < height; ++y)
      for (uint32_t x = 0; x < width; ++x) *at++ = (uint8_t)(7 * i + 3 * y + x);
  }
  char name[64];
  size_t size = 0;
  uint8_t *file = test_idx(3, (uint32_t[]){count, height, width}, pixels, (size_t)(at - pixels), &size);
  snprintf(name, sizeof name, "%s-images-idx3-ubyte%s", split, gzip ? ".gz" : "");
  test_write(folder, name, file, size, gzip);
  free(file);
  file = test_idx(1, &count, labels, count, &size);
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte%s", split, gzip ? ".gz" : "");
  test_write(folder, name, file, size, gzip);
  free(file);
  free(pixels);
  free(labels);
}
