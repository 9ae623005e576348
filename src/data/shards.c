#include "data/shards.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/file.h"
#include "data/listing.h"
#include "data/open_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX_SHARDS = 100000, MAX_CLASSES = 1000000, MOST_OPEN = 128, OTHER_HANDLES = 16 };

/* Where a sample's bytes are. */
typedef struct place {
  uint64_t offset;
  uint32_t size;
  int32_t shard;
} place;

typedef struct shards_source {
  data_source base;
  data_listing files;
  char *split; /* the original folder's name */
  data_known_file *shards;
  int32_t shard_count;
  data_open_files *handles;
  place *places; /* [count] */
} shards_source;

static const shards_source *self_of(const data_source *source) { return (const shards_source *)source; }

static int32_t shards_label(const data_source *source, int64_t index) { return self_of(source)->files.labels[index]; }

static void shards_name(const data_source *source, int64_t index, char *name, size_t size) {
  const shards_source *self = self_of(source);
  snprintf(name, size, "%s/%s/%s", self->split, self->files.class_names[self->files.labels[index]],
           data_listing_name(&self->files, index));
}

static gp_status shards_fetch(const data_source *source, int64_t index, data_sample *sample) {
  const shards_source *self = self_of(source);
  const place *at = &self->places[index];
  gp_status status = data_sample_reserve(sample, at->size);
  if (status != GP_OK) return status;
  sample->encoded = true;
  return data_open_files_read(self->handles, at->shard, sample->bytes, at->size, at->offset);
}

static void shards_destroy(data_source *source) {
  shards_source *self = (shards_source *)source;
  data_open_files_destroy(&self->handles);
  for (int32_t i = 0; self->shards != NULL && i < self->shard_count; ++i) gp_free(self->shards[i].path);
  gp_free(self->shards);
  gp_free(self->places);
  gp_free(self->split);
  data_listing_free(&self->files);
  gp_free(self);
}

static const data_source_ops shards_ops = {shards_label, shards_name, shards_fetch, shards_destroy};

/* ---- The index ------------------------------------------------------------------------------- */

const char *data_shards_index_name(data_split split) { return split == DATA_TRAIN ? "train.index" : "test.index"; }

bool data_shards_found(const char *dir) {
  char path[PATH_MAX];
  for (int split = DATA_TRAIN; split <= DATA_TEST; ++split)
    if (data_join_path(path, dir, data_shards_index_name((data_split)split)) == GP_OK && access(path, F_OK) == 0)
      return true;
  return false;
}

/* Reads the text line by line, in place. */
typedef struct reader {
  const char *path;
  char *at, *end;
  int64_t line;
} reader;

static gp_status index_fail(const reader *r, const char *expected, const char *found) {
  return gp_fail(GP_ERROR_CORRUPT, "%s: line %" PRId64 ": expected %s, found \"%.60s\"", r->path, r->line, expected,
                 found);
}

static gp_status next_line(reader *r, char **line) {
  char *newline = r->at < r->end ? memchr(r->at, '\n', (size_t)(r->end - r->at)) : NULL;
  r->line++;
  if (newline == NULL) return gp_fail(GP_ERROR_CORRUPT, "%s: ends in line %" PRId64, r->path, r->line);
  *newline = '\0';
  *line = r->at;
  r->at = newline + 1;
  return GP_OK;
}

/* A line "word value"; *value points behind the blank. */
static gp_status next_entry(reader *r, const char *word, char **value) {
  char *line = NULL;
  gp_status status = next_line(r, &line);
  if (status != GP_OK) return status;
  const size_t length = strlen(word);
  if (strncmp(line, word, length) != 0 || line[length] != ' ') return index_fail(r, word, line);
  *value = line + length + 1;
  return GP_OK;
}

/* A number of at most `limit`, followed by `after`; moves on behind that. */
static bool take_number(char **at, char after, uint64_t limit, uint64_t *out) {
  char *end = NULL;
  if (**at < '0' || **at > '9') return false;
  errno = 0;
  const unsigned long long value = strtoull(*at, &end, 10);
  if (errno != 0 || value > limit || *end != after) return false;
  *out = value;
  *at = after == '\0' ? end : end + 1;
  return true;
}

