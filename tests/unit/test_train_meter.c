#include "test_train_util.h"

#include "train/meter.h"
#include "train/stop.h"
#include "train/tally.h"

#include <signal.h>
#include <sys/wait.h>

static void counts_top_k(void **state) {
  (void)state;
  const float logits[6] = {1, 5, 3, 3, -2, 4};
  const int rank[6] = {5, 1, 3, 3, 6, 2}; /* least k for which each label counts: ties count for the label */
  for (int64_t label = 0; label < 6; ++label)
    for (int64_t k = 1; k <= 6; ++k) assert_int_equal(train_in_top_k(logits, 6, label, k), k >= rank[label]);
}

static void counts_nan_as_wrong(void **state) {
  (void)state;
  const float own[3] = {NAN, 1, 2}, other[3] = {0, NAN, 5}, one[1] = {NAN}, infinite[2] = {-INFINITY, INFINITY};
  for (int64_t k = 1; k <= 5; ++k) assert_false(train_in_top_k(own, 3, 0, k));
  assert_false(train_in_top_k(other, 3, 2, 1));
  assert_true(train_in_top_k(other, 3, 2, 2));
  assert_false(train_in_top_k(one, 1, 0, 5));
  assert_true(train_in_top_k(infinite, 2, 1, 1));
  assert_false(train_in_top_k(infinite, 2, 0, 1));
}

static void makes_the_cross_entropy(void **state) {
  (void)state;
  const float logits[3] = {1, 2, 4}, large[2] = {1e30f, -1e30f}, equal[4] = {88, 88, 88, 88};
  const double sum = exp(1) + exp(2) + exp(4);
  for (int label = 0; label < 3; ++label)
    assert_near(train_cross_entropy(logits, 3, label), log(sum) - (double)logits[label], 1e-12);
  assert_near(train_cross_entropy(large, 2, 0), 0, 0);
  assert_near(train_cross_entropy(large, 2, 1), 2 * (double)1e30f, 1e17);
  assert_near(train_cross_entropy(equal, 4, 3), log(4), 1e-12);
  assert_true(isnan(train_cross_entropy((const float[]){0, NAN}, 2, 0)));
  assert_true(isnan(train_cross_entropy((const float[]){NAN, 0}, 2, 1)));
}

static void tells_classes_apart(void **state) {
  (void)state;
  static const char *const names[7] = {"plain", "a, b", "say \"x\"", "two\nlines", "4", "5", "6"};
  static const float down[7] = {7, 6, 5, 4, 3, 2, 1}, tie[7] = {1, 3, 3, 0, 0, 0, 0}, lost[7] = {NAN, 1, 0, 0, 0, 0, 0};
  train_tally *tally = NULL;
  assert_ok(train_tally_create(&tally, 7, true));
  train_tally_add(tally, down, 0);
  train_tally_add(tally, down, 4);
  train_tally_add(tally, down, 5);
  train_tally_add(tally, tie, 2);  /* no error, counted under the first of the greatest */
  train_tally_add(tally, lost, 1); /* NaN is greater than all, but nothing to predict */
  train_tally_add(tally, lost, 1);
  assert_ok(train_tally_write_classes(tally, names, in_folder("classes.csv")));
  assert_ok(train_tally_write_confusion(tally, NULL, in_folder("confusion.csv")));
  char *classes = get_file(in_folder("classes.csv"), NULL), *confusion = get_file(in_folder("confusion.csv"), NULL);
  assert_string_equal(classes,
                      "class,name,images,top1_error,top5_error\n0,plain,1,0,0\n1,\"a, b\",2,100,0\n"
                      "2,\"say \"\"x\"\"\",1,0,0\n3,\"two\nlines\",0,,\n4,4,1,100,0\n5,5,1,100,100\n6,6,0,,\n");
  assert_string_equal(confusion,
                      "label,0,1,2,3,4,5,6\n0,1,0,0,0,0,0,0\n1,0,2,0,0,0,0,0\n2,0,1,0,0,0,0,0\n3,0,0,0,0,0,0,0\n"
                      "4,1,0,0,0,0,0,0\n5,1,0,0,0,0,0,0\n6,0,0,0,0,0,0,0\n");
  free(classes);
  free(confusion);
  train_tally_destroy(&tally);
  assert_null(tally);
  train_tally_destroy(&tally);
  assert_fails(train_tally_create(&tally, INT64_MAX / 2, true), GP_ERROR_INVALID_ARGUMENT, "address space");
  for (uint64_t n = 1; n <= 3; ++n) {
    gp_alloc_fail_after(n);
    assert_fails(train_tally_create(&tally, 7, true), GP_ERROR_OUT_OF_MEMORY, "memory");
    assert_null(tally);
  }
  gp_alloc_fail_after(0);
}

