#include "base/memory.h"
#include "base/status.h"
#include "train/atomic_file.h"
#include "train/file.h"
#include "train/option_impl.h"
#include "train/recipe.h"

#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_OPTIONS = 128, MAX_RECIPE_BYTES = 1 << 20, PATH_SIZE = 4096, FOUND_SIZE = 80, PARENTS = 4 };

/* ---- Reading ---- */

typedef struct ini_state {
  train_config *config;
  const char *name; /* of the file */
  const char *text; /* all of it */
  size_t bytes, at;
  int line;         /* that inih works on, from 1 */
  gp_status status; /* of the first failure; then no more lines are fed */
  int first_line[MAX_OPTIONS];
} ini_state;

#define FAIL_LINE(state, ...) \
  ((state)->status = gp_fail_in(gp_fail(GP_ERROR_INVALID_ARGUMENT, __VA_ARGS__), "%s:%d", (state)->name, (state)->line))

/* A piece of the file, fit for a one-line message. */
static const char *printable(const char *text, size_t length, char found[FOUND_SIZE]) {
  size_t used = length < FOUND_SIZE - 1 ? length : FOUND_SIZE - 1;
  for (size_t i = 0; i < used; ++i) found[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
  found[used] = '\0';
  return found;
}

static bool known_section(const char *name, size_t length) {
  for (size_t i = 0; i < train_option_table.count; ++i) {
    const char *section = train_option_table.options[i].section;
    if (strlen(section) == length && strncmp(section, name, length) == 0) return true;
  }
  return false;
}

static gp_status fail_section(ini_state *state, const char *line, size_t length) {
  char sections[PATH_SIZE], found[FOUND_SIZE];
  size_t used = 0;
  sections[0] = '\0';
  for (size_t i = 0; i < train_option_table.count; ++i) {
    const char *section = train_option_table.options[i].section;
    if (i > 0 && strcmp(section, train_option_table.options[i - 1].section) == 0) continue;
    used += (size_t)snprintf(sections + used, sizeof sections - used, "%s[%s]", i == 0 ? "" : ", ", section);
    if (used >= sizeof sections) break;
  }
  return FAIL_LINE(state, "expected one of the sections %s, found \"%s\"", sections, printable(line, length, found));
}

/* inih tells of a section only with its first key. */
static gp_status check_section(ini_state *state, const char *line, size_t length) {
  const char *end = memchr(line, ']', length);
  if (end == NULL || !known_section(line + 1, (size_t)(end - line) - 1)) return fail_section(state, line, length);
  for (const char *rest = end + 1; rest < line + length && *rest != ';' && *rest != '#'; ++rest)
    if (*rest != ' ' && *rest != '\t' && *rest != '\r') return fail_section(state, line, length);
  return GP_OK;
}

/* The next line, for inih: without its indentation, which would make it a continuation of the line before. */
static char *next_line(char *buffer, int size, void *context) {
  ini_state *state = context;
  if (state->status != GP_OK || state->at >= state->bytes) return NULL;
  const char *line = state->text + state->at;
  const char *newline = memchr(line, '\n', state->bytes - state->at);
  size_t length = newline == NULL ? state->bytes - state->at : (size_t)(newline - line);
  state->at += length + 1;
  ++state->line;
  while (length > 0 && (*line == ' ' || *line == '\t' || *line == '\r' || *line == '\v' || *line == '\f')) {
    ++line;
    --length;
  }
  if (memchr(line, '\0', length) != NULL) {
    (void)FAIL_LINE(state, "expected text, found a zero byte");
  } else if (length + 1 > (size_t)size) {
    (void)FAIL_LINE(state, "expected a line of at most %d bytes, found %zu", size - 1, length);
  } else if (length > 0 && line[0] == '[') {
    (void)check_section(state, line, length);
  }
  if (state->status != GP_OK) return NULL;
  memcpy(buffer, line, length);
  buffer[length] = '\0';
  return buffer;
}

static gp_status set_key(ini_state *state, const char *section, const char *key, const char *value) {
  char found[FOUND_SIZE];
  const option_desc *option = options_find(&train_option_table, key);
  if (option == NULL) {
    const option_desc *nearest = option_nearest(&train_option_table, key);
    return FAIL_LINE(state, "unknown key \"%s\"%s%s%s", printable(key, strlen(key), found),
                     nearest == NULL ? "" : ", did you mean ", nearest == NULL ? "" : nearest->name,
                     nearest == NULL ? "" : "?");
  }
  if ((option->flags & OPTION_RECIPE) == 0)
    return FAIL_LINE(state, "%s cannot stand in a recipe: give it on the command line, as --%s", key, key);
  if (strcmp(option->section, section) != 0)
    return FAIL_LINE(state, "expected %s in section [%s], found it %s%s%s", key, option->section,
                     section[0] == '\0' ? "before any section" : "in [", section, section[0] == '\0' ? "" : "]");
  int *first_line = &state->first_line[option - train_option_table.options];
  if (*first_line != 0) return FAIL_LINE(state, "expected %s once, found it in line %d too", key, *first_line);
  *first_line = state->line;
  state->status = option_set_text(option, state->config, "", value);
  if (state->status == GP_OK) return GP_OK;
  return gp_fail_in(state->status, "%s:%d", state->name, state->line);
}

static int on_key(void *context, const char *section, const char *key, const char *value) {
  ini_state *state = context;
  return state->status == GP_OK && set_key(state, section, key, value) == GP_OK;
}

/* A line that is no key, section or comment; inih only tells its number. */
static gp_status fail_syntax(ini_state *state, int line) {
  char found[FOUND_SIZE];
  const char *at = state->text, *end = state->text + state->bytes;
  for (int i = 1; i < line && at < end; ++i) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    at = newline == NULL ? end : newline + 1;
  }
  const char *newline = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
  size_t length = (size_t)((newline == NULL ? end : newline) - at);
  state->line = line;
  return FAIL_LINE(state, "expected key = value, [section] or ; comment, found \"%s\"", printable(at, length, found));
}

