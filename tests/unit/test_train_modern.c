/* What the modern recipe adds to the loop, bit for bit when resumed; and weights that a run begins with. */
#include "test_train_run.h"

#include <signal.h>

/* ---- Averages and parts ---- */

static double loss_of(const char *path) {
  model_file *file = NULL;
  assert_ok(model_file_open(&file, path));
  const double loss = model_file_info(file)->val_loss;
  model_file_close(&file);
  return loss;
}

/* In parts of a batch, with an average of the weights, without decay on vectors, and every other setting of the recipe. */
static const char *const modern[][2] = {
    {"accumulate", "4"},           {"ema-decay", "0.9"},       {"decay-norm-bias", "no"}, {"nesterov", "yes"},
    {"zero-init-residual", "yes"}, {"label-smoothing", "0.1"}, {"warmup-epochs", "0.8"},  {"pool", "gauss_CN"}};
enum { SETTINGS = sizeof modern / sizeof *modern };

static gp_status run_modern(const char *out, const char *name, const char *value, const train_observer *observer,
                            train_result *result) {
  const char *all[2 * SETTINGS + 3] = {NULL};
  memcpy(all, modern, sizeof modern);
  all[2 * SETTINGS] = name;
  all[2 * SETTINGS + 1] = value;
  return run(out, all, observer, result);
}

/* Resumes a run in the folder from where it stopped; it then has the files of one that never did. */
static void expect_modern_end(const char *out, train_result *stopped) {
  static const char *const names[] = {"checkpoint_epoch003.safetensors", "model_best.safetensors"};
  assert_ok(run_modern(out, "resume", stopped->checkpoint, NULL, NULL));
  train_result_clear(stopped);
  for (int i = 0; i < 2; ++i) {
    char whole[64], resumed[64];
    snprintf(whole, sizeof whole, "modern/%s", names[i]);
    snprintf(resumed, sizeof resumed, "%s/%s", out, names[i]);
    expect_same_file(whole, resumed);
  }
}

/* Stopped in mid-epoch and at an epoch's end, during warm-up and after. */
static void test_resume_of_a_modern_run(void **state) {
  (void)state;
  static const char *const stops[] = {"2", "7", "10", "13"};
  assert_ok(run_modern("modern", NULL, NULL, NULL, NULL));
  for (size_t i = 0; i < sizeof stops / sizeof *stops; ++i) {
    char out[32];
    train_result result;
    snprintf(out, sizeof out, "modern%s", stops[i]);
    assert_ok(run_modern(out, "max-steps", stops[i], NULL, &result));
    expect_modern_end(out, &result);
  }
}

static void stop_in_test(void *context, const train_progress *progress) {
  (void)context;
  if (progress->phase == TRAIN_PHASE_TEST && progress->epoch == 1) train_stop_request(SIGTERM);
}

/* In a test, while the average is where the weights are. */
static void test_stop_in_a_test(void **state) {
  (void)state;
  train_result result;
  const train_observer observer = {.step = stop_in_test};
  assert_int_equal(run_modern("stopped", NULL, NULL, &observer, &result), GP_ERROR_INTERRUPTED);
  expect_modern_end("stopped", &result);
}

/* What is tested and called the best is the average, and both files test alike; the weights are beside it. */
static void test_average_is_the_model(void **state) {
  (void)state;
  static const char *const names[] = {"modern/model_best.safetensors", "modern/checkpoint_epoch003.safetensors"};
  static const char *const more[] = {"pool", "gauss_CN", "evaluate", "yes", "label-smoothing", "0.1", "resume"};
  for (int i = 0; i < 2; ++i) {
    const char *all[10] = {NULL};
    train_result result;
    char path[TEST_PATH_SIZE];
    snprintf(path, sizeof path, "%s", in_folder(names[i]));
    memcpy(all, more, sizeof more);
    all[7] = path;
    assert_ok(run("e", all, NULL, &result));
    assert_true(result.val_loss == loss_of(path));
    train_result_clear(&result);
  }
  safetensors_file *file = NULL;
  assert_ok(safetensors_open(&file, in_folder(names[1])));
  const safetensors_info *weights = safetensors_find(file, "fc.weight"),
                         *average = safetensors_find(file, "ema.fc.weight");
  assert_non_null(weights);
  assert_non_null(average);
  assert_non_null(safetensors_find(file, "ema.bn1.running_mean"));
  assert_null(safetensors_find(file, "ema.bn1.num_batches_tracked"));
  assert_true(memcmp(weights->data, average->data, weights->bytes) != 0);
  safetensors_close(&file);
}