static void averages(void **state) {
  (void)state;
  const float logits[3][7] = {{7, 6, 5, 4, 3, 2, 1}, {7, 6, 5, 4, 3, 2, 1}, {7, 6, 5, 4, 3, 2, 1}};
  const int32_t labels[3] = {0, 4, 5}; /* right, in the top 5, not even there */
  train_meter meter = {0};
  assert_true(isnan(train_meter_loss(&meter)));
  assert_true(isnan(train_meter_top1(&meter)));
  train_meter_add(&meter, 1.5, &logits[0][0], labels, 3, 7);
  train_meter_add(&meter, 0.5, &logits[0][0], labels, 1, 7);
  assert_int_equal(meter.samples, 4);
  assert_near(train_meter_loss(&meter), 5.0 / 4, 0);
  assert_near(train_meter_top1(&meter), 50, 0);
  assert_near(train_meter_top5(&meter), 25, 0);
  assert_int_equal(meter.top1_wrong, 2);
  assert_int_equal(meter.top5_wrong, 1);
}

static void restores_every_bit(void **state) {
  (void)state;
  const float logits[2] = {0, 1};
  const int32_t label = 0;
  train_meter whole = {0}, restored = {0};
  int64_t saved[TRAIN_METER_STATE];
  for (int i = 0; i < 100; ++i) {
    train_meter_add(&whole, 1.0 / (i + 3), logits, &label, 1, 2);
    if (i == 50) {
      train_meter_save(&whole, saved);
      assert_ok(train_meter_restore(&restored, saved));
    }
    if (i > 50) train_meter_add(&restored, 1.0 / (i + 3), logits, &label, 1, 2);
  }
  assert_memory_equal(&whole, &restored, sizeof whole);
  const int64_t broken[][TRAIN_METER_STATE] = {{-1, 0, 0, 0}, {5, 6, 1, 0}, {5, 3, 4, 0}, {5, 3, -1, 0}};
  for (size_t i = 0; i < sizeof broken / sizeof *broken; ++i)
    assert_fails(train_meter_restore(&restored, broken[i]), GP_ERROR_CORRUPT, "a meter's state");
  assert_memory_equal(&whole, &restored, sizeof whole);
}

/* ---- Stopping ---- */

static void notes_the_first_signal(void **state) {
  (void)state;
  assert_ok(train_stop_install());
  assert_int_equal(train_stop_requested(), 0);
  assert_int_equal(raise(SIGTERM), 0);
  assert_int_equal(train_stop_requested(), SIGTERM);
  assert_int_equal(raise(SIGINT), 0);
  assert_int_equal(train_stop_requested(), SIGINT);
  train_stop_request(0);
  assert_int_equal(train_stop_requested(), 0);
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
}

static void dies_of_the_second(void **state) {
  (void)state;
  static const int signals[2] = {SIGINT, SIGTERM};
  for (int i = 0; i < 2; ++i) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      if (train_stop_install() != GP_OK) _exit(1);
      raise(signals[i]);
      if (train_stop_requested() != signals[i]) _exit(2);
      raise(signals[i]);
      _exit(3);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFSIGNALED(result));
    assert_int_equal(WTERMSIG(result), signals[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts_top_k),
      cmocka_unit_test(counts_nan_as_wrong),
      cmocka_unit_test(makes_the_cross_entropy),
      test_in_folder(tells_classes_apart),
      cmocka_unit_test(averages),
      cmocka_unit_test(restores_every_bit),
      cmocka_unit_test(notes_the_first_signal),
      cmocka_unit_test(dies_of_the_second),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
