#include "train/plans.h"

#include "base/status.h"
#include "data/parts.h"

#include <inttypes.h>

static gp_status add_plan(train_plans *plans, nn_net *net, int64_t batch, const train_plans_desc *desc) {
  for (int32_t i = 0; i < plans->count; ++i)
    if (plans->plans[i].batch == batch) return GP_OK;
  plans->plans[plans->count].batch = batch;
  gp_status status =
      nn_plan_create(&plans->plans[plans->count].plan, net,
                     &(nn_plan_desc){.batch = batch, .mode = desc->mode, .reserve_later = desc->reserve_later});
  plans->count += status == GP_OK;
  return status;
}

static gp_status add_last_batch(train_plans *plans, nn_net *net, int64_t rest, const train_plans_desc *desc) {
  gp_status status = GP_OK;
  const int64_t parts = data_parts(rest, plans->largest);
  GP_TRY(add_plan(plans, net, rest / parts, desc));
  if (rest % parts > 0) GP_TRY(add_plan(plans, net, rest / parts + 1, desc));
cleanup:
  if (status != GP_OK && desc->mode == NN_TRAIN)
    return gp_fail_in(status,
                      "the last batch of an epoch has %" PRId64 " of %" PRId64
                      " samples (use --drop-last or another --batch-size)",
                      rest, desc->batch);
  return status;
}

gp_status train_plans_create(train_plans *plans, nn_net *net, const train_plans_desc *desc) {
  gp_status status = GP_OK;
  const int64_t rest = desc->samples % desc->batch, parts = desc->parts > 0 ? desc->parts : 1;
  *plans = (train_plans){.largest = desc->batch / parts};
  if (desc->batch % parts != 0)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "accumulate: expected a divisor of the batch size %" PRId64 ", found %" PRId64, desc->batch, parts));
  if (desc->samples >= desc->batch) GP_TRY(add_plan(plans, net, plans->largest, desc));
  if (rest > 0 && !desc->drop_last) GP_TRY(add_last_batch(plans, net, rest, desc));
  if (plans->count == 0)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "a batch size of %" PRId64 " with --drop-last leaves nothing of %" PRId64
                   " samples: use a smaller --batch-size",
                   desc->batch, desc->samples));
cleanup:
  if (status != GP_OK) train_plans_clear(plans);
  return status;
}

void train_plans_clear(train_plans *plans) {
  for (int32_t i = 0; i < plans->count; ++i) nn_plan_destroy(&plans->plans[i].plan);
  plans->count = 0;
}

gp_status train_plans_get(const train_plans *plans, int64_t count, nn_plan **plan) {
  for (int32_t i = 0; i < plans->count; ++i) {
    *plan = plans->plans[i].plan;
    if (plans->plans[i].batch == count) return GP_OK;
  }
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "there is no plan for a batch of %" PRId64 " samples", count);
}

gp_status train_plans_reserve(const train_plans *plans) {
  gp_status status = GP_OK;
  for (int32_t i = 0; status == GP_OK && i < plans->count; ++i) status = nn_plan_reserve(plans->plans[i].plan);
  return status;
}

size_t train_plans_activation_bytes(const train_plans *plans) {
  size_t most = 0;
  for (int32_t i = 0; i < plans->count; ++i) {
    const size_t bytes = nn_plan_activation_bytes(plans->plans[i].plan);
    if (bytes > most) most = bytes;
  }
  return most;
}
