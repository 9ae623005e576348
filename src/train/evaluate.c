#include "train/evaluate.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/pass.h"
#include "train/stop.h"

#include <math.h>
#include <string.h>

typedef struct evaluation {
  const train_evaluate_desc *desc;
  train_meter *meter;
  int64_t classes;
  float *mirrored; /* [batch][c][h][w]; NULL without flip_average */
  float *logits;   /* [batch][classes] */
  train_pass pass;
  double *results; /* [samples][2] of all ranks: loss, and what_of(); NULL: alone */
} evaluation;

static bool alone(const train_evaluate_desc *desc) { return desc->comm == NULL || dist_size(desc->comm) == 1; }

static void mirror(float *restrict out, const float *restrict in, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t x = 0; x < width; ++x) out[r * width + x] = in[r * width + width - 1 - x];
}

/* Logits of the batch, without a loss: that is made of the samples that count. */
static gp_status run_batch(evaluation *e, const data_batch *batch) {
  gp_status status = GP_OK;
  nn_plan *plan = NULL;
  const int64_t values = batch->count * e->classes;
  const nn_shape shape = nn_net_input_shape(e->desc->net);
  GP_TRY(train_plans_get(e->desc->plans, batch->count, &plan));
  GP_TRY(nn_plan_forward(plan, batch->images, NULL, &(nn_step_desc){0}));
  memcpy(e->logits, nn_plan_logits(plan), (size_t)values * sizeof(float));
  if (e->mirrored == NULL) goto cleanup;
  mirror(e->mirrored, batch->images, batch->count * shape.channels * shape.height, shape.width);
  GP_TRY(nn_plan_forward(plan, e->mirrored, NULL, &(nn_step_desc){0}));
  const float *other = nn_plan_logits(plan);
  for (int64_t i = 0; i < values; ++i) e->logits[i] = 0.5f * (e->logits[i] + other[i]);
cleanup:
  return status;
}

/* An image that could not be read has no scores: those of the zeros in its place would look like some. */
static void store_logits(float *out, const float *logits, int64_t classes, int32_t label) {
  if (label >= 0) memcpy(out, logits, (size_t)classes * sizeof(float));
  for (int64_t k = 0; label < 0 && k < classes; ++k) out[k] = NAN;
}

/* A sample's loss, and 1 that it counts, 2 more for a top-1 and 4 for a top-5 error: sums over ranks, of which all others have 0,
 * are exact. */
static void note_sample(double result[2], double loss, const train_meter *before, const train_meter *after) {
  result[0] = loss;
  result[1] =
      1 + 2 * (double)(after->top1_wrong - before->top1_wrong) + 4 * (double)(after->top5_wrong - before->top5_wrong);
}

static void count_batch(const evaluation *e, const data_batch *batch) {
  const train_evaluate_desc *desc = e->desc;
  for (int64_t i = 0; i < batch->count; ++i) {
    const float *logits = e->logits + i * e->classes;
    const int32_t *label = batch->labels + i;
    if (desc->logits != NULL) store_logits(desc->logits + batch->indices[i] * e->classes, logits, e->classes, *label);
    if (*label < 0 || (desc->left_out != NULL && desc->left_out[batch->indices[i]])) continue;
    const train_meter before = *e->meter;
    const double loss = train_cross_entropy(logits, e->classes, *label);
    train_meter_add(e->meter, loss, logits, label, 1, e->classes);
    if (e->results != NULL) note_sample(&e->results[2 * batch->indices[i]], loss, &before, e->meter);
    if (desc->tally != NULL) train_tally_add(desc->tally, logits, *label);
  }
}

