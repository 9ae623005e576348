#include "test_train_util.h"

#include "train/option.h"

typedef enum colour { RED, GREEN, BLUE } colour;

typedef struct sample {
  bool quick, loud;
  int64_t count, big;
  double rate;
  char *name, *path;
  colour colour;
} sample;

static gp_status no_spaces(const char *text) {
  return strchr(text, ' ') == NULL ? GP_OK
                                   : gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected no spaces, found \"%s\"", text);
}

static const option_desc sample_options[] = {
    {.name = "count",
     .type = OPTION_INT64,
     .offset = offsetof(sample, count),
     .flags = OPTION_RECIPE,
     .section = "first",
     .metavar = "N",
     .default_text = "3",
     .min = 1,
     .max = 10,
     .help = "how many"},
    {.name = "big",
     .type = OPTION_INT64,
     .offset = offsetof(sample, big),
     .section = "first",
     .metavar = "N",
     .default_text = "0",
     .min = -0x1p63,
     .max = 0x1p63,
     .help = "anything"},
    {.name = "rate",
     .type = OPTION_DOUBLE,
     .offset = offsetof(sample, rate),
     .flags = OPTION_RECIPE,
     .section = "first",
     .metavar = "X…",
     .default_text = "0.1",
     .min = 0,
     .max = 0x1p63,
     .help = "a long help text that has to be wrapped since it does not fit into one line of the width that there is"},
    {.name = "quick",
     .type = OPTION_BOOL,
     .offset = offsetof(sample, quick),
     .section = "second",
     .default_text = "yes",
     .help = "be quick"},
    {.name = "loud",
     .short_name = 'l',
     .type = OPTION_BOOL,
     .offset = offsetof(sample, loud),
     .section = "second",
     .flags = OPTION_RUN,
     .help = "be loud"},
    {.name = "name",
     .short_name = 'n',
     .type = OPTION_STRING,
     .offset = offsetof(sample, name),
     .section = "second",
     .flags = OPTION_RECIPE,
     .metavar = "NAME",
     .default_text = "nobody",
     .check = no_spaces,
     .help = "who"},
    {.name = "path",
     .type = OPTION_PATH,
     .offset = offsetof(sample, path),
     .section = "second",
     .flags = OPTION_RUN,
     .metavar = "FILE",
     .help = "where"},
    {.name = "colour",
     .type = OPTION_CHOICE,
     .offset = offsetof(sample, colour),
     .section = "second",
     .flags = OPTION_RECIPE,
     .choices = "red|green|blue",
     .default_text = "green",
     .help = "which"},
};
static const option_table table = {sample_options, sizeof sample_options / sizeof *sample_options};

static gp_status parse(sample *config, const char **positionals, int *count, int argc, ...) {
  char *argv[16];
  va_list args;
  va_start(args, argc);
  for (int i = 0; i < argc; ++i) argv[i] = va_arg(args, char *);
  va_end(args);
  return options_parse(&table, config, argc, argv, positionals, count);
}

static void sets_defaults(void **state) {
  (void)state;
  sample config = {0};
  assert_ok(options_init(&table, &config));
  assert_int_equal(config.count, 3);
  assert_near(config.rate, 0.1, 0);
  assert_true(config.quick);
  assert_false(config.loud);
  assert_string_equal(config.name, "nobody");
  assert_string_equal(config.path, "");
  assert_int_equal(config.colour, GREEN);
  options_clear(&table, &config);
  assert_null(config.name);
}

static void reads_the_command_line(void **state) {
  (void)state;
  sample config = {0};
  const char *positionals[16];
  int count = 0;
  assert_ok(options_init(&table, &config));
  assert_ok(parse(&config, positionals, &count, 12, "--count", "7", "a", "--rate=2.5e-3", "--no-quick", "-l", "-n",
                  "me", "--colour=blue", "--", "--count", "-"));
  assert_int_equal(config.count, 7);
  assert_near(config.rate, 2.5e-3, 0);
  assert_false(config.quick);
  assert_true(config.loud);
  assert_string_equal(config.name, "me");
  assert_int_equal(config.colour, BLUE);
  assert_int_equal(count, 3);
  assert_string_equal(positionals[0], "a");
  assert_string_equal(positionals[1], "--count");
  assert_string_equal(positionals[2], "-");
  assert_ok(
      parse(&config, NULL, NULL, 6, "--quick", "--big", "-9223372036854775808", "--count=1", "--count=2", "--loud=no"));
  assert_true(config.quick);
  assert_false(config.loud);
  assert_int_equal(config.big, INT64_MIN);
  assert_int_equal(config.count, 2);
  options_clear(&table, &config);
}

