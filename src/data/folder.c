#include "data/folder.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void data_names_free(data_names *names) {
  if (names == NULL) return;
  for (int64_t i = 0; i < names->count; ++i) gp_free(names->names[i]);
  gp_free(names->names);
  *names = (data_names){0};
}

static gp_status add_name(data_names *names, const char *name) {
  gp_status status = GP_OK;
  if ((size_t)names->count == names->room) {
    char **wider = NULL;
    const size_t room = names->room > 0 ? 2 * names->room : 256;
    GP_TRY(GP_ALLOC(&wider, room));
    if (names->count > 0) memcpy(wider, names->names, (size_t)names->count * sizeof *wider);
    gp_free(names->names);
    names->names = wider;
    names->room = room;
  }
  GP_TRY(gp_strdup(&names->names[names->count], name));
  names->count++;
cleanup:
  return status;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static gp_status folder_fail(const char *path, const char *what) {
  const gp_status status = errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? GP_ERROR_NOT_FOUND : GP_ERROR_IO;
  return gp_fail(status, "%s: cannot %s the folder: %s", path, what, strerror(errno));
}

typedef enum entry_kind { ENTRY_FOLDER, ENTRY_OTHER, ENTRY_UNKNOWN } entry_kind;

/* A link counts as what it leads to. Asks the disk only where the entry does not say. */
static entry_kind kind_of(const char *path, const struct dirent *entry) {
  char full[PATH_MAX];
  struct stat info;
  if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
    return entry->d_type == DT_DIR ? ENTRY_FOLDER : ENTRY_OTHER;
  if (data_join_path(full, path, entry->d_name) != GP_OK || stat(full, &info) != 0) return ENTRY_UNKNOWN;
  return S_ISDIR(info.st_mode) ? ENTRY_FOLDER : ENTRY_OTHER;
}

/* All entries but those of the kind. So links to nowhere are among folders as well as among files: they are reported
 * where they stand, and a class that is one keeps its number. */
static gp_status list(data_names *out, const char *path, entry_kind without) {
  gp_status status = GP_OK;
  DIR *folder = opendir(path);
  if (folder == NULL) return folder_fail(path, "open");
  for (;;) {
    errno = 0;
    const struct dirent *entry = readdir(folder);
    if (entry == NULL && errno != 0) GP_TRY(folder_fail(path, "read"));
    if (entry == NULL) break;
    if (entry->d_name[0] == '.' || kind_of(path, entry) == without) continue;
    GP_TRY(add_name(out, entry->d_name));
  }
  if (out->count > 0) qsort(out->names, (size_t)out->count, sizeof *out->names, compare_names);
cleanup:
  closedir(folder);
  return status;
}

gp_status data_folder_list(data_names *out, const char *path) { return list(out, path, ENTRY_OTHER); }

/* ---- A split --------------------------------------------------------------------------------- */

/* What was left out. */
typedef struct oddities {
  int64_t empty, unknown;
  char first_empty[128], first_unknown[128];
} oddities;

static void describe(const oddities *odd, const char *path, char note[DATA_NOTE_SIZE]) {
  int used = 0;
  note[0] = '\0';
  if (odd->empty > 0)
    used = snprintf(note, DATA_NOTE_SIZE, "%.200s: %" PRId64 " class folder%s without images (%s%s)", path, odd->empty,
                    odd->empty == 1 ? "" : "s", odd->first_empty, odd->empty == 1 ? "" : ", …");
  if (odd->unknown > 0 && used >= 0 && used < DATA_NOTE_SIZE)
    snprintf(note + used, (size_t)(DATA_NOTE_SIZE - used),
             "%s%.200s: %" PRId64 " folder%s of classes that are not in the training set, left out (%s%s)",
             used > 0 ? "; " : "", path, odd->unknown, odd->unknown == 1 ? "" : "s", odd->first_unknown,
             odd->unknown == 1 ? "" : ", …");
}

static gp_status scan_class(data_listing *out, const data_folder_desc *desc, const char *name, int32_t label,
                            oddities *odd) {
  gp_status status = GP_OK;
  data_names files = {0};
  char path[PATH_MAX];
  GP_TRY(data_join_path(path, desc->path, name));
  status = list(&files, path, ENTRY_FOLDER);
  if (status == GP_ERROR_NOT_FOUND && !desc->lenient)
    status = gp_fail(GP_ERROR_CORRUPT,
                     "%s: the class folder is a link that leads nowhere; mend or remove it, or go on without by "
                     "--on-bad-image skip",
                     path);
  if (status == GP_ERROR_NOT_FOUND) status = GP_OK;
  GP_TRY(status);
  for (int64_t i = 0; i < files.count; ++i) GP_TRY(data_listing_add(out, files.names[i], label));
  if (files.count > 0) goto cleanup;
  if (!desc->lenient)
    GP_TRY(gp_fail(GP_ERROR_CORRUPT,
                   "%s: the class folder holds no images; remove it, or go on without by --on-bad-image skip", path));
  if (odd->empty++ == 0) snprintf(odd->first_empty, sizeof odd->first_empty, "%.127s", name);
cleanup:
  data_names_free(&files);
  return status;
}

static gp_status leave_out_unknown(const data_folder_desc *desc, const char *name, oddities *odd) {
  if (!desc->lenient)
    return gp_fail(
        GP_ERROR_CORRUPT,
        "%s/%s: a class that is not among the %d of the training set; remove the folder, or go on without by "
        "--on-bad-image skip",
        desc->path, name, (int)desc->class_count);
  if (odd->unknown++ == 0) snprintf(odd->first_unknown, sizeof odd->first_unknown, "%.127s", name);
  return GP_OK;
}

gp_status data_folder_scan(data_listing *out, const data_folder_desc *desc, char note[DATA_NOTE_SIZE]) {
  gp_status status = GP_OK;
  data_names folders = {0};
  oddities odd = {0};
  GP_TRY(data_listing_set_classes(out, desc->classes, desc->class_count));
  GP_TRY(data_folder_list(&folders, desc->path));
  for (int64_t i = 0; i < folders.count; ++i) {
    const int32_t label = data_listing_find_class(out, folders.names[i]);
    if (label < 0)
      GP_TRY(leave_out_unknown(desc, folders.names[i], &odd));
    else
      GP_TRY(scan_class(out, desc, folders.names[i], label, &odd));
  }
  if (out->count == 0) GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: no images in the class folders there", desc->path));
  describe(&odd, desc->path, note);
cleanup:
  data_names_free(&folders);
  return status;
}
