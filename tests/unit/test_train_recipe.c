#include "test_train_util.h"

#include "train/recipe.h"
#include "train/schedule.h"

#define PI 3.14159265358979323846

static const gp_status bad = GP_ERROR_INVALID_ARGUMENT;

static train_config config;

static int init_config(void **state) {
  if (make_test_folder(state) != 0) return -1;
  return train_config_init(&config) == GP_OK ? 0 : -1;
}

static int clear_config(void **state) {
  train_config_clear(&config);
  return remove_test_folder(state);
}

static gp_status parse(const char *text) { return train_recipe_parse(&config, text, strlen(text), "r.ini"); }

static gp_status set(const char *name, const char *text) {
  return options_set(&train_option_table, &config, name, text);
}

/* ---- Recipes ---- */

static void reads_recipes(void **state) {
  (void)state;
  assert_ok(
      parse("; comment\n# another\n\n[net]\narch = resnet56 ; inline\n  pool: max\n\n[optimizer]\r\nlr=0.5\r\n"
            "nesterov = on\n[schedule] ; note\nschedule = list\nlr-list = 0.5x2, 0.1\n[run]\nworkers = 3"));
  assert_string_equal(config.arch, "resnet56");
  assert_string_equal(config.pool, "max");
  assert_near(config.lr, 0.5, 0);
  assert_true(config.nesterov);
  assert_int_equal(config.schedule, TRAIN_SCHEDULE_LIST);
  assert_string_equal(config.lr_list, "0.5x2, 0.1");
  assert_int_equal(config.workers, 3);
  assert_int_equal(config.epochs, 90);
  assert_ok(parse(""));
}

static void refuses_broken_recipes(void **state) {
  (void)state;
  char line[400], text[500];
  assert_fails(parse("[schedule]\nepochs = many\n"), bad,
               "r.ini:2: epochs: expected a whole number from 1 to 1000000, found \"many\"");
  assert_fails(parse("[schedule]\nepochs = 3 # three\n"), bad, "found \"3 # three\"");
  assert_fails(parse("[schedule]\nepohcs = 3\n"), bad, "r.ini:2: unknown key \"epohcs\", did you mean epochs?");
  assert_fails(
      parse("\n\n[nets]\n"), bad,
      "r.ini:3: expected one of the sections [data], [net], [optimizer], [ranks], [schedule], [run], found \"[nets]\"");
  assert_fails(parse("[net] arch = x\n"), bad, "r.ini:1: expected one of the sections");
  assert_fails(parse("[net\narch = x\n"), bad, "r.ini:1: expected one of the sections");
  assert_fails(parse("epochs = 3\n"), bad,
               "r.ini:1: expected epochs in section [schedule], found it before any section");
  assert_fails(parse("[net]\nepochs = 3\n"), bad, "r.ini:2: expected epochs in section [schedule], found it in [net]");
  assert_fails(parse("[schedule]\nepochs = 3\nlr-min = 0\nepochs = 4\n"), bad,
               "r.ini:4: expected epochs once, found it in line 2 too");
  assert_fails(parse("[schedule]\nepochs = 3\n  4\n"), bad,
               "r.ini:3: expected key = value, [section] or ; comment, found \"");
  assert_fails(parse("[schedule]\nepochs\n[run]\nout-dir = x\n"), bad, "r.ini:2: expected key = value");
  assert_fails(parse("[run]\nout-dir = x\n"), bad,
               "r.ini:2: out-dir cannot stand in a recipe: give it on the command line, as --out-dir");
  assert_fails(parse("[schedule]\nlr-list = 0.1y3\n"), bad, "r.ini:2: lr-list: expected rates");
  assert_fails(train_recipe_parse(&config, "[net]\narch\0 = x\n", 16, "r.ini"), bad,
               "r.ini:2: expected text, found a zero byte");
  memset(line, 'x', sizeof line);
  snprintf(text, sizeof text, "[net]\narch = %.399s\n", line);
  assert_fails(parse(text), bad, "r.ini:2: expected a line of at most");
  assert_fails(parse("[net]\n\x01\x02 = 4\n"), bad, "unknown key \"??\"");
}

