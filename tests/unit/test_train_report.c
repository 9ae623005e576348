#include "test_train_util.h"

#include "train/curves.h"
#include "train/events.h"
#include "train/report.h"

#include <jansson.h>

static train_epoch_row make_row(int64_t epoch) {
  double x = (double)epoch;
  return (train_epoch_row){.epoch = epoch,
                           .lr = 0.1 / x,
                           .train_loss = 2 / x,
                           .train_top1 = 60 / x,
                           .train_top5 = 7 / x,
                           .val_loss = 2.1 / x,
                           .val_top1 = 61 / x,
                           .val_top5 = 8 / x,
                           .images_per_second = 1000 / 3.0,
                           .seconds = 10 + x,
                           .wait_seconds = 0.1};
}

static train_step_row make_step(int64_t epoch, int64_t step) {
  return (train_step_row){.epoch = epoch,
                          .step = step,
                          .lr = 0.1,
                          .loss = 1.5,
                          .top1 = 50,
                          .top5 = 5,
                          .images_per_second = 99,
                          .seconds = 2,
                          .wait_seconds = 0.5};
}

static int count_lines(const char *text) {
  int count = 0;
  for (; *text != '\0'; ++text) count += *text == '\n';
  return count;
}

/* Four epochs of ten steps, a line every fifth step. */
static void run_epochs(train_report *report, int64_t first, int64_t last) {
  for (int64_t epoch = first; epoch <= last; ++epoch) {
    for (int64_t step = 5; step <= 10; step += 5) {
      train_step_row step_row = make_step(epoch, (epoch - 1) * 10 + step);
      assert_ok(train_report_step(report, &step_row));
    }
    train_epoch_row row = make_row(epoch);
    assert_ok(train_report_epoch(report, &row));
  }
}

static train_report *open_report(int64_t epoch, int64_t step, const train_epoch_row *history, size_t count) {
  train_report *report = NULL;
  assert_ok(train_report_create(&report, &(train_report_desc){.out_dir = test_folder,
                                                              .first_epoch = epoch,
                                                              .first_step = step,
                                                              .history = history,
                                                              .history_count = count}));
  return report;
}

static void assert_rows(const train_report *report, int64_t last) {
  size_t count = 0;
  const train_epoch_row *rows = train_report_rows(report, &count);
  assert_int_equal(count, last);
  for (int64_t i = 0; i < last; ++i) {
    train_epoch_row expected = make_row(i + 1);
    assert_memory_equal(&rows[i], &expected, sizeof expected);
  }
}

