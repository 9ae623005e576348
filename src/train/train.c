#include "train/train.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "train/average.h"
#include "train/curves.h"
#include "train/evaluate.h"
#include "train/gradient.h"
#include "train/pass.h"
#include "train/profile.h"
#include "train/session.h"
#include "train/sgd.h"
#include "train/stop.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

void train_result_clear(train_result *result) {
  gp_free(result->checkpoint);
  *result = (train_result){0};
}

/* ---- Files ---- */

/* Files are rank 0's to write; on other ranks there is nothing to do. Whoever calls this sees to it that all agree. */
static gp_status write_checkpoint(train_session *session, const char *name, train_result *result) {
  gp_status status = GP_OK;
  char *path = NULL;
  if (!train_ranks_first(&session->ranks)) return GP_OK;
  GP_TRY(train_session_path(session, name, &path));
  GP_TRY(checkpoint_write(path, session->net, &session->info, &session->state, session->config));
  gp_free(result->checkpoint);
  result->checkpoint = path;
  path = NULL;
cleanup:
  gp_free(path);
  return status;
}

static gp_status keep_best(const train_session *session, const train_epoch_row *row, train_result *result) {
  gp_status status = GP_OK;
  char *path = NULL;
  /* An older program's best may be of a test that counted no image: anything is better. */
  const bool measured = result->best_epoch > 0 && !isnan(result->best_top1);
  if (measured && !(row->val_top1 < result->best_top1)) return GP_OK;
  GP_TRY(train_session_path(session, TRAIN_BEST_NAME, &path));
  if (train_ranks_first(&session->ranks)) GP_TRY(model_file_write(path, session->net, &session->info));
  result->best_epoch = row->epoch;
  result->best_top1 = row->val_top1;
cleanup:
  gp_free(path);
  return status;
}

/* Curves are a convenience: without gnuplot the run goes on, and says so. */
static void draw_curves(const train_session *session) {
  char title[4 * MODEL_NAME_SIZE];
  size_t count = 0;
  const train_epoch_row *rows = train_report_rows(session->report, &count);
  snprintf(title, sizeof title, "%s, %s, %s", session->info.arch, session->info.pool, session->info.dataset);
  gp_status status = train_curves_draw(&(train_curves_desc){.out_dir = session->config->out_dir,
                                                            .pdf_filename = session->config->pdf_filename,
                                                            .title = title,
                                                            .rows = rows,
                                                            .count = count});
  if (status != GP_OK) train_message(session->observer, "no curves: %s", gp_last_error());
}

/* ---- Training ---- */

/* The next part of a batch, or NULL: on all ranks, or on none. */
static gp_status next_part(train_session *session, const data_batch **part) {
  return dist_agree(session->ranks.comm, data_loader_next(session->train_loader, part));
}

/* The same of a pass's first: nothing has been read ahead, and from a cold disk that may take one rank far longer than others. */
static gp_status first_part(train_session *session, const data_batch **part) {
  return dist_agree_later(session->ranks.comm, data_loader_next(session->train_loader, part));
}

/* Leaves the gradient of the batch that begins with `part` in the net; fetches its other parts, which takes the place of this
 * one. *meter: of the whole batch. */
static gp_status batch_gradient(train_session *session, const data_batch *part, train_meter *meter) {
  gp_status status = GP_OK;
  const train_gradient_desc desc = {
      .plans = &session->train_plans,
      .net = session->net,
      .sum = session->gradient_sum,
      .ranks = train_ranks_alone(&session->ranks) ? NULL : &session->ranks,
      .step = {.seed = (uint64_t)session->config->seed, .step = (uint32_t)session->state.step}};
  for (;;) {
    GP_TRY(train_gradient(&desc, part, meter));
    if (part->part + 1 == part->parts) break;
    GP_TRY(next_part(session, &part));
  }
  GP_TRY(train_ranks_finish(&session->ranks, meter));
cleanup:
  return status;
}