static void finds_recipes(void **state) {
  (void)state;
  char *path = NULL;
  assert_fails(train_recipe_find("no-such", &path), GP_ERROR_NOT_FOUND,
               "there is no recipe \"no-such\": looked for ./configs/no-such.ini, ");
  assert_null(path);
  assert_fails(train_recipe_find("./no-such", &path), GP_ERROR_NOT_FOUND, "there is no recipe ./no-such");
  assert_fails(train_recipe_find("no-such.ini", &path), GP_ERROR_NOT_FOUND, "there is no recipe no-such.ini");
  put_text(in_folder("mine.ini"), "");
  assert_ok(train_recipe_find(in_folder("mine.ini"), &path));
  assert_string_equal(path, in_folder("mine.ini"));
  gp_free(path);
  char here[TEST_PATH_SIZE];
  assert_non_null(getcwd(here, sizeof here));
  assert_int_equal(mkdir(in_folder("configs"), 0777), 0);
  put_text(in_folder("configs/mine.ini"), "");
  assert_int_equal(chdir(test_folder), 0);
  gp_status status = train_recipe_find("mine", &path);
  assert_int_equal(chdir(here), 0);
  assert_int_equal(remove(in_folder("configs/mine.ini")), 0);
  assert_ok(status);
  assert_string_equal(path, "./configs/mine.ini");
  gp_free(path);
}

static void loads_by_precedence(void **state) {
  (void)state;
  char recipe[TEST_PATH_SIZE + 16], *path = NULL;
  snprintf(recipe, sizeof recipe, "--config-name=%s", in_folder("r.ini"));
  put_text(in_folder("r.ini"), "[optimizer]\nlr = 0.5\nmomentum = 0.7\n");
  char lr[] = "--lr=0.25", help[] = "--help", none[] = "--config-name=none", missing[] = "--config-name=no-such";
  char *argv[] = {lr, recipe};
  train_config_clear(&config);
  assert_ok(train_config_load(&config, 2, argv, &path));
  assert_string_equal(path, in_folder("r.ini"));
  gp_free(path);
  assert_near(config.lr, 0.25, 0);             /* command line */
  assert_near(config.momentum, 0.7, 0);        /* recipe */
  assert_near(config.weight_decay, 0.0001, 0); /* default */
  assert_string_equal(config.config_name, in_folder("r.ini"));
  train_config_clear(&config);
  assert_ok(train_config_load(&config, 1, (char *[]){none}, &path));
  assert_string_equal(path, "");
  gp_free(path);
  train_config_clear(&config);
  assert_fails(train_config_load(&config, 1, (char *[]){missing}, NULL), GP_ERROR_NOT_FOUND, "\"no-such\"");
  train_config_clear(&config);
  assert_ok(train_config_load(&config, 2, (char *[]){missing, help}, NULL));
  assert_true(config.help);
  put_text(in_folder("r.ini"), "[optimizer]\nlr = x\n");
  train_config_clear(&config);
  assert_fails(train_config_load(&config, 1, (char *[]){recipe}, NULL), bad, "r.ini:2: lr: expected");
}

static void writes_what_it_reads(void **state) {
  (void)state;
  train_config copy;
  assert_ok(set("lr", "0.1234567890123"));
  assert_ok(set("lr-list", "0.1x30, 0.01"));
  assert_ok(set("schedule", "cosine"));
  assert_ok(set("flip", "yes"));
  assert_ok(set("mean", "0.5"));
  assert_ok(set("out-dir", "/some ; where"));
  assert_ok(train_recipe_write(&config, in_folder("config.ini")));
  assert_ok(train_config_init(&copy));
  assert_ok(train_recipe_read(&copy, in_folder("config.ini")));
  const option_desc *difference = options_difference(&train_option_table, &config, &copy, 0);
  assert_non_null(difference);
  assert_string_equal(difference->name, "out-dir"); /* which cannot stand in a recipe: only as a comment */
  assert_null(options_difference(&train_option_table, &config, &copy, OPTION_RUN));
  train_config_clear(&copy);
  assert_fails(train_recipe_write(&config, in_folder("no/config.ini")), GP_ERROR_IO, "no/config.ini: No such file");
}

static void reads_the_repository_s_recipes(void **state) {
  (void)state;
  train_schedule schedule;
  double mean[3];
  size_t count = 0;
  assert_ok(train_recipe_read(&config, GP_TEST_CONFIGS "/fashion-mnist.ini"));
  assert_ok(train_config_check(&config));
  assert_string_equal(config.dataset, "fashion-mnist");
  train_config_clear(&config);
  assert_ok(train_config_init(&config));
  assert_ok(train_recipe_read(&config, GP_TEST_CONFIGS "/imagenet.ini"));
  assert_ok(train_config_check(&config));
  assert_int_equal(config.batch_size, 256);
  assert_int_equal(config.epochs, 120);
  assert_near(config.weight_decay, 1e-4, 0);
  assert_ok(train_schedule_init(&schedule, &config, 10));
  assert_near(train_schedule_lr(&schedule, 599), 0.01, 0);
  assert_near(train_schedule_lr(&schedule, 600), 0.001, 0);
  assert_ok(train_parse_numbers(config.mean, mean, 3, &count));
  assert_int_equal(count, 3);
  assert_near(mean[2], 0.406, 0);
}

static void read_config(const char *name) {
  train_config_clear(&config);
  assert_ok(train_config_init(&config));
  assert_ok(train_recipe_read(&config, name));
  assert_ok(train_config_check(&config));
}

