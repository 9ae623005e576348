/* What the ranks of a training do together (dist/comm.h): begin alike, add up gradients while they are computed, statistics and
 * counts, and stop after the same step. Private to the loop. */
#ifndef GP_TRAIN_RANKS_H
#define GP_TRAIN_RANKS_H

#include "data/parts.h"
#include "dist/machine.h"
#include "dist/reducer.h"
#include "nn/nn.h"
#include "train/meter.h"
#include "train/observer.h"

/* Zero-initialise. */
typedef struct train_ranks {
  dist_comm *comm; /* the caller's */
  dist_machine machine;
  nn_sync sync;
  bool synchronised;
  data_share samples, batches; /* this rank's */
  dist_reducer *reducer;       /* of the gradients */
  dist_request statistics;
  struct train_rank_report *reports; /* [ranks], of a step */
  int stop;                          /* the signal by which some rank was asked to stop, as of the last step; 0: none */
} train_ranks;

/* `synchronised`: batch norms take the statistics of all ranks. */
GP_NODISCARD gp_status train_ranks_open(train_ranks *ranks, dist_comm *comm, bool synchronised);
void train_ranks_close(train_ranks *ranks);

static inline bool train_ranks_alone(const train_ranks *ranks) { return dist_size(ranks->comm) == 1; }
static inline bool train_ranks_first(const train_ranks *ranks) { return dist_rank(ranks->comm) == 0; }
static inline bool train_ranks_synchronised(const train_ranks *ranks) { return ranks->synchronised; }

/* For nn_plan_desc: NULL where each rank normalises by itself. */
const nn_sync *train_ranks_sync(const train_ranks *ranks);

/* Of a trainable net, before the first step. */
GP_NODISCARD gp_status train_ranks_prepare(train_ranks *ranks, const nn_net *net, size_t bucket_bytes, bool bfloat16);

/* Rank 0's parameters, momenta, averages and running statistics become those of all. */
GP_NODISCARD gp_status train_ranks_broadcast_net(train_ranks *ranks, const nn_net *net);

/* GP_ERROR_LIBRARY naming the ranks unless all have the same parameters, to the bit. */
GP_NODISCARD gp_status train_ranks_check_replicas(train_ranks *ranks, const nn_net *net);

/* GP_ERROR_INVALID_ARGUMENT naming the rank and `what` it has other than rank 0, unless all have the same text. */
GP_NODISCARD gp_status train_ranks_check_alike(train_ranks *ranks, const char *what, const char *text);

/* *bytes becomes the most that any rank has given. */
GP_NODISCARD gp_status train_ranks_most(train_ranks *ranks, uint64_t *bytes);

/* When each bucket of gradients was on its way, and what was waited for in the end; nothing where this rank is alone. */
void train_ranks_tell_times(const train_ranks *ranks, const train_observer *observer);

/* ---- A step, in this order ---- */

/* Before the backward pass of the batch's last part. */
void train_ranks_begin(train_ranks *ranks);

/* After its forward pass, of a batch of so many samples: running statistics become the mean of the ranks', by their shares of it. Where
 * they are synchronised they are alike already. */
GP_NODISCARD gp_status train_ranks_statistics(train_ranks *ranks, const nn_net *net, int64_t whole);

/* Gradients from `first` on are final. Begins to add up those of a bucket once they all are. */
GP_NODISCARD gp_status train_ranks_gradients(train_ranks *ranks, size_t first);

/* *meter, of this rank's samples of the batch, becomes that of all. Then the sums of gradients and statistics are there. */
GP_NODISCARD gp_status train_ranks_finish(train_ranks *ranks, train_meter *meter);

#endif
