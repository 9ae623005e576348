/* The table of a plan's layers: where a step's time goes. */
#ifndef GP_TRAIN_PROFILE_H
#define GP_TRAIN_PROFILE_H

#include <stdio.h>

#include "nn/nn.h"

/* Of the steps of a plan of `batch` samples since nn_plan_time(): for each layer that took time milliseconds a step
 * forward and backward, arithmetic (two operations a multiply-add; going backward as many for each gradient) and bytes (inputs, output and
 * parameters; going backward also their gradients) a second, and its share of the layers' time, longest first. Errors:
 * GP_ERROR_OUT_OF_MEMORY. */
GP_NODISCARD gp_status profile_print(FILE *out, const nn_net *net, const nn_plan *plan, int64_t batch);

/* The same into a file, whole or not at all. */
GP_NODISCARD gp_status profile_write(const char *path, const nn_net *net, const nn_plan *plan, int64_t batch);

#endif