static void says_what_is_wrong(void **state) {
  (void)state;
  sample config = {0};
  const gp_status bad = GP_ERROR_INVALID_ARGUMENT;
  assert_ok(options_init(&table, &config));
  assert_fails(parse(&config, NULL, NULL, 2, "--count", "11"), bad,
               "--count: expected a whole number from 1 to 10, found \"11\"");
  assert_fails(parse(&config, NULL, NULL, 1, "--count=3.5"), bad, "found \"3.5\"");
  assert_fails(parse(&config, NULL, NULL, 1, "--count= 3"), bad, "found \" 3\"");
  assert_fails(parse(&config, NULL, NULL, 1, "--count="), bad, "found \"\"");
  assert_fails(parse(&config, NULL, NULL, 1, "--big=9223372036854775808"), bad,
               "--big: expected a whole number, found");
  assert_fails(parse(&config, NULL, NULL, 1, "--rate=-1"), bad,
               "--rate: expected a number of at least 0, found \"-1\"");
  assert_fails(parse(&config, NULL, NULL, 1, "--rate=nan"), bad, "found \"nan\"");
  assert_fails(parse(&config, NULL, NULL, 1, "--rate=inf"), bad, "found \"inf\"");
  assert_fails(parse(&config, NULL, NULL, 1, "--quick=perhaps"), bad, "expected yes or no, found \"perhaps\"");
  assert_fails(parse(&config, NULL, NULL, 1, "--no-quick=yes"), bad, "takes no value");
  assert_fails(parse(&config, NULL, NULL, 1, "--no-count"), bad, "unknown option --no-count");
  assert_fails(parse(&config, NULL, NULL, 1, "--colour=gre"), bad, "expected red|green|blue, found \"gre\"");
  assert_fails(parse(&config, NULL, NULL, 1, "--name=a b"), bad, "--name: expected no spaces");
  assert_fails(parse(&config, NULL, NULL, 1, "--cuont=1"), bad, "unknown option --cuont=1, did you mean --count?");
  assert_fails(parse(&config, NULL, NULL, 1, "--zzzzzzzzzzzz"), bad, "unknown option --zzzzzzzzzzzz (--help");
  assert_fails(parse(&config, NULL, NULL, 1, "-x"), bad, "unknown option -x");
  assert_fails(parse(&config, NULL, NULL, 1, "--path"), bad, "--path: expected a value (FILE), found the end");
  assert_fails(parse(&config, NULL, NULL, 2, "--path", "--quick"), bad, "expected a value (FILE), found --quick");
  assert_fails(parse(&config, NULL, NULL, 1, "stray"), bad, "found \"stray\"");
  assert_fails(options_set(&table, &config, "nam", "x"), bad, "unknown option \"nam\", did you mean name?");
  assert_int_equal(config.count, 3); /* as before all this */
  assert_near(config.rate, 0.1, 0);
  assert_string_equal(config.name, "nobody");
  assert_int_equal(config.colour, GREEN);
  options_clear(&table, &config);
}

static char *print_with(void (*print)(const option_table *, const void *, FILE *), const sample *config) {
  char *text = NULL;
  size_t bytes = 0;
  FILE *stream = open_memstream(&text, &bytes);
  assert_non_null(stream);
  if (print == NULL)
    options_print_help(&table, stream);
  else
    print(&table, config, stream);
  fclose(stream);
  return text;
}

static void prints_help_and_values(void **state) {
  (void)state;
  sample config = {0};
  assert_ok(options_init(&table, &config));
  char *help = print_with(NULL, NULL), *values = print_with(options_print, &config);
  assert_non_null(strstr(help, "first:\n      --count N               how many (default: 3)\n"));
  assert_non_null(strstr(help, "\n      --rate X…               a long help text"));
  assert_non_null(strstr(help, "\nsecond:\n      --[no-]quick            be quick (default: yes)\n"));
  assert_non_null(strstr(help, "  -l, --loud                  be loud\n"));
  assert_non_null(strstr(help, "--colour red|green|blue\n"));
  int column = 0;
  for (const char *at = help; *at != '\0'; ++at) {
    column = *at == '\n' ? 0 : column + ((*at & 0xc0) != 0x80); /* characters, not bytes */
    assert_true(column <= 100);
  }
  assert_non_null(strstr(values, "first:\n  count   3\n"));
  assert_non_null(strstr(values, "  path    -\n"));
  assert_non_null(strstr(values, "  rate    0.1\n"));
  free(help);
  free(values);
  options_clear(&table, &config);
}

