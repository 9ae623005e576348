/* Batch statistics of several processes together (nn_sync): what the stored and the unstored batch norm need for it. */
#ifndef GP_NN_ONEDNN_SYNC_H
#define GP_NN_ONEDNN_SYNC_H

#include "nn/device.h"
#include "nn/onednn/lanes.h"

/* Zero-initialise. Without `sync` a batch norm is on its own, and none of the functions below are to be called. */
typedef struct od_sync {
  const nn_sync *sync;
  nn_tensor tensor;
  od_lanes lanes;
  double values; /* per channel in all processes, of the last od_sync_moments() */
} od_sync;

od_sync od_sync_of(const nn_kernel_desc *desc);

/* Scratch memory; 0 without `sync`. */
size_t od_sync_forward_bytes(const od_sync *s);
size_t od_sync_backward_bytes(const od_sync *s);

/* mean[c] and biased variance[c] over all processes, one that has none of the batch left out. Sums go round as Σ (x - p) and
 * Σ (x - p)² in double, p the running mean, which all have alike: so a large mean costs no digits. */
GP_NODISCARD gp_status od_sync_moments(od_sync *s, const nn_kernel *k, void *scratch, float *mean, float *variance);

/* sums[count] ← those over all processes; this one's count nothing if it has none of the batch, and then its inputs have no part
 * in the statistics: sums that go into the gradient of its input are 0 for it. */
GP_NODISCARD gp_status od_sync_gradient_sums(const od_sync *s, const nn_kernel *k, double *sums, int64_t count);

/* What is missing in grad_x where the statistics were taken for constants: with g the gradient at the output, local
 * Σ g·x̂ and Σ g in `weight` and `bias`, and those of all processes as Σ:
 *   grad_x -= scale·inverse·(Σ g/M + x̂·Σ g·x̂/M),  x̂ = (x - mean)·inverse. */
GP_NODISCARD gp_status od_sync_gradient(const od_sync *s, const nn_kernel *k, void *scratch, double eps,
                                        const float *mean, const float *variance, void *grad_x);

#endif
