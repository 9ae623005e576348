/* The training loop on a tiny data set: what is resumed equals what was never interrupted, bit for bit. */
#include "test_train_util.h"

#include "base/philox.h"
#include "train/checkpoint.h"
#include "train/file.h"
#include "train/stop.h"
#include "train/train.h"

#include <ftw.h>
#include <math.h>
#include <signal.h>

enum { SIDE = 12, TRAIN_IMAGES = 70, TEST_IMAGES = 20, BATCH = 16, STEPS = 5, EPOCHS = 3 };

/* ---- Data and configuration ---- */

static void put_idx(const char *name, const uint8_t *header, size_t header_bytes, const uint8_t *data, size_t bytes) {
  uint8_t file[16 + TRAIN_IMAGES * SIDE * SIDE];
  memcpy(file, header, header_bytes);
  memcpy(file + header_bytes, data, bytes);
  put_file(in_folder(name), file, header_bytes + bytes);
}

/* Noise over a bar whose row is the class. */
static void put_split(const char *split, uint8_t count) {
  uint8_t images[TRAIN_IMAGES * SIDE * SIDE], labels[TRAIN_IMAGES];
  char name[64];
  for (uint32_t i = 0; i < count; ++i) {
    labels[i] = (uint8_t)(i % 10);
    for (uint32_t p = 0; p < SIDE * SIDE; ++p) {
      const uint32_t noise = gp_philox(9, i, p, count, 0).word[0] % 100;
      images[i * SIDE * SIDE + p] = (uint8_t)(noise + (p / SIDE == labels[i] + 1u ? 150 : 0));
    }
  }
  snprintf(name, sizeof name, "%s-images-idx3-ubyte", split);
  put_idx(name, (const uint8_t[]){0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, SIDE, 0, 0, 0, SIDE}, 16, images,
          (size_t)count * SIDE * SIDE);
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte", split);
  put_idx(name, (const uint8_t[]){0, 0, 8, 1, 0, 0, 0, count}, 8, labels, count);
}

static void set(train_config *config, const char *name, const char *text) {
  assert_ok(options_set(&train_option_table, config, name, text));
}

/* `more`: names and values in turn, up to NULL. */
static train_config make_config(const char *out, const char *const more[]) {
  static const char *const common[] = {"dataset",      "mnist", "arch",       "resnet8", "pool",     "gauss_HWCN",
                                       "batch-size",   "16",    "epochs",     "3",       "lr",       "0.05",
                                       "crop-padding", "1",     "flip",       "yes",     "seed",     "11",
                                       "workers",      "1",     "print-freq", "2",       "schedule", "cosine"};
  train_config config;
  assert_ok(train_config_init(&config));
  for (size_t i = 0; i < sizeof common / sizeof *common; i += 2) set(&config, common[i], common[i + 1]);
  set(&config, "data", test_folder);
  set(&config, "out-dir", in_folder(out));
  for (; more != NULL && *more != NULL; more += 2) set(&config, more[0], more[1]);
  return config;
}

static gp_status run(const char *out, const char *const more[], const train_observer *observer, train_result *result) {
  train_config config = make_config(out, more);
  train_result own = {0};
  train_stop_request(0);
  gp_status status = train_run(&config, observer, &own);
  train_config_clear(&config);
  if (result != NULL)
    *result = own;
  else
    train_result_clear(&own);
  return status;
}

static void expect_same_file(const char *a, const char *b) {
  size_t of_a = 0, of_b = 0;
  char *bytes_a = get_file(in_folder(a), &of_a), *bytes_b = get_file(in_folder(b), &of_b);
  if (of_a != of_b || memcmp(bytes_a, bytes_b, of_a) != 0) fail_msg("%s and %s differ", a, b);
  free(bytes_a);
  free(bytes_b);
}

static int make_reference(void **state) {
  if (make_test_folder(state) != 0) return -1;
  put_split("train", TRAIN_IMAGES);
  put_split("t10k", TEST_IMAGES);
  train_result result;
  assert_ok(run("whole", NULL, NULL, &result));
  assert_int_equal(result.epochs, EPOCHS);
  assert_int_equal(result.steps, EPOCHS * STEPS);
  assert_true(isfinite(result.val_loss) && result.best_epoch >= 1 && result.best_epoch <= EPOCHS);
  train_result_clear(&result);
  return 0;
}

static int remove_any(const char *path, const struct stat *info, int kind, struct FTW *walk) {
  (void)info, (void)kind, (void)walk;
  return remove(path);
}

static int remove_reference(void **state) {
  (void)state;
  return nftw(test_folder, remove_any, 8, FTW_DEPTH | FTW_PHYS);
}

