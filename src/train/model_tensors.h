/* Between a net's state and the tensors of a model file. Private to the model file. */
#ifndef GP_TRAIN_MODEL_TENSORS_H
#define GP_TRAIN_MODEL_TENSORS_H

#include "nn/nn.h"
#include "train/safetensors.h"

/* Bytes of a dense copy of what a model file, or a checkpoint, holds. */
size_t model_tensors_bytes(const nn_net *net, bool checkpoint);

/* Copies it into `buffer` (of so many bytes) and adds its tensors to the writer. */
GP_NODISCARD gp_status model_tensors_add(safetensors_writer *writer, const nn_net *net, bool checkpoint, void *buffer);

/* See model_file_load() and model_file_is_averaged(). */
GP_NODISCARD gp_status model_tensors_load(const safetensors_file *file, nn_net *net, bool training);
bool model_tensors_averaged(const safetensors_file *file);

#endif
