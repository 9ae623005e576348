#include "train/model_file.h"

#include "base/memory.h"
#include "base/status.h"
#include "models/models.h"
#include "nn/fold.h"
#include "train/model_tensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Info ---- */

static void free_names(char **names, int64_t count) {
  for (int64_t i = 0; names != NULL && i < count; ++i) gp_free(names[i]);
  gp_free(names);
}

void model_info_clear(model_info *info) {
  if (info == NULL) return;
  free_names(info->class_names, info->classes);
  *info = (model_info){0};
}

gp_status model_info_set_classes(model_info *info, int64_t classes, const char *const *names) {
  gp_status status = GP_OK;
  char **copies = NULL;
  if (names != NULL) GP_TRY(GP_ALLOC(&copies, (size_t)classes));
  for (int64_t i = 0; names != NULL && i < classes; ++i) GP_TRY(gp_strdup(&copies[i], names[i]));
  free_names(info->class_names, info->classes);
  info->class_names = copies;
  info->classes = classes;
  copies = NULL;
cleanup:
  free_names(copies, classes);
  return status;
}

gp_status model_info_copy(model_info *out, const model_info *info) {
  *out = *info;
  out->class_names = NULL;
  return model_info_set_classes(out, info->classes, (const char *const *)info->class_names);
}

gp_status model_net_create(nn_net **out, const model_info *info, const model_net_desc *desc) {
  gp_status status = GP_OK;
  nn_graph *graph = NULL;
  *out = NULL;
  GP_TRY(model_build(&graph, &(model_desc){.arch = info->arch,
                                           .pool = info->pool,
                                           .classes = info->classes,
                                           .channels = info->channels,
                                           .height = info->height,
                                           .width = info->width,
                                           .zero_init_residual = desc->zero_init_residual,
                                           .label_smoothing = desc->label_smoothing}));
  if (info->folded) nn_graph_fold_batch_norms(graph);
  GP_TRY(nn_net_create(out, &graph,
                       &(nn_net_desc){.batch = desc->batch,
                                      .trainable = desc->trainable,
                                      .averaged = desc->averaged,
                                      .precision = desc->precision}));
cleanup:
  nn_graph_destroy(&graph);
  return status;
}

gp_status model_net_fold(nn_net **out, const nn_net *net, const model_info *info, int64_t batch) {
  gp_status status = GP_OK;
  model_info folded = *info; /* borrows the names */
  nn_net *made = NULL;
  folded.folded = true;
  *out = NULL;
  GP_TRY(model_net_create(&made, &folded, &(model_net_desc){.batch = batch}));
  GP_TRY(nn_net_fold(made, net));
  *out = made;
  made = NULL;
cleanup:
  nn_net_destroy(&made);
  return status;
}