static void expect_as_whole(const char *out) {
  char path[64];
  for (int i = 0; i < 2; ++i) {
    static const char *const names[] = {"checkpoint_epoch003.safetensors", "model_best.safetensors"};
    char whole[64];
    snprintf(path, sizeof path, "%s/%s", out, names[i]);
    snprintf(whole, sizeof whole, "whole/%s", names[i]);
    expect_same_file(whole, path);
  }
}

/* ---- Repeating and resuming ---- */

static void test_repeats(void **state) {
  (void)state;
  assert_ok(run("again", (const char *[]){"workers", "3", NULL}, NULL, NULL));
  expect_as_whole("again");
}

/* Stopped by --max-steps in the middle of each epoch and at its ends, then resumed; in the same folder. */
static void test_resume_after_max_steps(void **state) {
  (void)state;
  static const int64_t stops[] = {1, 5, 7, 14};
  for (size_t i = 0; i < sizeof stops / sizeof *stops; ++i) {
    char out[32], steps[32], path[TEST_PATH_SIZE];
    train_result result;
    snprintf(out, sizeof out, "steps%d", (int)stops[i]);
    snprintf(steps, sizeof steps, "%d", (int)stops[i]);
    assert_ok(run(out, (const char *[]){"max-steps", steps, NULL}, NULL, &result));
    assert_int_equal(result.steps, stops[i]);
    snprintf(path, sizeof path, "%s", result.checkpoint);
    train_result_clear(&result);
    model_file *file = NULL;
    assert_ok(model_file_open(&file, path));
    assert_int_equal(model_file_info(file)->epoch, stops[i] / STEPS); /* of whole epochs alone */
    model_file_close(&file);
    assert_ok(run(out, (const char *[]){"resume", path, NULL}, NULL, NULL));
    expect_as_whole(out);
  }
}

/* A watcher that asks to stop at one batch of one pass. */
typedef struct stopper {
  train_phase phase;
  int64_t epoch, batch;
} stopper;

static void stop_there(void *context, const train_progress *progress) {
  const stopper *where = context;
  if (progress->phase == where->phase && progress->epoch == where->epoch && progress->batch == where->batch)
    train_stop_request(SIGTERM);
}

static void test_resume_after_signal(void **state) {
  (void)state;
  static stopper places[] = {{TRAIN_PHASE_TRAIN, 0, 1},
                             {TRAIN_PHASE_TRAIN, 1, 3},
                             {TRAIN_PHASE_TRAIN, 1, STEPS},
                             {TRAIN_PHASE_TEST, 1, 1},
                             {TRAIN_PHASE_TRAIN, 2, 4}};
  for (size_t i = 0; i < sizeof places / sizeof *places; ++i) {
    char out[32], path[TEST_PATH_SIZE];
    train_result result;
    snprintf(out, sizeof out, "signal%zu", i);
    const train_observer observer = {.context = &places[i], .step = stop_there};
    assert_int_equal(run(out, NULL, &observer, &result), GP_ERROR_INTERRUPTED);
    assert_non_null(result.checkpoint);
    snprintf(path, sizeof path, "%s", result.checkpoint);
    train_result_clear(&result);
    assert_ok(run(out, (const char *[]){"resume", path, NULL}, NULL, NULL));
    expect_as_whole(out);
  }
}

/* As after a SIGKILL: whatever checkpoint there is, in a folder of its own. */
static void test_resume_elsewhere(void **state) {
  (void)state;
  assert_ok(run("first", (const char *[]){"checkpoint-every", "3", NULL}, NULL, NULL));
  char path[TEST_PATH_SIZE];
  snprintf(path, sizeof path, "%s",
           in_folder("first/checkpoint_last.safetensors")); /* of the last step, before the test */
  assert_ok(run("second", (const char *[]){"resume", path, NULL}, NULL, NULL));
  expect_as_whole("second");
  size_t bytes = 0, lines = 0;
  char *log = get_file(in_folder("second/log.csv"), &bytes);
  for (size_t i = 0; i < bytes; ++i) lines += log[i] == '\n';
  assert_int_equal(lines, 1 + EPOCHS);
  free(log);
}

static char *lines_of_csv(const char *out) {
  char name[64];
  snprintf(name, sizeof name, "%s/log.csv", out);
  return get_file(in_folder(name), NULL);
}

