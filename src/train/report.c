#include "train/report.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/atomic_file.h"
#include "train/file.h"
#include "train/report_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct train_report {
  char *csv_path, *json_path;
  int csv_fd, json_fd;
  train_events *events;  /* NULL: not asked for */
  train_epoch_row *rows; /* ascending in epoch */
  size_t count, capacity;
};

/* ---- Epochs so far ---- */

/* Room for one more, asked for before anything is written. */
static gp_status make_room(train_report *report) {
  if (report->count < report->capacity) return GP_OK;
  size_t capacity = report->capacity == 0 ? 128 : 2 * report->capacity;
  train_epoch_row *rows = NULL;
  gp_status status = GP_ALLOC(&rows, capacity);
  if (status != GP_OK) return status;
  if (report->count > 0) memcpy(rows, report->rows, report->count * sizeof *rows);
  gp_free(report->rows);
  report->rows = rows;
  report->capacity = capacity;
  return GP_OK;
}

/* Puts a row at its place; an epoch that is there already gets the newer row. */
static gp_status insert_row(train_report *report, const train_epoch_row *row) {
  size_t at = report->count;
  while (at > 0 && report->rows[at - 1].epoch > row->epoch) --at;
  if (at > 0 && report->rows[at - 1].epoch == row->epoch) {
    report->rows[at - 1] = *row;
    return GP_OK;
  }
  gp_status status = make_room(report);
  if (status != GP_OK) return status;
  memmove(report->rows + at + 1, report->rows + at, (report->count - at) * sizeof *row);
  report->rows[at] = *row;
  ++report->count;
  return GP_OK;
}

/* ---- Going on from the files of an earlier run ---- */

/* Cuts the next line out of the text; NULL at its end. A last line without newline was cut off: it is left out. */
static char *next_line(char **at) {
  char *line = *at, *newline = strchr(line, '\n');
  if (newline == NULL) return NULL;
  *newline = '\0';
  *at = newline + 1;
  return line;
}

/* The file's text, "" if there is none. */
static gp_status read_log(const char *path, void **text) {
  size_t bytes = 0;
  gp_status status = file_read_whole(path, 0, text, &bytes);
  return status == GP_ERROR_NOT_FOUND ? GP_ALLOC((char **)text, 1) : status;
}

static const train_epoch_row *find_epoch(const train_report_desc *desc, int64_t epoch) {
  for (size_t i = 0; i < desc->history_count; ++i)
    if (desc->history[i].epoch == epoch) return &desc->history[i];
  return NULL;
}

/* The epochs are those of the history; from log.csv come their times, if its row tells of the same results. *foreign is
 * the first epoch of which the file tells otherwise, so that it is another run's from there on; or INT64_MAX. */
static gp_status restore_csv(train_report *report, const train_report_desc *desc, int64_t *foreign) {
  gp_status status = GP_OK;
  void *text = NULL;
  atomic_file *file = NULL;
  char line_buffer[REPORT_LINE_SIZE];
  GP_TRY(read_log(report->csv_path, &text));
  for (size_t i = 0; i < desc->history_count; ++i)
    if (desc->history[i].epoch <= desc->first_epoch) GP_TRY(insert_row(report, &desc->history[i]));
  *foreign = INT64_MAX;
  char *at = text;
  for (char *line = next_line(&at); line != NULL; line = next_line(&at)) {
    train_epoch_row row;
    if (!report_read_csv(line, &row) || row.epoch > desc->first_epoch) continue;
    const train_epoch_row *known = find_epoch(desc, row.epoch);
    if (known != NULL && report_same_results(known, &row))
      GP_TRY(insert_row(report, &row));
    else if (row.epoch < *foreign)
      *foreign = row.epoch;
  }
  GP_TRY(atomic_file_create(&file, report->csv_path, 0));
  GP_TRY(atomic_file_printf(file, "%s\n", report_csv_header));
  for (size_t i = 0; i < report->count; ++i)
    GP_TRY(atomic_file_printf(file, "%s", report_csv_line(&report->rows[i], line_buffer)));
  GP_TRY(atomic_file_commit(file));
cleanup:
  atomic_file_destroy(&file);
  gp_free(text);
  return status;
}

