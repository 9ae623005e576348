/* The learning rate, a pure function of the step: a resumed run needs nothing but the step's number. */
#ifndef GP_TRAIN_SCHEDULE_H
#define GP_TRAIN_SCHEDULE_H

#include "train/recipe.h"

enum { TRAIN_SCHEDULE_MAX_RUNS = 64 };

/* Epochs [first, next run's first) at one rate. */
typedef struct train_schedule_run {
  int64_t first;
  double rate;
} train_schedule_run;

/* A plain value, filled by train_schedule_init(); copy it freely. */
typedef struct train_schedule {
  train_schedule_kind kind;
  int64_t steps_per_epoch, total_steps, warmup_steps;
  double lr, lr_min, gamma, warmup_start;
  int64_t step_size; /* epochs */
  train_schedule_run runs[TRAIN_SCHEDULE_MAX_RUNS];
  size_t run_count;
} train_schedule;

/* GP_ERROR_INVALID_ARGUMENT when lr-list does not parse or does not cover the epochs, or steps_per_epoch < 1. */
GP_NODISCARD gp_status train_schedule_init(train_schedule *schedule, const train_config *config,
                                           int64_t steps_per_epoch);

/* The rate of step 0, 1, …, by the formulas, with S = steps_per_epoch, e = floor(step / S), w = warmup_steps:
 *   list     the rate of e's run
 *   step     lr · gamma^floor(e / step_size)
 *   cosine   lr_min + (lr − lr_min)·(1 + cos(π·(step − w)/(total − w)))/2, lr while step < w
 * times warmup_start + (1 − warmup_start)·step/w while step < w. Steps past the end keep the last rate. */
double train_schedule_lr(const train_schedule *schedule, int64_t step);

/* Syntax check of an lr-list alone, for the option table. */
GP_NODISCARD gp_status train_schedule_check_list(const char *text);

#endif