/* Where another run has left its results, its best model and its log are not taken for the resumed run's own. */
static void test_resume_over_another_run(void **state) {
  (void)state;
  assert_ok(run("other", (const char *[]){"seed", "12", NULL}, NULL, NULL));
  assert_ok(run("part", (const char *[]){"max-steps", "12", NULL}, NULL, NULL));
  char path[TEST_PATH_SIZE];
  snprintf(path, sizeof path, "%s", in_folder("part/checkpoint_epoch002.safetensors"));
  assert_ok(run("other", (const char *[]){"resume", path, NULL}, NULL, NULL));
  expect_as_whole("other");
  char *whole = lines_of_csv("whole"), *other = lines_of_csv("other");
  for (char *a = whole, *b = other; *a != '\0'; a = strchr(a, '\n') + 1, b = strchr(b, '\n') + 1) {
    size_t length = 0; /* of the epoch and what was computed: eight columns */
    for (int column = 0; column < 8; ++column) length += strcspn(a + length, ",") + 1;
    if (strncmp(a, b, length) != 0) fail_msg("log.csv differs: %.*s, expected %.*s", (int)length, b, (int)length, a);
  }
  free(whole);
  free(other);
}

static void test_resume_of_a_finished_run(void **state) {
  (void)state;
  train_result result;
  char path[TEST_PATH_SIZE];
  snprintf(path, sizeof path, "%s", in_folder("whole/checkpoint_epoch003.safetensors"));
  assert_ok(run("finished", (const char *[]){"resume", path, NULL}, NULL, &result));
  assert_int_equal(result.steps, EPOCHS * STEPS);
  assert_true(isfinite(result.val_top1));
  train_result_clear(&result);
  expect_same_file("whole/model_best.safetensors", "finished/model_best.safetensors");
}

/* ---- Averages and parts ---- */

static double loss_of(const char *path) {
  model_file *file = NULL;
  assert_ok(model_file_open(&file, path));
  const double loss = model_file_info(file)->val_loss;
  model_file_close(&file);
  return loss;
}

/* In parts of a batch, with an average of the weights, without decay on vectors, with every other setting of the modern
 * recipe: stopped in mid-epoch and at an epoch's end, during warm-up and after, and resumed. */