static gp_status next_count(reader *r, const char *word, uint64_t limit, uint64_t *out) {
  char *value = NULL;
  gp_status status = next_entry(r, word, &value);
  if (status != GP_OK) return status;
  char *at = value;
  return take_number(&at, '\0', limit, out) && *out > 0 ? GP_OK : index_fail(r, "a number above 0", value);
}

/* Names go into paths and messages: no folders in them. */
static bool good_name(const char *name) {
  return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL && strlen(name) <= NAME_MAX;
}

static gp_status read_classes(shards_source *self, reader *r) {
  gp_status status = GP_OK;
  uint64_t count = 0;
  const char **names = NULL;
  GP_TRY(next_count(r, "classes", MAX_CLASSES, &count));
  GP_TRY(GP_ALLOC(&names, (size_t)count));
  for (uint64_t i = 0; i < count; ++i) {
    char *line = NULL;
    GP_TRY(next_line(r, &line));
    if (!good_name(line)) GP_TRY(index_fail(r, "a class' name", line));
    names[i] = line;
  }
  GP_TRY(data_listing_set_classes(&self->files, names, (int32_t)count));
cleanup:
  gp_free(names);
  return status;
}

/* Names the shard, and looks whether it is the one that the index is of. */
static gp_status read_shard(data_known_file *out, reader *r, const char *dir) {
  gp_status status = GP_OK;
  char *line = NULL;
  size_t size = 0;
  int handle = -1;
  GP_TRY(next_line(r, &line));
  char *name = line;
  if (!take_number(&name, ' ', INT64_MAX, &out->size) || !good_name(name))
    GP_TRY(index_fail(r, "a shard's size and name", line));
  const size_t room = strlen(dir) + strlen(name) + 2;
  GP_TRY(GP_ALLOC(&out->path, room));
  snprintf(out->path, room, "%s/%s", dir, name);
  GP_TRY(data_open_file(out->path, &handle, &size));
  close(handle);
  if (size != out->size)
    GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: has %zu bytes; %s is of a file of %" PRIu64, out->path, size, r->path,
                   out->size));
cleanup:
  return status;
}

/* How many of the shards may be open at a time: the rest of the program needs files, too, and there may be another set. */
static int32_t most_open(const reader *r, int32_t shards) {
  struct rlimit limit;
  const int lowest = open(r->path, O_RDONLY | O_CLOEXEC); /* lowest first: so many are open already */
  int64_t most = shards < MOST_OPEN ? shards : MOST_OPEN;
  if (lowest >= 0) close(lowest);
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT32_MAX) return (int32_t)most;
  const int64_t room = ((int64_t)limit.rlim_cur - lowest - OTHER_HANDLES) / 2;
  if (most > room) most = room;
  return most < 1 ? 1 : (int32_t)most;
}

static gp_status read_shards(shards_source *self, reader *r, const char *dir) {
  gp_status status = GP_OK;
  uint64_t count = 0;
  GP_TRY(next_count(r, "shards", MAX_SHARDS, &count));
  GP_TRY(GP_ALLOC(&self->shards, (size_t)count));
  self->shard_count = (int32_t)count;
  for (uint64_t i = 0; i < count; ++i) GP_TRY(read_shard(&self->shards[i], r, dir));
  GP_TRY(data_open_files_create(&self->handles, self->shards, self->shard_count, most_open(r, self->shard_count)));
cleanup:
  return status;
}

