#include "cli/leave_out.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 4096 };

/* One line of the list. */
typedef struct entry {
  const char *text; /* cut to what is compared */
  bool found;
} entry;

typedef struct list {
  char *text;
  entry *entries; /* sorted */
  size_t count;
} list;

/* "folder/name.JPEG" → "name"; a number loses its leading zeros. A sample within a file, "file.gz#17", keeps its number. */
static const char *plain_name(char *path) {
  char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
  char *dot = strrchr(name, '.');
  if (dot != NULL && dot != name && strchr(dot, '#') == NULL) *dot = '\0';
  const size_t digits = strspn(name, "0123456789");
  if (name[digits] == '\0')
    while (name[0] == '0' && name[1] != '\0') ++name;
  return name;
}

/* The number that ends a name, without leading zeros; "" where there is none. */
static const char *final_number(const char *name) {
  const char *at = name + strlen(name);
  while (at > name && at[-1] >= '0' && at[-1] <= '9') --at;
  while (at[0] == '0' && at[1] != '\0') ++at;
  return at;
}

static int compare_entries(const void *a, const void *b) {
  return strcmp(((const entry *)a)->text, ((const entry *)b)->text);
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
    if (line[0] != '\0') out->entries[out->count++] = (entry){.text = plain_name(line)};
  }
  qsort(out->entries, out->count, sizeof *out->entries, compare_entries);
cleanup:
  return status;
}

/* Marks every entry of that text, should the list hold it twice. */
static bool find(list *in, const char *text) {
  const entry wanted = {.text = text};
  entry *end = in->entries + in->count;
  entry *hit = text[0] == '\0' || in->count == 0
                   ? NULL
                   : bsearch(&wanted, in->entries, in->count, sizeof wanted, compare_entries);
  if (hit == NULL) return false;
  while (hit > in->entries && compare_entries(hit - 1, &wanted) == 0) --hit;
  for (; hit < end && compare_entries(hit, &wanted) == 0; ++hit) hit->found = true;
  return true;
}

gp_status cli_leave_out(cli_left_out *out, const data_source *source, const char *path) {
  gp_status status = GP_OK;
  list in = {0};
  char name[NAME_SIZE];
  const int64_t samples = data_source_get_info(source)->count;
  *out = (cli_left_out){0};
  GP_TRY(read_list(&in, path));
  GP_TRY(GP_ALLOC(&out->samples, (size_t)samples));
  for (int64_t i = 0; i < samples; ++i) {
    data_source_name(source, i, name, sizeof name);
    const char *plain = plain_name(name);
    const bool by_name = find(&in, plain), by_number = find(&in, final_number(plain));
    out->samples[i] = by_name || by_number;
    out->count += out->samples[i];
  }
  for (size_t i = 0; i < in.count; ++i) out->not_found += !in.entries[i].found;
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