static void test_resume_of_a_modern_run(void **state) {
  (void)state;
  static const char *const modern[] = {"accumulate",
                                       "4",
                                       "ema-decay",
                                       "0.9",
                                       "decay-norm-bias",
                                       "no",
                                       "zero-init-residual",
                                       "yes",
                                       "label-smoothing",
                                       "0.1",
                                       "warmup-epochs",
                                       "0.8",
                                       "nesterov",
                                       "yes",
                                       "pool",
                                       "gauss_CN",
                                       "batch-size",
                                       "16",
                                       NULL,
                                       NULL,
                                       NULL,
                                       NULL,
                                       NULL};
  enum { PAIRS = 18 };
  static const char *const stops[] = {"2", "7", "10", "13"};
  assert_ok(run("modern", modern, NULL, NULL));
  for (size_t i = 0; i < sizeof stops / sizeof *stops; ++i) {
    const char *more[PAIRS + 3];
    char out[32], path[TEST_PATH_SIZE];
    train_result result;
    memcpy(more, modern, sizeof more);
    more[PAIRS] = "max-steps";
    more[PAIRS + 1] = stops[i];
    more[PAIRS + 2] = NULL;
    snprintf(out, sizeof out, "modern%s", stops[i]);
    assert_ok(run(out, more, NULL, &result));
    snprintf(path, sizeof path, "%s", result.checkpoint);
    train_result_clear(&result);
    more[PAIRS] = "resume";
    more[PAIRS + 1] = path;
    assert_ok(run(out, more, NULL, NULL));
    char name[64];
    snprintf(name, sizeof name, "%s/checkpoint_epoch003.safetensors", out);
    expect_same_file("modern/checkpoint_epoch003.safetensors", name);
    snprintf(name, sizeof name, "%s/model_best.safetensors", out);
    expect_same_file("modern/model_best.safetensors", name);
  }
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

/* ---- Steps ---- */

typedef struct counts {
  uint64_t allocations[STEPS + 1];
} counts;

static void count_allocations(void *context, const train_progress *progress) {
  counts *c = context;
  if (progress->phase == TRAIN_PHASE_TRAIN && progress->epoch == 1) c->allocations[progress->batch] = gp_alloc_count();
}

static void test_steps_allocate_nothing(void **state) {
  (void)state;
  counts c = {{0}};
  const train_observer observer = {.context = &c, .step = count_allocations};
  assert_ok(run("allocations", (const char *[]){"epochs", "2", "print-freq", "0", NULL}, &observer, NULL));
  assert_true(c.allocations[1] > 0);
  for (int step = 2; step <= STEPS; ++step) assert_int_equal(c.allocations[step], c.allocations[1]);
}

/* ---- Failures ---- */

static void test_divergence(void **state) {
  (void)state;
  char checkpoint[TEST_PATH_SIZE];
  snprintf(checkpoint, sizeof checkpoint, "%s", in_folder("diverges/checkpoint_last.safetensors"));
  assert_fails(run("diverges",
                   (const char *[]){"lr", "1e6", "momentum", "1", "weight-decay", "1e6", "schedule", "step",
                                    "checkpoint-every", "1", NULL},
                   NULL, NULL),
               GP_ERROR_INVALID_ARGUMENT, "step");
  assert_non_null(strstr(gp_last_error(), "epoch 1"));
  assert_non_null(strstr(gp_last_error(), "lr 1e+06"));
  assert_true(file_exists(checkpoint));
}

static void test_last_batch_of_one(void **state) {
  (void)state;
  static const char *const more[] = {"batch-size", "23", NULL}; /* 70 = 3·23 + 1 */
  static const char *const drop[] = {"batch-size", "23", "drop-last", "yes", "max-steps", "4", NULL};
  assert_fails(run("one", more, NULL, NULL), GP_ERROR_INVALID_ARGUMENT, "--drop-last");
  assert_ok(run("one", drop, NULL, NULL));
  assert_fails(run("one", (const char *[]){"batch-size", "71", "drop-last", "yes", NULL}, NULL, NULL),
               GP_ERROR_INVALID_ARGUMENT, "71");
}

static void test_refused_checkpoints(void **state) {
  (void)state;
  char middle[TEST_PATH_SIZE], best[TEST_PATH_SIZE];
  assert_ok(run("middle", (const char *[]){"max-steps", "7", NULL}, NULL, NULL));
  snprintf(middle, sizeof middle, "%s", in_folder("middle/checkpoint_last.safetensors"));
  snprintf(best, sizeof best, "%s", in_folder("whole/model_best.safetensors"));
  assert_fails(run("r", (const char *[]){"resume", middle, "arch", "resnet20", NULL}, NULL, NULL),
               GP_ERROR_INVALID_ARGUMENT, "resnet20");
  assert_fails(run("r", (const char *[]){"resume", middle, "pool", "avg", NULL}, NULL, NULL), GP_ERROR_INVALID_ARGUMENT,
               "gauss_HWCN");
  assert_fails(run("r", (const char *[]){"resume", middle, "batch-size", "8", NULL}, NULL, NULL),
               GP_ERROR_INVALID_ARGUMENT, "batch-size 8 (was 16)");
  assert_fails(run("r", (const char *[]){"resume", best, NULL}, NULL, NULL), GP_ERROR_INVALID_ARGUMENT, "optimizer");
  assert_fails(run("r", (const char *[]){"resume", in_folder("none"), NULL}, NULL, NULL), GP_ERROR_NOT_FOUND, "none");
  assert_fails(run("r", (const char *[]){"evaluate", "yes", NULL}, NULL, NULL), GP_ERROR_INVALID_ARGUMENT, "--resume");
}

/* The training set of another folder, with one label changed. */
/* A fresh run in the folder of a longer one: none of its checkpoints is left. */
static void test_over_an_earlier_run(void **state) {
  (void)state;
  char *found = NULL;
  assert_ok(run("earlier", NULL, NULL, NULL));
  stopper at_once = {TRAIN_PHASE_TRAIN, 0, 1};
  const train_observer observer = {.context = &at_once, .step = stop_there};
  assert_int_equal(run("earlier", (const char *[]){"seed", "12", NULL}, &observer, NULL), GP_ERROR_INTERRUPTED);
  assert_true(file_exists(in_folder("earlier/checkpoint_epoch003.safetensors")));
  assert_ok(checkpoint_find(in_folder("earlier"), &found));
  assert_non_null(strstr(found, "checkpoint_last"));
  gp_free(found);
  assert_ok(run("earlier", (const char *[]){"epochs", "1", NULL}, NULL, NULL));
  assert_true(file_exists(in_folder("earlier/checkpoint_epoch001.safetensors")));
  assert_false(file_exists(in_folder("earlier/checkpoint_epoch002.safetensors")));
  assert_false(file_exists(in_folder("earlier/checkpoint_epoch003.safetensors")));
}

/* Begun while another run uses the folder. */
static void run_inside(void *context, const train_progress *progress) {
  gp_status *status = context;
  if (progress->phase == TRAIN_PHASE_TRAIN && progress->epoch == 0 && progress->batch == 1)
    *status = run("shared", NULL, NULL, NULL);
}

static void test_folder_in_use(void **state) {
  (void)state;
  gp_status inner = GP_OK;
  const train_observer observer = {.context = &inner, .step = run_inside};
  assert_ok(run("shared", (const char *[]){"epochs", "1", NULL}, &observer, NULL));
  assert_int_equal(inner, GP_ERROR_IO);
}

static void test_other_data(void **state) {
  (void)state;
  char folder[TEST_PATH_SIZE], middle[TEST_PATH_SIZE], whole[TEST_PATH_SIZE];
  snprintf(folder, sizeof folder, "%s", in_folder("relabelled"));
  assert_int_equal(mkdir(folder, 0777), 0);
  static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                                      "t10k-labels-idx1-ubyte"};
  for (int i = 0; i < 4; ++i) {
    char name[64];
    size_t bytes = 0;
    char *data = get_file(in_folder(names[i]), &bytes);
    if (i == 1) data[bytes - 1] = (char)((data[bytes - 1] + 1) % 10);
    snprintf(name, sizeof name, "relabelled/%s", names[i]);
    put_file(in_folder(name), data, bytes);
    free(data);
  }
  snprintf(middle, sizeof middle, "%s", in_folder("middle/checkpoint_last.safetensors"));
  snprintf(whole, sizeof whole, "%s", in_folder("whole/checkpoint_epoch002.safetensors"));
  assert_fails(run("r", (const char *[]){"resume", middle, "data", folder, NULL}, NULL, NULL),
               GP_ERROR_INVALID_ARGUMENT, "with other labels");
  assert_ok(run("r", (const char *[]){"resume", whole, "data", folder, NULL}, NULL, NULL));
}

