#include "data/cifar.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/file.h"
#include "data/folder_source.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, RECORD = 1 + 3 * PLANE, MAX_FILES = 5 };

typedef struct cifar_source {
  data_source base;
  int32_t files;
  const char *names[MAX_FILES];
  uint8_t *bytes[MAX_FILES];
  int64_t counts[MAX_FILES];
} cifar_source;

static const char *const train_files[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                          "data_batch_4.bin", "data_batch_5.bin"};
static const char *const test_files[] = {"test_batch.bin"};

/* The file that holds the sample; *index becomes its number there. */
static int32_t file_of(const cifar_source *self, int64_t *index) {
  int32_t file = 0;
  while (*index >= self->counts[file]) *index -= self->counts[file++];
  return file;
}

static int32_t cifar_label(const data_source *source, int64_t index) {
  const cifar_source *self = (const cifar_source *)source;
  const int32_t file = file_of(self, &index);
  return self->bytes[file][index * RECORD];
}

static void cifar_name(const data_source *source, int64_t index, char *name, size_t size) {
  const cifar_source *self = (const cifar_source *)source;
  const int32_t file = file_of(self, &index);
  snprintf(name, size, "%s#%" PRId64, self->names[file], index);
}

static gp_status cifar_fetch(const data_source *source, int64_t index, data_sample *sample) {
  const cifar_source *self = (const cifar_source *)source;
  const int32_t file = file_of(self, &index);
  const uint8_t *planes = self->bytes[file] + index * RECORD + 1;
  gp_status status = data_image_reserve(&sample->image, SIDE, SIDE, 3);
  if (status != GP_OK) return status;
  sample->encoded = false;
  for (size_t i = 0; i < PLANE; ++i)
    for (size_t c = 0; c < 3; ++c) sample->image.pixels[3 * i + c] = planes[c * PLANE + i];
  return GP_OK;
}

static void cifar_destroy(data_source *source) {
  cifar_source *self = (cifar_source *)source;
  for (int32_t i = 0; i < MAX_FILES; ++i) gp_free(self->bytes[i]);
  gp_free(self);
}

static const data_source_ops cifar_ops = {cifar_label, cifar_name, cifar_fetch, cifar_destroy};

/* ---- Opening --------------------------------------------------------------------------------- */

static gp_status check_file(const cifar_source *self, const char *path, int32_t file, size_t size) {
  if (size == 0 || size % RECORD != 0)
    return gp_fail(GP_ERROR_CORRUPT, "%s: %zu bytes: expected records of %d", path, size, RECORD);
  for (size_t at = 0; at < size; at += RECORD)
    if (self->bytes[file][at] >= self->base.info.classes)
      return gp_fail(GP_ERROR_CORRUPT, "%s: label %zu is %u, expected 0 to %" PRId32, path, at / RECORD,
                     self->bytes[file][at], self->base.info.classes - 1);
  return GP_OK;
}

static gp_status read_files(cifar_source *self, const char *folder) {
  gp_status status = GP_OK;
  char path[PATH_MAX];
  for (int32_t i = 0; i < self->files; ++i) {
    size_t size = 0;
    GP_TRY(data_join_path(path, folder, self->names[i]));
    GP_TRY(data_read_file(path, &self->bytes[i], &size));
    GP_TRY(check_file(self, path, i, size));
    self->counts[i] = (int64_t)(size / RECORD);
    self->base.info.count += self->counts[i];
  }
cleanup:
  return status;
}

static gp_status open_binary(data_source **out, const data_set *set, const data_source_desc *desc, const char *folder) {
  gp_status status = GP_OK;
  cifar_source *self = NULL;
  const bool train = desc->split == DATA_TRAIN;
  GP_TRY(GP_ALLOC(&self, 1));
  self->base.ops = &cifar_ops;
  self->files = train ? MAX_FILES : 1;
  for (int32_t i = 0; i < self->files; ++i) self->names[i] = train ? train_files[i] : test_files[i];
  self->base.info = (data_source_info){.dataset = set->name,
                                       .classes = set->classes,
                                       .class_names = set->class_names,
                                       .channels = 3,
                                       .height = SIDE,
                                       .width = SIDE};
  memcpy(self->base.info.mean, set->mean, sizeof set->mean);
  memcpy(self->base.info.std, set->std, sizeof set->std);
  GP_TRY(read_files(self, folder));
  *out = &self->base;
  self = NULL;
cleanup:
  if (self != NULL) cifar_destroy(&self->base);
  return status;
}

gp_status data_cifar_open(data_source **out, const data_set *set, const data_source_desc *desc) {
  static const char *const folders[] = {".", "cifar-10-batches-bin"};
  gp_status status = GP_OK;
  char folder[PATH_MAX], path[PATH_MAX];
  for (size_t i = 0; i < sizeof folders / sizeof *folders; ++i) {
    GP_TRY(data_join_path(folder, desc->dir, folders[i]));
    GP_TRY(data_join_path(path, folder, test_files[0]));
    if (access(path, F_OK) == 0) return open_binary(out, set, desc, i == 0 ? desc->dir : folder);
  }
  GP_TRY(data_folder_open(out, set, desc));
cleanup:
  return status;
}