/* The second transform is all that the two published trainings differ in; the modern one is that of its comment. */
static void imagenet_recipes_are_as_told(void **state) {
  (void)state;
  train_config published;
  assert_ok(train_config_init(&published));
  assert_ok(train_recipe_read(&published, GP_TEST_CONFIGS "/imagenet.ini"));
  assert_true(published.decay_norm_bias && published.accumulate == 1 && published.ema_decay == 0);
  read_config(GP_TEST_CONFIGS "/imagenet-crop-flip.ini");
  for (size_t i = 0; i < train_option_table.count; ++i) {
    const option_desc *option = &train_option_table.options[i];
    char a[OPTION_TEXT_SIZE], b[OPTION_TEXT_SIZE];
    if (strcmp(option->section, "data") != 0)
      assert_string_equal(option_text(option, &published, a), option_text(option, &config, b));
  }
  train_config_clear(&published);
  read_config(GP_TEST_CONFIGS "/imagenet-modern.ini");
  assert_int_equal(config.schedule, TRAIN_SCHEDULE_COSINE);
  assert_true(config.zero_init_residual && !config.decay_norm_bias && config.warmup_epochs == 5);
  assert_true(config.label_smoothing == 0.1 && config.ema_decay == 0.9998);
  assert_int_equal(config.batch_size / config.accumulate, 256);
}

static void checks_combinations(void **state) {
  (void)state;
  assert_ok(train_config_check(&config));
  assert_ok(set("schedule", "list"));
  assert_fails(train_config_check(&config), bad, "lr-list: expected rates for --schedule list, found none");
  assert_ok(set("lr-list", "0.1x30,0.01x30"));
  assert_fails(train_config_check(&config), bad, "lr-list: expected rates for 90 epochs, found them for 60");
  assert_ok(set("epochs", "60"));
  assert_ok(train_config_check(&config));
  assert_ok(set("nesterov", "yes"));
  assert_ok(set("momentum", "0"));
  assert_fails(train_config_check(&config), bad, "nesterov: expected a momentum above 0, found 0");
  assert_ok(set("nesterov", "no"));
  assert_ok(set("warmup-epochs", "61"));
  assert_fails(train_config_check(&config), bad, "warmup-epochs: expected at most the 60 epochs");
  assert_ok(set("warmup-epochs", "0"));
  assert_ok(set("schedule", "cosine"));
  assert_ok(set("lr-min", "0.2"));
  assert_fails(train_config_check(&config), bad, "lr-min: expected at most lr, 0.1, found 0.2");
  assert_ok(set("lr-min", "0"));
  assert_ok(set("accumulate", "3"));
  assert_fails(train_config_check(&config), bad, "accumulate: expected a divisor of the batch size 256, found 3");
  assert_fails(set("ema-decay", "1"), bad, "ema-decay: expected");
  assert_fails(set("pdf-filename", "../x.pdf"), bad, "pdf-filename: expected a file name that ends in .pdf");
  assert_fails(set("pdf-filename", "x'.pdf"), bad, "pdf-filename: expected");
  assert_fails(set("std", "1,0"), bad, "std: expected numbers above 0");
  assert_fails(set("mean", "1,,2"), bad, "mean: expected numbers with commas between");
  assert_fails(set("mean", "1,"), bad, "mean: expected numbers with commas between");
  assert_fails(set("out-dir", ""), bad, "out-dir: expected a value");
}

/* ---- Schedules ---- */

static void follows_a_list(void **state) {
  (void)state;
  train_schedule schedule;
  assert_ok(set("schedule", "list"));
  assert_ok(set("epochs", "10"));
  assert_ok(set("lr-list", " 0.5x2 , 0x1,0.25x3,0.125 "));
  assert_ok(train_schedule_init(&schedule, &config, 7));
  const double expected[10] = {0.5, 0.5, 0, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.125};
  for (int64_t step = 0; step < 70; ++step) assert_near(train_schedule_lr(&schedule, step), expected[step / 7], 0);
  assert_near(train_schedule_lr(&schedule, 1000), 0.125, 0);
  const char *broken[] = {"0.1x",   "0.1x0", "0.1x-1", "x3",    "0.1,0.01x3", "0.1x3;0.2",
                          "0.1x3,", ",",     "-0.1x3", "nanx3", "0.1x3 0.2",  "0.1x99999999999999999999",
                          "1e999x3"};
  for (size_t i = 0; i < sizeof broken / sizeof *broken; ++i)
    assert_fails(set("lr-list", broken[i]), bad, "lr-list: expected rates");
  char many[1000] = "1x1";
  for (int i = 1; i < TRAIN_SCHEDULE_MAX_RUNS; ++i) strcat(many, ",1x1");
  assert_ok(set("lr-list", many));
  strcat(many, ",1x1");
  assert_fails(set("lr-list", many), bad, "at most 64 rates");
}

