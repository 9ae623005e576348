/* The gradient of a batch's mean loss, taken in one piece or in parts that are added up. */
#ifndef GP_TRAIN_GRADIENT_H
#define GP_TRAIN_GRADIENT_H

#include "data/loader.h"
#include "train/meter.h"
#include "train/plans.h"

typedef struct train_gradient_desc {
  const train_plans *plans; /* NN_TRAIN; they say how the batch is cut */
  const nn_net *net;
  float *sum;        /* as many floats as the net's arenas; NULL where no batch has more than one part */
  nn_step_desc step; /* first_sample: of the batch */
} train_gradient_desc;

/* Leaves the gradient of the batch's mean loss in the net's gradient arena, adds the batch to *meter, and gives its mean
 * loss. With several parts the gradient is Σ (n_i/n)·g_i: that of the whole batch, rounded otherwise, if the net has no batch
 * norm. With batch norm each part is normalised by its own statistics, and the running statistics take a step for each,
 * as on as many devices. Draws are the same either way. A loss that is not finite ends the work: *loss tells,
 * and the gradient is not to be used. */
GP_NODISCARD gp_status train_gradient(const train_gradient_desc *desc, const data_batch *batch, train_meter *meter,
                                      double *loss);

#endif
