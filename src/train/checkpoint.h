/* Checkpoints: a model file with the optimizer's momenta and the state of the training, from which a run goes on bit
 * for bit, with the same number of compute threads. Nothing about where or when it ran is in it (paths, times): runs that
 * compute the same with as many threads write the same bytes. */
#ifndef GP_TRAIN_CHECKPOINT_H
#define GP_TRAIN_CHECKPOINT_H

#include "train/meter.h"
#include "train/model_file.h"
#include "train/observer.h"
#include "train/recipe.h"

/* Where a run stands, besides its tensors. Zero-initialise; train_state_clear() when done. */
typedef struct train_state {
  int64_t epoch;      /* epochs done */
  int64_t batch;      /* batches of the epoch after them done */
  int64_t step;       /* steps done in all */
  train_meter meter;  /* of these batches */
  int64_t best_epoch; /* 1-based; 0: none yet */
  double best_top1;   /* its validation error in percent */
  /* What it was trained on, and how. Zero: not known (an older checkpoint). */
  int64_t samples; /* of the training set */
  int64_t labels;  /* a hash of their labels */
  int64_t threads; /* that computed: sums are rounded by their number */
  int64_t ranks;   /* that shared each batch */
  /* One row an epoch. Read from a checkpoint, the times and speeds are NaN. */
  train_epoch_row *history;
  int64_t history_count, history_capacity;
} train_state;

void train_state_clear(train_state *state);

/* Room for `rows` rows in all; what is there stays. */
GP_NODISCARD gp_status train_state_reserve(train_state *state, int64_t rows);

/* Writes the checkpoint, atomically. */
GP_NODISCARD gp_status checkpoint_write(const char *path, const nn_net *net, const model_info *info,
                                        const train_state *state, const train_config *config);

/* Reads the state of a checkpoint into *state (zero-initialised, or of an earlier call). Errors:
 * GP_ERROR_INVALID_ARGUMENT when the file is a model without training state, GP_ERROR_CORRUPT. */
GP_NODISCARD gp_status checkpoint_read_state(const model_file *file, train_state *state);

/* The ranks of the run that wrote it; 1 where that is not known, as in older ones. */
int64_t checkpoint_ranks(const model_file *file);

/* Lays the configuration that the checkpoint was trained with over *config (initialised); what says where or how to
 * run is left alone. */
GP_NODISCARD gp_status checkpoint_apply_config(const model_file *file, train_config *config);

/* What `path` means to --resume: a file is itself, a folder its newest checkpoint_*.safetensors by time of writing.
 * *out is for gp_free(). GP_ERROR_NOT_FOUND. */
GP_NODISCARD gp_status checkpoint_find(const char *path, char **out);

#endif
