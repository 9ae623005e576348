#include "base/memory.h"
#include "base/status.h"
#include "train/model_file.h"
#include "train/model_tensors.h"

#include <stdlib.h>

/* Where metadata goes. */
typedef struct metadata_sink {
  model_metadata_put put;
  void *context;
} metadata_sink;

static gp_status put_into_file(void *writer, const char *key, const char *text) {
  return safetensors_writer_metadata(writer, key, text);
}

static gp_status put_text(const metadata_sink *sink, const char *key, const char *text) {
  return sink->put(sink->context, key, text);
}

/* Puts `value` as JSON text; takes the reference over, also when it fails. Reals with 17 digits read back exactly. */
static gp_status put_json(const metadata_sink *sink, const char *key, json_t *value) {
  char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
  json_decref(value);
  if (text == NULL)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "metadata %s cannot be written as JSON (no UTF-8, or out of memory)",
                   key);
  gp_status status = put_text(sink, key, text);
  free(text); /* jansson's allocation */
  return status;
}

static json_t *names_json(const model_info *info) {
  json_t *array = json_array();
  for (int64_t i = 0; i < info->classes; ++i) {
    if (json_array_append_new(array, json_string(info->class_names[i])) == 0) continue;
    json_decref(array); /* a name that is no UTF-8 */
    return NULL;
  }
  return array;
}

static json_t *floats_json(const float *values, int64_t count) {
  json_t *array = json_array();
  for (int64_t i = 0; i < count; ++i) json_array_append_new(array, json_real((double)values[i]));
  return array;
}

gp_status model_info_describe(const model_info *info, model_metadata_put put, void *context) {
  gp_status status = GP_OK;
  const metadata_sink to = {put, context}, *sink = &to;
  if (info->class_names == NULL) GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "a model file needs its classes' names"));
  GP_TRY(put_text(sink, "arch", info->arch));
  GP_TRY(put_text(sink, "pool", info->pool));
  GP_TRY(put_text(sink, "dataset", info->dataset));
  GP_TRY(put_json(sink, "classes", json_integer(info->classes)));
  GP_TRY(put_json(sink, "class_names", names_json(info)));
  GP_TRY(put_json(sink, "input_shape",
                  json_pack("[III]", (json_int_t)info->channels, (json_int_t)info->height, (json_int_t)info->width)));
  if (info->resize > 0) GP_TRY(put_json(sink, "resize", json_pack("[I]", (json_int_t)info->resize)));
  if (info->folded) GP_TRY(put_text(sink, MODEL_BATCH_NORMS, MODEL_FOLDED));
  GP_TRY(put_json(sink, "mean", floats_json(info->mean, info->channels)));
  GP_TRY(put_json(sink, "std", floats_json(info->std, info->channels)));
  GP_TRY(
      put_json(sink, "validation",
               json_pack("{sI so so so}", "epoch", (json_int_t)info->epoch, "loss", model_json_double(info->val_loss),
                         "top1", model_json_double(info->val_top1), "top5", model_json_double(info->val_top5))));
cleanup:
  return status;
}

static gp_status write_file(const char *path, const nn_net *net, const model_info *info, bool checkpoint,
                            json_t *extra) {
  gp_status status = GP_OK;
  safetensors_writer *writer = NULL;
  char *buffer = NULL;
  const char *key;
  json_t *value;
  GP_TRY(safetensors_writer_create(&writer));
  GP_TRY(safetensors_writer_metadata(writer, "format", "gausspool"));
  GP_TRY(safetensors_writer_metadata(writer, "version", gp_version()));
  GP_TRY(safetensors_writer_metadata(writer, "kind", checkpoint ? "checkpoint" : "model"));
  GP_TRY(model_info_describe(info, put_into_file, writer));
  const metadata_sink sink = {put_into_file, writer};
  json_object_foreach(extra, key, value) GP_TRY(put_json(&sink, key, json_incref(value)));
  GP_TRY(GP_ALLOC(&buffer, model_tensors_bytes(net, checkpoint)));
  GP_TRY(model_tensors_add(writer, net, checkpoint, buffer));
  GP_TRY(safetensors_writer_commit(writer, path));
cleanup:
  safetensors_writer_destroy(&writer);
  gp_free(buffer);
  return status;
}

gp_status model_file_write(const char *path, const nn_net *net, const model_info *info) {
  return write_file(path, net, info, false, NULL);
}

gp_status model_file_write_checkpoint(const char *path, const nn_net *net, const model_info *info, json_t *extra) {
  return write_file(path, net, info, true, extra);
}