static void follows_steps(void **state) {
  (void)state;
  train_schedule schedule;
  assert_ok(set("epochs", "9"));
  assert_ok(set("lr", "0.8"));
  assert_ok(set("lr-step-size", "3"));
  assert_ok(set("lr-gamma", "0.5"));
  assert_ok(train_schedule_init(&schedule, &config, 4));
  for (int64_t step = 0; step < 36; ++step)
    assert_near(train_schedule_lr(&schedule, step), step < 12 ? 0.8 : step < 24 ? 0.4 : 0.2, 1e-15);
  assert_near(train_schedule_lr(&schedule, 36), 0.2, 1e-15);
}

static void follows_a_cosine_after_warm_up(void **state) {
  (void)state;
  train_schedule schedule;
  assert_ok(set("epochs", "5"));
  assert_ok(set("schedule", "cosine"));
  assert_ok(set("lr", "0.4"));
  assert_ok(set("lr-min", "0.1"));
  assert_ok(set("warmup-epochs", "0.5"));
  assert_ok(set("warmup-start", "0.2"));
  assert_ok(train_schedule_init(&schedule, &config, 8)); /* 40 steps, 4 of them warm-up */
  assert_near(train_schedule_lr(&schedule, 0), 0.4 * 0.2, 1e-15);
  assert_near(train_schedule_lr(&schedule, 1), 0.4 * 0.4, 1e-15);
  assert_near(train_schedule_lr(&schedule, 3), 0.4 * 0.8, 1e-15);
  assert_near(train_schedule_lr(&schedule, 4), 0.4, 1e-15);
  assert_near(train_schedule_lr(&schedule, 22), 0.25, 1e-15); /* half-way */
  assert_near(train_schedule_lr(&schedule, 39), 0.1 + 0.3 * (1 + cos(PI * 35 / 36)) / 2, 1e-15);
  for (int64_t step = 5; step < 40; ++step)
    assert_true(train_schedule_lr(&schedule, step) < train_schedule_lr(&schedule, step - 1));
  assert_ok(set("warmup-epochs", "5"));
  assert_ok(train_schedule_init(&schedule, &config, 8)); /* warm-up all the time */
  assert_near(train_schedule_lr(&schedule, 39), 0.4 * (0.2 + 0.8 * 39 / 40), 1e-15);
  assert_fails(train_schedule_init(&schedule, &config, 0), bad, "steps per epoch");
}

static void warms_a_list_up(void **state) {
  (void)state;
  train_schedule schedule;
  assert_ok(set("epochs", "4"));
  assert_ok(set("schedule", "list"));
  assert_ok(set("lr-list", "0.4x1,0.1"));
  assert_ok(set("warmup-epochs", "2"));
  assert_ok(train_schedule_init(&schedule, &config, 5));
  assert_near(train_schedule_lr(&schedule, 0), 0, 0);
  assert_near(train_schedule_lr(&schedule, 4), 0.4 * 0.4, 1e-15);
  assert_near(train_schedule_lr(&schedule, 5), 0.1 * 0.5, 1e-15);
  assert_near(train_schedule_lr(&schedule, 10), 0.1, 0);
}

static void survives_want_of_memory(void **state) {
  (void)state;
  put_text(in_folder("r.ini"), "[net]\narch = resnet56\n");
  char recipe[TEST_PATH_SIZE + 16], *path = NULL;
  snprintf(recipe, sizeof recipe, "--config-name=%s", in_folder("r.ini"));
  char *argv[] = {recipe};
  for (uint64_t n = 1;; ++n) {
    train_config_clear(&config);
    gp_alloc_fail_after(n);
    gp_status status = train_config_load(&config, 1, argv, &path);
    if (status == GP_OK) status = train_recipe_write(&config, in_folder("config.ini"));
    gp_alloc_fail_after(0);
    gp_free(path);
    if (status == GP_OK) break;
    assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    assert_true(n < 200);
  }
  assert_true(file_exists(in_folder("config.ini")));
}

#define test_with_config(function) cmocka_unit_test_setup_teardown(function, init_config, clear_config)

int main(void) {
  const struct CMUnitTest tests[] = {
      test_with_config(reads_recipes),
      test_with_config(refuses_broken_recipes),
      test_with_config(finds_recipes),
      test_with_config(loads_by_precedence),
      test_with_config(writes_what_it_reads),
      test_with_config(reads_the_repository_s_recipes),
      test_with_config(imagenet_recipes_are_as_told),
      test_with_config(checks_combinations),
      test_with_config(follows_a_list),
      test_with_config(follows_steps),
      test_with_config(follows_a_cosine_after_warm_up),
      test_with_config(warms_a_list_up),
      test_with_config(survives_want_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
