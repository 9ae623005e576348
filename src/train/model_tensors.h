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

/* The metadata of a model whose batch norms are folded. */
#define MODEL_BATCH_NORMS "batch_norms"
#define MODEL_FOLDED      "folded"

/* ---- One tensor ---- */

#define MODEL_AVERAGE_PREFIX "ema."

/* Of the same type and shape. */
bool model_tensor_fits(const safetensors_info *tensor, const nn_state_info *state);

/* Says in what they differ; returns the text. */
enum { MODEL_DIFFERENCE_SIZE = 192 };
const char *model_tensor_difference(const safetensors_info *tensor, const nn_state_info *state,
                                    char text[MODEL_DIFFERENCE_SIZE]);

/* num_batches_tracked, which older files have not. */
bool model_tensor_may_be_missing(const char *name);

/* Whether a file's tensor is no part of the model itself: the optimizer's, or an average. */
bool model_tensor_is_of_training(const char *name);

/* GP_ERROR_CORRUPT for NaN and infinity: a net with such numbers computes nothing, and would not say so. */
GP_NODISCARD gp_status model_tensor_check_finite(const safetensors_file *file, const safetensors_info *tensor);

#endif
