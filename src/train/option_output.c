#include "base/memory.h"
#include "base/status.h"
#include "train/option.h"
#include "train/option_impl.h"

#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 30, HELP_WIDTH = 100, LEFT_SIZE = 128, DETAIL_SIZE = 1024 };

/* ---- Values as text ---- */

/* The shortest decimal that reads back as the same double. */
static const char *double_text(double value, char buffer[OPTION_TEXT_SIZE]) {
  for (int digits = 1; digits <= 17; ++digits) {
    snprintf(buffer, OPTION_TEXT_SIZE, "%.*g", digits, value);
    if (strtod(buffer, NULL) == value) break;
  }
  return buffer;
}

static const char *choice_text(const option_desc *option, int index, char buffer[OPTION_TEXT_SIZE]) {
  const char *choice = option->choices;
  for (; index > 0 && choice != NULL; --index) {
    choice = strchr(choice, '|');
    if (choice != NULL) ++choice;
  }
  if (choice == NULL) return "?";
  snprintf(buffer, OPTION_TEXT_SIZE, "%.*s", (int)strcspn(choice, "|"), choice);
  return buffer;
}

const char *option_text(const option_desc *option, const void *config, char buffer[OPTION_TEXT_SIZE]) {
  const void *field = (const char *)config + option->offset;
  int choice = 0;
  switch (option->type) {
    case OPTION_BOOL: return *(const bool *)field ? "yes" : "no";
    case OPTION_INT64: snprintf(buffer, OPTION_TEXT_SIZE, "%lld", (long long)*(const int64_t *)field); return buffer;
    case OPTION_DOUBLE: return double_text(*(const double *)field, buffer);
    case OPTION_CHOICE: memcpy(&choice, field, sizeof choice); return choice_text(option, choice, buffer);
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_LIST: return *(char *const *)field == NULL ? "" : *(char *const *)field;
  }
  return "?";
}

/* ---- --help ---- */

static void spaces(FILE *stream, int count) { fprintf(stream, "%*s", count > 0 ? count : 0, ""); }

/* Columns that so many bytes of UTF-8 take: the bytes that begin a character. */
static int columns_of(const char *text, int bytes) {
  int columns = 0;
  for (int i = 0; i < bytes; ++i) columns += ((unsigned char)text[i] & 0xc0) != 0x80;
  return columns;
}

static void start_help_line(FILE *stream) {
  fputc('\n', stream);
  spaces(stream, HELP_COLUMN);
}

/* Prints words from HELP_COLUMN on, breaking lines at HELP_WIDTH and at '\n'; a tab is a space that does not break. */
static void print_wrapped(FILE *stream, const char *text) {
  int column = HELP_COLUMN;
  while (*text != '\0') {
    int length = (int)strcspn(text, " \n"), width = columns_of(text, length);
    bool first = column == HELP_COLUMN;
    if (!first && column + 1 + width > HELP_WIDTH) {
      start_help_line(stream);
      column = HELP_COLUMN;
    } else if (!first) {
      fputc(' ', stream);
      ++column;
    }
    for (int i = 0; i < length; ++i) fputc(text[i] == '\t' ? ' ' : text[i], stream);
    column += width;
    text += length;
    if (*text == '\n') {
      start_help_line(stream);
      column = HELP_COLUMN;
    }
    if (*text != '\0') ++text;
  }
  fputc('\n', stream);
}

static void print_option_help(const option_desc *option, FILE *stream) {
  char left[LEFT_SIZE], detail[DETAIL_SIZE];
  const char *value = option->type == OPTION_CHOICE ? option->choices : option->metavar;
  const char *text = option->default_text;
  bool flag = option->type == OPTION_BOOL;
  int length = snprintf(left, sizeof left, "  %c%c%s--%s%s%s%s", option->short_name != 0 ? '-' : ' ',
                        option->short_name != 0 ? option->short_name : ' ', option->short_name != 0 ? ", " : "  ",
                        flag && text != NULL ? "[no-]" : "", option->name, flag || value == NULL ? "" : " ",
                        flag || value == NULL ? "" : value);
  fputs(left, stream);
  length = columns_of(left, length < LEFT_SIZE ? length : LEFT_SIZE - 1);
  if (length + 2 > HELP_COLUMN) {
    fputc('\n', stream);
    length = 0;
  }
  spaces(stream, HELP_COLUMN - length);
  bool show = text != NULL && text[0] != '\0';
  snprintf(detail, sizeof detail, "%s%s%s%s", option->help, show ? " (default:\t" : "", show ? text : "",
           show ? ")" : "");
  print_wrapped(stream, detail);
}

static bool starts_section(const option_table *table, size_t i) {
  return i == 0 || strcmp(table->options[i].section, table->options[i - 1].section) != 0;
}

void options_print_help(const option_table *table, FILE *stream) {
  for (size_t i = 0; i < table->count; ++i) {
    if (starts_section(table, i)) fprintf(stream, "%s%s:\n", i == 0 ? "" : "\n", table->options[i].section);
    print_option_help(&table->options[i], stream);
  }
}

/* ---- The configuration ---- */

