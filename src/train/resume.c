#include "train/resume.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "models/models.h"
#include "train/atomic_file.h"
#include "train/file.h"
#include "train/pass.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static gp_status check_same_net(const model_file *file, const model_info *wanted) {
  const model_info *found = model_file_info(file);
  const char *path = model_file_path(file);
  if (found->folded)
    return gp_fail(
        GP_ERROR_INVALID_ARGUMENT,
        "resume: %s: expected a net as it is trained, found one whose batch norms are folded into its weights, "
        "for inference; gausspool test --model-file tests it",
        path);
  if (found->arch[0] == '\0') return GP_OK; /* a plain state dict: its tensors will tell */
  if (strcmp(found->arch, wanted->arch) != 0 || strcmp(found->pool, wanted->pool) != 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s is of %s with %s, expected %s with %s: leave out --arch and --pool",
                   path, found->arch, found->pool, wanted->arch, wanted->pool);
  if (found->classes != wanted->classes || found->channels != wanted->channels || found->height != wanted->height ||
      found->width != wanted->width)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "%s is of %" PRId64 " classes and %" PRId64 "x%" PRId64 "x%" PRId64
                   " images (%s), the data set has %" PRId64 " and %" PRId64 "x%" PRId64 "x%" PRId64,
                   path, found->classes, found->channels, found->height, found->width, found->dataset, wanted->classes,
                   wanted->channels, wanted->height, wanted->width);
  return GP_OK;
}

/* Lists the options whose values differ, as "lr 0.05 (was 0.1), …". */
static void list_changes(const train_config *now, const train_config *before, char *text, size_t size) {
  text[0] = '\0';
  for (size_t i = 0; i < train_option_table.count; ++i) {
    const option_desc *option = &train_option_table.options[i];
    char new_buffer[OPTION_TEXT_SIZE], old_buffer[OPTION_TEXT_SIZE];
    if (option->flags & OPTION_RUN) continue;
    const char *new_text = option_text(option, now, new_buffer), *old_text = option_text(option, before, old_buffer);
    const size_t used = strlen(text);
    if (strcmp(new_text, old_text) != 0)
      snprintf(text + used, size - used, "%s%s %s (was %s)", used > 0 ? ", " : "", option->name, new_text, old_text);
  }
}

/* What may change between two parts of a run is told; what would make other batches of the epoch's rest is refused. */
static gp_status check_same_config(const model_file *file, const train_session *session) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  train_config before = {0};
  char changes[640];
  GP_TRY(train_config_init(&before));
  GP_TRY(checkpoint_apply_config(file, &before));
  GP_TRY(options_set(&train_option_table, &before, "pool", model_pool_plain_name(before.pool)));
  list_changes(config, &before, changes, sizeof changes);
  const bool same_order = config->batch_size == before.batch_size && config->seed == before.seed &&
                          config->drop_last == before.drop_last && strcmp(config->dataset, before.dataset) == 0;
  if (!same_order && session->state.batch > 0)
    GP_TRY(
        gp_fail(GP_ERROR_INVALID_ARGUMENT,
                "%s is from the middle of an epoch, which can only go on with the same data set, seed, drop-last and "
                "batch-size; changed: %s",
                model_file_path(file), changes));
  if (changes[0] != '\0') train_message(session->observer, "options changed since the checkpoint: %s", changes);
cleanup:
  train_config_clear(&before);
  return status;
}

/* ---- The best model so far ---- */

/* Whether the file is there and is the model that `state` calls its best. */
static bool is_best_model(const char *path, const train_state *state) {
  model_file *file = NULL;
  bool same = access(path, R_OK) == 0 && model_file_open(&file, path) == GP_OK;
  const model_info *info = same ? model_file_info(file) : NULL;
  same = same && info->epoch == state->best_epoch && info->val_top1 == state->best_top1;
  for (int64_t i = 0; same && i < state->history_count; ++i)
    if (state->history[i].epoch == state->best_epoch) same = info->val_loss == state->history[i].val_loss;
  model_file_close(&file);
  return same;
}

static gp_status beside(const char *path, const char *name, char **out) {
  gp_status status = GP_OK;
  char *folder = NULL;
  const char *slash = strrchr(path, '/');
  GP_TRY(gp_strdup(&folder, path));
  folder[slash == NULL ? 0 : slash - path + 1] = '\0';
  GP_TRY(path_join(out, folder, name));
cleanup:
  gp_free(folder);
  return status;
}

gp_status train_resume_best(train_session *session) {
  gp_status status = GP_OK;
  train_state *state = &session->state;
  char *target = NULL, *source = NULL;
  void *bytes = NULL;
  size_t size = 0;
  if (session->resumed_from == NULL || state->best_epoch == 0) goto cleanup;
  GP_TRY(train_session_path(session, TRAIN_BEST_NAME, &target));
  if (is_best_model(target, state)) goto cleanup;
  GP_TRY(beside(session->resumed_from, TRAIN_BEST_NAME, &source));
  if (is_best_model(source, state)) {
    GP_TRY(file_read_whole(source, 0, &bytes, &size));
    GP_TRY(atomic_file_replace(target, bytes, size));
    goto cleanup;
  }
  train_message(session->observer,
                "the best model so far (epoch %" PRId64
                ", top-1 error %.2f %%) is neither %s nor beside the checkpoint: "
                "the best is chosen from the epochs to come",
                state->best_epoch, state->best_top1, target);
  state->best_epoch = 0;
  state->best_top1 = 0;
cleanup:
  gp_free(target);
  gp_free(source);
  gp_free(bytes);
  return status;
}

