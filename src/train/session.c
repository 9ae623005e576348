#include "train/session.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "models/models.h"
#include "train/atomic_file.h"
#include "train/average.h"
#include "train/file.h"
#include "train/pass.h"
#include "train/pretrained.h"
#include "train/resume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

gp_status train_session_path(const train_session *session, const char *name, char **out) {
  return path_join(out, session->config->out_dir, name);
}

/* ---- Folder ---- */

/* Says so when results of an earlier run are about to be replaced. */
static gp_status warn_of_earlier_run(train_session *session) {
  static const char *const names[] = {TRAIN_BEST_NAME, TRAIN_LAST_NAME, "checkpoint_epoch001.safetensors", "log.csv"};
  gp_status status = GP_OK;
  char *path = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    gp_free(path);
    GP_TRY(train_session_path(session, names[i], &path));
    if (access(path, F_OK) != 0) continue;
    session->over_earlier = true;
    train_message(session->observer,
                  "%s holds an earlier run, which this one replaces: its checkpoints go when the first epoch is done",
                  session->config->out_dir);
    break;
  }
cleanup:
  gp_free(path);
  return status;
}

/* Two runs in one folder would overwrite each other's files. The lock goes with the process. */
static gp_status lock_folder(train_session *session) {
  const char *path = session->config->out_dir;
  session->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (session->folder < 0) return gp_fail(GP_ERROR_IO, "cannot open the folder %s: %s", path, strerror(errno));
  if (flock(session->folder, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
    return GP_OK; /* some disks have no locks */
  return gp_fail(GP_ERROR_IO, "%s is in use by another run: wait for its end, or choose another --out-dir", path);
}

/* Whether the name is one of write_checkpoint()'s: three digits or more. */
static bool is_epoch_checkpoint(const char *name) {
  static const char prefix[] = "checkpoint_epoch";
  if (strncmp(name, prefix, sizeof prefix - 1) != 0) return false;
  const char *digits = name + sizeof prefix - 1;
  const size_t count = strspn(digits, "0123456789");
  return count >= 3 && strcmp(digits + count, ".safetensors") == 0;
}

gp_status train_session_clear_earlier(train_session *session, const char *kept) {
  gp_status status = GP_OK;
  char *path = NULL;
  DIR *folder = opendir(session->config->out_dir);
  if (folder == NULL) return gp_fail(GP_ERROR_IO, "cannot read %s: %s", session->config->out_dir, strerror(errno));
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (!is_epoch_checkpoint(entry->d_name) || strcmp(entry->d_name, kept) == 0) continue;
    gp_free(path);
    GP_TRY(train_session_path(session, entry->d_name, &path));
    if (unlink(path) != 0) GP_TRY(gp_fail(GP_ERROR_IO, "cannot remove %s: %s", path, strerror(errno)));
  }
  session->over_earlier = false;
cleanup:
  gp_free(path);
  closedir(folder);
  return status;
}

/* Tried early, so that an unwritable folder shows at once and not after the first epoch. */
static gp_status prepare_folder(train_session *session) {
  gp_status status = GP_OK;
  atomic_file *probe = NULL;
  char *path = NULL;
  GP_TRY(path_make_folder(session->config->out_dir));
  GP_TRY(lock_folder(session));
  GP_TRY(train_session_path(session, "config.ini", &path));
  GP_TRY(atomic_file_create(&probe, path, 0));
  if (session->config->resume[0] == '\0') GP_TRY(warn_of_earlier_run(session));
cleanup:
  atomic_file_destroy(&probe);
  gp_free(path);
  return status;
}

static gp_status write_config(const train_session *session) {
  gp_status status = GP_OK;
  char *path = NULL;
  GP_TRY(train_session_path(session, "config.ini", &path));
  GP_TRY(train_recipe_write(session->config, path));
cleanup:
  gp_free(path);
  return status;
}

/* ---- Net ---- */

static gp_status begin_weights(train_session *session) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  GP_TRY(nn_net_init(session->net, (uint64_t)config->seed));
  if (config->pretrained[0] != '\0' && config->resume[0] != '\0')
    train_message(session->observer, "pretrained: %s is not read, the checkpoint has the weights", config->pretrained);
  else if (config->pretrained[0] != '\0' && train_ranks_first(&session->ranks))
    GP_TRY(pretrained_load(config->pretrained, session->net, session->observer));
  const nn_arenas arenas = nn_net_arenas(session->net);
  if (arenas.average != NULL) weight_average_start(&arenas);
  if (!config->decay_norm_bias) GP_TRY(sgd_find_vectors(session->net, &session->undecayed, &session->undecayed_count));
cleanup:
  return status;
}

static gp_status open_report(train_session *session) {
  const train_state *state = &session->state;
  return train_report_create(&session->report, &(train_report_desc){.out_dir = session->config->out_dir,
                                                                    .tensorboard = session->config->tensorboard,
                                                                    .first_epoch = state->epoch,
                                                                    .first_step = state->step,
                                                                    .history = state->history,
                                                                    .history_count = (size_t)state->history_count});
}

