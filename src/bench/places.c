#include "bench/places.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 10, FILE_LIMIT = 1 << 20, LINE_LIMIT = 1024 };

static const char blanks[] = " \t\r";

/* Where the reader is, for its messages. */
typedef struct reader {
  const char *file;
  int64_t line;
} reader;

/* A column of numbers: its name and range. */
typedef struct number_column {
  const char *name;
  int64_t min, max;
} number_column;
static const number_column columns[COLUMNS - 1] = {
    {"channels", 1, 1 << 24}, {"height", 1, 1 << 24},   {"width", 1, 1 << 24},
    {"kernel_h", 1, 1 << 16}, {"kernel_w", 1, 1 << 16}, {"stride_h", 1, 1 << 16},
    {"stride_w", 1, 1 << 16}, {"pad_h", 0, 1 << 16},    {"pad_w", 0, 1 << 16},
};

static gp_status read_number(const reader *at, const number_column *column, const char *text, int64_t *out) {
  char *end = NULL;
  errno = 0;
  *out = strtoll(text, &end, 10);
  if (end != text && *end == '\0' && errno == 0 && *out >= column->min && *out <= column->max) return GP_OK;
  return gp_fail(GP_ERROR_CORRUPT,
                 "%s:%" PRId64 ": %s: expected a whole number from %" PRId64 " to %" PRId64 ", found \"%s\"", at->file,
                 at->line, column->name, column->min, column->max, text);
}

static bool is_name(const char *text) {
  for (const char *c = text; *c != '\0'; ++c)
    if (*c <= ' ' || *c > '~') return false;
  return strlen(text) < BENCH_PLACE_NAME_SIZE;
}

static gp_status read_words(const reader *at, char *const words[COLUMNS], bench_place *place) {
  gp_status status = GP_OK;
  int64_t v[COLUMNS - 1];
  if (!is_name(words[0]))
    GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s:%" PRId64 ": expected a name of less than %d letters, all ASCII, found \"%s\"",
                   at->file, at->line, (int)BENCH_PLACE_NAME_SIZE, words[0]));
  for (int i = 0; i < COLUMNS - 1; ++i) GP_TRY(read_number(at, &columns[i], words[i + 1], &v[i]));
  *place = (bench_place){.channels = v[0],
                         .height = v[1],
                         .width = v[2],
                         .kernel = {(int32_t)v[3], (int32_t)v[4]},
                         .stride = {(int32_t)v[5], (int32_t)v[6]},
                         .padding = {(int32_t)v[7], (int32_t)v[8]}};
  memcpy(place->name, words[0], strlen(words[0]) + 1);
  gp_pool_desc desc = bench_place_desc(place);
  desc.batch = 1;
  status = gp_pool_output_size(&desc, NULL, NULL);
  if (status != GP_OK) status = gp_fail_in(GP_ERROR_CORRUPT, "%s:%" PRId64, at->file, at->line);
cleanup:
  return status;
}

/* Reads the line, which is cut up; one without words is no place. */
static gp_status read_line(const reader *at, char *line, bench_place *place, bool *found) {
  char *words[COLUMNS], *rest = NULL;
  int count = 0;
  line[strcspn(line, "#")] = '\0';
  for (char *word = strtok_r(line, blanks, &rest); word != NULL; word = strtok_r(NULL, blanks, &rest)) {
    if (count < COLUMNS) words[count] = word;
    ++count;
  }
  *found = count > 0;
  if (count == 0) return GP_OK;
  if (count == COLUMNS) return read_words(at, words, place);
  return gp_fail(GP_ERROR_CORRUPT,
                 "%s:%" PRId64
                 ": expected %d columns (name channels height width kernel_h kernel_w stride_h stride_w pad_h pad_w), "
                 "found %d",
                 at->file, at->line, (int)COLUMNS, count);
}

static gp_status read_text(bench_places *out, const char *file, const char *text) {
  gp_status status = GP_OK;
  reader at = {.file = file};
  char line[LINE_LIMIT];
  int64_t lines = 1;
  for (const char *c = text; *c != '\0'; ++c) lines += *c == '\n';
  GP_TRY(GP_ALLOC(&out->places, (size_t)lines));
  while (*text != '\0') {
    const size_t length = strcspn(text, "\n");
    bool found = false;
    ++at.line;
    if (length >= sizeof line)
      GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s:%" PRId64 ": expected less than %d bytes, found %zu", file, at.line,
                     (int)LINE_LIMIT, length));
    memcpy(line, text, length);
    line[length] = '\0';
    GP_TRY(read_line(&at, line, &out->places[out->count], &found));
    out->count += found;
    text += length + (text[length] == '\n');
  }
  if (out->count == 0) GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: expected at least one place, found none", file));
cleanup:
  return status;
}

static gp_status read_file(bench_places *out, const char *path) {
  gp_status status = GP_OK;
  void *text = NULL;
  size_t bytes = 0;
  status = file_read_whole(path, FILE_LIMIT, &text, &bytes);
  if (status == GP_ERROR_NOT_FOUND) {
    char names[256] = "";
    for (const bench_network *n = bench_networks; n->name != NULL; ++n)
      snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", n == bench_networks ? "" : ", ", n->name);
    status = gp_fail(GP_ERROR_NOT_FOUND, "%s: no such file, and no network built in (%s)", path, names);
  }
  GP_TRY(status);
  if (strlen(text) != bytes) GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: expected text, found a zero byte", path));
  GP_TRY(read_text(out, path, text));
cleanup:
  gp_free(text);
  return status;
}

gp_status bench_places_read(bench_places *out, const char *network) {
  gp_status status = GP_OK;
  const bench_network *known = bench_networks;
  *out = (bench_places){0};
  while (known->name != NULL && strcmp(known->name, network) != 0) ++known;
  status = known->name != NULL ? read_text(out, known->name, known->text) : read_file(out, network);
  if (status != GP_OK) bench_places_clear(out);
  return status;
}

void bench_places_clear(bench_places *places) {
  gp_free(places->places);
  *places = (bench_places){0};
}

gp_pool_desc bench_place_desc(const bench_place *place) {
  return (gp_pool_desc){.kind = GP_POOL_AVERAGE,
                        .channels = place->channels,
                        .height = place->height,
                        .width = place->width,
                        .kernel = {place->kernel[0], place->kernel[1]},
                        .stride = {place->stride[0], place->stride[1]},
                        .padding = {place->padding[0], place->padding[1]}};
}