json_t *model_json_double(double value) {
  if (isfinite(value)) return json_real(value);
  return json_string(isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}

bool model_double_from_json(const json_t *json, double *value) {
  *value = NAN;
  if (json_is_number(json)) {
    *value = json_number_value(json);
    return true;
  }
  const char *text = json_string_value(json);
  if (text == NULL) return false;
  if (strcmp(text, "nan") == 0) return true;
  if (strcmp(text, "inf") != 0 && strcmp(text, "-inf") != 0) return false;
  *value = text[0] == '-' ? -INFINITY : INFINITY;
  return true;
}

/* ---- Opening ---- */

struct model_file {
  safetensors_file *tensors;
  model_info info;
  bool is_checkpoint;
};

const char *model_file_path(const model_file *file) { return safetensors_path(file->tensors); }
const model_info *model_file_info(const model_file *file) { return &file->info; }
bool model_file_is_checkpoint(const model_file *file) { return file->is_checkpoint; }

gp_status model_file_json(const model_file *file, const char *key, json_t **out) {
  *out = NULL;
  const char *text = NULL;
  gp_status status = safetensors_require_metadata(file->tensors, key, &text);
  if (status != GP_OK) return status;
  json_error_t error;
  *out = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
  if (*out != NULL) return GP_OK;
  return gp_fail(GP_ERROR_CORRUPT, "%s: metadata %s is no JSON: %s", model_file_path(file), key, error.text);
}

static gp_status wrong_metadata(const model_file *file, const char *key, const char *expected) {
  return gp_fail(GP_ERROR_CORRUPT, "%s: metadata %s: expected %s, found %s", model_file_path(file), key, expected,
                 safetensors_metadata(file->tensors, key));
}

static gp_status read_name(const model_file *file, const char *key, char out[MODEL_NAME_SIZE]) {
  const char *text = NULL;
  gp_status status = safetensors_require_metadata(file->tensors, key, &text);
  if (status != GP_OK) return status;
  const size_t length = strlen(text);
  if (length == 0 || length >= MODEL_NAME_SIZE) return wrong_metadata(file, key, "a name of 1 to 63 characters");
  memcpy(out, text, length + 1);
  return GP_OK;
}

/* Of a pooling with two names, files may hold either. */
static void use_plain_pool(model_info *info) {
  const char *plain = model_pool_plain_name(info->pool);
  if (plain != info->pool) snprintf(info->pool, sizeof info->pool, "%s", plain);
}

static gp_status read_integers(const model_file *file, const char *key, int64_t *out, size_t count, int64_t limit) {
  json_t *json = NULL;
  gp_status status = model_file_json(file, key, &json);
  if (status != GP_OK) return status;
  bool good = json_is_array(json) && json_array_size(json) == count;
  for (size_t i = 0; good && i < count; ++i) {
    const json_t *item = json_array_get(json, i);
    out[i] = json_integer_value(item);
    good = json_is_integer(item) && out[i] >= 1 && out[i] <= limit;
  }
  json_decref(json);
  return good ? GP_OK : wrong_metadata(file, key, "positive integers");
}

static gp_status read_floats(const model_file *file, const char *key, float *out, size_t count) {
  json_t *json = NULL;
  gp_status status = model_file_json(file, key, &json);
  if (status != GP_OK) return status;
  bool good = json_is_array(json) && json_array_size(json) == count;
  for (size_t i = 0; good && i < count; ++i) {
    const json_t *item = json_array_get(json, i);
    out[i] = (float)json_number_value(item);
    good = json_is_number(item) && isfinite(out[i]);
  }
  json_decref(json);
  return good ? GP_OK : wrong_metadata(file, key, "a number for each channel");
}

static gp_status read_classes(const model_file *file, model_info *info) {
  gp_status status = GP_OK;
  const char **names = NULL;
  json_t *json = NULL;
  int64_t classes = 0;
  GP_TRY(model_file_json(file, "class_names", &json));
  classes = (int64_t)json_array_size(json);
  if (classes < 1 || classes > MODEL_MAX_CLASSES)
    GP_TRY(wrong_metadata(file, "class_names", "an array of at least one name"));
  GP_TRY(GP_ALLOC(&names, (size_t)classes));
  for (int64_t i = 0; i < classes; ++i) {
    names[i] = json_string_value(json_array_get(json, (size_t)i));
    if (names[i] == NULL) GP_TRY(wrong_metadata(file, "class_names", "an array of strings"));
  }
  GP_TRY(model_info_set_classes(info, classes, names));
cleanup:
  gp_free(names);
  json_decref(json);
  return status;
}

static gp_status read_validation(const model_file *file, model_info *info) {
  json_t *json = NULL;
  gp_status status = model_file_json(file, "validation", &json);
  if (status != GP_OK) return status;
  const bool good = model_double_from_json(json_object_get(json, "loss"), &info->val_loss) &&
                    model_double_from_json(json_object_get(json, "top1"), &info->val_top1) &&
                    model_double_from_json(json_object_get(json, "top5"), &info->val_top5) &&
                    json_is_integer(json_object_get(json, "epoch"));
  info->epoch = json_integer_value(json_object_get(json, "epoch"));
  json_decref(json);
  return good ? GP_OK : wrong_metadata(file, "validation", "epoch, loss, top1 and top5");
}

/* Only folded nets say so. */
static gp_status read_folded(const model_file *file, model_info *info) {
  const char *text = safetensors_metadata(file->tensors, MODEL_BATCH_NORMS);
  info->folded = text != NULL;
  if (text == NULL || strcmp(text, MODEL_FOLDED) == 0) return GP_OK;
  return wrong_metadata(file, MODEL_BATCH_NORMS, MODEL_FOLDED);
}

static gp_status read_info(model_file *file) {
  gp_status status = GP_OK;
  model_info *info = &file->info;
  int64_t shape[3] = {0};
  const char *kind = NULL;
  info->val_loss = info->val_top1 = info->val_top5 = NAN;
  const char *format = safetensors_metadata(file->tensors, "format");
  if (format == NULL || strcmp(format, "gausspool") != 0) return GP_OK; /* a plain state dict */
  GP_TRY(safetensors_require_metadata(file->tensors, "kind", &kind));
  file->is_checkpoint = strcmp(kind, "checkpoint") == 0;
  GP_TRY(read_name(file, "arch", info->arch));
  GP_TRY(read_name(file, "pool", info->pool));
  use_plain_pool(info);
  GP_TRY(read_name(file, "dataset", info->dataset));
  GP_TRY(read_classes(file, info));
  GP_TRY(read_folded(file, info));
  GP_TRY(read_integers(file, "input_shape", shape, 3, 1 << 14));
  if (shape[0] > MODEL_MAX_CHANNELS) GP_TRY(wrong_metadata(file, "input_shape", "at most 3 channels"));
  info->channels = shape[0];
  info->height = shape[1];
  info->width = shape[2];
  if (safetensors_metadata(file->tensors, "resize") != NULL)
    GP_TRY(read_integers(file, "resize", &info->resize, 1, 1 << 14));
  GP_TRY(read_floats(file, "mean", info->mean, (size_t)shape[0]));
  GP_TRY(read_floats(file, "std", info->std, (size_t)shape[0]));
  for (int64_t c = 0; c < shape[0]; ++c)
    if (!(info->std[c] > 0)) GP_TRY(wrong_metadata(file, "std", "numbers above 0"));
  GP_TRY(read_validation(file, info));
cleanup:
  return status;
}

gp_status model_file_open(model_file **out, const char *path) {
  gp_status status = GP_OK;
  model_file *file = NULL;
  *out = NULL;
  GP_TRY(GP_ALLOC(&file, 1));
  GP_TRY(safetensors_open(&file->tensors, path));
  GP_TRY(read_info(file));
  *out = file;
  file = NULL;
cleanup:
  model_file_close(&file);
  return status;
}

void model_file_close(model_file **file) {
  if (file == NULL || *file == NULL) return;
  safetensors_close(&(*file)->tensors);
  model_info_clear(&(*file)->info);
  gp_free(*file);
  *file = NULL;
}

gp_status model_file_load(const model_file *file, nn_net *net, bool training) {
  return model_tensors_load(file->tensors, net, training);
}

bool model_file_is_averaged(const model_file *file) { return model_tensors_averaged(file->tensors); }