static gp_status train_step(train_session *session, const data_batch *part, double lr) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  train_state *state = &session->state;
  train_meter meter = {0};
  GP_TRY(batch_gradient(session, part, &meter));
  const double loss = train_meter_loss(&meter);
  if (!isfinite(loss))
    GP_TRY(dist_agree(session->ranks.comm, gp_fail(GP_ERROR_INVALID_ARGUMENT,
                                                   "the loss is %g at step %" PRId64 " (epoch %" PRId64
                                                   ", lr %g): the training has diverged; "
                                                   "try a lower --lr or some --warmup-epochs",
                                                   loss, state->step + 1, state->epoch + 1, lr)));
  train_meter_join(&state->meter, &meter);
  const nn_arenas arenas = nn_net_arenas(session->net);
  sgd_step(&arenas, &(sgd_desc){.lr = lr,
                                .momentum = config->momentum,
                                .weight_decay = config->weight_decay,
                                .undecayed = session->undecayed,
                                .undecayed_count = session->undecayed_count,
                                .nesterov = config->nesterov});
  /* While the rate warms up, weights move too fast for an average to mean anything: it begins where that ends. */
  if (config->ema_decay > 0 && state->step >= session->schedule.warmup_steps)
    weight_average_update(&arenas, config->ema_decay);
  else if (config->ema_decay > 0)
    weight_average_start(&arenas);
  state->batch += 1;
  state->step += 1;
cleanup:
  return status;
}

static gp_status log_step(const train_session *session, const train_pass *pass) {
  const train_progress *progress = &pass->progress;
  return train_report_step(session->report, &(train_step_row){.epoch = session->state.epoch + 1,
                                                              .step = session->state.step,
                                                              .lr = progress->lr,
                                                              .loss = progress->loss,
                                                              .top1 = progress->top1,
                                                              .top5 = progress->top5,
                                                              .images_per_second = progress->images_per_second,
                                                              .seconds = progress->seconds,
                                                              .wait_seconds = progress->wait_seconds});
}

/* What a step leaves behind, in some steps. */
static gp_status keep_step(train_session *session, const train_pass *pass, train_result *result) {
  const train_config *config = session->config;
  const int64_t step = session->state.step;
  const bool log = config->print_freq > 0 && step % config->print_freq == 0;
  const bool write = config->checkpoint_every > 0 && step % config->checkpoint_every == 0;
  gp_status status = GP_OK;
  if (log && session->report != NULL) status = log_step(session, pass);
  if (write && status == GP_OK) status = write_checkpoint(session, TRAIN_LAST_NAME, result);
  if (write) return dist_agree_later(session->ranks.comm, status);
  return log ? dist_agree(session->ranks.comm, status) : status;
}

static bool out_of_steps(const train_session *session) {
  return session->config->max_steps > 0 && session->state.step >= session->config->max_steps;
}

/* One process stops as soon as it is asked to; of several, all after the step in which one has been. */
static bool asked_to_stop(const train_session *session) {
  if (train_ranks_alone(&session->ranks)) return train_stop_requested() != 0;
  if (session->ranks.stop != 0) train_stop_request(session->ranks.stop); /* for the exit status */
  return session->ranks.stop != 0;
}

/* The rest of the epoch's batches, or as many as --max-steps leaves. Stops by a signal between two steps. */
static gp_status train_pass_run(train_session *session, train_pass *pass, train_result *result) {
  gp_status status = GP_OK;
  train_state *state = &session->state;
  const double waited = data_loader_wait_seconds(session->train_loader);
  const int64_t begun = state->step;
  GP_TRY(data_loader_start(session->train_loader, state->epoch, state->batch));
  train_pass_start(pass, session->observer,
                   &(train_progress){.phase = TRAIN_PHASE_TRAIN,
                                     .epoch = state->epoch,
                                     .epochs = session->config->epochs,
                                     .batch = state->batch,
                                     .batches = session->batches});
  while (!out_of_steps(session)) {
    if (asked_to_stop(session)) GP_TRY(gp_fail(GP_ERROR_INTERRUPTED, "stopped by a signal"));
    const data_batch *part = NULL;
    GP_TRY(state->step == begun ? first_part(session, &part) : next_part(session, &part));
    if (part == NULL) break;
    const int64_t count = part->whole;
    const double lr = train_schedule_lr(&session->schedule, state->epoch * session->batches + state->batch);
    GP_TRY(train_step(session, part, lr));
    pass->progress.wait_seconds = data_loader_wait_seconds(session->train_loader) - waited;
    train_pass_step(pass, count, lr, &state->meter);
    GP_TRY(keep_step(session, pass, result));
  }
  train_pass_end(pass);
cleanup:
  return status;
}

