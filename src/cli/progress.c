#include "cli/progress.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE_SIZE = 512, TIME_SIZE = 32, DEFAULT_WIDTH = 80, LEAST_BAR = 8, MOST_BAR = 40 };

static const double redraw_seconds = 0.1;

struct cli_progress {
  FILE *stream;
  int64_t print_freq;
  bool bar;
  bool shown; /* a bar is on the screen */
  double drawn_at;
};

/* ---- Texts ---- */

/* "4:07", "1:02:33" */
static const char *time_text(double seconds, char text[TIME_SIZE]) {
  long long whole = seconds < 1e9 ? llround(seconds) : 1000000000;
  if (whole >= 3600)
    snprintf(text, TIME_SIZE, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  else
    snprintf(text, TIME_SIZE, "%lld:%02lld", whole / 60, whole % 60);
  return text;
}

/* "epoch 3/20", "epoch 3/20 test" or "test" */
static const char *pass_text(const train_progress *progress, char text[LINE_SIZE]) {
  bool test = progress->phase == TRAIN_PHASE_TEST;
  if (progress->epochs > 0)
    snprintf(text, LINE_SIZE, "epoch %lld/%lld%s", (long long)progress->epoch + 1, (long long)progress->epochs,
             test ? " test" : "");
  else
    snprintf(text, LINE_SIZE, "%s", test ? "test" : "train");
  return text;
}

/* Four decimals, but no hundreds of digits for a loss that ran away. */
static const char *loss_text(double loss, char text[TIME_SIZE]) {
  snprintf(text, TIME_SIZE, fabs(loss) < 1e6 ? "%.4f" : "%.4g", loss);
  return text;
}

/* What is known after at least one batch; the rate and the time left only where there are such. */
static const char *figures_text(const train_progress *progress, bool with_rate, char text[LINE_SIZE]) {
  char loss[TIME_SIZE], rate[TIME_SIZE] = "", speed[TIME_SIZE] = "", left[TIME_SIZE];
  bool known = progress->seconds_left >= 0 && progress->batch < progress->batches;
  if (with_rate && progress->phase == TRAIN_PHASE_TRAIN) snprintf(rate, sizeof rate, "  lr %.4g", progress->lr);
  if (progress->images_per_second > 0)
    snprintf(speed, sizeof speed, "  %.0f images/s", fmin(progress->images_per_second, 1e9));
  snprintf(text, LINE_SIZE, "loss %s  top-1 %.2f %%  top-5 %.2f %%%s%s%s%s%s", loss_text(progress->loss, loss),
           progress->top1, progress->top5, rate, speed, known ? "  " : "",
           known ? time_text(progress->seconds_left, left) : "", known ? " left" : "");
  return text;
}

/* ---- The bar ---- */

static int terminal_width(FILE *stream) {
  struct winsize size;
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return DEFAULT_WIDTH;
  return size.ws_col;
}

static void clear_bar(cli_progress *view) {
  if (!view->shown) return;
  fputs("\r\033[K", view->stream);
  fflush(view->stream);
  view->shown = false;
}

/* What stands after the bar, each with its gap before, in the order of worth: a narrow terminal gets the first ones. */
enum { FIELDS = 5, FIELD_SIZE = 48 };

static void bar_fields(const train_progress *progress, char fields[FIELDS][FIELD_SIZE]) {
  char text[TIME_SIZE];
  memset(fields, 0, FIELDS * sizeof *fields);
  if (progress->batch <= 0) return;
  if (progress->seconds_left >= 0 && progress->batch < progress->batches)
    snprintf(fields[0], FIELD_SIZE, "  %s left", time_text(progress->seconds_left, text));
  snprintf(fields[1], FIELD_SIZE, "  loss %s", loss_text(progress->loss, text));
  snprintf(fields[2], FIELD_SIZE, "  top-1 %.2f %%", progress->top1);
  snprintf(fields[3], FIELD_SIZE, "  top-5 %.2f %%", progress->top5);
  if (progress->images_per_second > 0)
    snprintf(fields[4], FIELD_SIZE, "  %.0f images/s", fmin(progress->images_per_second, 1e9));
}

/* Joins the first fields, as many as fit; gives what is left of the room. */
static int join_fields(char fields[FIELDS][FIELD_SIZE], int room, char text[LINE_SIZE]) {
  size_t used = 0;
  text[0] = '\0';
  for (int i = 0; i < FIELDS && (int)strlen(fields[i]) <= room; ++i) {
    const size_t length = strlen(fields[i]);
    memcpy(text + used, fields[i], length + 1);
    used += length;
    room -= (int)length;
  }
  return room;
}

/* "epoch 2/3  [####....]  25%  1:15 left  loss 1.2500 …": never as wide as the terminal, which would wrap. What does not
 * fit is left out, least of all the time left: before that the bar goes. */
static void draw_bar(cli_progress *view, const train_progress *progress) {
  enum { PERCENT_WIDTH = sizeof " 100%" - 1, FRAME_WIDTH = sizeof "  []" - 1 };
  char pass[LINE_SIZE], fields[FIELDS][FIELD_SIZE], figures[LINE_SIZE], bar[MOST_BAR + FRAME_WIDTH + 1] = "";
  char line[2 * LINE_SIZE + MOST_BAR];
  const int width = terminal_width(view->stream) - 1;
  double part = progress->batches > 0 ? (double)progress->batch / (double)progress->batches : 0;
  part = fmin(fmax(part, 0), 1);
  pass_text(progress, pass);
  bar_fields(progress, fields);
  const int room = width - (int)strlen(pass) - PERCENT_WIDTH, beside_bar = room - FRAME_WIDTH - LEAST_BAR;
  if (beside_bar >= (int)strlen(fields[0])) {
    const int spare = join_fields(fields, beside_bar, figures);
    const int cells = LEAST_BAR + (spare < MOST_BAR - LEAST_BAR ? spare : MOST_BAR - LEAST_BAR);
    char filled[MOST_BAR];
    memset(filled, '.', sizeof filled);
    memset(filled, '#', (size_t)(part * cells));
    snprintf(bar, sizeof bar, "  [%.*s]", cells, filled);
  } else {
    join_fields(fields, room, figures);
  }
  snprintf(line, sizeof line, "%s%s %3.0f%%%s", pass, bar, floor(100 * part), figures);
  fprintf(view->stream, "\r%.*s\033[K", width > 0 ? width : 0, line);
  fflush(view->stream);
  view->shown = true;
  view->drawn_at = gp_seconds();
}

/* ---- The observer ---- */

static void on_pass_start(void *context, const train_progress *progress) {
  cli_progress *view = context;
  if (view->bar) draw_bar(view, progress);
}

static void on_step(void *context, const train_progress *progress) {
  cli_progress *view = context;
  char pass[LINE_SIZE], figures[LINE_SIZE];
  if (view->bar) {
    if (!view->shown || gp_seconds() - view->drawn_at >= redraw_seconds) draw_bar(view, progress);
    return;
  }
  if (view->print_freq <= 0 || progress->batch % view->print_freq != 0) return;
  fprintf(view->stream, "%s  batch %lld/%lld  %s\n", pass_text(progress, pass), (long long)progress->batch,
          (long long)progress->batches, figures_text(progress, true, figures));
  fflush(view->stream);
}

static void on_pass_end(void *context, const train_progress *progress) {
  cli_progress *view = context;
  char figures[LINE_SIZE];
  clear_bar(view);
  /* The end of an epoch of training is told with the test that follows it. */
  if (progress->epochs > 0) return;
  fprintf(view->stream, "%lld batches  %s\n", (long long)progress->batches, figures_text(progress, false, figures));
  fflush(view->stream);
}

static void on_epoch_end(void *context, const train_epoch_row *row, int64_t epochs) {
  cli_progress *view = context;
  char loss[TIME_SIZE], took[TIME_SIZE];
  clear_bar(view);
  fprintf(view->stream, "epoch %lld/%lld  lr %.4g  train: loss %s  top-1 %.2f %%  top-5 %.2f %%", (long long)row->epoch,
          (long long)epochs, row->lr, loss_text(row->train_loss, loss), row->train_top1, row->train_top5);
  if (!isnan(row->val_loss))
    fprintf(view->stream, "  test: loss %s  top-1 %.2f %%  top-5 %.2f %%", loss_text(row->val_loss, loss),
            row->val_top1, row->val_top5);
  if (row->images_per_second > 0) fprintf(view->stream, "  %.0f images/s", fmin(row->images_per_second, 1e9));
  if (row->seconds >= 0) fprintf(view->stream, "  %s", time_text(row->seconds, took));
  /* Worth a word where faster reading would help. */
  if (row->seconds > 0 && row->wait_seconds >= 0.05 * row->seconds)
    fprintf(view->stream, ", %.0f %% of it waiting for data", 100 * row->wait_seconds / row->seconds);
  fputc('\n', view->stream);
  fflush(view->stream);
}

static void on_message(void *context, const char *text) {
  cli_progress *view = context;
  clear_bar(view);
  fprintf(view->stream, "%s\n", text);
  fflush(view->stream);
}

train_observer cli_progress_observer(cli_progress *progress) {
  return (train_observer){.context = progress,
                          .pass_start = on_pass_start,
                          .step = on_step,
                          .pass_end = on_pass_end,
                          .epoch_end = on_epoch_end,
                          .message = on_message};
}

/* ---- Life ---- */

static bool is_terminal(FILE *stream) {
  const char *kind = getenv("TERM");
  int fd = fileno(stream);
  return fd >= 0 && isatty(fd) == 1 && kind != NULL && strcmp(kind, "dumb") != 0;
}

gp_status cli_progress_create(cli_progress **out, const cli_progress_desc *desc) {
  gp_status status = GP_ALLOC(out, 1);
  if (status != GP_OK) return status;
  **out = (cli_progress){.stream = desc->stream,
                         .print_freq = desc->print_freq,
                         .bar = desc->force_bar || (!desc->plain && is_terminal(desc->stream))};
  return GP_OK;
}

void cli_progress_destroy(cli_progress **progress) {
  if (*progress == NULL) return;
  clear_bar(*progress);
  gp_free(*progress);
  *progress = NULL;
}