static void writes_ini(void **state) {
  (void)state;
  sample config = {0};
  char *text = NULL;
  size_t bytes = 0;
  assert_ok(options_init(&table, &config));
  FILE *stream = open_memstream(&text, &bytes);
  assert_ok(options_write_ini(&table, &config, stream));
  fclose(stream);
  assert_string_equal(text,
                      "[first]\ncount = 3\n; big = 0\nrate = 0.1\n\n[second]\n; quick = yes\n; loud = no\n"
                      "name = nobody\n; path =\ncolour = green\n");
  free(text);
  stream = open_memstream(&text, &bytes);
  assert_ok(options_set(&table, &config, "name", "a\t;b"));
  assert_fails(options_write_ini(&table, &config, stream), GP_ERROR_INVALID_ARGUMENT, "cannot stand in an INI file");
  fclose(stream);
  free(text);
  options_clear(&table, &config);
}

static void goes_through_json(void **state) {
  (void)state;
  sample config = {0}, copy = {0};
  json_t *object = NULL;
  assert_ok(options_init(&table, &config));
  assert_ok(options_init(&table, &copy));
  assert_ok(parse(&config, NULL, NULL, 6, "--rate=0.30000000000000004", "--big=-5", "--name=q\"\\", "--no-quick",
                  "--colour=red", "--path=/x"));
  assert_ptr_equal(options_difference(&table, &config, &copy, 0), &sample_options[1]);
  assert_ok(options_to_json(&table, &config, OPTION_RUN, &object));
  assert_null(json_object_get(object, "path"));
  char *text = json_dumps(object, JSON_COMPACT);
  assert_string_equal(text,
                      "{\"count\":3,\"big\":-5,\"rate\":0.30000000000000004,\"quick\":false,\"name\":\"q\\\"\\\\\","
                      "\"colour\":\"red\"}");
  free(text);
  assert_ok(options_from_json(&table, &copy, OPTION_RUN, object));
  assert_near(copy.rate, 0.30000000000000004, 0);
  assert_string_equal(copy.name, "q\"\\");
  assert_null(options_difference(&table, &config, &copy, OPTION_RUN));
  assert_ptr_equal(options_difference(&table, &config, &copy, 0), &sample_options[6]);
  json_object_set_new(object, "count", json_string("3"));
  assert_fails(options_from_json(&table, &copy, OPTION_RUN, object), GP_ERROR_CORRUPT,
               "count: a JSON value of the wrong type");
  json_object_set_new(object, "count", json_integer(99));
  assert_fails(options_from_json(&table, &copy, OPTION_RUN, object), GP_ERROR_INVALID_ARGUMENT, "count: expected");
  json_object_set_new(object, "count", json_integer(9));
  json_object_set_new(object, "other", json_integer(9));
  assert_fails(options_from_json(&table, &copy, OPTION_RUN, object), GP_ERROR_CORRUPT, "unknown option other");
  json_decref(object);
  options_clear(&table, &config);
  options_clear(&table, &copy);
}

static void doubles_read_back(void **state) {
  (void)state;
  sample config = {0};
  char buffer[OPTION_TEXT_SIZE];
  const double values[] = {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, 123456789.0, 1e-4, 0};
  assert_ok(options_init(&table, &config));
  for (size_t i = 0; i < sizeof values / sizeof *values; ++i) {
    config.rate = values[i];
    assert_near(strtod(option_text(&sample_options[2], &config, buffer), NULL), values[i], 0);
  }
  options_clear(&table, &config);
}

static void survives_want_of_memory(void **state) {
  (void)state;
  for (uint64_t n = 1;; ++n) {
    sample config = {0};
    gp_alloc_fail_after(n);
    gp_status status = options_init(&table, &config);
    if (status == GP_OK) status = parse(&config, NULL, NULL, 2, "--name=longer", "--path=x");
    gp_alloc_fail_after(0);
    options_clear(&table, &config);
    if (status == GP_OK) break;
    assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    assert_true(n < 100);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sets_defaults),      cmocka_unit_test(reads_the_command_line),
      cmocka_unit_test(says_what_is_wrong), cmocka_unit_test(prints_help_and_values),
      cmocka_unit_test(writes_ini),         cmocka_unit_test(goes_through_json),
      cmocka_unit_test(doubles_read_back),  cmocka_unit_test(survives_want_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