/* Going back to an earlier epoch forgets what was best after it. */
static void test_start_epoch(void **state) {
  (void)state;
  train_result result;
  char last[TEST_PATH_SIZE], middle[TEST_PATH_SIZE];
  snprintf(last, sizeof last, "%s", in_folder("whole/checkpoint_epoch003.safetensors"));
  snprintf(middle, sizeof middle, "%s", in_folder("middle/checkpoint_last.safetensors"));
  assert_ok(run("back", (const char *[]){"resume", last, "start-epoch", "0", "epochs", "1", NULL}, NULL, &result));
  assert_int_equal(result.best_epoch, 1);
  assert_true(result.best_top1 == result.val_top1);
  train_result_clear(&result);
  /* The position in the epoch is dropped, so other batches do no harm. */
  assert_ok(run("back2", (const char *[]){"resume", middle, "start-epoch", "1", "batch-size", "8", "epochs", "2", NULL},
                NULL, NULL));
}

static void test_evaluate(void **state) {
  (void)state;
  train_result result;
  model_file *file = NULL;
  char best[TEST_PATH_SIZE];
  snprintf(best, sizeof best, "%s", in_folder("whole/model_best.safetensors"));
  assert_ok(run("evaluated", (const char *[]){"resume", best, "evaluate", "yes", NULL}, NULL, &result));
  assert_ok(model_file_open(&file, best));
  assert_true(model_file_info(file)->val_loss == result.val_loss && model_file_info(file)->val_top1 == result.val_top1);
  assert_false(file_exists(in_folder("evaluated")));
  model_file_close(&file);
  train_result_clear(&result);
}

int main(void) {
  setenv("PATH", "", 1); /* no gnuplot: curves have a test of their own */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_repeats),
      cmocka_unit_test(test_resume_after_max_steps),
      cmocka_unit_test(test_resume_after_signal),
      cmocka_unit_test(test_resume_elsewhere),
      cmocka_unit_test(test_resume_over_another_run),
      cmocka_unit_test(test_resume_of_a_finished_run),
      cmocka_unit_test(test_resume_of_a_modern_run),
      cmocka_unit_test(test_average_is_the_model),
      cmocka_unit_test(test_defaults_are_the_published_recipe),
      cmocka_unit_test(test_average_comes_and_goes),
      cmocka_unit_test(test_steps_allocate_nothing),
      cmocka_unit_test(test_divergence),
      cmocka_unit_test(test_last_batch_of_one),
      cmocka_unit_test(test_refused_checkpoints),
      cmocka_unit_test(test_over_an_earlier_run),
      cmocka_unit_test(test_folder_in_use),
      cmocka_unit_test(test_other_data),
      cmocka_unit_test(test_start_epoch),
      cmocka_unit_test(test_evaluate),
  };
  return cmocka_run_group_tests(tests, make_reference, remove_reference);
}
