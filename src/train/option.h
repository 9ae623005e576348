/* One table of options makes the command line, --help, the keys of INI files, the printed configuration and the
 * configuration inside a checkpoint. A table describes the fields of one config struct; a value is always set from
 * text, so that every route is checked by the same rule and fails with the same message. */
#ifndef GP_TRAIN_OPTION_H
#define GP_TRAIN_OPTION_H

#include <gausspool/gausspool.h>

#include <jansson.h>
#include <stdio.h>

typedef enum option_type {
  OPTION_BOOL = 0, /* field: bool.      --name, --no-name, --name=yes */
  OPTION_INT64,    /* field: int64_t    in [min, max] */
  OPTION_DOUBLE,   /* field: double     in [min, max], finite */
  OPTION_STRING,   /* field: char * */
  OPTION_PATH,     /* field: char *     a file or folder */
  OPTION_CHOICE,   /* field: int, or an enum: the index into `choices` */
  OPTION_LIST,     /* field: char *     comma-separated items, `check` knows their syntax */
} option_type;

enum {
  OPTION_RECIPE = 1 << 0, /* may stand in an INI file, in section `section` */
  OPTION_RUN = 1 << 1,    /* where or how it runs: not kept in checkpoints. Never changes the result, but for
                           * `threads`: the last bits are those of the number of compute threads */
  OPTION_ASK = 1 << 2,    /* asks for something instead of a setting (--help): not printed */
};

typedef struct option_desc {
  const char *name; /* "batch-size": as on the command line and in INI files */
  char short_name;  /* 'h' for -h, or 0 */
  option_type type;
  size_t offset; /* of the field in the config struct */
  unsigned flags;
  const char *section;      /* INI section and heading in --help */
  const char *metavar;      /* how --help names the value; NULL for OPTION_BOOL and OPTION_CHOICE */
  const char *default_text; /* parsed like any other value; NULL means "" (false for OPTION_BOOL) */
  const char *choices;      /* OPTION_CHOICE: "list|step|cosine" */
  double min, max;          /* OPTION_INT64 and OPTION_DOUBLE */
  const char *help;         /* one sentence without full stop; may contain '\n' */
  /* Further check of the text, or NULL. A failing one has set a message that says what was expected. */
  gp_status (*check)(const char *text);
} option_desc;

typedef struct option_table {
  const option_desc *options;
  size_t count;
} option_table;

/* Sets every field to its default. `config` must be zeroed or hold values of this table. Strings in a config are
 * owned by it; options_clear() frees them. After a failure the config is still good for options_clear(). */
GP_NODISCARD gp_status options_init(const option_table *table, void *config);

/* Frees the strings and zeroes the fields. */
void options_clear(const option_table *table, void *config);

/* The option of that name, or NULL. */
const option_desc *options_find(const option_table *table, const char *name);

/* Levenshtein distance of two names, for suggesting the nearest; past 64 bytes a name is 64 from every other. */
size_t option_edit_distance(const char *a, const char *b);

/* Sets one field from text. GP_ERROR_INVALID_ARGUMENT for an unknown name (the message suggests the nearest) or a
 * bad value (the message says what was expected and found); the field is then unchanged. */
GP_NODISCARD gp_status options_set(const option_table *table, void *config, const char *name, const char *text);

/* Reads a command's arguments, the command's own name excluded: --name value, --name=value, --flag, --no-flag,
 * -h; everything after "--" is positional. A later one wins. `positionals`, when not NULL, gets pointers into argv
 * (room for argc of them); when NULL a positional is an error. */
GP_NODISCARD gp_status options_parse(const option_table *table, void *config, int argc, char *const argv[],
                                     const char **positionals, int *positional_count);

/* --help's list of options, by section, wrapped at 100 columns. */
void options_print_help(const option_table *table, FILE *stream);

/* The configuration as an aligned table, one "name  value" a line, by section. */
void options_print(const option_table *table, const void *config, FILE *stream);

/* As an INI file: OPTION_RECIPE options as keys, the others as comments. */
GP_NODISCARD gp_status options_write_ini(const option_table *table, const void *config, FILE *stream);

/* The value as text, as options_set() reads it back exactly. Valid until the config changes, or in `buffer`. */
enum { OPTION_TEXT_SIZE = 40 };
const char *option_text(const option_desc *option, const void *config, char buffer[OPTION_TEXT_SIZE]);

/* A new JSON object (json_decref() it) of every option that has none of the flags `without`: pass OPTION_RUN for
 * what belongs into a checkpoint. Keys are in the order of the table. */
GP_NODISCARD gp_status options_to_json(const option_table *table, const void *config, unsigned without, json_t **out);

/* Sets the fields that the object names; options with a flag in `without` are left alone. Unknown keys and values
 * of a wrong type are errors. */
GP_NODISCARD gp_status options_from_json(const option_table *table, void *config, unsigned without,
                                         const json_t *object);

/* The first option without the flags `without` whose value differs, or NULL. For naming what a resumed run changes. */
const option_desc *options_difference(const option_table *table, const void *a, const void *b, unsigned without);

#endif
