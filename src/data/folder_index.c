#include "data/folder_index.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The file: header, a stamp of the split's folder and of each class', labels [count], name_at [count], text. Written and
 * read by the same machine, so in its own byte order. */
typedef struct index_header {
  char magic[16];
  uint64_t hash; /* of all that follows */
  uint64_t key;  /* of the folder's path and the classes' names */
  int64_t count, classes;
  uint64_t text_bytes;
} index_header;

static const char magic[16] = "gausspool list1";

typedef struct stamp {
  uint64_t inode;
  int64_t seconds[2], nanoseconds[2]; /* of the last change to its entries, and to itself */
} stamp;

enum { SETTLED_SECONDS = 3 }; /* clocks of file systems are as coarse as 2 s */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size) {
  const uint8_t *at = bytes;
  /* FNV-1a, eight bytes at a time: guards against damage, not against anyone. */
  for (; size >= 8; size -= 8, at += 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    hash = (hash ^ word) * 0x100000001B3u;
    hash ^= hash >> 32;
  }
  for (; size > 0; --size, ++at) hash = (hash ^ *at) * 0x100000001B3u;
  return hash;
}

static uint64_t hash_text(uint64_t hash, const char *text) { return hash_bytes(hash, text, strlen(text) + 1); }

static uint64_t key_of(const char *path, const data_folder_desc *desc) {
  uint64_t hash = hash_text(0xCBF29CE484222325u, path);
  for (int32_t i = 0; i < desc->class_count; ++i) hash = hash_text(hash, desc->classes[i]);
  return hash;
}

/* ---- Stamps ---------------------------------------------------------------------------------- */

static stamp stamp_of(const char *path) {
  struct stat info;
  if (stat(path, &info) != 0) return (stamp){0};
  return (stamp){.inode = info.st_ino,
                 .seconds = {info.st_mtim.tv_sec, info.st_ctim.tv_sec},
                 .nanoseconds = {info.st_mtim.tv_nsec, info.st_ctim.tv_nsec}};
}

/* Of the folder and its classes' folders, for gp_free(). */
static gp_status take_stamps(stamp **out, const data_folder_desc *desc) {
  char path[PATH_MAX];
  gp_status status = GP_ALLOC(out, (size_t)desc->class_count + 1);
  if (status != GP_OK) return status;
  (*out)[0] = stamp_of(desc->path);
  for (int32_t i = 0; i < desc->class_count; ++i)
    if (data_join_path(path, desc->path, desc->classes[i]) == GP_OK) (*out)[i + 1] = stamp_of(path);
  return GP_OK;
}

static bool same_stamps(const stamp *a, const stamp *b, int32_t classes) {
  return memcmp(a, b, ((size_t)classes + 1) * sizeof *a) == 0;
}

