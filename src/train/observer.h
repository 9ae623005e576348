/* What the training loop tells whoever watches it. The loop never prints; a command hands in an observer. */
#ifndef GP_TRAIN_OBSERVER_H
#define GP_TRAIN_OBSERVER_H

#include <gausspool/gausspool.h>

typedef enum train_phase { TRAIN_PHASE_TRAIN = 0, TRAIN_PHASE_TEST } train_phase;

/* Where a pass over the data stands. */
typedef struct train_progress {
  train_phase phase;
  int64_t epoch, epochs;   /* epoch is 0-based; epochs 0: a test alone */
  int64_t batch, batches;  /* batches done of this pass, and in all */
  double loss, top1, top5; /* means over this pass so far; errors in percent */
  double lr;               /* of the last step; 0 in a test */
  double images_per_second;
  double seconds_left; /* of this pass; negative: not known yet */
  double seconds;      /* since the pass began, in this process */
  double wait_seconds; /* of these, waiting for data */
} train_progress;

/* One epoch's results: a row of log.csv. Errors in percent, NaN where there was no validation. */
typedef struct train_epoch_row {
  int64_t epoch; /* epochs done: 1 after the first */
  int64_t step;  /* steps done in all, for records by step; 0 in rows that are read back */
  double lr;     /* of the epoch's last step */
  double train_loss, train_top1, train_top5;
  double val_loss, val_top1, val_top5;
  double images_per_second; /* in training */
  double seconds;           /* of the whole epoch, validation included */
  double wait_seconds;      /* of these, waiting for data */
} train_epoch_row;

/* Every callback may be NULL. Called from the loop's thread; what the pointers lead to is valid during the call. */
typedef struct train_observer {
  void *context;
  void (*pass_start)(void *context, const train_progress *progress); /* also before each test */
  void (*step)(void *context, const train_progress *progress);       /* after every batch */
  void (*pass_end)(void *context, const train_progress *progress);
  void (*epoch_end)(void *context, const train_epoch_row *row, int64_t epochs);
  void (*message)(void *context, const char *text); /* one line, without a newline: warnings, files written */
} train_observer;

#endif
