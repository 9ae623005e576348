/* A batch norm with its ReLU that is not stored: whoever reads it applies it to the batch norm's own input x,
 *
 *   activation = max(0, scale·x + shift)   scale = weight / sqrt(variance + eps), shift = bias - scale·mean,
 *
 * and hands back sums from which the batch norm makes its gradients. All arrays lie in the batch norm's saved memory,
 * [c] with c rounded up to whole blocks of any layout; what lies past the last channel is zero. */
#ifndef GP_NN_AFFINE_H
#define GP_NN_AFFINE_H

#include <stddef.h>
#include <stdint.h>

typedef struct nn_affine {
  int64_t channels; /* rounded up: the length of each array */
  /* Set by the batch norm's forward pass. */
  float *scale, *shift;
  float *mean, *inverse; /* of x; 1 / sqrt(variance + eps) */
  /* In training: sums over batch and positions, with g the activation's gradient where the ReLU lets it pass. */
  float *grad_scale, *grad_shift; /* of the pooling's g: Σ g·x and Σ g; it overwrites them */
  float *centred, *sum;           /* of the averages' g: Σ g·(x - mean) and Σ g; they add to them */
  float *spread;                  /* [batch][c]: the averages' g, the same all over a map; they add to it */
} nn_affine;

enum { NN_AFFINE_ROUND = 16, NN_AFFINE_ARRAYS = 8 };

static inline int64_t nn_affine_channels(int64_t channels) {
  return (channels + NN_AFFINE_ROUND - 1) / NN_AFFINE_ROUND * NN_AFFINE_ROUND;
}

/* Floats it takes; batch 0 for one without gradients. */
static inline size_t nn_affine_floats(int64_t channels, int64_t batch) {
  return (size_t)nn_affine_channels(channels) * (size_t)(NN_AFFINE_ARRAYS + batch);
}

/* The arrays in memory of that size. */
static inline nn_affine nn_affine_at(void *memory, int64_t channels) {
  int64_t c = nn_affine_channels(channels);
  float *at = memory;
  return (nn_affine){.channels = c,
                     .scale = at,
                     .shift = at + c,
                     .mean = at + 2 * c,
                     .inverse = at + 3 * c,
                     .grad_scale = at + 4 * c,
                     .grad_shift = at + 5 * c,
                     .centred = at + 6 * c,
                     .sum = at + 7 * c,
                     .spread = at + 8 * c};
}

#endif