static gp_status restore_json(train_report *report, const train_report_desc *desc, int64_t foreign) {
  gp_status status = GP_OK;
  void *text = NULL;
  atomic_file *file = NULL;
  GP_TRY(read_log(report->json_path, &text));
  GP_TRY(atomic_file_create(&file, report->json_path, 0));
  char *at = text;
  for (char *line = next_line(&at); line != NULL; line = next_line(&at)) {
    int64_t epoch = 0;
    if (!report_keep_json(line, desc->first_epoch, desc->first_step, &epoch) || epoch >= foreign) continue;
    if (epoch <= desc->first_epoch && find_epoch(desc, epoch) == NULL) continue;
    GP_TRY(atomic_file_write(file, line, strlen(line)));
    GP_TRY(atomic_file_write(file, "\n", 1));
  }
  GP_TRY(atomic_file_commit(file));
cleanup:
  atomic_file_destroy(&file);
  gp_free(text);
  return status;
}

static gp_status open_log(const char *path, int *fd) {
  *fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  return *fd >= 0 ? GP_OK : gp_fail(GP_ERROR_IO, "cannot write %s: %s", path, strerror(errno));
}

gp_status train_report_create(train_report **out, const train_report_desc *desc) {
  gp_status status = GP_OK;
  train_report *report = NULL;
  int64_t foreign = 0;
  *out = NULL;
  GP_TRY(GP_ALLOC(&report, 1));
  report->csv_fd = report->json_fd = -1;
  GP_TRY(path_join(&report->csv_path, desc->out_dir, "log.csv"));
  GP_TRY(path_join(&report->json_path, desc->out_dir, "log.jsonl"));
  GP_TRY(restore_csv(report, desc, &foreign));
  GP_TRY(restore_json(report, desc, foreign));
  GP_TRY(open_log(report->csv_path, &report->csv_fd));
  GP_TRY(open_log(report->json_path, &report->json_fd));
  if (desc->tensorboard) GP_TRY(train_events_create(&report->events, desc->out_dir, desc->first_step));
  *out = report;
  report = NULL;
cleanup:
  train_report_destroy(&report);
  return status;
}

void train_report_destroy(train_report **out) {
  train_report *report = *out;
  if (report == NULL) return;
  if (report->csv_fd >= 0) close(report->csv_fd);
  if (report->json_fd >= 0) close(report->json_fd);
  train_events_destroy(&report->events);
  gp_free(report->csv_path);
  gp_free(report->json_path);
  gp_free(report->rows);
  gp_free(report);
  *out = NULL;
}

/* ---- Appending ---- */

/* In one write, so that a reader never sees half a line. */
static gp_status append_line(int fd, const char *path, const char *line) {
  for (size_t done = 0, length = strlen(line); done < length;) {
    ssize_t count = write(fd, line + done, length - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return gp_fail(GP_ERROR_IO, "cannot write %s: %s", path, strerror(count == 0 ? ENOSPC : errno));
    done += (size_t)count;
  }
  return GP_OK;
}

gp_status train_report_step(train_report *report, const train_step_row *row) {
  gp_status status = GP_OK;
  char line[REPORT_LINE_SIZE];
  train_scalar scalars[REPORT_MAX_SCALARS];
  GP_TRY(append_line(report->json_fd, report->json_path, report_json_step(row, line)));
  if (report->events != NULL)
    GP_TRY(train_events_add(report->events, row->step, scalars, report_step_scalars(row, scalars)));
cleanup:
  return status;
}

gp_status train_report_cut_epoch(train_report *report, const train_epoch_row *row) {
  gp_status status = GP_OK;
  char line[REPORT_LINE_SIZE];
  GP_TRY(insert_row(report, row));
  GP_TRY(append_line(report->csv_fd, report->csv_path, report_csv_line(row, line)));
  GP_TRY(append_line(report->json_fd, report->json_path, report_json_epoch(row, line)));
cleanup:
  return status;
}

gp_status train_report_epoch(train_report *report, const train_epoch_row *row) {
  gp_status status = GP_OK;
  train_scalar scalars[REPORT_MAX_SCALARS];
  GP_TRY(train_report_cut_epoch(report, row));
  if (report->events != NULL)
    GP_TRY(train_events_add(report->events, row->step, scalars, report_epoch_scalars(row, scalars)));
cleanup:
  return status;
}

const train_epoch_row *train_report_rows(const train_report *report, size_t *count) {
  *count = report->count;
  return report->rows;
}