/* Options that are given their default make no difference; those of the modern recipe do. */
static void test_defaults_are_the_published_recipe(void **state) {
  (void)state;
  static const char *const same[] = {"accumulate", "1", "ema-decay", "0", "decay-norm-bias", "yes", NULL};
  assert_ok(run("defaults", same, NULL, NULL));
  expect_as_whole("defaults");
  static const char *const other[][4] = {
      {"accumulate", "2", NULL}, {"decay-norm-bias", "no", NULL}, {"ema-decay", "0.5", NULL}};
  for (int i = 0; i < 3; ++i) {
    size_t sizes[2];
    assert_ok(run("other2", other[i], NULL, NULL));
    char *a = get_file(in_folder("whole/model_best.safetensors"), &sizes[0]);
    char *b = get_file(in_folder("other2/model_best.safetensors"), &sizes[1]);
    assert_true(sizes[0] != sizes[1] || memcmp(a, b, sizes[0]) != 0);
    free(a);
    free(b);
  }
}

/* A checkpoint without an average goes on with one that begins there; and one with, without. */
static void test_average_comes_and_goes(void **state) {
  (void)state;
  train_result result;
  char path[TEST_PATH_SIZE];
  assert_ok(run("comes", (const char *[]){"max-steps", "7", NULL}, NULL, &result));
  snprintf(path, sizeof path, "%s", result.checkpoint);
  train_result_clear(&result);
  assert_ok(run("comes", (const char *[]){"resume", path, "ema-decay", "0.9", "max-steps", "9", NULL}, NULL, &result));
  snprintf(path, sizeof path, "%s", result.checkpoint);
  train_result_clear(&result);
  safetensors_file *file = NULL;
  assert_ok(safetensors_open(&file, path));
  assert_non_null(safetensors_find(file, "ema.fc.weight"));
  safetensors_close(&file);
  assert_ok(run("comes", (const char *[]){"resume", path, NULL}, NULL, NULL));
  expect_as_whole("comes");
}

/* Without a warm-up the average begins with the first weights, not with nothing. */
static void test_average_begins_with_the_weights(void **state) {
  (void)state;
  static const char *const still[] = {"lr", "0", "ema-decay", "0.9", "max-steps", "3", NULL};
  safetensors_file *file = NULL;
  assert_ok(run("still", still, NULL, NULL));
  assert_ok(safetensors_open(&file, in_folder("still/checkpoint_last.safetensors")));
  const safetensors_info *weights = safetensors_find(file, "fc.weight"),
                         *average = safetensors_find(file, "ema.fc.weight");
  assert_memory_equal(weights->data, average->data, weights->bytes);
  safetensors_close(&file);
}

/* ---- Pretrained weights ---- */

typedef struct messages {
  char text[4096];
} messages;

static void keep_message(void *context, const char *text) {
  messages *all = context;
  const size_t used = strlen(all->text);
  snprintf(all->text + used, sizeof all->text - used, "%s\n", text);
}

static gp_status run_pretrained(const char *out, const char *file, const char *pool, messages *all) {
  char path[TEST_PATH_SIZE];
  snprintf(path, sizeof path, "%s", in_folder(file));
  all->text[0] = '\0';
  const train_observer observer = {.context = all, .message = keep_message};
  return run(out, (const char *[]){"pretrained", path, "pool", pool, "lr", "0", "max-steps", "1", NULL}, &observer,
             NULL);
}

static void expect_message(const messages *all, const char *part) {
  if (strstr(all->text, part) == NULL) fail_msg("no \"%s\" in:\n%s", part, all->text);
}