gp_status train_recipe_parse(train_config *config, const char *text, size_t bytes, const char *name) {
  ini_state state = {.config = config, .name = name, .text = text, .bytes = bytes};
  if (train_option_table.count > MAX_OPTIONS)
    return gp_fail(GP_ERROR_UNSUPPORTED, "%zu options, expected at most %d", train_option_table.count, MAX_OPTIONS);
  int line = ini_parse_stream(next_line, &state, on_key, &state);
  if (line < 0) return gp_fail(GP_ERROR_OUT_OF_MEMORY, "%s: out of memory while it is read", name);
  if (line > 0 && (state.status == GP_OK || line < state.line)) return fail_syntax(&state, line);
  return state.status;
}

gp_status train_recipe_read(train_config *config, const char *path) {
  void *text = NULL;
  size_t bytes = 0;
  gp_status status = file_read_whole(path, MAX_RECIPE_BYTES, &text, &bytes);
  if (status == GP_OK) status = train_recipe_parse(config, text, bytes, path);
  gp_free(text);
  return status;
}

/* ---- Finding ---- */

typedef struct recipe_search {
  const char *name;
  char found[PATH_SIZE];    /* "" until found */
  char searched[PATH_SIZE]; /* for the message; cut if too long */
} recipe_search;

/* Looks into FOLDER/configs; says so in the message unless `quietly`. */
static void look_into(recipe_search *search, const char *folder, const char *below, bool quietly) {
  char path[PATH_SIZE];
  if (search->found[0] != '\0') return;
  int length = snprintf(path, sizeof path, "%s%s/%s.ini", folder, below, search->name);
  if (length < 0 || (size_t)length >= sizeof path) return;
  if (access(path, F_OK) == 0) {
    memcpy(search->found, path, (size_t)length + 1);
    return;
  }
  size_t used = strlen(search->searched);
  if (!quietly) snprintf(search->searched + used, sizeof search->searched - used, "%s%s", used == 0 ? "" : ", ", path);
}

/* Cuts the last component off; false when none is left. */
static bool go_up(char *folder) {
  char *slash = strrchr(folder, '/');
  if (slash == NULL || slash == folder) return false;
  *slash = '\0';
  return true;
}

/* Around the program's own file, so that neither an installed nor a built tree minds being moved. */
static void look_around_program(recipe_search *search) {
  char folder[PATH_SIZE], mark[PATH_SIZE + sizeof "/CMakeLists.txt"];
  ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
  if (length <= 0) return;
  folder[length] = '\0';
  if (!go_up(folder)) return;
  for (int i = 0; i < PARENTS && go_up(folder); ++i) {
    if (i == 0) look_into(search, folder, "/share/gausspool/configs", true);
    snprintf(mark, sizeof mark, "%s/CMakeLists.txt", folder);
    if (access(mark, F_OK) == 0) look_into(search, folder, "/configs", true);
  }
}

gp_status train_recipe_find(const char *name, char **path) {
  recipe_search search = {.name = name};
  size_t length = strlen(name);
  *path = NULL;
  if (strchr(name, '/') != NULL || (length > 4 && strcmp(name + length - 4, ".ini") == 0)) {
    if (access(name, F_OK) == 0) return gp_strdup(path, name);
    return gp_fail(GP_ERROR_NOT_FOUND, "there is no recipe %s", name);
  }
  look_into(&search, ".", "/configs", false);
  look_around_program(&search);
  look_into(&search, GP_CONFIG_DIR, "", false);
  if (search.found[0] != '\0') return gp_strdup(path, search.found);
  return gp_fail(GP_ERROR_NOT_FOUND, "there is no recipe \"%s\": looked for %s (a path has a slash or ends in .ini)",
                 name, search.searched);
}

/* ---- Writing ---- */

gp_status train_recipe_write(const train_config *config, const char *path) {
  gp_status status = GP_OK;
  char *text = NULL;
  size_t bytes = 0;
  FILE *stream = open_memstream(&text, &bytes);
  if (stream == NULL) return gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory while %s is written", path);
  fprintf(stream,
          "; The configuration of a run of gausspool %s. --config-name with this file repeats it, together with the\n"
          "; options that stand here as comments, which belong on the command line.\n\n",
          gp_version());
  GP_TRY(options_write_ini(&train_option_table, config, stream));
cleanup:
  if (fclose(stream) != 0 && status == GP_OK)
    status = gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory while %s is written", path);
  if (status == GP_OK) status = atomic_file_replace(path, text, bytes);
  free(text); /* open_memstream's own */
  return status;
}
