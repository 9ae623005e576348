#include "train/option.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/option_impl.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANGE_SIZE = 96, SUGGESTION_SIZE = 96, NAME_LIMIT = 64 };

static void *field_of(const option_desc *option, void *config) { return (char *)config + option->offset; }

bool option_is_text(const option_desc *option) {
  return option->type == OPTION_STRING || option->type == OPTION_PATH || option->type == OPTION_LIST;
}

/* ---- One value from text ---- */

static const char *range_text(const option_desc *option, char buffer[RANGE_SIZE]) {
  const char *kind = option->type == OPTION_INT64 ? "a whole number" : "a number";
  bool low = option->min > -0x1p63, high = option->max < 0x1p63;
  if (low && high)
    snprintf(buffer, RANGE_SIZE, "%s from %.15g to %.15g", kind, option->min, option->max);
  else if (low)
    snprintf(buffer, RANGE_SIZE, "%s of at least %.15g", kind, option->min);
  else if (high)
    snprintf(buffer, RANGE_SIZE, "%s of at most %.15g", kind, option->max);
  else
    snprintf(buffer, RANGE_SIZE, "%s", kind);
  return buffer;
}

static gp_status fail_range(const option_desc *option, const char *text) {
  char range[RANGE_SIZE];
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected %s, found \"%s\"", range_text(option, range), text);
}

/* strtod() and strtoll() skip leading white space; a value has none. */
static bool starts_well(const char *text) { return text[0] != '\0' && strchr(" \t\n\v\f\r", text[0]) == NULL; }

static gp_status set_bool(void *field, const char *text) {
  static const char *const words[2][4] = {{"no", "false", "off", "0"}, {"yes", "true", "on", "1"}};
  for (int value = 0; value < 2; ++value)
    for (int i = 0; i < 4; ++i)
      if (strcmp(text, words[value][i]) == 0) {
        *(bool *)field = value == 1;
        return GP_OK;
      }
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected yes or no, found \"%s\"", text);
}

static gp_status set_int64(const option_desc *option, void *field, const char *text) {
  char *end = NULL;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (!starts_well(text) || *end != '\0' || errno != 0 || (double)value < option->min || (double)value > option->max)
    return fail_range(option, text);
  *(int64_t *)field = value;
  return GP_OK;
}

static gp_status set_double(const option_desc *option, void *field, const char *text) {
  char *end = NULL;
  double value = strtod(text, &end);
  if (!starts_well(text) || *end != '\0' || !isfinite(value) || value < option->min || value > option->max)
    return fail_range(option, text);
  *(double *)field = value;
  return GP_OK;
}

static gp_status set_choice(const option_desc *option, void *field, const char *text) {
  size_t length = strlen(text);
  int index = 0;
  for (const char *choice = option->choices; choice != NULL; ++index) {
    size_t choice_length = strcspn(choice, "|");
    if (choice_length == length && strncmp(choice, text, length) == 0) {
      memcpy(field, &index, sizeof index);
      return GP_OK;
    }
    choice = choice[choice_length] == '|' ? choice + choice_length + 1 : NULL;
  }
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected %s, found \"%s\"", option->choices, text);
}

static gp_status set_string(void *field, const char *text) {
  char *copy = NULL;
  gp_status status = gp_strdup(&copy, text);
  if (status != GP_OK) return status;
  gp_free(*(char **)field);
  *(char **)field = copy;
  return GP_OK;
}

static gp_status set_unchecked(const option_desc *option, void *field, const char *text) {
  switch (option->type) {
    case OPTION_BOOL: return set_bool(field, text);
    case OPTION_INT64: return set_int64(option, field, text);
    case OPTION_DOUBLE: return set_double(option, field, text);
    case OPTION_CHOICE: return set_choice(option, field, text);
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_LIST: return set_string(field, text);
  }
  return gp_fail(GP_ERROR_UNSUPPORTED, "an option of unknown type %d", (int)option->type);
}

gp_status option_set_text(const option_desc *option, void *config, const char *prefix, const char *text) {
  gp_status status = option->check == NULL ? GP_OK : option->check(text);
  if (status == GP_OK) status = set_unchecked(option, field_of(option, config), text);
  return status == GP_OK ? GP_OK : gp_fail_in(status, "%s%s", prefix, option->name);
}

/* ---- Names ---- */

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

