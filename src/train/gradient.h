/* The gradient of a batch's mean loss, taken in one piece or in parts that are added up. */
#ifndef GP_TRAIN_GRADIENT_H
#define GP_TRAIN_GRADIENT_H

#include "data/loader.h"
#include "train/meter.h"
#include "train/plans.h"

typedef struct train_gradient_desc {
  const train_plans *plans; /* NN_TRAIN, one for each size of a part */
  const nn_net *net;
  float *sum;        /* as many floats as the net's arenas; NULL where batches are in one piece */
  nn_step_desc step; /* first_sample: of the batch */
} train_gradient_desc;

/* Takes a batch, or the next part of one in their order, and adds it to *meter. *loss is 0 before the first part and grows by
 * each one's share of the batch's mean loss; the last part leaves the gradient of that in the net's gradient arena. With several
 * parts it is Σ (n_i/n)·g_i: that of the whole batch, rounded otherwise, if the net has no batch norm. With batch norm
 * each part is normalised by its own statistics, and the running statistics take a step for each, as on as many devices. Draws
 * are the same either way. */
GP_NODISCARD gp_status train_gradient(const train_gradient_desc *desc, const data_batch *part, train_meter *meter,
                                      double *loss);

#endif
