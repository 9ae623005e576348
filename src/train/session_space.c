/* What the run will need, from what has been built. */
#include "base/memory.h"
#include "base/status.h"
#include "train/model_tensors.h"
#include "train/pass.h"
#include "train/session.h"
#include "train/space.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the program and its libraries take besides: code, generated kernels, threads' stacks. */
enum { PROGRAM_BYTES = 64 << 20 };
enum { HEADER_BYTES = 64 << 10, LOG_BYTES = 256 << 10 }; /* more than a checkpoint's header, logs and curves take */

static uint64_t weight_bytes(const train_session *session) {
  const nn_arenas a = nn_net_arenas(session->net);
  const uint64_t copies = 1 + (a.gradient != NULL) + (a.momentum != NULL) + (a.average != NULL);
  const bool halves = !train_ranks_alone(&session->ranks) && session->config->reduce_precision == NN_BFLOAT16;
  return sizeof(float) * (a.count * (copies + (session->gradient_sum != NULL)) +
                          a.statistics_count * (1 + (uint64_t)(a.statistics_average != NULL))) +
         (halves ? a.count * sizeof(uint16_t) : 0);
}

static uint64_t batch_bytes(const train_session *session) {
  const model_info *info = &session->info;
  const data_loader_desc train = train_session_loader_desc(session, DATA_TRAIN);
  const data_loader_desc test = train_session_loader_desc(session, DATA_TEST);
  const uint64_t image = (uint64_t)(info->channels * info->height * info->width) * sizeof(float);
  return image * (uint64_t)(data_loader_ring_images(&train) + data_loader_ring_images(&test));
}

static bool is_there(const train_session *session, const char *name) {
  char *path = NULL;
  const bool found = train_session_path(session, name, &path) == GP_OK && access(path, F_OK) == 0;
  gp_free(path);
  return found;
}

/* Those of an earlier run, which go when the first epoch is done. */
static uint64_t earlier_bytes(const train_session *session) {
  uint64_t bytes = 0;
  struct stat file;
  DIR *folder = session->over_earlier ? opendir(session->config->out_dir) : NULL;
  if (folder == NULL) return 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
    if (strncmp(entry->d_name, "checkpoint_epoch", 16) == 0 && fstatat(dirfd(folder), entry->d_name, &file, 0) == 0)
      bytes += (uint64_t)file.st_blocks * 512;
  closedir(folder);
  return bytes;
}

/* The last one may have to be written in mid-epoch, beside those of the epochs; with --save-last-checkpoint the next
 * one lies beside it until it is whole. */
static int64_t new_checkpoints(const train_session *session) {
  const train_config *config = session->config;
  int64_t epochs = config->epochs;
  const int64_t most = config->max_steps / session->batches + (config->max_steps % session->batches != 0);
  if (config->max_steps > 0 && most < epochs) epochs = most;
  epochs = epochs > session->state.epoch ? epochs - session->state.epoch : 0;
  if (config->save_last_checkpoint && epochs > 1) epochs = 1;
  return epochs + !is_there(session, TRAIN_LAST_NAME);
}

static uint64_t activation_bytes(const train_session *session) {
  const size_t of_train = train_plans_activation_bytes(&session->train_plans);
  const size_t of_test = train_plans_activation_bytes(&session->test_plans);
  return of_train > of_test ? of_train : of_test;
}

/* This rank's part of what the machine has. */
static uint64_t own_memory(const train_session *session) {
  const uint64_t bytes = space_free_memory("");
  return bytes == SPACE_UNKNOWN ? bytes : bytes / (uint64_t)session->ranks.machine.ranks;
}

uint64_t train_session_memory(const train_session *session) {
  return PROGRAM_BYTES + weight_bytes(session) + batch_bytes(session) + activation_bytes(session) +
         model_tensors_bytes(session->net, true);
}

gp_status train_session_check_batches(const train_session *session) {
  char bytes[SPACE_TEXT_SIZE], free_bytes[SPACE_TEXT_SIZE];
  const uint64_t needed = batch_bytes(session), free_memory = own_memory(session);
  if (!session->config->space_check || free_memory == SPACE_UNKNOWN || needed <= free_memory) return GP_OK;
  return gp_fail(
      GP_ERROR_OUT_OF_MEMORY,
      "the batches that are prepared ahead need %s of memory, only %s can be had: use a smaller --batch-size or "
      "--test-batch-size, or a larger --accumulate (or --no-space-check)",
      space_text(needed, bytes), space_text(free_memory, free_bytes));
}

gp_status train_session_check_space(train_session *session) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  const uint64_t activations = activation_bytes(session);
  const uint64_t copy = model_tensors_bytes(session->net, true), model = model_tensors_bytes(session->net, false);
  const train_needs needs = {.weights = weight_bytes(session),
                             .activations = activations,
                             .batches = batch_bytes(session),
                             .copy = copy,
                             .to_come = activations + copy,
                             .checkpoint = copy + HEADER_BYTES,
                             .checkpoints = new_checkpoints(session),
                             .others = model * (is_there(session, TRAIN_BEST_NAME) ? 1 : 2) + LOG_BYTES};
  const uint64_t free_memory = own_memory(session);
  uint64_t free_disk = train_ranks_first(&session->ranks) ? space_free_disk(config->out_dir) : SPACE_UNKNOWN;
  char text[512];
  if (free_disk != SPACE_UNKNOWN) free_disk += earlier_bytes(session);
  train_needs_tell(&needs, free_memory, free_disk, text, sizeof text);
  train_message(session->observer, "%s", text);
  if (config->space_check) GP_TRY(train_needs_check(&needs, free_memory, free_disk, config->out_dir));
cleanup:
  return status;
}
