/* Beginning with the weights of another training. */
#ifndef GP_TRAIN_PRETRAINED_H
#define GP_TRAIN_PRETRAINED_H

#include "nn/nn.h"
#include "train/observer.h"

/* Takes from a safetensors file (a model, a checkpoint, a plain state dict) every tensor that the net has under the same
 * name and with the same shape; of an averaged checkpoint the average. All else stays as it is: the pooling's own parameters
 * where the file is of a net without, a classifier for another number of classes. Says by message what was taken and
 * what not. Errors: those of safetensors_open(); GP_ERROR_INVALID_ARGUMENT when not one parameter fits, GP_ERROR_CORRUPT
 * for numbers that are not finite; the net is then unchanged. */
GP_NODISCARD gp_status pretrained_load(const char *path, nn_net *net, const train_observer *observer);

#endif