size_t option_edit_distance(const char *a, const char *b) {
  size_t row[NAME_LIMIT + 1], a_length = strlen(a), b_length = strlen(b);
  if (a_length > NAME_LIMIT || b_length > NAME_LIMIT) return NAME_LIMIT;
  for (size_t j = 0; j <= b_length; ++j) row[j] = j;
  for (size_t i = 1; i <= a_length; ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b_length; ++j) {
      size_t above = row[j];
      row[j] = least(least(row[j], row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
      diagonal = above;
    }
  }
  return row[b_length];
}

const option_desc *option_nearest(const option_table *table, const char *name) {
  const option_desc *nearest = NULL;
  size_t limit = strlen(name) / 3 + 2; /* farther than that is no slip of the finger */
  for (size_t i = 0; i < table->count; ++i) {
    size_t distance = option_edit_distance(name, table->options[i].name);
    if (distance >= limit) continue;
    limit = distance;
    nearest = &table->options[i];
  }
  return nearest;
}

const option_desc *options_find(const option_table *table, const char *name) {
  for (size_t i = 0; i < table->count; ++i)
    if (strcmp(table->options[i].name, name) == 0) return &table->options[i];
  return NULL;
}

/* ---- A whole config ---- */

gp_status options_init(const option_table *table, void *config) {
  gp_status status = GP_OK;
  options_clear(table, config);
  for (size_t i = 0; i < table->count; ++i) {
    const option_desc *option = &table->options[i];
    const char *text = option->default_text;
    if (text == NULL && !option_is_text(option)) continue;
    /* "" stands for "not given", which a check may refuse where it is given. */
    GP_TRY(text == NULL ? set_string(field_of(option, config), "")
                        : option_set_text(option, config, "default of ", text));
  }
cleanup:
  return status;
}

void options_clear(const option_table *table, void *config) {
  for (size_t i = 0; i < table->count; ++i) {
    const option_desc *option = &table->options[i];
    void *field = field_of(option, config);
    switch (option->type) {
      case OPTION_BOOL: *(bool *)field = false; break;
      case OPTION_INT64: *(int64_t *)field = 0; break;
      case OPTION_DOUBLE: *(double *)field = 0; break;
      case OPTION_CHOICE: memset(field, 0, sizeof(int)); break;
      case OPTION_STRING:
      case OPTION_PATH:
      case OPTION_LIST:
        gp_free(*(char **)field);
        *(char **)field = NULL;
        break;
    }
  }
}

gp_status options_set(const option_table *table, void *config, const char *name, const char *text) {
  const option_desc *option = options_find(table, name);
  if (option != NULL) return option_set_text(option, config, "", text);
  const option_desc *nearest = option_nearest(table, name);
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "unknown option \"%s\"%s%s%s", name,
                 nearest == NULL ? "" : ", did you mean ", nearest == NULL ? "" : nearest->name,
                 nearest == NULL ? "" : "?");
}

const option_desc *options_difference(const option_table *table, const void *a, const void *b, unsigned without) {
  char a_text[OPTION_TEXT_SIZE], b_text[OPTION_TEXT_SIZE];
  for (size_t i = 0; i < table->count; ++i) {
    const option_desc *option = &table->options[i];
    if ((option->flags & without) != 0) continue;
    if (strcmp(option_text(option, a, a_text), option_text(option, b, b_text)) != 0) return option;
  }
  return NULL;
}

/* ---- The command line ---- */

typedef struct command_line {
  const option_table *table;
  void *config;
  int argc, at; /* at: the argument being read */
  char *const *argv;
} command_line;

static gp_status fail_unknown(const option_table *table, const char *argument, const char *name) {
  const option_desc *nearest = option_nearest(table, name);
  if (nearest == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "unknown option %s (--help lists them)", argument);
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "unknown option %s, did you mean --%s? (--help lists them)", argument,
                 nearest->name);
}

static gp_status take_value(command_line *parser, const option_desc *option, const char *value) {
  const char *argument = parser->argv[parser->at];
  if (option->type == OPTION_BOOL) return option_set_text(option, parser->config, "--", value == NULL ? "yes" : value);
  if (value == NULL) {
    const char *next = parser->at + 1 < parser->argc ? parser->argv[parser->at + 1] : NULL;
    if (next == NULL || strncmp(next, "--", 2) == 0)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: expected a value (%s), found %s", argument,
                     option->metavar != NULL ? option->metavar : option->choices,
                     next == NULL ? "the end of the command line" : next);
    value = next;
    ++parser->at;
  }
  return option_set_text(option, parser->config, "--", value);
}

/* --name, --name=value, --no-name */
static gp_status take_long(command_line *parser) {
  const char *argument = parser->argv[parser->at], *name = argument + 2, *equals = strchr(name, '=');
  char copy[NAME_LIMIT + 1];
  size_t length = equals == NULL ? strlen(name) : (size_t)(equals - name);
  if (length > NAME_LIMIT) return fail_unknown(parser->table, argument, name);
  memcpy(copy, name, length);
  copy[length] = '\0';
  const option_desc *option = options_find(parser->table, copy);
  if (option != NULL) return take_value(parser, option, equals == NULL ? NULL : equals + 1);
  option = strncmp(copy, "no-", 3) == 0 ? options_find(parser->table, copy + 3) : NULL;
  if (option == NULL || option->type != OPTION_BOOL) return fail_unknown(parser->table, argument, copy);
  if (equals == NULL) return option_set_text(option, parser->config, "--no-", "no");
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: --no-%s takes no value", argument, option->name);
}

static gp_status take_short(command_line *parser) {
  const char *argument = parser->argv[parser->at];
  for (size_t i = 0; i < parser->table->count; ++i) {
    const option_desc *option = &parser->table->options[i];
    if (option->short_name == argument[1] && argument[2] == '\0') return take_value(parser, option, NULL);
  }
  return fail_unknown(parser->table, argument, argument + 1);
}

gp_status options_parse(const option_table *table, void *config, int argc, char *const argv[], const char **positionals,
                        int *positional_count) {
  gp_status status = GP_OK;
  bool only_positionals = false;
  int count = 0;
  command_line parser = {.table = table, .config = config, .argc = argc, .argv = argv};
  for (; parser.at < argc; ++parser.at) {
    const char *argument = argv[parser.at];
    bool is_option = !only_positionals && argument[0] == '-' && argument[1] != '\0';
    if (is_option && strcmp(argument, "--") == 0) {
      only_positionals = true;
    } else if (is_option) {
      GP_TRY(argument[1] == '-' ? take_long(&parser) : take_short(&parser));
    } else if (positionals == NULL) {
      GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected an option (--name value), found \"%s\"", argument));
    } else {
      positionals[count++] = argument;
    }
  }
cleanup:
  if (positional_count != NULL) *positional_count = count;
  return status;
}