/* Whether a change after now would show: the last one is not so recent that the next might get the same time. */
static bool settled(const stamp *stamps, int32_t classes) {
  const int64_t now = (int64_t)time(NULL);
  for (int32_t i = 0; i <= classes; ++i)
    if (stamps[i].seconds[0] > now - SETTLED_SECONDS || stamps[i].seconds[1] > now - SETTLED_SECONDS) return false;
  return true;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* The parts of a file of `size` bytes, or false if it is none. */
typedef struct index_parts {
  const index_header *header;
  const stamp *stamps;
  const int32_t *labels;
  const uint64_t *name_at;
  const char *text;
} index_parts;

static bool find_parts(index_parts *parts, const uint8_t *bytes, size_t size) {
  const index_header *header = (const void *)bytes;
  if (size < sizeof *header || memcmp(header->magic, magic, sizeof magic) != 0) return false;
  if (header->count < 1 || header->classes < 1 || header->text_bytes < 1) return false;
  /* Each counted thing takes at least a byte: larger numbers cannot be true, and the products below stay small. */
  if ((uint64_t)header->count > size || (uint64_t)header->classes > size || header->text_bytes > size) return false;
  const size_t stamps = ((size_t)header->classes + 1) * sizeof(stamp);
  const size_t names = (size_t)header->count * sizeof(uint64_t);
  const size_t labels = (size_t)header->count * sizeof(int32_t);
  if (size != sizeof *header + stamps + names + labels + header->text_bytes) return false;
  parts->header = header;
  parts->stamps = (const void *)(bytes + sizeof *header);
  parts->name_at = (const void *)(bytes + sizeof *header + stamps);
  parts->labels = (const void *)(bytes + sizeof *header + stamps + names);
  parts->text = (const char *)bytes + sizeof *header + stamps + names + labels;
  const size_t hashed = offsetof(index_header, key);
  return hash_bytes(0, bytes + hashed, size - hashed) == header->hash;
}

static bool good_samples(const index_parts *parts) {
  const index_header *header = parts->header;
  if (parts->text[header->text_bytes - 1] != '\0') return false;
  for (int64_t i = 0; i < header->count; ++i)
    if (parts->labels[i] < 0 || parts->labels[i] >= header->classes || parts->name_at[i] >= header->text_bytes)
      return false;
  return true;
}

static gp_status copy_samples(data_listing *out, const data_folder_desc *desc, const index_parts *parts) {
  gp_status status = GP_OK;
  const size_t count = (size_t)parts->header->count, text_bytes = parts->header->text_bytes;
  GP_TRY(data_listing_set_classes(out, desc->classes, desc->class_count));
  GP_TRY(GP_ALLOC(&out->labels, count));
  GP_TRY(GP_ALLOC(&out->name_at, count));
  GP_TRY(GP_ALLOC(&out->text, text_bytes));
  memcpy(out->labels, parts->labels, count * sizeof *out->labels);
  memcpy(out->name_at, parts->name_at, count * sizeof *out->name_at);
  memcpy(out->text, parts->text, text_bytes);
  out->count = (int64_t)count;
  out->text_bytes = text_bytes;
  out->label_room = out->name_room = count;
  out->text_room = text_bytes;
cleanup:
  return status;
}

/* GP_ERROR_NOT_FOUND where the file has no listing for these folders. */
static gp_status read_index(data_listing *out, const data_folder_desc *desc, const char *file, uint64_t key,
                            const stamp *stamps) {
  gp_status status = GP_OK;
  uint8_t *bytes = NULL;
  size_t size = 0;
  index_parts parts = {0};
  GP_TRY(data_read_file(file, &bytes, &size));
  if (!find_parts(&parts, bytes, size) || parts.header->key != key || parts.header->classes != desc->class_count ||
      !same_stamps(parts.stamps, stamps, desc->class_count) || !good_samples(&parts))
    GP_TRY(gp_fail(GP_ERROR_NOT_FOUND, "%s: not of this folder as it is", file));
  GP_TRY(copy_samples(out, desc, &parts));
cleanup:
  gp_free(bytes);
  return status;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static uint8_t *put(uint8_t *at, const void *from, size_t size) {
  memcpy(at, from, size);
  return at + size;
}

static gp_status make_index(uint8_t **out, size_t *size, const data_listing *listing, uint64_t key,
                            const stamp *stamps) {
  index_header header = {
      .key = key, .count = listing->count, .classes = listing->classes, .text_bytes = listing->text_bytes};
  memcpy(header.magic, magic, sizeof magic);
  const size_t count = (size_t)listing->count, stamp_bytes = ((size_t)listing->classes + 1) * sizeof *stamps;
  *size =
      sizeof header + stamp_bytes + count * (sizeof *listing->name_at + sizeof *listing->labels) + listing->text_bytes;
  gp_status status = GP_ALLOC(out, *size);
  if (status != GP_OK) return status;
  uint8_t *at = put(*out, &header, sizeof header);
  at = put(at, stamps, stamp_bytes);
  at = put(at, listing->name_at, count * sizeof *listing->name_at);
  at = put(at, listing->labels, count * sizeof *listing->labels);
  (void)put(at, listing->text, listing->text_bytes);
  const size_t hashed = offsetof(index_header, key);
  ((index_header *)(void *)*out)->hash = hash_bytes(0, *out + hashed, *size - hashed);
  return GP_OK;
}

/* Whole or not at all: under another name first. Failing is of no consequence. */
static void write_index(const char *file, const uint8_t *bytes, size_t size) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s.XXXXXX", file) >= (int)sizeof path) return;
  const int handle = mkstemp(path);
  if (handle < 0) return;
  size_t done = 0;
  while (done < size) {
    const ssize_t wrote = write(handle, bytes + done, size - done);
    if (wrote <= 0) break;
    done += (size_t)wrote;
  }
  const bool good = close(handle) == 0 && done == size;
  if (!good || rename(path, file) != 0) (void)unlink(path);
}

static void keep(const char *file, const data_listing *listing, const data_folder_desc *desc, uint64_t key,
                 const stamp *before) {
  stamp *after = NULL;
  uint8_t *bytes = NULL;
  size_t size = 0;
  gp_status status = GP_OK;
  GP_TRY(take_stamps(&after, desc));
  if (!same_stamps(before, after, desc->class_count) || !settled(after, desc->class_count)) goto cleanup;
  GP_TRY(make_index(&bytes, &size, listing, key, after));
  write_index(file, bytes, size);
cleanup:
  gp_free(after);
  gp_free(bytes);
}

/* ---- Both ------------------------------------------------------------------------------------ */

gp_status data_folder_scan_at(data_listing *out, const data_folder_desc *desc, char note[DATA_NOTE_SIZE],
                              const char *file, int64_t least, bool *used) {
  gp_status status = GP_OK;
  stamp *stamps = NULL;
  char *path = realpath(desc->path, NULL);
  const uint64_t key = key_of(path != NULL ? path : desc->path, desc);
  *used = false;
  note[0] = '\0';
  GP_TRY(take_stamps(&stamps, desc));
  *used = read_index(out, desc, file, key, stamps) == GP_OK;
  if (*used) goto cleanup;
  data_listing_free(out);
  GP_TRY(data_folder_scan(out, desc, note));
  if (out->count >= least && note[0] == '\0') keep(file, out, desc, key, stamps);
cleanup:
  gp_free(stamps);
  free(path);
  return status;
}

static bool make_folder(const char *path) {
  struct stat info;
  return mkdir(path, 0700) == 0 || (stat(path, &info) == 0 && S_ISDIR(info.st_mode));
}

/* The cache folder, made if need be; false if there is none. */
static bool cache_folder(char path[PATH_MAX]) {
  const char *own = getenv("GAUSSPOOL_CACHE"), *common = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (own != NULL && own[0] != '\0')
    return strcmp(own, "off") != 0 && snprintf(path, PATH_MAX, "%s", own) < PATH_MAX && make_folder(path);
  if (common != NULL && common[0] == '/') {
    if (snprintf(path, PATH_MAX, "%s", common) >= PATH_MAX || !make_folder(path)) return false;
    return snprintf(path, PATH_MAX, "%s/gausspool", common) < PATH_MAX && make_folder(path);
  }
  if (home == NULL || home[0] != '/') return false;
  if (snprintf(path, PATH_MAX, "%s/.cache", home) >= PATH_MAX || !make_folder(path)) return false;
  return snprintf(path, PATH_MAX, "%s/.cache/gausspool", home) < PATH_MAX && make_folder(path);
}

gp_status data_folder_scan_indexed(data_listing *out, const data_folder_desc *desc, char note[DATA_NOTE_SIZE]) {
  char folder[PATH_MAX], file[PATH_MAX];
  bool used = false;
  char *path = realpath(desc->path, NULL);
  const uint64_t key = key_of(path != NULL ? path : desc->path, desc);
  free(path);
  note[0] = '\0';
  if (!cache_folder(folder) ||
      snprintf(file, sizeof file, "%s/%016llx.list", folder, (unsigned long long)key) >= (int)sizeof file)
    return data_folder_scan(out, desc, note);
  return data_folder_scan_at(out, desc, note, file, DATA_INDEX_LEAST, &used);
}
