/* A running average of a net's weights, which is tested and kept in place of the weights themselves (Polyak averaging):
 *   a ← a + (1 − decay)·(x − a)
 * over parameters and running statistics, as timm's ModelEma and torchvision's ExponentialMovingAverage have it. */
#ifndef GP_TRAIN_AVERAGE_H
#define GP_TRAIN_AVERAGE_H

#include "nn/nn.h"

/* All for nets created `averaged`. Every element is on its own, whatever the number of threads. */

/* The average is what the weights are. */
void weight_average_start(const nn_arenas *arenas);

/* Takes in the weights after a step; decay in [0, 1). */
void weight_average_update(const nn_arenas *arenas, double decay);

/* Puts the average where the weights are and the weights where it was; called again, everything is as before. */
void weight_average_swap(const nn_arenas *arenas);

#endif
