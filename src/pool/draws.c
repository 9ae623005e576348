#include "pool/draws.h"

#include "base/parallel.h"
#include "base/status.h"
#include "pool/params.h"

struct job {
  const gp_pool_plan *plan;
  void *draws;
};

/* All the elements of a plane, dense in y's layout; a padding lane gets zeros. */
static void draw_plane(void *context, int64_t task) {
  const struct job *job = context;
  const gp_pool_plan *plan = job->plan;
  const gp_pool_desc *desc = &plan->desc;
  int64_t lanes = gp_layout_channels(desc->layout, desc->channels);
  int64_t n = task / lanes, c = task % lanes;
  gp_pool_plane plane = gp_pool_map_plane(plan, n, c);
  gp_draw_plane counter = gp_draw_plane_at(desc, n, c);
  for (int64_t row = 0; row < plan->out_height; ++row) {
    float values[4] = {0};
    for (int64_t column = 0; column < plan->out_width; ++column) {
      if (column % 4 == 0 && c < desc->channels) gp_draw4(plan, counter, row, column / 4, values);
      int64_t at = plane.base + row * plane.row + column * plane.pixel;
      gp_store(job->draws, gp_dtype_of_params(desc->dtype), at, (double)values[column % 4]);
    }
  }
}

static void draw_sample(void *context, int64_t n) {
  const struct job *job = context;
  const gp_pool_desc *desc = &job->plan->desc;
  for (int64_t c = 0; c < desc->channels; ++c)
    gp_store(job->draws, gp_dtype_of_params(desc->dtype), n * desc->channels + c,
             (double)gp_draw_at(job->plan, n, c, 0, 0));
}

gp_status gp_pool_draws(const gp_pool_desc *desc, void *draws) {
  gp_pool_plan plan;
  gp_status status = gp_pool_plan_make(&plan, desc);
  if (status != GP_OK) return status;
  if (plan.desc.stochasticity == GP_STOCHASTIC_NONE)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pooling: kind %s without stochasticity, or that never draws, has no draws to write",
                   plan.kind->name);
  if (plan.desc.batch == 0) return GP_OK;
  if (draws == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `draws` is NULL");
  size_t size = gp_dtype_size(gp_dtype_of_params(plan.desc.dtype));
  if ((uintptr_t)draws % size != 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pooling: `draws` is not aligned to its elements of %zu bytes", size);
  struct job job = {&plan, draws};
  if (plan.desc.stochasticity == GP_STOCHASTIC_CN)
    gp_parallel_for(plan.desc.batch, plan.desc.threads, draw_sample, &job);
  else
    gp_parallel_for(plan.desc.batch * gp_layout_channels(plan.desc.layout, plan.desc.channels), plan.desc.threads,
                    draw_plane, &job);
  return GP_OK;
}