static gp_status evaluate_batches(evaluation *e, train_pass *pass) {
  gp_status status = GP_OK;
  const train_evaluate_desc *desc = e->desc;
  for (;;) {
    if (train_stop_requested() != 0)
      GP_TRY(gp_fail(GP_ERROR_INTERRUPTED, "stopped by a signal in the middle of a test"));
    const data_batch *batch = NULL;
    GP_TRY(data_loader_next(desc->loader, &batch));
    if (desc->refusal != NULL && desc->refusal[0] != '\0') GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s", desc->refusal));
    if (batch == NULL) break;
    GP_TRY(run_batch(e, batch));
    count_batch(e, batch);
    train_pass_step(pass, batch->count, 0, e->meter);
  }
cleanup:
  return status;
}

/* Nothing yet of what other ranks will have: -0 + x is x, whatever its sign. */
static gp_status begin_sharing(evaluation *e) {
  const train_evaluate_desc *desc = e->desc;
  const int64_t samples = data_loader_samples(desc->loader);
  if (alone(desc)) return GP_OK;
  for (int64_t i = 0; desc->logits != NULL && i < samples * e->classes; ++i) desc->logits[i] = -0.0f;
  return GP_ALLOC(&e->results, (size_t)(2 * samples));
}

/* Every rank gets what the others have, and counts it in the samples' order. */
static gp_status share_results(evaluation *e) {
  gp_status status = GP_OK;
  const train_evaluate_desc *desc = e->desc;
  const size_t samples = (size_t)data_loader_samples(desc->loader);
  if (alone(desc)) return GP_OK;
  GP_TRY(dist_sum(desc->comm, e->results, 2 * samples, DIST_FLOAT64));
  if (desc->logits != NULL) GP_TRY(dist_sum(desc->comm, desc->logits, samples * (size_t)e->classes, DIST_FLOAT32));
  if (desc->tally != NULL) GP_TRY(train_tally_sum(desc->tally, desc->comm));
  *e->meter = (train_meter){0};
  for (size_t i = 0; i < samples; ++i) {
    const int what = (int)e->results[2 * i + 1];
    if (what != 0) train_meter_add_sample(e->meter, e->results[2 * i], what & 2, what & 4);
  }
cleanup:
  return status;
}

/* This rank's batches; alone, all. */
static gp_status evaluate_share(evaluation *e) {
  gp_status status = GP_OK;
  const train_evaluate_desc *desc = e->desc;
  const nn_shape shape = nn_net_input_shape(desc->net);
  const size_t batch = (size_t)desc->plans->largest;
  GP_TRY(GP_ALLOC(&e->logits, batch * (size_t)e->classes));
  if (desc->flip_average) GP_TRY(GP_ALLOC(&e->mirrored, batch * (size_t)(shape.channels * shape.height * shape.width)));
  GP_TRY(begin_sharing(e));
  GP_TRY(data_loader_start(desc->loader, 0, 0));
  train_pass_start(&e->pass, desc->observer,
                   &(train_progress){.phase = TRAIN_PHASE_TEST,
                                     .epoch = desc->epoch,
                                     .epochs = desc->epochs,
                                     .batches = data_loader_batches(desc->loader)});
  GP_TRY(evaluate_batches(e, &e->pass));
cleanup:
  return status;
}

gp_status train_evaluate(train_meter *meter, const train_evaluate_desc *desc) {
  evaluation e = {.desc = desc, .meter = meter, .classes = nn_net_classes(desc->net)};
  *meter = (train_meter){0};
  gp_status status = evaluate_share(&e);
  if (!alone(desc)) GP_TRY(dist_agree_later(desc->comm, status));
  GP_TRY(status);
  GP_TRY(share_results(&e));
  e.pass.progress.loss = train_meter_loss(meter);
  e.pass.progress.top1 = train_meter_top1(meter);
  e.pass.progress.top5 = train_meter_top5(meter);
  train_pass_end(&e.pass);
  if (meter->samples == 0)
    GP_TRY(gp_fail(GP_ERROR_CORRUPT, "none of the test images that count can be read: there is no result"));
cleanup:
  gp_free(e.logits);
  gp_free(e.mirrored);
  gp_free(e.results);
  return status;
}
