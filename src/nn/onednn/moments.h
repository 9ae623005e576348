/* Mean and variance of each channel, as batch norm wants them. */
#ifndef GP_NN_ONEDNN_MOMENTS_H
#define GP_NN_ONEDNN_MOMENTS_H

#include "nn/device.h"

/* Scratch memory that od_moments needs. */
size_t od_moments_bytes(const nn_tensor *tensor);

/* mean[c] and the biased variance[c] over batch, height and width of x, in one pass over it. Tiles are summed around a
 * pivot of their own in float and joined in double (Chan, Golub and LeVeque 1979), so a large mean costs no digits; the
 * result does not depend on the number of threads. What is not finite in a channel makes its results so. */
void od_moments(const nn_tensor *tensor, const void *x, void *scratch, float *mean, float *variance);

#endif
