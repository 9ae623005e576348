/* Stochastic gradient descent with momentum, by torch.optim.SGD's formulas (dampening 0):
 *   g ← g + weight_decay·p        b ← momentum·b + g
 *   p ← p − lr·b                  or, with nesterov, p ← p − lr·(g + momentum·b) */
#ifndef GP_TRAIN_SGD_H
#define GP_TRAIN_SGD_H

#include "nn/nn.h"

typedef struct sgd_desc {
  double lr, momentum, weight_decay; /* weight decay acts on every parameter, biases and batch norm included */
  bool nesterov;
} sgd_desc;

/* One step over all parameters of a trainable net; gradients are read, values and momenta updated. Every element is
 * on its own, so the result does not depend on the number of threads. Momenta start at zero, as PyTorch's first step
 * implies. */
void sgd_step(const nn_arenas *arenas, const sgd_desc *desc);

#endif
