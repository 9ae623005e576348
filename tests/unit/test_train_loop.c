/* The training loop on a tiny data set: what is resumed equals what was never interrupted, bit for bit. */
#include "test_train_run.h"

#include "train/file.h"

#include <signal.h>

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

/* The precision is a part of the run; weights are float32 with either. */
static void test_resume_in_bfloat16(void **state) {
  (void)state;
  char path[TEST_PATH_SIZE];
  train_result result;
  gp_status status = run("half", (const char *[]){"precision", "bfloat16", NULL}, NULL, NULL);
  if (status == GP_ERROR_UNSUPPORTED) skip();
  assert_ok(status);
  assert_ok(run("halves", (const char *[]){"precision", "bfloat16", "max-steps", "7", NULL}, NULL, &result));
  snprintf(path, sizeof path, "%s", result.checkpoint);
  train_result_clear(&result);
  assert_ok(run("halves", (const char *[]){"resume", path, "precision", "bfloat16", NULL}, NULL, NULL));
  expect_same_file("half/checkpoint_epoch003.safetensors", "halves/checkpoint_epoch003.safetensors");
  expect_same_file("half/model_best.safetensors", "halves/model_best.safetensors");
  size_t of_half = 0, of_whole = 0;
  char *half = get_file(in_folder("half/model_best.safetensors"), &of_half);
  char *whole = get_file(in_folder("whole/model_best.safetensors"), &of_whole);
  assert_in_range(of_half, of_whole - 64, of_whole + 64); /* numbers in the description */
  assert_true(of_half != of_whole || memcmp(half, whole, of_half) != 0);
  free(half);
  free(whole);
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
      cmocka_unit_test(test_resume_in_bfloat16),
      cmocka_unit_test(test_resume_over_another_run),
      cmocka_unit_test(test_resume_of_a_finished_run),
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