static gp_status test_pass_run(train_session *session, train_meter *meter, train_result *result) {
  const nn_arenas arenas = nn_net_arenas(session->net);
  const bool averaged = arenas.average != NULL;
  if (averaged) weight_average_swap(&arenas);
  gp_status status =
      train_evaluate(meter, &(train_evaluate_desc){.plans = &session->test_plans,
                                                   .loader = session->test_loader,
                                                   .net = session->net,
                                                   .observer = session->observer,
                                                   .comm = session->ranks.comm,
                                                   .epoch = session->state.epoch,
                                                   .epochs = session->config->evaluate ? 0 : session->config->epochs});
  if (averaged) weight_average_swap(&arenas);
  if (status != GP_OK) return status;
  result->val_loss = train_meter_loss(meter);
  result->val_top1 = train_meter_top1(meter);
  result->val_top5 = train_meter_top5(meter);
  return GP_OK;
}

static double wait_seconds(const train_session *session) {
  return data_loader_wait_seconds(session->train_loader) + data_loader_wait_seconds(session->test_loader);
}

/* An epoch, the validation included, as a row of the log. */
static gp_status measure_epoch(train_session *session, train_epoch_row *row, train_result *result) {
  gp_status status = GP_OK;
  train_state *state = &session->state;
  const double started = gp_seconds(), waited = wait_seconds(session);
  train_pass pass = {0};
  train_meter test;
  GP_TRY(train_pass_run(session, &pass, result));
  GP_TRY(train_ranks_check_replicas(&session->ranks, session->net));
  GP_TRY(test_pass_run(session, &test, result));
  *row = (train_epoch_row){
      .epoch = state->epoch + 1,
      .step = state->step,
      .lr = train_schedule_lr(&session->schedule, state->epoch * session->batches + state->batch - 1),
      .train_loss = train_meter_loss(&state->meter),
      .train_top1 = train_meter_top1(&state->meter),
      .train_top5 = train_meter_top5(&state->meter),
      .val_loss = result->val_loss,
      .val_top1 = result->val_top1,
      .val_top5 = result->val_top5,
      .images_per_second = pass.progress.images_per_second,
      .seconds = gp_seconds() - started,
      .wait_seconds = wait_seconds(session) - waited,
  };
  session->info.epoch = row->epoch;
  session->info.val_loss = row->val_loss;
  session->info.val_top1 = row->val_top1;
  session->info.val_top5 = row->val_top5;
cleanup:
  return status;
}

static void move_to_next_epoch(train_state *state, const train_epoch_row *row, const train_result *result) {
  state->history[state->history_count++] = *row;
  state->best_epoch = result->best_epoch;
  state->best_top1 = result->best_top1;
  state->epoch += 1;
  state->batch = 0;
  state->meter = (train_meter){0};
}

/* The order of the files matters: a run that is killed between two of them resumes from the last checkpoint and makes
 * the others again, so the checkpoint that says an epoch is done comes after what the epoch leaves behind. */
static gp_status keep_epoch(train_session *session, const train_epoch_row *row, const model_info *before,
                            train_result *result) {
  gp_status status = GP_OK;
  train_state *state = &session->state;
  char name[64] = TRAIN_LAST_NAME;
  const bool whole = state->batch == session->batches;
  if (session->report != NULL)
    GP_TRY(whole ? train_report_epoch(session->report, row) : train_report_cut_epoch(session->report, row));
  if (session->observer != NULL && session->observer->epoch_end != NULL)
    session->observer->epoch_end(session->observer->context, row, session->config->epochs);
  /* Cut short by --max-steps, the checkpoint stands inside the epoch, as if that had not been tested, and the best of
   * the whole epochs stays: resumed, the run makes the files of one that was never cut. */
  if (whole || state->best_epoch == 0) GP_TRY(keep_best(session, row, result));
  if (whole) {
    move_to_next_epoch(state, row, result);
    if (!session->config->save_last_checkpoint)
      snprintf(name, sizeof name, "checkpoint_epoch%03" PRId64 ".safetensors", state->epoch);
  } else {
    session->info.epoch = before->epoch;
    session->info.val_loss = before->val_loss;
    session->info.val_top1 = before->val_top1;
    session->info.val_top5 = before->val_top5;
  }
  GP_TRY(write_checkpoint(session, name, result));
  if (whole && session->over_earlier) GP_TRY(train_session_clear_earlier(session, name));
  if (train_ranks_first(&session->ranks)) draw_curves(session);
cleanup:
  return status;
}

