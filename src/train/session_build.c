/* Builds the net of a run and its plans, in as many parts of a batch as the memory asks for. */
#include "base/memory.h"
#include "base/status.h"
#include "train/pass.h"
#include "train/session.h"
#include "train/space.h"

#include <inttypes.h>

static void clear(train_session *session) {
  train_plans_clear(&session->train_plans);
  train_plans_clear(&session->test_plans);
  nn_net_destroy(&session->net);
  gp_free(session->gradient_sum);
  session->gradient_sum = NULL;
}

static gp_status build(train_session *session) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  GP_TRY(model_net_create(&session->net, &session->info,
                          &(model_net_desc){.batch = train_session_part_size(session),
                                            .trainable = !config->evaluate,
                                            .averaged = !config->evaluate && config->ema_decay > 0,
                                            .precision = config->precision,
                                            .zero_init_residual = config->zero_init_residual,
                                            .label_smoothing = config->label_smoothing}));
  if (config->accumulate > 1) GP_TRY(GP_ALLOC(&session->gradient_sum, nn_net_arenas(session->net).count));
  GP_TRY(train_plans_create(&session->test_plans, session->net,
                            &(train_plans_desc){.mode = NN_INFER,
                                                .reserve_later = true,
                                                .batch = train_test_batch_size(config),
                                                .share = session->ranks.batches,
                                                .samples = data_source_get_info(session->test_source)->count}));
  if (!config->evaluate)
    GP_TRY(train_plans_create(&session->train_plans, session->net,
                              &(train_plans_desc){.mode = NN_TRAIN,
                                                  .reserve_later = true,
                                                  .batch = config->batch_size,
                                                  .samples = data_source_get_info(session->train_source)->count,
                                                  .parts = config->accumulate,
                                                  .share = session->ranks.samples,
                                                  .sync = train_ranks_sync(&session->ranks),
                                                  .drop_last = config->drop_last}));
cleanup:
  return status;
}

static void tell(const train_session *session) {
  const train_config *config = session->config;
  char bytes[SPACE_TEXT_SIZE];
  train_message(session->observer,
                "memory-limit: %" PRId64 " MiB: batches of %" PRId64 " in %" PRId64 " parts of %" PRId64
                ", which take %s",
                config->memory_limit, config->batch_size, config->accumulate, train_session_part_size(session),
                space_text(train_session_memory(session), bytes));
}

/* ---- Parts ---- */

static bool are_possible(const train_session *session, int64_t parts) {
  const int64_t batch = session->chosen.batch_size;
  return batch % parts == 0 && data_share_in_parts(&session->ranks.samples, batch, parts);
}

/* A checkpoint's parts were right for the shares of its ranks. Of others' shares they may be impossible, or take more memory. */
static bool are_of_other_ranks(const train_session *session) {
  const train_config *chosen = &session->chosen;
  if (chosen->evaluate || chosen->accumulate_ranks == 0) return false;
  return chosen->accumulate_ranks != dist_size(session->ranks.comm) || !are_possible(session, chosen->accumulate);
}

/* Of two as near the more parts, which take less memory. One part is always possible. */
static void take_nearest_parts(train_session *session) {
  train_config *chosen = &session->chosen;
  const int64_t before = chosen->accumulate;
  for (int64_t away = 0;; ++away) {
    const bool more = are_possible(session, before + away);
    if (!more && (before <= away || !are_possible(session, before - away))) continue;
    chosen->accumulate = more ? before + away : before - away;
    break;
  }
  if (chosen->accumulate != before)
    train_message(session->observer,
                  "accumulate: batches of %" PRId64 " in %" PRId64 " parts, the nearest to the checkpoint's %" PRId64
                  " that shares of %" PRId32 " ranks can come in",
                  chosen->batch_size, chosen->accumulate, before, dist_size(session->ranks.comm));
}

/* Why the least that there is does not do: the parts cannot be smaller, or would be too small to train on. */
static gp_status too_much(uint64_t least, int64_t part, int64_t limit) {
  char bytes[SPACE_TEXT_SIZE];
  return gp_fail(GP_ERROR_OUT_OF_MEMORY,
                 "memory-limit: the run needs %s, with %" PRId64 " images at a time, found %" PRId64
                 " MiB: raise it, or use a smaller --batch-size, --test-batch-size, net or image",
                 space_text(least, bytes), part, limit);
}

gp_status train_session_build(train_session *session) {
  train_config *chosen = &session->chosen;
  const bool open = are_of_other_ranks(session);
  const bool decided = !open && (chosen->accumulate > 1 || chosen->resume[0] != '\0');
  const int64_t asked_test_batch = chosen->test_batch_size, limit = chosen->memory_limit;
  uint64_t least = UINT64_MAX;
  int64_t least_part = chosen->batch_size;
  dist_comm *comm = session->ranks.comm;
  if (open && limit == 0) take_nearest_parts(session);
  if (limit == 0 || chosen->evaluate) return dist_agree_later(comm, build(session));
  for (int64_t parts = decided ? chosen->accumulate : 1; parts <= chosen->batch_size; ++parts) {
    if (!decided && !are_possible(session, parts)) continue;
    chosen->accumulate = parts;
    if (asked_test_batch == 0 && parts > 1) chosen->test_batch_size = chosen->batch_size / parts;
    gp_status status = dist_agree_later(comm, build(session));
    /* What is wrong with whole batches is wrong; parts may only be too small. */
    if (status != GP_OK) return least == UINT64_MAX ? status : too_much(least, least_part, limit);
    uint64_t bytes = train_session_memory(session);
    status = train_ranks_most(&session->ranks, &bytes);
    if (status != GP_OK) return status;
    if (bytes <= (uint64_t)limit << 20) {
      tell(session);
      return GP_OK;
    }
    if (bytes < least) {
      least = bytes;
      least_part = train_session_part_size(session);
    }
    clear(session);
    if (decided) break;
  }
  return dist_agree(comm, too_much(least, least_part, limit));
}
