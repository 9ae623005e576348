/* Model files: safetensors of a net's state under its PyTorch names, with what is needed to build the net again and to
 * feed it images in __metadata__. A plain state dict without that metadata (written from PyTorch, say) can be opened
 * too; its net must then be named by the caller. */
#ifndef GP_TRAIN_MODEL_FILE_H
#define GP_TRAIN_MODEL_FILE_H

#include "nn/nn.h"
#include "train/safetensors.h"

#include <jansson.h>

enum { MODEL_NAME_SIZE = 64, MODEL_MAX_CHANNELS = 3, MODEL_MAX_CLASSES = 1000000 };

/* Zero-initialise; model_info_clear() when done. */
typedef struct model_info {
  char arch[MODEL_NAME_SIZE], pool[MODEL_NAME_SIZE]; /* "": not known (a plain state dict) */
  char dataset[MODEL_NAME_SIZE];                     /* trained on */
  int64_t classes;
  char **class_names;              /* [classes], owned; NULL: not known */
  int64_t channels, height, width; /* of the net's input */
  bool folded;    /* batch norms are part of the layers in front of them (nn/fold.h): for inference only */
  int64_t resize; /* shorter side of test images before the crop; 0: they are of the input's size, or cut as they are */
  float mean[MODEL_MAX_CHANNELS], std[MODEL_MAX_CHANNELS]; /* normalisation of pixels scaled to 0 … 1 */
  int64_t epoch;                                           /* epochs trained; 0: not known */
  double val_loss, val_top1, val_top5;                     /* after that epoch, errors in percent; NaN: not known */
} model_info;

void model_info_clear(model_info *info);

/* Replaces classes and class_names by copies. */
GP_NODISCARD gp_status model_info_set_classes(model_info *info, int64_t classes, const char *const *names);

/* Deep copy into a zero-initialised *out. */
GP_NODISCARD gp_status model_info_copy(model_info *out, const model_info *info);

/* Builds the net of `info` (not initialised, nothing loaded). label_smoothing and zero_init_residual are of the training. */
typedef struct model_net_desc {
  int64_t batch;
  bool trainable, averaged; /* as in nn_net_desc */
  nn_precision precision;
  bool zero_init_residual;
  double label_smoothing;
} model_net_desc;
GP_NODISCARD gp_status model_net_create(nn_net **out, const model_info *info, const model_net_desc *desc);

/* A net that computes what `net`, built of `info`, does at inference, with its batch norms folded in (nn/fold.h). */
GP_NODISCARD gp_status model_net_fold(nn_net **out, const nn_net *net, const model_info *info, int64_t batch);

/* ---- Writing ---- */

/* Calls `put` with each key of the metadata that describes a net and its images, and its text: names as they are, all
 * else as JSON. Errors: those of `put`; GP_ERROR_INVALID_ARGUMENT without class names, or with ones that are no UTF-8. */
typedef gp_status (*model_metadata_put)(void *context, const char *key, const char *text);
GP_NODISCARD gp_status model_info_describe(const model_info *info, model_metadata_put put, void *context);

/* Writes state and info, atomically. Of an averaged net (nn_net_desc) the average is the model. */
GP_NODISCARD gp_status model_file_write(const char *path, const nn_net *net, const model_info *info);

/* As model_file_write(), but all that a training goes on from: the state itself, momenta ("optimizer.momentum.NAME"), of
 * an averaged net the average ("ema.NAME"), and further metadata: `extra` is an object whose values are stored as JSON
 * text. */
GP_NODISCARD gp_status model_file_write_checkpoint(const char *path, const nn_net *net, const model_info *info,
                                                   json_t *extra);

/* ---- Reading ---- */

typedef struct model_file model_file;

/* Opens and checks the file. Errors: those of safetensors_open(); GP_ERROR_CORRUPT for metadata that is ours but
 * broken. */
GP_NODISCARD gp_status model_file_open(model_file **out, const char *path);
void model_file_close(model_file **file);

const char *model_file_path(const model_file *file);

/* info->arch is "" for a plain state dict. Owned by the file. */
const model_info *model_file_info(const model_file *file);

/* Whether momenta and the state of the training are in it. */
bool model_file_is_checkpoint(const model_file *file);

/* A metadata entry as JSON (json_decref() it). GP_ERROR_NOT_FOUND, GP_ERROR_CORRUPT. */
GP_NODISCARD gp_status model_file_json(const model_file *file, const char *key, json_t **out);

/* Copies the file's state into the net: with `training` all that a checkpoint holds, else what is to be used, which is the
 * average where there is one. A net with an average takes the state for it if the file has none. GP_ERROR_INVALID_ARGUMENT with one line
 * that counts and names tensors that are missing, unexpected, or of another shape or type; the net is then unchanged.
 * A missing num_batches_tracked is allowed (PyTorch's older files have none). */
GP_NODISCARD gp_status model_file_load(const model_file *file, nn_net *net, bool training);

/* Whether there is an average in it. */
bool model_file_is_averaged(const model_file *file);

/* JSON has no NaN or infinity: a double as number or as text, exact both ways. */
json_t *model_json_double(double value);
bool model_double_from_json(const json_t *json, double *value);

#endif
