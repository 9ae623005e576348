#include "test_train_util.h"

#include "cli/progress.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <time.h>

static const train_progress sample = {.epoch = 1,
                                      .epochs = 3,
                                      .batch = 50,
                                      .batches = 200,
                                      .loss = 1.25,
                                      .top1 = 37.5,
                                      .top5 = 4,
                                      .lr = 0.05,
                                      .images_per_second = 1234.4,
                                      .seconds_left = 75};

static const train_epoch_row row = {.epoch = 2,
                                    .lr = 0.05,
                                    .train_loss = 0.5,
                                    .train_top1 = 20,
                                    .train_top5 = 1,
                                    .val_loss = 0.4,
                                    .val_top1 = 18.25,
                                    .val_top5 = 0.75,
                                    .images_per_second = 1000,
                                    .seconds = 3723};

/* What a view writes about a short run. */
static char *show(const cli_progress_desc *wanted) {
  char *text = NULL;
  size_t bytes = 0;
  cli_progress *view = NULL;
  cli_progress_desc desc = *wanted;
  desc.stream = open_memstream(&text, &bytes);
  assert_non_null(desc.stream);
  assert_ok(cli_progress_create(&view, &desc));
  train_observer observer = cli_progress_observer(view);
  train_progress progress = sample;
  progress.batch = 0;
  observer.pass_start(observer.context, &progress);
  for (progress.batch = 1; progress.batch <= 200; ++progress.batch) observer.step(observer.context, &progress);
  progress.batch = 200;
  observer.pass_end(observer.context, &progress);
  observer.epoch_end(observer.context, &row, 3);
  observer.message(observer.context, "wrote x");
  cli_progress_destroy(&view);
  assert_null(view);
  cli_progress_destroy(&view);
  fclose(desc.stream);
  return text;
}

static void prints_plain_lines(void **state) {
  (void)state;
  char *text = show(&(cli_progress_desc){.print_freq = 100});
  assert_string_equal(
      text,
      "epoch 2/3  batch 100/200  loss 1.2500  top-1 37.50 %  top-5 4.00 %  lr 0.05  1234 images/s  1:15 left\n"
      "epoch 2/3  batch 200/200  loss 1.2500  top-1 37.50 %  top-5 4.00 %  lr 0.05  1234 images/s\n"
      "epoch 2/3  lr 0.05  train: loss 0.5000  top-1 20.00 %  top-5 1.00 %"
      "  test: loss 0.4000  top-1 18.25 %  top-5 0.75 %  1000 images/s  1:02:03\n"
      "wrote x\n");
  free(text);
  text = show(&(cli_progress_desc){.print_freq = 0});
  assert_memory_equal(text, "epoch 2/3  lr", 13);
  free(text);
}

static void survives_odd_figures(void **state) {
  (void)state;
  char *text = NULL;
  size_t bytes = 0;
  cli_progress *view = NULL;
  FILE *stream = open_memstream(&text, &bytes);
  assert_ok(cli_progress_create(&view, &(cli_progress_desc){.stream = stream, .print_freq = 1}));
  train_observer observer = cli_progress_observer(view);
  train_progress odd = sample;
  odd.loss = 1.7e308;
  odd.images_per_second = 1.7e308;
  odd.seconds_left = 1.7e308;
  observer.step(observer.context, &odd);
  odd.loss = NAN;
  odd.seconds_left = NAN;
  odd.images_per_second = NAN;
  observer.step(observer.context, &odd);
  train_epoch_row bare = row;
  bare.val_loss = bare.images_per_second = bare.seconds = NAN;
  observer.epoch_end(observer.context, &bare, 3);
  cli_progress_destroy(&view);
  fclose(stream);
  assert_non_null(strstr(text, "loss 1.7e+308  "));
  assert_non_null(strstr(text, "loss nan  top-1 37.50 %  top-5 4.00 %  lr 0.05\n"));
  assert_non_null(strstr(text, "train: loss 0.5000  top-1 20.00 %  top-5 1.00 %\n"));
  free(text);
}

static void redraws_seldom_and_clears(void **state) {
  (void)state;
  char *text = show(&(cli_progress_desc){.force_bar = true, .print_freq = 1});
  int drawn = 0;
  for (const char *at = strstr(text, "\repoch 2/3"); at != NULL; at = strstr(at + 1, "\repoch 2/3")) ++drawn;
  assert_true(drawn >= 1 && drawn < 100);                              /* not at each of the 200 steps */
  assert_non_null(strstr(text, "\r\033[Kepoch 2/3  lr 0.05  train:")); /* gone before a line is printed */
  assert_memory_equal(strstr(text, "wrote x"), "wrote x\n", 9);
  free(text);
}

/* On a terminal of `columns`: the bar as drawn at the first step. */
static void draw_on_terminal(unsigned short columns, char line[1024]) {
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  assert_true(master >= 0);
  assert_int_equal(grantpt(master), 0);
  assert_int_equal(unlockpt(master), 0);
  FILE *terminal = fopen(ptsname(master), "r+");
  assert_non_null(terminal);
  struct winsize size = {.ws_row = 24, .ws_col = columns};
  assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
  cli_progress *view = NULL;
  assert_int_equal(setenv("TERM", "xterm", 1), 0);
  assert_ok(cli_progress_create(&view, &(cli_progress_desc){.stream = terminal, .print_freq = 1}));
  train_observer observer = cli_progress_observer(view);
  observer.step(observer.context, &sample);
  memset(line, 0, 1024);
  assert_true(read(master, line, 1023) > 0);
  cli_progress_destroy(&view);
  fclose(terminal);
  close(master);
}

/* What fits, at the widths of common terminals: the time left stays longest, and the bar next to it. */
static void leaves_out_the_least_worth(void **state) {
  (void)state;
  static const struct {
    unsigned short columns;
    const char *line;
  } expected[] = {
      {160,
       "epoch 2/3  [##########..............................]  25%  1:15 left  loss 1.2500  top-1 37.50 %"
       "  top-5 4.00 %  1234 images/s"},
      {80, "epoch 2/3  [##......]  25%  1:15 left  loss 1.2500  top-1 37.50 %  top-5 4.00 %"},
      {60, "epoch 2/3  [####.............]  25%  1:15 left  loss 1.2500"},
      {40, "epoch 2/3  [##........]  25%  1:15 left"},
      {30, "epoch 2/3  25%  1:15 left"},
      {20, "epoch 2/3  25%"},
  };
  char line[1024], framed[1024];
  for (size_t i = 0; i < sizeof expected / sizeof *expected; ++i) {
    draw_on_terminal(expected[i].columns, line);
    snprintf(framed, sizeof framed, "\r%s\033[K", expected[i].line);
    assert_string_equal(line, framed);
  }
}

static void fits_the_terminal(void **state) {
  (void)state;
  char line[1024];
  for (unsigned short columns = 1; columns < 200; columns = (unsigned short)(columns + 7)) {
    draw_on_terminal(columns, line);
    assert_true(strlen(line) >= 4);
    size_t visible = strlen(line) - strlen("\r\033[K");
    if (visible >= columns) print_error("%zu characters in %d columns\n", visible, columns);
    assert_true(visible < columns);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(prints_plain_lines),        cmocka_unit_test(survives_odd_figures),
      cmocka_unit_test(redraws_seldom_and_clears), cmocka_unit_test(leaves_out_the_least_worth),
      cmocka_unit_test(fits_the_terminal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
