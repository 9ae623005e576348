/* A data set in two IDX files per split: images [count][height][width] and labels [count]. */
#include "base/memory.h"
#include "base/status.h"
#include "data/decode.h"
#include "data/file.h"
#include "data/idx.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct idx_source {
  data_source base;
  data_idx images, labels;
  char *file; /* the images' file name, without the folder */
} idx_source;

static const idx_source *self_of(const data_source *source) { return (const idx_source *)source; }

static int32_t idx_label(const data_source *source, int64_t index) { return self_of(source)->labels.elements[index]; }

static void idx_name(const data_source *source, int64_t index, char *name, size_t size) {
  snprintf(name, size, "%s#%" PRId64, self_of(source)->file, index);
}

static gp_status idx_fetch(const data_source *source, int64_t index, data_sample *sample) {
  data_image *image = &sample->image;
  const data_source_info *info = &source->info;
  gp_status status = data_image_reserve(image, info->height, info->width, 1);
  if (status != GP_OK) return status;
  size_t bytes = (size_t)info->height * (size_t)info->width;
  sample->encoded = false;
  memcpy(image->pixels, self_of(source)->images.elements + (size_t)index * bytes, bytes);
  return GP_OK;
}

static void idx_destroy(data_source *source) {
  idx_source *self = (idx_source *)source;
  data_idx_free(&self->images);
  data_idx_free(&self->labels);
  gp_free(self->file);
  gp_free(self);
}

static const data_source_ops idx_ops = {idx_label, idx_name, idx_fetch, idx_destroy};

/* ---- Opening --------------------------------------------------------------------------------- */

typedef struct folder {
  const data_set *set;
  const char *path;
  const char *prefix; /* "train" or "t10k" */
  bool given;         /* by the user, not by default */
} folder;

static gp_status check_folder(const folder *f) {
  struct stat info;
  bool exists = stat(f->path, &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) return GP_OK;
  if (exists)
    return gp_fail(GP_ERROR_NOT_FOUND, "%s: expected a folder with the IDX files of %s", f->path, f->set->name);
  if (!f->given && f->set->package != NULL)
    return gp_fail(GP_ERROR_NOT_FOUND, "%s: no such folder: install Debian's %s, or name the folder of %s", f->path,
                   f->set->package, f->set->name);
  return gp_fail(GP_ERROR_NOT_FOUND, "%s: no such folder (expected the IDX files of %s there)", f->path, f->set->name);
}

/* Finds `prefix`-`kind`-ubyte in its usual spellings; *path is for gp_free(). */
static gp_status find_file(const folder *f, const char *kind, int32_t dims, char **path) {
  static const char *const separators[] = {"-", "."}, *const endings[] = {"", ".gz"};
  size_t room = strlen(f->path) + 64;
  gp_status status = GP_ALLOC(path, room);
  if (status != GP_OK) return status;
  for (size_t i = 0; i < 4; ++i) {
    snprintf(*path, room, "%s/%s-%s%sidx%d-ubyte%s", f->path, f->prefix, kind, separators[i / 2], (int)dims,
             endings[i % 2]);
    if (access(*path, F_OK) == 0) return GP_OK;
  }
  return gp_fail(GP_ERROR_NOT_FOUND, "%s: no %s-%s-idx%" PRId32 "-ubyte there, with or without .gz (%s needs it)",
                 f->path, f->prefix, kind, dims, f->set->name);
}

static gp_status read_idx(data_idx *out, const char *path, int32_t dims) {
  uint8_t *bytes = NULL;
  size_t size = 0;
  gp_status status = GP_OK;
  GP_TRY(data_read_file(path, &bytes, &size));
  GP_TRY(data_idx_parse(out, bytes, size, dims, path));
cleanup:
  gp_free(bytes);
  return status;
}

static gp_status check_images(const data_idx *images, const char *path) {
  const uint32_t *size = images->size;
  if (size[0] == 0) return gp_fail(GP_ERROR_CORRUPT, "%s: holds no images", path);
  if (size[1] < 1 || size[2] < 1 || size[1] > DATA_MAX_SIDE || size[2] > DATA_MAX_SIDE)
    return gp_fail(GP_ERROR_CORRUPT, "%s: images of %" PRIu32 " x %" PRIu32 " pixels: sides must be 1 to %d", path,
                   size[1], size[2], DATA_MAX_SIDE);
  return GP_OK;
}

static gp_status check_labels(const idx_source *self, const char *path, const char *images_path) {
  const data_idx *labels = &self->labels;
  if (labels->count != self->images.size[0])
    return gp_fail(GP_ERROR_CORRUPT, "%s: %zu labels for the %" PRIu32 " images of %s", path, labels->count,
                   self->images.size[0], images_path);
  for (size_t i = 0; i < labels->count; ++i)
    if (labels->elements[i] >= self->base.info.classes)
      return gp_fail(GP_ERROR_CORRUPT, "%s: label %zu is %u, expected 0 to %" PRId32, path, i, labels->elements[i],
                     self->base.info.classes - 1);
  return GP_OK;
}

static void fill_info(idx_source *self, const data_set *set) {
  data_source_info *info = &self->base.info;
  *info =
      (data_source_info){.dataset = set->name, .classes = set->classes, .class_names = set->class_names, .channels = 1};
  info->count = self->images.size[0];
  info->height = (int32_t)self->images.size[1];
  info->width = (int32_t)self->images.size[2];
  memcpy(info->mean, set->mean, sizeof info->mean);
  memcpy(info->std, set->std, sizeof info->std);
}

gp_status data_idx_open(data_source **out, const data_set *set, const data_source_desc *desc) {
  folder f = {.set = set,
              .path = desc->dir != NULL ? desc->dir : set->default_dir,
              .prefix = desc->split == DATA_TRAIN ? "train" : "t10k",
              .given = desc->dir != NULL};
  idx_source *self = NULL;
  char *images_path = NULL, *labels_path = NULL;
  gp_status status = GP_OK;
  GP_TRY(check_folder(&f));
  GP_TRY(GP_ALLOC(&self, 1));
  self->base.ops = &idx_ops;
  GP_TRY(find_file(&f, "images", 3, &images_path));
  GP_TRY(find_file(&f, "labels", 1, &labels_path));
  GP_TRY(gp_strdup(&self->file, strrchr(images_path, '/') + 1));
  GP_TRY(read_idx(&self->images, images_path, 3));
  GP_TRY(check_images(&self->images, images_path));
  GP_TRY(read_idx(&self->labels, labels_path, 1));
  fill_info(self, set);
  GP_TRY(check_labels(self, labels_path, images_path));
  *out = &self->base;
  self = NULL;
cleanup:
  if (self != NULL) idx_destroy(&self->base);
  gp_free(images_path);
  gp_free(labels_path);
  return status;
}
