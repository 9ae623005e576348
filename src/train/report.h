/* The records of a run: log.csv, one row an epoch; log.jsonl, the same and a line for every print-freq-th step; and, when
 * asked for, the same again for TensorBoard. */
#ifndef GP_TRAIN_REPORT_H
#define GP_TRAIN_REPORT_H

#include "train/observer.h"

typedef struct train_report train_report;

typedef struct train_report_desc {
  const char *out_dir; /* must exist */
  bool tensorboard;
  /* Where the run goes on. Records of epochs past first_epoch and of steps past first_step, left by the run that was
   * interrupted, are dropped; with 0 and 0 the files start anew. */
  int64_t first_epoch; /* epochs done */
  int64_t first_step;  /* steps done */
  /* Epochs known from the checkpoint. Only these stay; log.csv contributes their times where its row tells of the same
   * results. What the files hold of other epochs or results is another run's and is dropped. */
  const train_epoch_row *history;
  size_t history_count;
} train_report_desc;

/* Reads back what is to stay, rewrites both files atomically and opens them for appending. A missing file or a line
 * that is no record of ours (cut off by a crash) is tolerated. */
GP_NODISCARD gp_status train_report_create(train_report **out, const train_report_desc *desc);
void train_report_destroy(train_report **report);

typedef struct train_step_row {
  int64_t epoch; /* 1-based, as in train_epoch_row */
  int64_t step;  /* steps done in all: 1 after the first */
  double lr;
  double loss, top1, top5; /* means over the epoch so far; errors in percent */
  double images_per_second;
  double seconds, wait_seconds; /* since the epoch or the run began; of these, waiting for data */
} train_step_row;

/* Each line is on its way to the disk when the call returns. */
GP_NODISCARD gp_status train_report_step(train_report *report, const train_step_row *row);
GP_NODISCARD gp_status train_report_epoch(train_report *report, const train_epoch_row *row);

/* Of an epoch that is not done yet: the logs alone, which a resumed run rewrites. TensorBoard would keep it. */
GP_NODISCARD gp_status train_report_cut_epoch(train_report *report, const train_epoch_row *row);

/* All epochs so far, in order; owned by the report, valid until the next call to it. */
const train_epoch_row *train_report_rows(const train_report *report, size_t *count);

#endif
