#include "train/gradient.h"

#include "base/parallel.h"
#include "base/status.h"
#include "base/vectorize.h"

#include <string.h>

enum { CHUNK = 1 << 14 }; /* floats per task */

/* target = old + gradient */
typedef struct addition {
  float *target;
  const float *old, *gradient; /* old NULL: zeros */
  size_t count;
} addition;

static void add_chunk(void *context, int64_t task) {
  const addition *sum = context;
  const size_t first = (size_t)task * CHUNK;
  const size_t end = sum->count - first < CHUNK ? sum->count : first + CHUNK;
  const float *old = sum->old, *gradient = sum->gradient;
  float *target = sum->target; /* may be old or gradient */
  if (old == NULL) {
    memcpy(target + first, gradient + first, (end - first) * sizeof *target);
    return;
  }
  GP_INDEPENDENT
  for (size_t i = first; i < end; ++i) target[i] = old[i] + gradient[i];
}

/* While a part's backward pass runs: gradients from `done` on are added up and, in the last part, on their way. */
typedef struct progress {
  const train_gradient_desc *desc;
  bool first, last;
  size_t done;
} progress;

/* Gradients from `first` on are final: adds them to those of the parts before; the last part makes the whole. */
static gp_status on_gradients(void *context, size_t first) {
  progress *p = context;
  const train_gradient_desc *desc = p->desc;
  float *gradient = nn_net_arenas(desc->net).gradient;
  if (first < p->done && !(p->first && p->last)) {
    addition sum = {.target = (p->last ? gradient : desc->sum) + first,
                    .old = p->first ? NULL : desc->sum + first,
                    .gradient = gradient + first,
                    .count = p->done - first};
    gp_parallel_for((int64_t)((sum.count + CHUNK - 1) / CHUNK), 0, add_chunk, &sum);
  }
  p->done = first;
  return p->last && desc->ranks != NULL ? train_ranks_gradients(desc->ranks, first) : GP_OK;
}

/* This rank has no sample of the part, and nobody asks it to take part in statistics. */
static gp_status pass_by(progress *p) {
  const nn_arenas arenas = nn_net_arenas(p->desc->net);
  memset(arenas.gradient, 0, arenas.count * sizeof *arenas.gradient);
  return on_gradients(p, 0);
}

static gp_status run_part(progress *p, const data_batch *part, train_meter *meter) {
  gp_status status = GP_OK;
  const train_gradient_desc *desc = p->desc;
  nn_step_desc step = desc->step;
  nn_plan *plan = NULL;
  step.first_sample += part->first;
  step.whole = part->whole;
  step.absent = part->count == 0; /* then the part's memory, which holds at least one image, stands in */
  GP_TRY(step.absent ? train_plans_smallest(desc->plans, &plan) : train_plans_get(desc->plans, part->count, &plan));
  nn_plan_watch_gradients(plan, on_gradients, p);
  GP_TRY(nn_plan_forward(plan, part->images, part->labels, &step));
  if (!step.absent)
    train_meter_add(meter, nn_plan_loss(plan), nn_plan_logits(plan), part->labels, part->count,
                    nn_net_classes(desc->net));
  if (p->last && desc->ranks != NULL) GP_TRY(train_ranks_statistics(desc->ranks, desc->net, part->whole));
  GP_TRY(nn_plan_backward(plan));
cleanup:
  if (plan != NULL) nn_plan_watch_gradients(plan, NULL, NULL);
  return status;
}

gp_status train_gradient(const train_gradient_desc *desc, const data_batch *part, train_meter *meter) {
  progress p = {.desc = desc,
                .first = part->part == 0,
                .last = part->part + 1 == part->parts,
                .done = nn_net_arenas(desc->net).count};
  if (p.last && desc->ranks != NULL) train_ranks_begin(desc->ranks);
  const bool together = desc->ranks != NULL && train_ranks_synchronised(desc->ranks);
  if (part->count > 0 || together) return run_part(&p, part, meter);
  if (p.last) {
    gp_status status = train_ranks_statistics(desc->ranks, desc->net, part->whole);
    if (status != GP_OK) return status;
  }
  return pass_by(&p);
}
