/* Stochastic gradient descent with momentum, by torch.optim.SGD's formulas (dampening 0):
 *   g ← g + weight_decay·p        b ← momentum·b + g
 *   p ← p − lr·b                  or, with nesterov, p ← p − lr·(g + momentum·b) */
#ifndef GP_TRAIN_SGD_H
#define GP_TRAIN_SGD_H

#include "nn/nn.h"

/* A stretch of the arenas, in floats. */
typedef struct sgd_range {
  size_t first, count;
} sgd_range;

typedef struct sgd_desc {
  double lr, momentum;
  double weight_decay;        /* acts on every parameter, biases and batch norm included, but for these: */
  const sgd_range *undecayed; /* ascending, without overlap; NULL with count 0 */
  size_t undecayed_count;
  bool nesterov;
} sgd_desc;

/* One step over all parameters of a trainable net; gradients are read, values and momenta updated. Every element is
 * on its own, so the result does not depend on the number of threads. Momenta start at zero, as PyTorch's first step
 * implies. */
void sgd_step(const nn_arenas *arenas, const sgd_desc *desc);

/* Where the vectors and scalars among the net's parameters lie: biases, and weights of batch norms. *out is for gp_free(). */
GP_NODISCARD gp_status sgd_find_vectors(const nn_net *net, sgd_range **out, size_t *count);

#endif
