#include "train/checkpoint.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/file.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

void train_state_clear(train_state *state) {
  gp_free(state->history);
  *state = (train_state){0};
}

gp_status train_state_reserve(train_state *state, int64_t rows) {
  if (rows <= state->history_capacity) return GP_OK;
  train_epoch_row *history = NULL;
  gp_status status = GP_ALLOC(&history, (size_t)rows);
  if (status != GP_OK) return status;
  if (state->history_count > 0) memcpy(history, state->history, (size_t)state->history_count * sizeof *history);
  gp_free(state->history);
  state->history = history;
  state->history_capacity = rows;
  return GP_OK;
}

/* ---- Writing ---- */

/* Of a row, what was computed; not how fast. */
enum { ROW_VALUES = 7 };
static void row_values(const train_epoch_row *row, double values[ROW_VALUES]) {
  const double all[ROW_VALUES] = {row->lr,       row->train_loss, row->train_top1, row->train_top5,
                                  row->val_loss, row->val_top1,   row->val_top5};
  memcpy(values, all, sizeof all);
}

static json_t *history_json(const train_state *state) {
  json_t *rows = json_array();
  for (int64_t i = 0; i < state->history_count; ++i) {
    double values[ROW_VALUES];
    row_values(&state->history[i], values);
    json_t *row = json_array();
    json_array_append_new(row, json_integer(state->history[i].epoch));
    for (int v = 0; v < ROW_VALUES; ++v) json_array_append_new(row, model_json_double(values[v]));
    const bool whole = json_array_size(row) == ROW_VALUES + 1;
    if (json_array_append_new(rows, row) == 0 && whole) continue;
    json_decref(rows);
    return NULL;
  }
  return rows;
}

static json_t *position_json(const train_state *state) {
  int64_t meter[TRAIN_METER_STATE];
  train_meter_save(&state->meter, meter);
  json_t *words = json_array();
  for (int i = 0; i < TRAIN_METER_STATE; ++i) json_array_append_new(words, json_integer(meter[i]));
  return json_pack("{sI sI sI so s{sI so} s{sI sI} sI sI}", "epoch", (json_int_t)state->epoch, "batch",
                   (json_int_t)state->batch, "step", (json_int_t)state->step, "meter", words, "best", "epoch",
                   (json_int_t)state->best_epoch, "top1", model_json_double(state->best_top1), "data", "samples",
                   (json_int_t)state->samples, "labels", (json_int_t)state->labels, "threads",
                   (json_int_t)state->threads, "ranks", (json_int_t)state->ranks);
}

gp_status checkpoint_write(const char *path, const nn_net *net, const model_info *info, const train_state *state,
                           const train_config *config) {
  gp_status status = GP_OK;
  json_t *settings = NULL;
  json_t *extra = json_object();
  GP_TRY(options_to_json(&train_option_table, config, OPTION_RUN, &settings));
  if (json_object_set_new(extra, "training", position_json(state)) != 0 ||
      json_object_set_new(extra, "history", history_json(state)) != 0 ||
      json_object_set(extra, "config", settings) != 0)
    GP_TRY(gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory for the metadata of %s", path));
  GP_TRY(model_file_write_checkpoint(path, net, info, extra));
cleanup:
  json_decref(settings);
  json_decref(extra);
  return status;
}

/* ---- Reading ---- */

static gp_status broken(const model_file *file, const char *what) {
  return gp_fail(GP_ERROR_CORRUPT, "%s: its %s is broken: not written by gausspool, or damaged", model_file_path(file),
                 what);
}

static bool read_count(const json_t *object, const char *key, int64_t *out) {
  const json_t *json = json_object_get(object, key);
  *out = json_integer_value(json);
  return json_is_integer(json) && *out >= 0;
}

/* As read_count(), of what older checkpoints do not have: then 0. */
static bool read_known(const json_t *object, const char *key, int64_t *out) {
  *out = 0;
  return json_object_get(object, key) == NULL || read_count(object, key, out);
}

static gp_status read_position(const model_file *file, const json_t *json, train_state *state) {
  const json_t *best = json_object_get(json, "best"), *meter = json_object_get(json, "meter");
  const json_t *data = json_object_get(json, "data");
  int64_t words[TRAIN_METER_STATE] = {0};
  bool good = read_count(json, "epoch", &state->epoch) && read_count(json, "batch", &state->batch) &&
              read_count(json, "step", &state->step) && read_count(best, "epoch", &state->best_epoch) &&
              read_known(data, "samples", &state->samples) && read_known(data, "labels", &state->labels) &&
              read_known(json, "threads", &state->threads) && read_known(json, "ranks", &state->ranks) &&
              model_double_from_json(json_object_get(best, "top1"), &state->best_top1) &&
              json_array_size(meter) == TRAIN_METER_STATE && state->step <= UINT32_MAX;
  for (size_t i = 0; good && i < TRAIN_METER_STATE; ++i) {
    good = json_is_integer(json_array_get(meter, i));
    words[i] = json_integer_value(json_array_get(meter, i));
  }
  if (!good) return broken(file, "training state");
  return train_meter_restore(&state->meter, words);
}

static bool read_row(const json_t *json, train_epoch_row *row) {
  double values[ROW_VALUES];
  bool good = json_array_size(json) == ROW_VALUES + 1 && json_is_integer(json_array_get(json, 0));
  for (size_t v = 0; good && v < ROW_VALUES; ++v)
    good = model_double_from_json(json_array_get(json, v + 1), &values[v]);
  if (!good) return false;
  *row = (train_epoch_row){.epoch = json_integer_value(json_array_get(json, 0)),
                           .lr = values[0],
                           .train_loss = values[1],
                           .train_top1 = values[2],
                           .train_top5 = values[3],
                           .val_loss = values[4],
                           .val_top1 = values[5],
                           .val_top5 = values[6],
                           .images_per_second = NAN,
                           .seconds = NAN,
                           .wait_seconds = NAN};
  return true;
}

gp_status checkpoint_read_state(const model_file *file, train_state *state) {
  gp_status status = GP_OK;
  json_t *position = NULL, *history = NULL;
  train_state_clear(state);
  if (!model_file_is_checkpoint(file))
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "%s holds a model without the optimizer's state: resume from a checkpoint_*.safetensors",
                   model_file_path(file)));
  GP_TRY(model_file_json(file, "training", &position));
  GP_TRY(model_file_json(file, "history", &history));
  GP_TRY(read_position(file, position, state));
  if (!json_is_array(history)) GP_TRY(broken(file, "history"));
  GP_TRY(train_state_reserve(state, (int64_t)json_array_size(history)));
  for (size_t i = 0; i < json_array_size(history); ++i) {
    if (!read_row(json_array_get(history, i), &state->history[i])) GP_TRY(broken(file, "history"));
    state->history_count += 1;
  }
