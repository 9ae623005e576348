/* What a training run works with, opened and allocated before its first step. Private to the loop. */
#ifndef GP_TRAIN_SESSION_H
#define GP_TRAIN_SESSION_H

#include "data/loader.h"
#include "train/checkpoint.h"
#include "train/plans.h"
#include "train/ranks.h"
#include "train/report.h"
#include "train/schedule.h"
#include "train/sgd.h"

typedef struct train_session {
  train_config chosen;            /* as configured, but for what --memory-limit decides and the pooling's
                                     plain name; its strings are not its own */
  const train_config *config;     /* that */
  const train_observer *observer; /* rank 0's; may be NULL, on other ranks is */
  const train_observer *witness;  /* every rank's, for what only one of them knows */
  train_ranks ranks;
  data_source *train_source, *test_source;
  data_loader *train_loader, *test_loader;
  nn_net *net;
  train_plans train_plans, test_plans;
  float *gradient_sum;  /* of the parts of a batch; NULL without --accumulate */
  sgd_range *undecayed; /* parameters without weight decay; NULL: none */
  size_t undecayed_count;
  train_schedule schedule;
  int64_t batches;    /* of an epoch */
  int64_t labels;     /* a hash of the training set's */
  int64_t bad_images; /* left out so far */
  model_info info;
  train_state state;
  char *resumed_from;   /* the checkpoint's path; NULL: a fresh run, or config->evaluate */
  train_report *report; /* NULL with config->evaluate */
  int folder;           /* out_dir, opened and locked against other runs; -1: not */
  bool over_earlier;    /* a fresh run in the folder of an earlier one, whose checkpoints are still there */
} train_session;

/* Builds everything the configuration names and resumes if it says so; a failure on one rank is one on all. On failure *session is still good for
 * train_session_close(). */
GP_NODISCARD gp_status train_session_open(train_session *session, const train_config *config,
                                          const train_observer *observer, dist_comm *comm);
void train_session_close(train_session *session);

/* Opens the sources and describes the model in session->info; the first thing to be done. */
GP_NODISCARD gp_status train_session_open_sources(train_session *session);
GP_NODISCARD gp_status train_session_open_loaders(train_session *session);

/* The loader of a split, as the configuration wants it. Training batches come in the parts that --accumulate says.
 * Nobody is told of bad images yet. */
data_loader_desc train_session_loader_desc(const train_session *session, data_split split);

/* The net and its plans, which do not have their memory yet. With --memory-limit, unless the run goes on from a checkpoint of as many ranks
 * or --accumulate is given, in as many parts of a batch as it takes to stay below it. GP_ERROR_OUT_OF_MEMORY if none do. Without, parts of
 * a checkpoint of another number of ranks become the nearest that there can be. All ranks call it together, and all have one
 * outcome (dist_agree()). */
GP_NODISCARD gp_status train_session_build(train_session *session);

/* Bytes of memory that the run takes, in all. */
uint64_t train_session_memory(const train_session *session);

/* Before the loaders are opened: GP_ERROR_OUT_OF_MEMORY if their batches alone cannot fit, unless config->space_check is
 * off. */
GP_NODISCARD gp_status train_session_check_batches(const train_session *session);

/* Tells what memory and disk the run will need, and refuses what cannot fit, unless config->space_check is off. Before
 * the plans have taken their memory; out_dir must exist. */
GP_NODISCARD gp_status train_session_check_space(train_session *session);

int64_t train_test_batch_size(const train_config *config);

/* Samples that are computed at once: of the rank's share of a batch, or of a part of that. */
int64_t train_session_part_size(const train_session *session);

/* Removes the checkpoints that an earlier run left in out_dir: every checkpoint_epochNNN.safetensors but `kept`. */
GP_NODISCARD gp_status train_session_clear_earlier(train_session *session, const char *kept);

/* out_dir/NAME, for gp_free(). */
GP_NODISCARD gp_status train_session_path(const train_session *session, const char *name, char **out);

#define TRAIN_BEST_NAME    "model_best.safetensors"
#define TRAIN_PROFILE_NAME "profile.txt"
#define TRAIN_LAST_NAME    "checkpoint_last.safetensors"

#endif
