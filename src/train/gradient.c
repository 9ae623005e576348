#include "train/gradient.h"

#include "base/parallel.h"
#include "base/status.h"
#include "base/vectorize.h"

enum { CHUNK = 1 << 14 }; /* floats per task */

/* target = old + share·gradient */
typedef struct addition {
  float *target;
  const float *old, *gradient; /* old NULL: zeros */
  float share;
  size_t count;
} addition;

static void add_chunk(void *context, int64_t task) {
  const addition *sum = context;
  const size_t first = (size_t)task * CHUNK;
  const size_t end = sum->count - first < CHUNK ? sum->count : first + CHUNK;
  const float *old = sum->old, *gradient = sum->gradient;
  float *target = sum->target; /* may be old or gradient */
  const float share = sum->share;
  if (old == NULL) {
    GP_INDEPENDENT
    for (size_t i = first; i < end; ++i) target[i] = share * gradient[i];
    return;
  }
  GP_INDEPENDENT
  for (size_t i = first; i < end; ++i) target[i] = old[i] + share * gradient[i];
}

/* Adds a part's gradient, of `share` of the batch, to the sum of those before; the last makes the whole. */
static void add_part(const train_gradient_desc *desc, bool first, bool last, double share) {
  const nn_arenas arenas = nn_net_arenas(desc->net);
  addition sum = {.target = last ? arenas.gradient : desc->sum,
                  .old = first ? NULL : desc->sum,
                  .gradient = arenas.gradient,
                  .share = (float)share,
                  .count = arenas.count};
  gp_parallel_for((int64_t)((sum.count + CHUNK - 1) / CHUNK), 0, add_chunk, &sum);
}

gp_status train_gradient(const train_gradient_desc *desc, const data_batch *part, train_meter *meter, double *loss) {
  gp_status status = GP_OK;
  const double share = (double)part->count / (double)part->whole;
  const bool first = part->part == 0, last = part->part + 1 == part->parts;
  nn_step_desc step = desc->step;
  nn_plan *plan = NULL;
  step.first_sample += part->first;
  if (first) *loss = 0;
  GP_TRY(train_plans_get(desc->plans, part->count, &plan));
  GP_TRY(nn_plan_forward(plan, part->images, part->labels, &step));
  *loss += share * nn_plan_loss(plan);
  train_meter_add(meter, nn_plan_loss(plan), nn_plan_logits(plan), part->labels, part->count,
                  nn_net_classes(desc->net));
  GP_TRY(nn_plan_backward(plan));
  if (!first || !last) add_part(desc, first, last, share);
cleanup:
  return status;
}
