/* The training of a net: the loop, from a configuration to a folder of results. */
#ifndef GP_TRAIN_TRAIN_H
#define GP_TRAIN_TRAIN_H

#include "train/observer.h"
#include "train/recipe.h"

/* What a run came to, also an interrupted one. Zero-initialise; train_result_clear() when done. */
typedef struct train_result {
  int64_t epochs, steps;               /* done in all */
  double val_loss, val_top1, val_top5; /* of the last test; NaN: none was made */
  int64_t best_epoch;                  /* 1-based; 0: none */
  double best_top1;
  char *checkpoint; /* path of the last checkpoint written, for resuming; NULL: none */
} train_result;

void train_result_clear(train_result *result);

/* Trains (or, with config->evaluate, only tests) as the configuration says, resuming if it says so, and writes
 * config.ini, log.csv, log.jsonl, the curves, checkpoints and model_best.safetensors into config->out_dir.
 *
 * GP_ERROR_INTERRUPTED after a stop request (train/stop.h): result->checkpoint is where to resume. Otherwise the errors of the parts; files written before stay. *result is valid in every case. */
GP_NODISCARD gp_status train_run(const train_config *config, const train_observer *observer, train_result *result);

#endif
