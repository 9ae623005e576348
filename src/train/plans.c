#include "train/plans.h"

#include "base/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* `of_all`: samples that all shares together have in the part. Batch norms over all ranks do with one here if there are others
 * elsewhere, but not with one in all: that is for nn_plan_create() to judge, though a plan of this size may exist. */
static gp_status add_plan(train_plans *plans, nn_net *net, int64_t batch, int64_t of_all,
                          const train_plans_desc *desc) {
  const bool lone = desc->sync != NULL && of_all == 1;
  for (int32_t i = 0; i < plans->count; ++i)
    if (plans->plans[i].batch == batch && plans->plans[i].lone == lone) return GP_OK;
  plans->plans[plans->count].batch = batch;
  plans->plans[plans->count].lone = lone;
  gp_status status = nn_plan_create(&plans->plans[plans->count].plan, net,
                                    &(nn_plan_desc){.batch = batch,
                                                    .mode = desc->mode,
                                                    .sync = desc->sync,
                                                    .whole_batch = of_all,
                                                    .reserve_later = desc->reserve_later});
  plans->count += status == GP_OK;
  return status;
}

/* The samples that all shares have together in this part. */
static int64_t part_of_all(data_cut cut, int64_t part) {
  int64_t samples = 0;
  if (cut.share.mode != DATA_SHARE_SAMPLES) return data_cut_piece(&cut, part).count;
  for (cut.share.index = 0; cut.share.index < cut.share.count; ++cut.share.index)
    samples += data_cut_piece(&cut, part).count;
  return samples;
}

/* Plans for the parts of one batch, from `part` on. */
static gp_status add_batch(train_plans *plans, nn_net *net, const data_cut *cut, int64_t part,
                           const train_plans_desc *desc) {
  gp_status status = GP_OK;
  const data_piece batch = data_cut_piece(cut, part);
  for (int64_t i = 0; i < batch.parts; ++i) {
    const int64_t count = data_cut_piece(cut, part + i).count;
    if (count > 0) GP_TRY(add_plan(plans, net, count, part_of_all(*cut, part + i), desc));
  }
cleanup:
  if (status == GP_OK || desc->mode != NN_TRAIN || batch.whole == desc->batch) return status;
  const bool shared = desc->share.mode == DATA_SHARE_SAMPLES;
  const bool helped = shared && desc->sync == NULL && batch.whole > 1; /* by the other ranks' samples */
  return gp_fail_in(status,
                    "the last batch of an epoch has %" PRId64 " of %" PRId64
                    " samples%s (use --drop-last%s or another --batch-size)",
                    batch.whole, desc->batch, shared ? " for all ranks" : "", helped ? ", --sync-bn" : "");
}

/* A divisor of the batch size is one of the shares' only where there are as many images on each rank. */
static gp_status check_parts(const train_plans_desc *desc, int64_t parts) {
  char possible[128] = "";
  if (desc->batch % parts != 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "accumulate: expected a divisor of the batch size %" PRId64 ", found %" PRId64, desc->batch, parts);
  if (data_share_in_parts(&desc->share, desc->batch, parts)) return GP_OK;
  for (int64_t p = 1; p <= desc->batch && strlen(possible) < sizeof possible / 2; ++p)
    if (desc->batch % p == 0 && data_share_in_parts(&desc->share, desc->batch, p))
      snprintf(possible + strlen(possible), sizeof possible - strlen(possible), "%s%" PRId64, p > 1 ? ", " : "", p);
  return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                 "accumulate: expected as many parts as a share of a batch of %" PRId64 " on %" PRId32
                 " ranks can come in, as %s, found %" PRId64,
                 desc->batch, desc->share.count, possible, parts);
}

gp_status train_plans_create(train_plans *plans, nn_net *net, const train_plans_desc *desc) {
  gp_status status = GP_OK;
  const int64_t parts = desc->parts > 0 ? desc->parts : 1;
  *plans = (train_plans){0};
  GP_TRY(check_parts(desc, parts));
  const data_cut cut = data_cut_epoch(&desc->share, desc->samples, desc->batch,
                                      data_share_part_size(&desc->share, desc->batch, parts), desc->drop_last);
  plans->largest = cut.part_size;
  if (cut.parts > 0) {
    GP_TRY(add_batch(plans, net, &cut, 0, desc));
    GP_TRY(add_batch(plans, net, &cut, data_cut_first_part(&cut, cut.batches - 1), desc));
  }
  if (plans->count == 0 && desc->share.mode != DATA_SHARE_BATCHES)
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

gp_status train_plans_smallest(const train_plans *plans, nn_plan **plan) {
  int64_t least = INT64_MAX;
  for (int32_t i = 0; i < plans->count; ++i) {
    if (plans->plans[i].batch >= least) continue;
    least = plans->plans[i].batch;
    *plan = plans->plans[i].plan;
  }
  return least < INT64_MAX ? GP_OK : gp_fail(GP_ERROR_INVALID_ARGUMENT, "there is no plan for any batch");
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
