#include "train/evaluate.h"

#include "base/status.h"
#include "train/pass.h"
#include "train/stop.h"

#include <string.h>

static gp_status evaluate_batch(train_meter *meter, const train_evaluate_desc *desc, const data_batch *batch) {
  gp_status status = GP_OK;
  nn_plan *plan = NULL;
  GP_TRY(train_plans_get(desc->plans, batch->count, &plan));
  GP_TRY(nn_plan_forward(plan, batch->images, batch->labels, &(nn_step_desc){0}));
  const float *logits = nn_plan_logits(plan);
  train_meter_add(meter, nn_plan_loss(plan), logits, batch->labels, batch->count, desc->classes);
  for (int64_t i = 0; desc->logits != NULL && i < batch->count; ++i)
    memcpy(desc->logits + batch->indices[i] * desc->classes, logits + i * desc->classes,
           (size_t)desc->classes * sizeof(float));
cleanup:
  return status;
}

gp_status train_evaluate(train_meter *meter, const train_evaluate_desc *desc) {
  gp_status status = GP_OK;
  train_pass pass;
  *meter = (train_meter){0};
  GP_TRY(data_loader_start(desc->loader, 0, 0));
  train_pass_start(&pass, desc->observer,
                   &(train_progress){.phase = TRAIN_PHASE_TEST,
                                     .epoch = desc->epoch,
                                     .epochs = desc->epochs,
                                     .batches = data_loader_batches(desc->loader)});
  for (;;) {
    if (train_stop_requested() != 0)
      GP_TRY(gp_fail(GP_ERROR_INTERRUPTED, "stopped by a signal in the middle of a test"));
    const data_batch *batch = NULL;
    GP_TRY(data_loader_next(desc->loader, &batch));
    if (batch == NULL) break;
    GP_TRY(evaluate_batch(meter, desc, batch));
    train_pass_step(&pass, batch->count, 0, meter);
  }
  train_pass_end(&pass);
cleanup:
  return status;
}
