/* A net compiled for a pass over a data set: one plan for whole batches, one for the last, smaller one. */
#ifndef GP_TRAIN_PLANS_H
#define GP_TRAIN_PLANS_H

#include "nn/nn.h"

/* Zero-initialise; train_plans_clear() when done, before the net. */
typedef struct train_plans {
  nn_plan *full, *rest; /* NULL where no batch has that size */
  int64_t full_count, rest_count;
} train_plans;

typedef struct train_plans_desc {
  nn_mode mode;
  int64_t batch, samples; /* batch size; samples of the pass */
  bool drop_last;
} train_plans_desc;

/* GP_ERROR_INVALID_ARGUMENT when there is no batch at all, or the last one is too small to train on. */
GP_NODISCARD gp_status train_plans_create(train_plans *plans, nn_net *net, const train_plans_desc *desc);
void train_plans_clear(train_plans *plans);

/* The plan for a batch of `count`. */
GP_NODISCARD gp_status train_plans_get(const train_plans *plans, int64_t count, nn_plan **plan);

#endif