/* What ranks must have alike: the data, and the kind of machine, by which parameters lie in memory. */
static gp_status check_alike(train_session *session) {
  gp_status status = GP_OK;
  char text[160];
  const nn_arenas arenas = nn_net_arenas(session->net);
  if (train_ranks_alone(&session->ranks)) return GP_OK;
  snprintf(text, sizeof text, "%" PRId64 " training samples, labels %" PRIx64 ", and %" PRId64 " test samples",
           data_source_get_info(session->train_source)->count, (uint64_t)session->labels,
           data_source_get_info(session->test_source)->count);
  GP_TRY(train_ranks_check_alike(&session->ranks, "data", text));
  snprintf(text, sizeof text, "%s on %s, parameters in %zu places (%s)", nn_backend(), gp_cpu_isa(), arenas.count,
           "ONEDNN_MAX_CPU_ISA and GAUSSPOOL_ISA make machines alike");
  GP_TRY(train_ranks_check_alike(&session->ranks, "machine", text));
cleanup:
  return status;
}

/* Where the run stands; the history stays with rank 0, which writes it. */
static gp_status broadcast_state(train_session *session) {
  train_state *state = &session->state;
  train_state standing = *state;
  gp_status status = dist_broadcast(session->ranks.comm, &standing, sizeof standing);
  if (status != GP_OK) return status;
  standing.history = state->history;
  standing.history_count = state->history_count;
  standing.history_capacity = state->history_capacity;
  *state = standing;
  return train_ranks_broadcast_net(&session->ranks, session->net);
}

/* Each rank for itself, as all that dist_agree() is asked about: a rank that fails leaves out what follows. */
static gp_status open_parts(train_session *session) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  if (!config->evaluate) GP_TRY(train_session_check_batches(session));
  GP_TRY(train_session_open_loaders(session));
  GP_TRY(train_schedule_init(&session->schedule, session->config, session->batches));
  GP_TRY(begin_weights(session));
  if (train_ranks_first(&session->ranks)) GP_TRY(train_resume(session));
cleanup:
  return status;
}

/* Of a training, not of a test alone. */
static gp_status open_training(train_session *session) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  const bool first = train_ranks_first(&session->ranks);
  if (first) GP_TRY(prepare_folder(session));
  GP_TRY(train_session_check_space(session));
  GP_TRY(train_plans_reserve(&session->train_plans));
  GP_TRY(train_plans_reserve(&session->test_plans));
  GP_TRY(train_ranks_prepare(&session->ranks, session->net, (size_t)config->bucket_size << 10,
                             config->reduce_precision == NN_BFLOAT16));
  if (!first) goto cleanup;
  GP_TRY(train_resume_best(session));
  GP_TRY(write_config(session));
  GP_TRY(open_report(session));
cleanup:
  return status;
}

static gp_status check_config(const train_session *session) {
  const int32_t ranks = dist_size(session->ranks.comm);
  gp_status status = train_config_check(session->config);
  if (status != GP_OK) return status;
  if (session->config->evaluate || session->config->batch_size >= ranks) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                 "batch-size: expected at least a sample for each of the %" PRId32 " ranks, found %" PRId64, ranks,
                 session->config->batch_size);
}

gp_status train_session_open(train_session *session, const train_config *config, const train_observer *observer,
                             dist_comm *comm) {
  gp_status status = GP_OK;
  *session = (train_session){
      .chosen = *config, .observer = dist_rank(comm) == 0 ? observer : NULL, .witness = observer, .folder = -1};
  session->config = &session->chosen;
  session->chosen.pool = (char *)model_pool_plain_name(config->pool);
  dist_set_timeout(comm, (double)config->rank_timeout);
  GP_TRY(train_ranks_open(&session->ranks, comm, config->sync_bn));
  GP_TRY(dist_agree(comm, check_config(session)));
  GP_TRY(dist_agree_later(comm, train_session_open_sources(session)));
  GP_TRY(train_session_build(session));
  GP_TRY(dist_agree_later(comm, open_parts(session)));
  GP_TRY(check_alike(session));
  GP_TRY(broadcast_state(session));
  session->state.samples = data_source_get_info(session->train_source)->count;
  session->state.labels = session->labels;
  session->state.threads = gp_max_threads();
  session->state.ranks = dist_size(comm);
  GP_TRY(train_state_reserve(&session->state, session->state.history_count + config->epochs));
  if (!config->evaluate) GP_TRY(dist_agree_later(comm, open_training(session)));
cleanup:
  return status;
}

void train_session_close(train_session *session) {
  train_report_destroy(&session->report);
  train_plans_clear(&session->train_plans);
  train_plans_clear(&session->test_plans);
  nn_net_destroy(&session->net);
  gp_free(session->gradient_sum);
  gp_free(session->undecayed);
  train_ranks_close(&session->ranks);
  data_loader_destroy(&session->train_loader);
  data_loader_destroy(&session->test_loader);
  data_source_destroy(&session->train_source);
  data_source_destroy(&session->test_source);
  model_info_clear(&session->info);
  train_state_clear(&session->state);
  gp_free(session->resumed_from);
  if (session->folder >= 0) close(session->folder);
}