static gp_status read_sample(shards_source *self, reader *r, place *at) {
  char *line = NULL;
  uint64_t number = 0, size = 0, label = 0;
  gp_status status = next_line(r, &line);
  if (status != GP_OK) return status;
  char *rest = line;
  const bool good = take_number(&rest, ' ', (uint64_t)self->shard_count - 1, &number) &&
                    take_number(&rest, ' ', INT64_MAX, &at->offset) && take_number(&rest, ' ', INT32_MAX, &size) &&
                    take_number(&rest, ' ', (uint64_t)self->files.classes - 1, &label) && good_name(rest);
  if (!good) return index_fail(r, "a sample's shard, offset, size, label and name", line);
  at->shard = (int32_t)number;
  at->size = (uint32_t)size;
  const uint64_t whole = self->shards[number].size;
  if (size > whole || at->offset > whole - size) return index_fail(r, "a sample inside its shard", line);
  return data_listing_add(&self->files, rest, (int32_t)label);
}

static gp_status read_samples(shards_source *self, reader *r) {
  gp_status status = GP_OK;
  uint64_t count = 0;
  GP_TRY(next_count(r, "samples", (uint64_t)(r->end - r->at), &count)); /* a line takes more than a byte */
  GP_TRY(GP_ALLOC(&self->places, (size_t)count));
  for (uint64_t i = 0; i < count; ++i) GP_TRY(read_sample(self, r, &self->places[i]));
  if (r->at != r->end) GP_TRY(index_fail(r, "the end after the last sample", "more"));
cleanup:
  return status;
}

static gp_status parse_index(shards_source *self, reader *r, const char *dir) {
  gp_status status = GP_OK;
  char *line = NULL, *split = NULL;
  GP_TRY(next_line(r, &line));
  if (strcmp(line, DATA_SHARDS_FIRST_LINE) != 0) GP_TRY(index_fail(r, DATA_SHARDS_FIRST_LINE, line));
  GP_TRY(next_entry(r, "split", &split));
  if (!good_name(split)) GP_TRY(index_fail(r, "a folder's name", split));
  GP_TRY(gp_strdup(&self->split, split));
  GP_TRY(read_classes(self, r));
  GP_TRY(read_shards(self, r, dir));
  GP_TRY(read_samples(self, r));
cleanup:
  return status;
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* Counts labels as a net does that was trained before. */
static gp_status map_classes(shards_source *self, const data_source_desc *desc) {
  gp_status status = GP_OK;
  data_listing *files = &self->files, wanted = {0};
  int32_t *map = NULL;
  GP_TRY(data_listing_set_classes(&wanted, desc->class_names, desc->classes));
  GP_TRY(GP_ALLOC(&map, (size_t)files->classes));
  for (int32_t i = 0; i < files->classes; ++i) map[i] = data_listing_find_class(&wanted, files->class_names[i]);
  for (int64_t i = 0; i < files->count; ++i) {
    const int32_t label = map[files->labels[i]];
    if (label < 0)
      GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: class %s is not among the %d of the net", desc->dir,
                     files->class_names[files->labels[i]], (int)desc->classes));
    files->labels[i] = label;
  }
  GP_TRY(data_listing_set_classes(files, desc->class_names, desc->classes));
cleanup:
  gp_free(map);
  data_listing_free(&wanted);
  return status;
}

gp_status data_shards_open(data_source **out, const data_set *set, const data_source_desc *desc) {
  gp_status status = GP_OK;
  shards_source *self = NULL;
  uint8_t *text = NULL;
  size_t size = 0;
  char path[PATH_MAX];
  GP_TRY(data_join_path(path, desc->dir, data_shards_index_name(desc->split)));
  GP_TRY(GP_ALLOC(&self, 1));
  self->base.ops = &shards_ops;
  status = data_read_file(path, &text, &size);
  if (status == GP_ERROR_NOT_FOUND)
    status = gp_fail(status, "%s: no such file: the folder was packed without %s images", path,
                     desc->split == DATA_TRAIN ? "training" : "test");
  GP_TRY(status);
  reader r = {.path = path, .at = (char *)text, .end = (char *)text + size};
  GP_TRY(parse_index(self, &r, desc->dir));
  if (desc->class_names != NULL) GP_TRY(map_classes(self, desc));
  self->base.info = data_info_of_files(set, &self->files);
  *out = &self->base;
  self = NULL;
cleanup:
  gp_free(text);
  if (self != NULL) shards_destroy(&self->base);
  return status;
}
