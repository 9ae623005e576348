/* The gradient of a batch's mean loss, taken in one piece or in parts that are added up. */
#ifndef GP_TRAIN_GRADIENT_H
#define GP_TRAIN_GRADIENT_H

#include "data/loader.h"
#include "train/meter.h"
#include "train/plans.h"
#include "train/ranks.h"

typedef struct train_gradient_desc {
  const train_plans *plans; /* NN_TRAIN, one for each size of a part */
  const nn_net *net;
  float *sum;        /* as many floats as the net's arenas; NULL where batches are in one piece */
  nn_step_desc step; /* first_sample: of the batch */
  train_ranks
      *ranks; /* that share the batch: the last part's backward pass begins to add up their gradients; NULL: alone */
} train_gradient_desc;

/* Takes a batch, or the next part of one in their order, and adds it to *meter, its losses as Σ over its samples; the last part leaves
 * the gradient of the batch's mean loss, of several ranks this one's share of it, in the net's gradient arena. With several
 * parts that is Σ (n_i/n)·g_i: that of the whole batch, rounded otherwise, if the net has no batch norm. With batch norm
 * each part is normalised by its own statistics, and the running statistics take a step for each, as on as many devices. Draws
 * are the same either way. */
GP_NODISCARD gp_status train_gradient(const train_gradient_desc *desc, const data_batch *part, train_meter *meter);

#endif
