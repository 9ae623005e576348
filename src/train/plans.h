/* A net compiled for a pass over a data set: a plan for whole batches, and others for the last, smaller one. A batch may
 * be taken in parts (data/parts.h), one after the other, for the memory of a part's activations. */
#ifndef GP_TRAIN_PLANS_H
#define GP_TRAIN_PLANS_H

#include "data/parts.h"
#include "nn/nn.h"

/* Two sizes of parts of a whole batch and two of the last one's, cut as evenly as can be; and one for a lone sample. */
enum { TRAIN_MAX_PLANS = 5 };

/* Zero-initialise; train_plans_clear() when done, before the net. */
typedef struct train_plans {
  struct {
    nn_plan *plan;
    int64_t batch;
    bool lone; /* with desc.sync: of a part of one sample in all shares together */
  } plans[TRAIN_MAX_PLANS];
  int32_t count;
  int64_t largest; /* part */
} train_plans;

typedef struct train_plans_desc {
  nn_mode mode;
  int64_t batch, samples; /* batch size; samples of the pass */
  int64_t parts;          /* into which a whole batch is cut; must divide `batch`. 0: 1 */
  data_share share;       /* of several ranks; a share of batches may have none of them, and no plan */
  const nn_sync *sync;    /* as in nn_plan_desc */
  bool drop_last;
  bool reserve_later; /* as in nn_plan_desc */
} train_plans_desc;

/* GP_ERROR_INVALID_ARGUMENT when there is no batch at all, or a part of the last one is too small to train on. */
GP_NODISCARD gp_status train_plans_create(train_plans *plans, nn_net *net, const train_plans_desc *desc);
void train_plans_clear(train_plans *plans);

/* The plan for a part (with one part a batch: for a batch) of `count`. */
GP_NODISCARD gp_status train_plans_get(const train_plans *plans, int64_t count, nn_plan **plan);

/* That for the fewest samples. There must be one. */
GP_NODISCARD gp_status train_plans_smallest(const train_plans *plans, nn_plan **plan);

/* Makes room for the activations of all of them, after reserve_later. GP_ERROR_OUT_OF_MEMORY. */
GP_NODISCARD gp_status train_plans_reserve(const train_plans *plans);

/* Bytes of the activation arena that all of them need. */
size_t train_plans_activation_bytes(const train_plans *plans);

#endif
