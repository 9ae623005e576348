/* The training of a net: the loop, from a configuration to a folder of results. */
#ifndef GP_TRAIN_TRAIN_H
#define GP_TRAIN_TRAIN_H

#include "dist/comm.h"
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

/* The same by several ranks, which share every batch; each calls it with the same configuration. Rank 0 alone reads the checkpoint,
 * writes files and tells the observer; others tell theirs of their bad images only. A failure is one of all ranks, but
 * where dist_agreed() says no: then the others wait, and must be ended by dist_abort(). */
GP_NODISCARD gp_status train_run_ranks(const train_config *config, const train_observer *observer, dist_comm *comm,
                                       train_result *result);

#endif