/* ---- The state ---- */

/* The validation of the last epoch done, as the next checkpoint tells it. */
static void describe_last_epoch(train_session *session) {
  const train_state *state = &session->state;
  model_info *info = &session->info;
  info->epoch = 0;
  info->val_loss = info->val_top1 = info->val_top5 = NAN;
  if (state->history_count == 0) return;
  const train_epoch_row *last = &state->history[state->history_count - 1];
  info->epoch = last->epoch;
  info->val_loss = last->val_loss;
  info->val_top1 = last->val_top1;
  info->val_top5 = last->val_top5;
}

/* Forgets the epochs past `epoch`, and what was best in them. */
static void cut_history(train_session *session, int64_t epoch) {
  train_state *state = &session->state;
  const int64_t before = state->history_count;
  while (state->history_count > 0 && state->history[state->history_count - 1].epoch > epoch) state->history_count -= 1;
  if (state->history_count == before) return;
  state->best_epoch = 0;
  state->best_top1 = 0;
  for (int64_t i = 0; i < state->history_count; ++i) {
    const train_epoch_row *row = &state->history[i];
    const bool measured = state->best_epoch > 0 && !isnan(state->best_top1);
    if (measured && !(row->val_top1 < state->best_top1)) continue;
    state->best_epoch = row->epoch;
    state->best_top1 = row->val_top1;
  }
  describe_last_epoch(session);
}

static void apply_start_epoch(train_session *session) {
  train_state *state = &session->state;
  const int64_t epoch = session->config->start_epoch;
  if (epoch < 0) return;
  state->epoch = epoch;
  state->batch = 0;
  state->step = epoch * session->batches;
  state->meter = (train_meter){0};
  cut_history(session, epoch);
}

/* Other samples change a run as much as other options do. */
static gp_status check_same_samples(const model_file *file, const train_session *session) {
  const train_state *state = &session->state;
  const int64_t samples = data_source_get_info(session->train_source)->count;
  if (state->samples == 0 || (state->samples == samples && state->labels == session->labels)) return GP_OK;
  char text[192];
  snprintf(text, sizeof text, "%" PRId64 " training samples%s, the checkpoint's run had %" PRId64, samples,
           samples == state->samples ? " with other labels" : "", state->samples);
  if (state->batch > 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "%s is from the middle of an epoch, which can only go on with the same data: found %s; give its "
                   "folder by --data",
                   model_file_path(file), text);
  train_message(session->observer, "data changed since the checkpoint: %s", text);
  return GP_OK;
}

static gp_status resume_training(train_session *session, const model_file *file) {
  gp_status status = GP_OK;
  train_state *state = &session->state;
  const train_config *config = session->config;
  GP_TRY(checkpoint_read_state(file, state));
  session->info.epoch = model_file_info(file)->epoch;
  session->info.val_loss = model_file_info(file)->val_loss;
  session->info.val_top1 = model_file_info(file)->val_top1;
  session->info.val_top5 = model_file_info(file)->val_top5;
  apply_start_epoch(session);
  GP_TRY(check_same_config(file, session));
  GP_TRY(check_same_samples(file, session));
  if (state->threads > 0 && state->threads != gp_max_threads())
    train_message(session->observer,
                  "the checkpoint's run computed with %" PRId64 " threads, this one does with %" PRId32
                  ": results may differ in their last bits",
                  state->threads, gp_max_threads());
  if (state->ranks > 0 && state->ranks != dist_size(session->ranks.comm))
    train_message(session->observer,
                  "the checkpoint's run had %" PRId64 " ranks, this one has %" PRId32 ": results may differ%s",
                  state->ranks, dist_size(session->ranks.comm),
                  config->sync_bn ? " in their last bits" : ", since batch norms see other shares of the batches");
  if (state->batch > session->batches)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "%s is at batch %" PRId64 " of its epoch, an epoch of this data set has %" PRId64,
                   model_file_path(file), state->batch, session->batches));
  GP_TRY(model_file_load(file, session->net, true));
  train_message(session->observer, "resumed from %s: %" PRId64 " epochs and %" PRId64 " of %" PRId64 " batches done",
                model_file_path(file), state->epoch, state->batch, session->batches);
cleanup:
  return status;
}

gp_status train_resume(train_session *session) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  char *path = NULL;
  model_file *file = NULL;
  if (config->resume[0] != '\0') {
    GP_TRY(checkpoint_find(config->resume, &path));
    GP_TRY(model_file_open(&file, path));
    GP_TRY(check_same_net(file, &session->info));
    if (config->evaluate) {
      GP_TRY(model_file_load(file, session->net, false));
    } else {
      GP_TRY(resume_training(session, file));
      session->resumed_from = path;
      path = NULL;
    }
  } else if (config->evaluate) {
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "--evaluate tests a trained model: give it by --resume FILE"));
  }
  if (session->resumed_from == NULL) apply_start_epoch(session);
cleanup:
  model_file_close(&file);
  gp_free(path);
  return status;
}