void options_print(const option_table *table, const void *config, FILE *stream) {
  char buffer[OPTION_TEXT_SIZE];
  int width = 0;
  for (size_t i = 0; i < table->count; ++i) {
    int length = (int)strlen(table->options[i].name);
    if (length > width) width = length;
  }
  for (size_t i = 0; i < table->count; ++i) {
    const option_desc *option = &table->options[i];
    if ((option->flags & OPTION_ASK) != 0) continue;
    const char *text = option_text(option, config, buffer);
    if (starts_section(table, i)) fprintf(stream, "%s:\n", option->section);
    fprintf(stream, "  %-*s  %s\n", width, option->name, text[0] == '\0' ? "-" : text);
  }
}

/* INI values lose white space at both ends, and what follows " ;". */
static gp_status check_ini_text(const option_desc *option, const char *text) {
  size_t length = strlen(text);
  bool edges = length > 0 && (strchr(" \t", text[0]) != NULL || strchr(" \t", text[length - 1]) != NULL);
  if (!edges && text[0] != ';' && strpbrk(text, "\r\n") == NULL && strstr(text, " ;") == NULL &&
      strstr(text, "\t;") == NULL)
    return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: \"%s\" cannot stand in an INI file", option->name, text);
}

gp_status options_write_ini(const option_table *table, const void *config, FILE *stream) {
  gp_status status = GP_OK;
  char buffer[OPTION_TEXT_SIZE];
  for (size_t i = 0; i < table->count; ++i) {
    const option_desc *option = &table->options[i];
    const char *text = option_text(option, config, buffer);
    bool key = (option->flags & OPTION_RECIPE) != 0;
    if (starts_section(table, i)) fprintf(stream, "%s[%s]\n", i == 0 ? "" : "\n", option->section);
    if (key) GP_TRY(check_ini_text(option, text));
    if (!key && strpbrk(text, "\r\n") != NULL) continue; /* not even as a comment */
    fprintf(stream, "%s%s =%s%s\n", key ? "" : "; ", option->name, text[0] == '\0' ? "" : " ", text);
  }
  if (ferror(stream)) GP_TRY(gp_fail(GP_ERROR_IO, "cannot write the configuration"));
cleanup:
  return status;
}

/* ---- JSON ---- */

static json_t *value_to_json(const option_desc *option, const void *config) {
  char buffer[OPTION_TEXT_SIZE];
  const void *field = (const char *)config + option->offset;
  switch (option->type) {
    case OPTION_BOOL: return json_boolean(*(const bool *)field);
    case OPTION_INT64: return json_integer(*(const int64_t *)field);
    case OPTION_DOUBLE: return json_real(*(const double *)field);
    case OPTION_STRING:
    case OPTION_PATH:
    case OPTION_CHOICE:
    case OPTION_LIST: break;
  }
  return json_string(option_text(option, config, buffer));
}

gp_status options_to_json(const option_table *table, const void *config, unsigned without, json_t **out) {
  gp_status status = GP_OK;
  json_t *object = json_object();
  *out = NULL;
  for (size_t i = 0; i < table->count; ++i) {
    const option_desc *option = &table->options[i];
    if ((option->flags & without) != 0) continue;
    if (json_object_set_new(object, option->name, value_to_json(option, config)) != 0)
      GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: expected UTF-8 text, or memory ran out", option->name));
  }
  if (object == NULL) GP_TRY(gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory while the configuration is copied"));
  *out = object;
  object = NULL;
cleanup:
  json_decref(object);
  return status;
}

static const char *json_text(const option_desc *option, const json_t *value, char buffer[OPTION_TEXT_SIZE]) {
  if (json_is_boolean(value) && option->type == OPTION_BOOL) return json_is_true(value) ? "yes" : "no";
  if (json_is_string(value) && (option->type == OPTION_CHOICE || option_is_text(option)))
    return json_string_value(value);
  if (json_is_integer(value) && (option->type == OPTION_INT64 || option->type == OPTION_DOUBLE)) {
    snprintf(buffer, OPTION_TEXT_SIZE, "%lld", (long long)json_integer_value(value));
    return buffer;
  }
  if (json_is_real(value) && option->type == OPTION_DOUBLE) return double_text(json_real_value(value), buffer);
  return NULL;
}

gp_status options_from_json(const option_table *table, void *config, unsigned without, const json_t *object) {
  gp_status status = GP_OK;
  char buffer[OPTION_TEXT_SIZE];
  const char *name = NULL;
  json_t *value = NULL;
  if (!json_is_object(object))
    return gp_fail(GP_ERROR_CORRUPT, "expected a configuration as a JSON object, found another JSON value");
  /* The iterator does not change the object; jansson's macro only lacks the const. */
  json_object_foreach((json_t *)(uintptr_t)object, name, value) {
    const option_desc *option = options_find(table, name);
    if (option == NULL) GP_TRY(gp_fail(GP_ERROR_CORRUPT, "a configuration with the unknown option %s", name));
    if ((option->flags & without) != 0) continue;
    const char *text = json_text(option, value, buffer);
    if (text == NULL) GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: a JSON value of the wrong type", name));
    GP_TRY(option_set_text(option, config, "", text));
  }
cleanup:
  return status;
}
