#include "cli/leave_out.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 4096 };

/* A part of a text, which is left as it is. */
typedef struct span {
  const char *at;
  size_t size;
} span;

/* "val/cat/0012.JPEG": folder "val/cat", base "0012.JPEG", stem "12". */
typedef struct name_parts {
  span folder, base, stem;
} name_parts;

/* How well a line names a sample; of the samples that it names at all it means those that it names best. */
typedef enum match { MATCH_NONE = 0, MATCH_NUMBER, MATCH_STEM, MATCH_BASE } match;

/* One line of the list. */
typedef struct entry {
  const char *text;
  name_parts name;
  match best;
  int64_t count;  /* of the samples it names best */
  int64_t sample; /* the first of them */
} entry;

typedef struct list {
  char *text;
  entry *entries; /* sorted by their stems */
  size_t count;
} list;

/* ---- Names ---- */

static bool is_number(span s) {
  for (size_t i = 0; i < s.size; ++i)
    if (s.at[i] < '0' || s.at[i] > '9') return false;
  return s.size > 0;
}

static span without_zeros(span s) {
  while (s.size > 1 && s.at[0] == '0') s = (span){s.at + 1, s.size - 1};
  return s;
}

/* The stem is without suffix, and without leading zeros where it is a number. A sample within a file, "file.gz#17", keeps
 * its number. */
static name_parts split_name(const char *path) {
  const char *slash = strrchr(path, '/'), *base = slash == NULL ? path : slash + 1;
  const char *dot = strrchr(base, '.');
  const bool suffixed = dot != NULL && dot != base && strchr(dot, '#') == NULL;
  name_parts out = {.folder = {path, slash == NULL ? 0 : (size_t)(slash - path)}, .base = {base, strlen(base)}};
  out.stem = (span){base, suffixed ? (size_t)(dot - base) : out.base.size};
  if (is_number(out.stem)) out.stem = without_zeros(out.stem);
  return out;
}

/* The number that ends a name, without leading zeros; empty where there is none. */
static span final_number(span name) {
  span out = {name.at + name.size, 0};
  while (out.at > name.at && out.at[-1] >= '0' && out.at[-1] <= '9') out = (span){out.at - 1, out.size + 1};
  return without_zeros(out);
}

static int compare_spans(span a, span b) {
  const size_t common = a.size < b.size ? a.size : b.size;
  const int order = common == 0 ? 0 : memcmp(a.at, b.at, common);
  return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* Whether one of the folders ends in the other: the list may know more of the way to the files, or less. */
static bool folders_agree(span a, span b) {
  const span longer = a.size > b.size ? a : b, shorter = a.size > b.size ? b : a;
  const size_t before = longer.size - shorter.size;
  if (shorter.size == 0) return true;
  if (memcmp(longer.at + before, shorter.at, shorter.size) != 0) return false;
  return before == 0 || longer.at[before - 1] == '/';
}

/* ---- The list ---- */

static int compare_entries(const void *a, const void *b) {
  return compare_spans(((const entry *)a)->name.stem, ((const entry *)b)->name.stem);
}

static gp_status read_list(list *out, const char *path) {
  gp_status status = GP_OK;
  void *text = NULL;
  size_t bytes = 0, lines = 1;
  GP_TRY(file_read_whole(path, 1 << 28, &text, &bytes));
  out->text = text;
  for (size_t i = 0; i < bytes; ++i) lines += out->text[i] == '\n';
  GP_TRY(GP_ALLOC(&out->entries, lines));
  char *rest = NULL;
  for (char *line = strtok_r(out->text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
    line += strspn(line, " \t");
    line[line[0] == '#' ? 0 : strcspn(line, "\r")] = '\0';
    for (size_t end = strlen(line); end > 0 && strchr(" \t", line[end - 1]) != NULL; --end) line[end - 1] = '\0';
    if (strncmp(line, "./", 2) == 0) line += 2;
    if (line[0] != '\0') out->entries[out->count++] = (entry){.text = line, .name = split_name(line)};
  }
  qsort(out->entries, out->count, sizeof *out->entries, compare_entries);
cleanup:
  return status;
}

static void note(entry *e, match how, int64_t sample) {
  if (how < e->best) return;
  if (how > e->best) *e = (entry){.text = e->text, .name = e->name, .best = how, .sample = sample};
  e->count += 1;
}

/* Notes the sample at every line that has the key for its stem and does not name another one. */
static void find(list *in, span key, bool by_number, const name_parts *name, int64_t sample) {
  const entry wanted = {.name = {.stem = key}};
  entry *end = in->entries + in->count;
  entry *hit =
      key.size == 0 || in->count == 0 ? NULL : bsearch(&wanted, in->entries, in->count, sizeof wanted, compare_entries);
  if (hit == NULL) return;
  while (hit > in->entries && compare_entries(hit - 1, &wanted) == 0) --hit;
  for (; hit < end && compare_entries(hit, &wanted) == 0; ++hit) {
    const bool bare = hit->name.folder.size == 0 && is_number(hit->name.base);
    if (by_number && bare) note(hit, MATCH_NUMBER, sample);
    if (by_number || !folders_agree(hit->name.folder, name->folder)) continue;
    note(hit, compare_spans(hit->name.base, name->base) == 0 ? MATCH_BASE : MATCH_STEM, sample);
  }
}

/* Marks what each line means; one that could mean several samples would leave out more than its writer knows. */
static gp_status mark(cli_left_out *out, const list *in, const data_source *source, const char *path) {
  char name[NAME_SIZE];
  for (size_t i = 0; i < in->count; ++i) {
    const entry *e = &in->entries[i];
    out->not_found += e->count == 0;
    if (e->count == 0) continue;
    data_source_name(source, e->sample, name, sizeof name);
    if (e->count > 1)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                     "%s: '%s' names %" PRId64 " test images: expected one, by its path as in '%s'", path, e->text,
                     e->count, name);
    out->count += !out->samples[e->sample];
    out->samples[e->sample] = true;
  }
  return GP_OK;
}

gp_status cli_leave_out(cli_left_out *out, const data_source *source, const char *path) {
  gp_status status = GP_OK;
  list in = {0};
  char text[NAME_SIZE];
  const int64_t samples = data_source_get_info(source)->count;
  *out = (cli_left_out){0};
  GP_TRY(read_list(&in, path));
  GP_TRY(GP_ALLOC(&out->samples, (size_t)samples));
  for (int64_t i = 0; i < samples; ++i) {
    data_source_name(source, i, text, sizeof text);
    const name_parts name = split_name(text);
    find(&in, name.stem, false, &name, i);
    find(&in, final_number(name.stem), true, &name, i);
  }
  GP_TRY(mark(out, &in, source, path));
  if (out->count == 0)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: expected names of test images, found none of them among %zu lines",
                   path, in.count));
  if (out->count == samples)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s names all %" PRId64 " test images: nothing is left", path, samples));
cleanup:
  gp_free(in.text);
  gp_free(in.entries);
  return status;
}

bool cli_is_left_out(const cli_left_out *left_out, const data_source *source, const char *name) {
  char text[NAME_SIZE];
  const int64_t samples = data_source_get_info(source)->count;
  for (int64_t i = 0; left_out->samples != NULL && i < samples; ++i) {
    if (!left_out->samples[i]) continue;
    data_source_name(source, i, text, sizeof text);
    if (strcmp(text, name) == 0) return true;
  }
  return false;
}
