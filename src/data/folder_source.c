#include "data/folder_source.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/file.h"
#include "data/folder.h"
#include "data/folder_index.h"
#include "data/shards.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

typedef struct folder_source {
  data_source base;
  data_listing files;
  char *dir;         /* the data set's folder */
  const char *split; /* the split's folder in it */
  char note[DATA_NOTE_SIZE];
} folder_source;

static const folder_source *self_of(const data_source *source) { return (const folder_source *)source; }

static int32_t folder_label(const data_source *source, int64_t index) { return self_of(source)->files.labels[index]; }

static void folder_name(const data_source *source, int64_t index, char *name, size_t size) {
  const folder_source *self = self_of(source);
  const data_listing *files = &self->files;
  snprintf(name, size, "%s/%s/%s", self->split, files->class_names[files->labels[index]],
           data_listing_name(files, index));
}

static gp_status folder_fetch(const data_source *source, int64_t index, data_sample *sample) {
  const folder_source *self = self_of(source);
  const data_listing *files = &self->files;
  char path[PATH_MAX];
  const int length = snprintf(path, sizeof path, "%s/%s/%s/%s", self->dir, self->split,
                              files->class_names[files->labels[index]], data_listing_name(files, index));
  if (length < 0 || length >= (int)sizeof path)
    return gp_fail(GP_ERROR_IO, "%s: the path is too long", data_listing_name(files, index));
  return data_sample_read(sample, path);
}

static void folder_destroy(data_source *source) {
  folder_source *self = (folder_source *)source;
  data_listing_free(&self->files);
  gp_free(self->dir);
  gp_free(self);
}

static const data_source_ops folder_ops = {folder_label, folder_name, folder_fetch, folder_destroy};

/* ---- Opening --------------------------------------------------------------------------------- */

/* The names that a split's folder may have, most usual first. */
static const char *const train_names[] = {"train", NULL};
static const char *const test_names[] = {"val_dir", "val", "test", NULL};

static bool is_folder(const char *dir, const char *name) {
  char path[PATH_MAX];
  struct stat info;
  return data_join_path(path, dir, name) == GP_OK && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static gp_status find_split(const char *dir, data_split split, const char **name) {
  const char *const *names = split == DATA_TRAIN ? train_names : test_names;
  for (; *names != NULL; ++names) {
    *name = *names;
    if (is_folder(dir, *name)) return GP_OK;
  }
  if (!is_folder(dir, ".")) return gp_fail(GP_ERROR_NOT_FOUND, "%s: no such folder", dir);
  return gp_fail(GP_ERROR_NOT_FOUND, "%s: expected the folder %s with a folder of images for each class, found none",
                 dir, split == DATA_TRAIN ? "train" : "val_dir, val or test");
}

/* The classes that labels count: as told, else the training set's folders, else the split's own. */
static gp_status find_classes(data_names *out, const data_source_desc *desc, const char *split) {
  char path[PATH_MAX];
  if (desc->class_names != NULL) return GP_OK;
  if (is_folder(desc->dir, train_names[0])) split = train_names[0];
  gp_status status = data_join_path(path, desc->dir, split);
  if (status == GP_OK) status = data_folder_list(out, path);
  if (status == GP_OK && out->count == 0)
    status = gp_fail(GP_ERROR_CORRUPT, "%s: expected a folder of images for each class, found none", path);
  if (status == GP_OK && out->count > INT32_MAX)
    status = gp_fail(GP_ERROR_UNSUPPORTED, "%s: too many class folders", path);
  return status;
}

gp_status data_folder_open(data_source **out, const data_set *set, const data_source_desc *desc) {
  gp_status status = GP_OK;
  folder_source *self = NULL;
  data_names classes = {0};
  char path[PATH_MAX];
  if (data_shards_found(desc->dir)) return data_shards_open(out, set, desc);
  GP_TRY(GP_ALLOC(&self, 1));
  self->base.ops = &folder_ops;
  GP_TRY(gp_strdup(&self->dir, desc->dir));
  GP_TRY(find_split(desc->dir, desc->split, &self->split));
  GP_TRY(find_classes(&classes, desc, self->split));
  GP_TRY(data_join_path(path, desc->dir, self->split));
  const bool told = desc->class_names != NULL;
  const data_folder_desc folder = {.path = path,
                                   .classes = told ? desc->class_names : (const char *const *)classes.names,
                                   .class_count = told ? desc->classes : (int32_t)classes.count,
                                   .lenient = desc->lenient};
  GP_TRY(data_folder_scan_indexed(&self->files, &folder, self->note));
  self->base.info = data_info_of_files(set, &self->files);
  self->base.info.note = self->note[0] != '\0' ? self->note : NULL;
  *out = &self->base;
  self = NULL;
cleanup:
  if (self != NULL) folder_destroy(&self->base);
  data_names_free(&classes);
  return status;
}
