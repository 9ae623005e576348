/* The lines of the two logs: how they are written and read back. */
#ifndef GP_TRAIN_REPORT_IMPL_H
#define GP_TRAIN_REPORT_IMPL_H

#include "train/events.h"
#include "train/report.h"

enum { REPORT_LINE_SIZE = 1024, REPORT_MAX_SCALARS = 16 };

/* First line of log.csv, without a newline. */
extern const char report_csv_header[];

/* One line each, with its newline; returns the buffer. Numbers read back exactly; NaN is nan in CSV, null in JSON. */
const char *report_csv_line(const train_epoch_row *row, char line[REPORT_LINE_SIZE]);
const char *report_json_epoch(const train_epoch_row *row, char line[REPORT_LINE_SIZE]);
const char *report_json_step(const train_step_row *row, char line[REPORT_LINE_SIZE]);

/* The same numbers as scalars for TensorBoard, named "epoch/val_loss", "step/loss"; returns how many. */
size_t report_epoch_scalars(const train_epoch_row *row, train_scalar scalars[REPORT_MAX_SCALARS]);
size_t report_step_scalars(const train_step_row *row, train_scalar scalars[REPORT_MAX_SCALARS]);

/* Reads a line of log.csv; false if it is none of ours. `line` ends with a zero byte. */
bool report_read_csv(const char *line, train_epoch_row *row);

/* Whether two rows of an epoch are of the same computation, as far as log.csv can tell; how fast it went aside. */
bool report_same_results(const train_epoch_row *a, const train_epoch_row *b);

/* Whether a line of log.jsonl is an intact record from before this point; *epoch is then the one it belongs to. */
bool report_keep_json(const char *line, int64_t first_epoch, int64_t first_step, int64_t *epoch);

#endif
