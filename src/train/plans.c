#include "train/plans.h"

#include "base/status.h"

#include <inttypes.h>

gp_status train_plans_create(train_plans *plans, nn_net *net, const train_plans_desc *desc) {
  gp_status status = GP_OK;
  const int64_t rest = desc->samples % desc->batch;
  *plans = (train_plans){0};
  if (desc->samples >= desc->batch) {
    plans->full_count = desc->batch;
    GP_TRY(nn_plan_create(&plans->full, net, &(nn_plan_desc){.batch = desc->batch, .mode = desc->mode}));
  }
  if (rest > 0 && !desc->drop_last) {
    plans->rest_count = rest;
    status = nn_plan_create(&plans->rest, net, &(nn_plan_desc){.batch = rest, .mode = desc->mode});
    if (status != GP_OK && desc->mode == NN_TRAIN)
      status = gp_fail_in(status,
                          "the last batch of an epoch has %" PRId64 " of %" PRId64
                          " samples (use --drop-last or another --batch-size)",
                          rest, desc->batch);
    GP_TRY(status);
  }
  if (plans->full == NULL && plans->rest == NULL)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "a batch size of %" PRId64 " with --drop-last leaves nothing of %" PRId64
                   " samples: use a smaller --batch-size",
                   desc->batch, desc->samples));
cleanup:
  if (status != GP_OK) train_plans_clear(plans);
  return status;
}

void train_plans_clear(train_plans *plans) {
  nn_plan_destroy(&plans->full);
  nn_plan_destroy(&plans->rest);
}

gp_status train_plans_get(const train_plans *plans, int64_t count, nn_plan **plan) {
  *plan = count == plans->full_count ? plans->full : count == plans->rest_count ? plans->rest : NULL;
  if (*plan == NULL)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "expected batches of %" PRId64 " or %" PRId64 " samples, the loader made one of %" PRId64,
                   plans->full_count, plans->rest_count, count);
  return GP_OK;
}