cleanup:
  json_decref(position);
  json_decref(history);
  if (status != GP_OK) train_state_clear(state);
  return status;
}

int64_t checkpoint_ranks(const model_file *file) {
  json_t *position = NULL;
  int64_t ranks = 0;
  const bool known = model_file_json(file, "training", &position) == GP_OK && read_known(position, "ranks", &ranks);
  json_decref(position);
  return known && ranks > 0 ? ranks : 1;
}

gp_status checkpoint_apply_config(const model_file *file, train_config *config) {
  json_t *settings = NULL;
  gp_status status = model_file_json(file, "config", &settings);
  if (status == GP_OK) {
    status = options_from_json(&train_option_table, config, OPTION_RUN, settings);
    if (status != GP_OK) status = gp_fail_in(status, "%s", model_file_path(file));
  }
  json_decref(settings);
  return status;
}

/* ---- Finding ---- */

/* Of files written in one tick of the clock, the name decides: a later epoch's is greater. */
static bool newer(const struct stat *a, const char *a_name, const struct stat *b, const char *b_name) {
  if (a->st_mtim.tv_sec != b->st_mtim.tv_sec) return a->st_mtim.tv_sec > b->st_mtim.tv_sec;
  if (a->st_mtim.tv_nsec != b->st_mtim.tv_nsec) return a->st_mtim.tv_nsec > b->st_mtim.tv_nsec;
  return strverscmp(a_name, b_name) > 0;
}

static gp_status find_newest(DIR *folder, const char *path, char **out) {
  gp_status status = GP_OK;
  char *candidate = NULL;
  struct stat best = {0}, found;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (fnmatch("checkpoint_*.safetensors", entry->d_name, 0) != 0) continue;
    gp_free(candidate);
    GP_TRY(path_join(&candidate, path, entry->d_name));
    if (stat(candidate, &found) != 0 || !S_ISREG(found.st_mode)) continue;
    if (*out != NULL && !newer(&found, candidate, &best, *out)) continue;
    gp_free(*out);
    *out = candidate;
    candidate = NULL;
    best = found;
  }
  if (*out == NULL)
    GP_TRY(gp_fail(GP_ERROR_NOT_FOUND, "%s: expected a checkpoint_*.safetensors in this folder, found none", path));
cleanup:
  gp_free(candidate);
  return status;
}

gp_status checkpoint_find(const char *path, char **out) {
  gp_status status = GP_OK;
  struct stat found;
  *out = NULL;
  if (stat(path, &found) != 0)
    return gp_fail(errno == ENOENT ? GP_ERROR_NOT_FOUND : GP_ERROR_IO, "cannot open %s: %s", path, strerror(errno));
  if (!S_ISDIR(found.st_mode)) return gp_strdup(out, path);
  DIR *folder = opendir(path);
  if (folder == NULL) return gp_fail(GP_ERROR_IO, "cannot read the folder %s: %s", path, strerror(errno));
  status = find_newest(folder, path, out);
  closedir(folder);
  return status;
}