/* From a net without pooling into one with: all of the former is taken, the pooling's own is left. */
static void test_pretrained(void **state) {
  (void)state;
  messages all;
  safetensors_file *from = NULL, *into = NULL;
  assert_ok(run("skip", (const char *[]){"pool", "skip", "epochs", "1", NULL}, NULL, NULL));
  assert_ok(run_pretrained("pre", "skip/model_best.safetensors", "gauss_HWCN", &all));
  expect_message(&all, "tensors taken from");
  expect_message(&all, "left as they begin, since the file has none: layer2.0.pooling.");
  assert_null(strstr(all.text, "another shape"));
  assert_null(strstr(all.text, "not used"));
  assert_ok(safetensors_open(&from, in_folder("skip/model_best.safetensors")));
  assert_ok(safetensors_open(&into, in_folder("pre/checkpoint_last.safetensors")));
  for (size_t i = 0; i < safetensors_count(from); ++i) {
    const safetensors_info *a = safetensors_at(from, i), *b = safetensors_find(into, a->name);
    assert_non_null(b);
    if (strstr(a->name, "running_") == NULL && strstr(a->name, "num_batches") == NULL)
      assert_memory_equal(a->data, b->data, a->bytes);
  }
  safetensors_close(&from);
  safetensors_close(&into);
  /* And back: the pooling's is what is not used. */
  assert_ok(run_pretrained("back3", "pre/checkpoint_last.safetensors", "skip", &all));
  expect_message(&all, "of the file not used, since the net has none: layer2.0.pooling.");
  assert_null(strstr(all.text, "left as they begin"));
}

/* Another number of classes, a type that is not read; nothing that fits; numbers that are none; a resumed run. */
static void test_pretrained_partly(void **state) {
  (void)state;
  messages all;
  safetensors_writer *writer = NULL;
  float weights[16 * 9] = {0}, classifier[20 * 64] = {0};
  const int64_t conv[4] = {16, 1, 3, 3}, fc[2] = {20, 64}, odd[1] = {1};
  assert_ok(safetensors_writer_create(&writer));
  assert_ok(safetensors_writer_add(writer, "fc.weight", SAFETENSORS_F32, fc, 2, classifier));
  assert_ok(safetensors_writer_commit(writer, in_folder("misfit.safetensors")));
  assert_fails(run_pretrained("p", "misfit.safetensors", "skip", &all), GP_ERROR_INVALID_ARGUMENT,
               "holds none of this net's parameters");
  assert_ok(safetensors_writer_add(writer, "conv1.weight", SAFETENSORS_F32, conv, 4, weights));
  assert_ok(safetensors_writer_add(writer, "aux.bias", SAFETENSORS_F32, odd, 1, weights));
  assert_ok(safetensors_writer_commit(writer, in_folder("part.safetensors")));
  assert_ok(run_pretrained("p", "part.safetensors", "skip", &all));
  expect_message(&all, "pretrained: 1 tensors taken");
  expect_message(&all,
                 "1 left as they begin, since the file has another shape: fc.weight: found F32 [20, 64], expected F32 "
                 "[10, 64]");
  expect_message(&all, "1 of the file not used, since the net has none: aux.bias");
  weights[7] = NAN;
  assert_ok(safetensors_writer_commit(writer, in_folder("nan.safetensors")));
  assert_fails(run_pretrained("p", "nan.safetensors", "skip", &all), GP_ERROR_CORRUPT, "conv1.weight");
  assert_fails(run_pretrained("p", "no-such.safetensors", "skip", &all), GP_ERROR_NOT_FOUND, "no-such");
  safetensors_writer_destroy(&writer);
  char last[TEST_PATH_SIZE];
  snprintf(last, sizeof last, "%s", in_folder("p/checkpoint_last.safetensors"));
  all.text[0] = '\0';
  const train_observer observer = {.context = &all, .message = keep_message};
  const char *const more[] = {"resume", last, "pretrained", "gone", "pool", "skip", "lr", "0", "max-steps", "2", NULL};
  assert_ok(run("p", more, &observer, NULL));
  expect_message(&all, "gone is not read");
}

int main(void) {
  setenv("PATH", "", 1); /* no gnuplot: curves have a test of their own */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_resume_of_a_modern_run),
      cmocka_unit_test(test_stop_in_a_test),
      cmocka_unit_test(test_average_is_the_model),
      cmocka_unit_test(test_defaults_are_the_published_recipe),
      cmocka_unit_test(test_average_comes_and_goes),
      cmocka_unit_test(test_average_begins_with_the_weights),
      cmocka_unit_test(test_pretrained),
      cmocka_unit_test(test_pretrained_partly),
  };
  return cmocka_run_group_tests(tests, make_reference, remove_reference);
}