static void writes_both_logs(void **state) {
  (void)state;
  train_report *report = open_report(0, 0, NULL, 0);
  run_epochs(report, 1, 3);
  assert_rows(report, 3);
  train_epoch_row bare = make_row(4);
  bare.val_loss = bare.val_top1 = bare.val_top5 = NAN;
  bare.train_loss = INFINITY;
  assert_ok(train_report_epoch(report, &bare));
  train_report_destroy(&report);
  assert_null(report);
  char *csv = get_file(in_folder("log.csv"), NULL), *json = get_file(in_folder("log.jsonl"), NULL);
  assert_int_equal(count_lines(csv), 5);
  assert_int_equal(count_lines(json), 6 + 4);
  const char start[] =
      "epoch,lr,train_loss,train_top1,train_top5,val_loss,val_top1,val_top5,images_per_second,seconds,"
      "wait_seconds\n1,0.1,2,60,7,2.1,61,8,333.3333333333333,11,0.1\n2,0.05,1,30,3.5,1.05,30.5,4,";
  assert_memory_equal(csv, start, sizeof start - 1);
  assert_non_null(strstr(csv, "\n4,0.025,nan,15,1.75,nan,nan,nan,333"));
  const char first[] =
      "{\"kind\":\"step\",\"epoch\":1,\"step\":5,\"lr\":0.1,\"loss\":1.5,\"top1\":50,\"top5\":5,"
      "\"images_per_second\":99,\"seconds\":2,\"wait_seconds\":0.5}\n";
  assert_memory_equal(json, first, sizeof first - 1);
  for (char *line = strtok(json, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    json_t *record = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(record);
    if (strstr(line, "\"epoch\",\"epoch\":4") != NULL) assert_true(json_is_null(json_object_get(record, "val_top1")));
    json_decref(record);
  }
  free(csv);
  free(json);
}

static void checksums_records(void **state) {
  (void)state;
  const uint32_t crc = 0xE3069283u; /* CRC-32C of these digits, the check value of its catalogue entry */
  assert_int_equal(train_events_checksum("123456789", 9), (crc >> 15 | crc << 17) + 0xA282EAD8u);
  assert_int_equal(train_events_checksum("", 0), 0xA282EAD8u);
}

static void refuses_records_that_are_too_large(void **state) {
  (void)state;
  static char tag[9000];
  train_events *events = NULL;
  size_t before = 0, after = 0;
  assert_ok(train_events_create(&events, test_folder, 0));
  DIR *folder = opendir(test_folder);
  char path[TEST_PATH_SIZE] = "";
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
    if (strncmp(entry->d_name, "events.out.tfevents.", 20) == 0)
      snprintf(path, sizeof path, "%s", in_folder(entry->d_name));
  closedir(folder);
  free(get_file(path, &before));
  memset(tag, 'x', sizeof tag - 1);
  assert_fails(train_events_add(events, 1, &(train_scalar){tag, 1}, 1), GP_ERROR_INVALID_ARGUMENT, "larger than 8192");
  free(get_file(path, &after));
  assert_int_equal(before, after);
  train_events_destroy(&events);
  assert_fails(train_events_create(&events, in_folder("none"), 0), GP_ERROR_IO, "none");
  assert_null(events);
}

static void goes_on_where_it_was(void **state) {
  (void)state;
  train_report *report = open_report(0, 0, NULL, 0);
  run_epochs(report, 1, 4);
  train_report_destroy(&report);
  char *whole_csv = get_file(in_folder("log.csv"), NULL), *whole_json = get_file(in_folder("log.jsonl"), NULL);
  /* A crash in the middle of a line, and something that is not ours. */
  FILE *file = fopen(in_folder("log.csv"), "a");
  fputs("garbage\n2,1\n3,0.1,0.2,0.3", file);
  fclose(file);
  file = fopen(in_folder("log.jsonl"), "a");
  fputs("{\"kind\":\"other\"}\n{\"kind\":\"step\",\"epoch\":1,\"st", file);
  fclose(file);
  const train_epoch_row history[2] = {make_row(1), make_row(2)};
  report = open_report(2, 25, history, 2); /* two epochs and a half */
  assert_rows(report, 2);
  char *json = get_file(in_folder("log.jsonl"), NULL);
  assert_int_equal(count_lines(json), 5 + 2);
  free(json);
  train_step_row step = make_step(3, 30);
  train_epoch_row row = make_row(3);
  assert_ok(train_report_step(report, &step));
  assert_ok(train_report_epoch(report, &row));
  run_epochs(report, 4, 4);
  assert_rows(report, 4);
  train_report_destroy(&report);
  char *csv = get_file(in_folder("log.csv"), NULL);
  json = get_file(in_folder("log.jsonl"), NULL);
  assert_string_equal(csv, whole_csv);
  assert_string_equal(json, whole_json);
  free(csv);
  free(json);
  free(whole_csv);
  free(whole_json);
}

static void fills_up_from_the_checkpoint(void **state) {
  (void)state;
  train_epoch_row history[3] = {make_row(1), make_row(2), make_row(3)};
  history[1].seconds = NAN; /* log.csv knows better */
  train_report *report = open_report(0, 0, NULL, 0);
  train_epoch_row second = make_row(2);
  assert_ok(train_report_epoch(report, &second));
  train_report_destroy(&report);
  report = open_report(2, 20, history, 3);
  assert_rows(report, 2);
  train_report_destroy(&report);
  assert_int_equal(remove(in_folder("log.csv")), 0);
  assert_int_equal(remove(in_folder("log.jsonl")), 0);
  report = open_report(2, 20, history, 3);
  size_t count = 0;
  assert_true(isnan(train_report_rows(report, &count)[1].seconds));
  assert_int_equal(count, 2);
  train_report_destroy(&report);
  report = open_report(0, 0, NULL, 0); /* a new run in an old folder */
  train_report_rows(report, &count);
  assert_int_equal(count, 0);
  train_report_destroy(&report);
  char *csv = get_file(in_folder("log.csv"), NULL);
  assert_int_equal(count_lines(csv), 1);
  free(csv);
}

/* Of a log that another run left only what it shares with this one stays. */
static void drops_another_run(void **state) {
  (void)state;
  train_report *report = open_report(0, 0, NULL, 0);
  run_epochs(report, 1, 3);
  train_report_destroy(&report);
  train_epoch_row history[2] = {make_row(1), make_row(2)};
  history[1].val_top1 += 0.5;
  history[1].seconds = NAN;
  report = open_report(2, 25, history, 2);
  size_t count = 0;
  const train_epoch_row *rows = train_report_rows(report, &count);
  assert_int_equal(count, 2);
  assert_true(rows[0].seconds == 11 && rows[1].val_top1 == history[1].val_top1 && isnan(rows[1].seconds));
  train_report_destroy(&report);
  char *json = get_file(in_folder("log.jsonl"), NULL);
  assert_int_equal(count_lines(json), 3); /* of the first epoch */
  free(json);
  report = open_report(2, 20, NULL, 0); /* begun at epoch 2 without a checkpoint */
  train_report_rows(report, &count);
  assert_int_equal(count, 0);
  train_report_destroy(&report);
}

static void keeps_many_epochs(void **state) {
  (void)state;
  train_report *report = open_report(0, 0, NULL, 0);
  for (int64_t epoch = 1; epoch <= 300; ++epoch) {
    train_epoch_row row = make_row(epoch);
    assert_ok(train_report_epoch(report, &row));
  }
  assert_rows(report, 300);
  train_report_destroy(&report);
  train_epoch_row history[300];
  for (int64_t i = 0; i < 300; ++i) history[i] = make_row(i + 1);
  report = open_report(300, 3000, history, 300);
  assert_rows(report, 300);
  train_report_destroy(&report);
}

static void reports_failures(void **state) {
  (void)state;
  train_report *report = NULL;
  assert_fails(train_report_create(&report, &(train_report_desc){.out_dir = in_folder("none")}), GP_ERROR_IO,
               "none/log.csv: No such file");
  assert_null(report);
  for (uint64_t n = 1;; ++n) {
    gp_alloc_fail_after(n);
    gp_status status = train_report_create(&report, &(train_report_desc){.out_dir = test_folder});
    if (status == GP_OK) status = train_report_epoch(report, &(train_epoch_row){.epoch = 1});
    gp_alloc_fail_after(0);
    train_report_destroy(&report);
    if (status == GP_OK) break;
    assert_int_equal(status, GP_ERROR_OUT_OF_MEMORY);
    assert_true(n < 100);
  }
}

/* ---- Curves ---- */

static void assert_drawn(const char *pdf_name, const char *png_name) {
  size_t size = 0;
  char *pdf = get_file(in_folder(pdf_name), &size), *png = get_file(in_folder(png_name), NULL);
  assert_memory_equal(pdf, "%PDF-", 5);
  assert_true(size > 2000);
  assert_memory_equal(png, "\x89PNG\r\n", 6);
  free(pdf);
  free(png);
}

static void draws_curves(void **state) {
  (void)state;
  train_epoch_row rows[3] = {make_row(1), make_row(2), make_row(3)};
  train_curves_desc desc = {.out_dir = test_folder, .title = "it's 100 % of \"it\" \\", .rows = rows, .count = 3};
  assert_ok(train_curves_draw(&desc));
  assert_drawn("train_epochs.pdf", "train_epochs.png");
  char *data = get_file(in_folder("train_epochs.dat"), NULL);
  assert_int_equal(count_lines(data), 4);
  assert_non_null(strstr(data, "\n2 0.05 1 30 3.5 1.05 30.5 4\n"));
  free(data);
  assert_true(file_exists(in_folder("train_epochs.gp")));
  /* One epoch without validation; a run that went to NaN; nothing. */
  rows[0].val_loss = rows[0].val_top1 = rows[0].val_top5 = NAN;
  desc = (train_curves_desc){.out_dir = test_folder, .pdf_filename = "x y.pdf", .rows = rows, .count = 1};
  assert_ok(train_curves_draw(&desc));
  assert_drawn("x y.pdf", "x y.png");
  rows[0].train_loss = NAN;
  rows[0].lr = 0;
  assert_ok(train_curves_draw(&desc));
  desc.count = 0;
  desc.out_dir = "/nowhere";
  assert_ok(train_curves_draw(&desc));
}

static void tells_why_it_cannot_draw(void **state) {
  (void)state;
  train_epoch_row row = make_row(1);
  train_curves_desc desc = {.out_dir = test_folder, .rows = &row, .count = 1};
  char *path = strdup(getenv("PATH"));
  assert_int_equal(setenv("PATH", test_folder, 1), 0);
  gp_status missing = train_curves_draw(&desc);
  assert_fails(missing, GP_ERROR_UNSUPPORTED, "gnuplot is not installed");
  put_text(in_folder("gnuplot"), "#!/bin/sh\necho >&2\necho '\"x.gp\" line 3: no such thing' >&2\nexit 1\n");
  assert_int_equal(chmod(in_folder("gnuplot"), 0755), 0);
  gp_status failing = train_curves_draw(&desc);
  assert_fails(failing, GP_ERROR_LIBRARY, "gnuplot failed with code 1: \"x.gp\" line 3: no such thing");
  assert_int_equal(setenv("PATH", path, 1), 0);
  free(path);
  assert_true(file_exists(in_folder("train_epochs.gp"))); /* to draw later */
  desc.out_dir = in_folder("none");
  assert_fails(train_curves_draw(&desc), GP_ERROR_IO, "none/train_epochs.dat: No such file");
  desc.pdf_filename = "../x.pdf";
  assert_fails(train_curves_draw(&desc), GP_ERROR_INVALID_ARGUMENT, "expected a file name that ends in .pdf");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      test_in_folder(writes_both_logs),
      test_in_folder(checksums_records),
      test_in_folder(refuses_records_that_are_too_large),
      test_in_folder(goes_on_where_it_was),
      test_in_folder(fills_up_from_the_checkpoint),
      test_in_folder(drops_another_run),
      test_in_folder(keeps_many_epochs),
      test_in_folder(reports_failures),
      test_in_folder(draws_curves),
      test_in_folder(tells_why_it_cannot_draw),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
