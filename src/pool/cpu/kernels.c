/* The fast kernels: float32 in the layouts whose innermost run is channels. Compiled once for each instruction set, with
 * GP_KERNELS (the record's name) and GP_KERNELS_ISA (its name in GAUSSPOOL_ISA) from the build. All of them compute the
 * same operations in the same order for each element: their results agree bit for bit. */
#include "pool/kernels.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "pool/cpu/backward.h"
#include "pool/cpu/forward.h"

static const char *declines(const gp_pool_plan *plan) {
  if (plan->desc.dtype != GP_FLOAT32) return "only float32 is vectorised";
  if (plan->desc.adaptive[0] > 0 || plan->kind->body > GP_BODY_MAX || plan->kind->link == GP_LINK_IDENTITY ||
      plan->kind->link == GP_LINK_ABSOLUTE)
    return "not yet vectorised";
  if (plan->desc.layout == GP_NCHW) return "only NHWC and the blocked layouts are vectorised";
  if (GP_LANES > 8 && plan->desc.layout == GP_NCHW8C) return "a block of 8 channels does not fill a vector";
  return NULL;
}

static size_t partial_elements(const gp_tiles *tiles) { return (size_t)(tiles->count * 2 * tiles->run_lanes); }

static size_t backward_workspace(const gp_pool_plan *plan) {
  if (plan->kind->link == GP_LINK_NONE) return 0;
  gp_tiles tiles = gp_tiles_make(plan);
  size_t sums = 2 * (size_t)(plan->desc.batch * plan->desc.channels);
  return gp_align_up((partial_elements(&tiles) + sums) * sizeof(double));
}

static size_t forward_workspace(const gp_pool_plan *plan) {
  (void)plan;
  return 0;
}

static void forward(const gp_pool_plan *plan, const gp_pool_forward_args *args) {
  struct forward_job job = {plan, gp_tiles_make(plan), args};
  gp_parallel_for(job.tiles.count, plan->desc.threads, forward_tile, &job);
}

static void backward(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  struct backward_job job = {.plan = plan, .tiles = gp_tiles_make(plan), .args = args};
  if (plan->kind->link != GP_LINK_NONE) {
    job.partial = args->workspace;
    job.sums[0] = job.partial + partial_elements(&job.tiles);
    job.sums[1] = job.sums[0] + plan->desc.batch * plan->desc.channels;
  }
  gp_parallel_for(job.tiles.count, plan->desc.threads, backward_tile, &job);
  if (plan->kind->link == GP_LINK_NONE || plan->desc.param_shape == GP_SHAPE_NCHW) return;
  gp_parallel_for(plan->desc.batch * job.tiles.runs, plan->desc.threads, backward_run, &job);
  gp_param_reduce(plan, job.sums[0], args->grad_mu);
  gp_param_reduce(plan, job.sums[1], args->grad_sigma);
  gp_param_reduce(plan, job.sums[0], args->grad_weight);
}

const gp_pool_kernels GP_KERNELS = {GP_KERNELS_ISA, declines, forward_workspace, backward_workspace, forward, backward};
