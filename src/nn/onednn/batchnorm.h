/* What the stored and the unstored batch norm have in common. */
#ifndef GP_NN_ONEDNN_BATCHNORM_H
#define GP_NN_ONEDNN_BATCHNORM_H

#include "nn/device.h"

/* Training needs more than one value per channel: GP_ERROR_INVALID_ARGUMENT. */
GP_NODISCARD gp_status od_check_batch_norm(const nn_kernel_desc *desc);

/* M / (M - 1), which makes the biased variance of M values the unbiased one. */
float od_unbias(const nn_kernel_desc *desc);
float od_unbias_of(double values);

/* Moves the running statistics: running = (1 - momentum)·running + momentum·batch, the variance unbiased, and counts the
 * batch. Statistics that are not finite make the loss NaN: a ReLU that turns NaN into 0 would hide that a net has
 * diverged. */
void od_follow_statistics(nn_kernel *k, int64_t channels, float momentum, float unbias, const float *mean,
                          const float *variance);

#endif