static gp_status run_epoch(train_session *session, train_result *result) {
  train_epoch_row row;
  const model_info before = session->info; /* of it, the validation */
  gp_status status = measure_epoch(session, &row, result);
  if (status != GP_OK) return status;
  return dist_agree_later(session->ranks.comm, keep_epoch(session, &row, &before, result));
}

/* ---- The run ---- */

/* Before anything is trained, the results are the checkpoint's. */
static void begin_result(const train_session *session, train_result *result) {
  const train_state *state = &session->state;
  result->best_epoch = state->best_epoch;
  result->best_top1 = state->best_top1;
  if (state->history_count == 0) return;
  const train_epoch_row *last = &state->history[state->history_count - 1];
  result->val_loss = last->val_loss;
  result->val_top1 = last->val_top1;
  result->val_top5 = last->val_top5;
}

static gp_status train_epochs(train_session *session, train_result *result) {
  const int64_t epochs = session->config->epochs;
  const train_state *state = &session->state;
  gp_status status = GP_OK;
  if (state->epoch >= epochs || (out_of_steps(session) && state->batch == 0))
    train_message(session->observer,
                  "nothing left to train: %" PRId64 " of %" PRId64 " epochs, %" PRId64 " steps are done", state->epoch,
                  epochs, state->step);
  /* Steps may have run out before the epoch they were in was tested. */
  while (status == GP_OK && state->epoch < epochs && (!out_of_steps(session) || state->batch > 0)) {
    status = run_epoch(session, result);
    if (out_of_steps(session)) break;
  }
  if (status != GP_ERROR_INTERRUPTED) return status;
  gp_status written = dist_agree_later(session->ranks.comm, write_checkpoint(session, TRAIN_LAST_NAME, result));
  if (written != GP_OK) return written;
  return dist_agree(session->ranks.comm, gp_fail(status, "stopped by a signal after step %" PRId64, state->step));
}

/* Of whole batches, or their parts: the last, smaller batch of an epoch has a plan of its own. */
static gp_status write_profile(const train_session *session) {
  gp_status status = GP_OK;
  char *path = NULL;
  const nn_plan *plan = session->train_plans.plans[0].plan;
  if (nn_plan_timed_steps(plan) == 0) return GP_OK;
  GP_TRY(train_session_path(session, TRAIN_PROFILE_NAME, &path));
  GP_TRY(profile_write(path, session->net, plan, session->train_plans.plans[0].batch));
  train_message(session->observer, "the layers' times: %s", path);
  train_ranks_tell_times(&session->ranks, session->observer);
cleanup:
  gp_free(path);
  return status;
}

static gp_status train_profiled(train_session *session, train_result *result) {
  if (!session->config->profile || !train_ranks_first(&session->ranks)) return train_epochs(session, result);
  gp_status status = nn_plan_time(session->train_plans.plans[0].plan);
  if (status != GP_OK) return status;
  status = train_epochs(session, result);
  if (status != GP_OK && status != GP_ERROR_INTERRUPTED) return status;
  gp_status written = write_profile(session);
  return written == GP_OK && status != GP_OK
             ? gp_fail(status, "stopped by a signal after step %" PRId64, session->state.step)
             : written;
}

gp_status train_run_ranks(const train_config *config, const train_observer *observer, dist_comm *comm,
                          train_result *result) {
  gp_status status = GP_OK;
  train_session session = {0};
  train_meter meter;
  *result = (train_result){.val_loss = NAN, .val_top1 = NAN, .val_top5 = NAN};
  GP_TRY(train_session_open(&session, config, observer, comm));
  begin_result(&session, result);
  /* Newer than what an earlier run left: killed before its first checkpoint, this run is resumed and not that one. */
  if (session.over_earlier) status = write_checkpoint(&session, TRAIN_LAST_NAME, result);
  GP_TRY(dist_agree_later(comm, status));
  GP_TRY(config->evaluate ? test_pass_run(&session, &meter, result) : train_profiled(&session, result));
cleanup:
  result->epochs = session.state.epoch;
  result->steps = session.state.step;
  train_session_close(&session);
  return status;
}

gp_status train_run(const train_config *config, const train_observer *observer, train_result *result) {
  dist_comm *comm = NULL;
  gp_status status = dist_comm_open_single(&comm);
  if (status == GP_OK) status = train_run_ranks(config, observer, comm, result);
  dist_comm_close(&comm);
  return status;
}
