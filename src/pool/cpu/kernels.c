/* The fast kernels of an instruction set and storage type: float32, bfloat16 or float16 in every layout. Compiled once for
 * each pair, with names from the build:
 *
 *     GP_STORAGE      the gp_dtype
 *     GP_KERNELS      the record for dispatch.c
 *     GP_KERNELS_ISA  the instruction set's name in GAUSSPOOL_ISA
 *     GP_LOOPS        the inner loops of this storage type
 *     GP_FLOAT_LOOPS  those of float32 on the same instruction set, for staged copies
 *
 * All instruction sets compute the same operations in the same order for each element: their results agree bit for bit. */
#include "pool/kernels.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "pool/arguments.h"
#include "pool/cpu/backward.h"
#include "pool/cpu/block.h"
#include "pool/cpu/forward.h"
#include "pool/cpu/pairs.h"
#include "pool/cpu/plane.h"

/* ---- The inner loops ----------------------------------------------------------------------- */

extern const gp_inner_loops GP_FLOAT_LOOPS;
#if GP_STORAGE != GP_STORAGE_FLOAT32
extern const gp_inner_loops GP_LOOPS;
#endif

/* 2×2, 3×3, any. */
const gp_inner_loops GP_LOOPS = {
    .forward =
        {
            [GP_FORM_GAUSSIAN] = {forward_gaussian_2x2, forward_gaussian_3x3, forward_gaussian},
            [GP_FORM_MEAN] = {forward_mean_2x2, forward_mean_3x3, forward_mean},
            [GP_FORM_MAX] = {forward_max_2x2, forward_max_3x3, forward_max},
            [GP_FORM_SOFTMAX] = {forward_softmax_2x2, forward_softmax, forward_softmax},
            [GP_FORM_EXPECTED] = {forward_expected, forward_expected, forward_expected},
            [GP_FORM_PICKED] = {forward_picked, forward_picked, forward_picked},
            [GP_FORM_MIXED] = {forward_mixed_2x2, forward_mixed, forward_mixed},
            [GP_FORM_GATED] = {forward_gated, forward_gated, forward_gated},
            [GP_FORM_LP] = {forward_lp, forward_lp, forward_lp},
        },
    .backward_direct =
        {
            [GP_FORM_GAUSSIAN] = {direct_gaussian_2x2, direct_gaussian, direct_gaussian},
            [GP_FORM_MEAN] = {direct_mean_2x2, direct_mean, direct_mean},
            [GP_FORM_MAX] = {direct_max_2x2, direct_max, direct_max},
            [GP_FORM_SOFTMAX] = {direct_softmax, direct_softmax, direct_softmax},
            [GP_FORM_EXPECTED] = {direct_expected, direct_expected, direct_expected},
            [GP_FORM_PICKED] = {direct_picked, direct_picked, direct_picked},
            [GP_FORM_MIXED] = {direct_mixed, direct_mixed, direct_mixed},
            [GP_FORM_GATED] = {direct_gated, direct_gated, direct_gated},
            [GP_FORM_LP] = {direct_lp, direct_lp, direct_lp},
        },
    .backward_add =
        {
            [GP_FORM_GAUSSIAN] = {add_gaussian_2x2, add_gaussian_3x3, add_gaussian},
            [GP_FORM_MEAN] = {add_mean, add_mean_3x3, add_mean},
            [GP_FORM_MAX] = {add_max, add_max_3x3, add_max},
            [GP_FORM_SOFTMAX] = {add_softmax, add_softmax, add_softmax},
            [GP_FORM_EXPECTED] = {add_expected, add_expected, add_expected},
            [GP_FORM_PICKED] = {add_picked, add_picked, add_picked},
            [GP_FORM_MIXED] = {add_mixed, add_mixed, add_mixed},
            [GP_FORM_GATED] = {add_gated, add_gated, add_gated},
            [GP_FORM_LP] = {add_lp, add_lp, add_lp},
        },
    .forward_pairs =
        {
            [GP_FORM_GAUSSIAN] = forward_pairs_gaussian,
            [GP_FORM_MEAN] = forward_pairs_mean,
            [GP_FORM_MAX] = forward_pairs_max,
            [GP_FORM_SOFTMAX] = forward_pairs_softmax,
            [GP_FORM_EXPECTED] = forward_pairs_expected,
            [GP_FORM_PICKED] = forward_pairs_picked,
            [GP_FORM_MIXED] = forward_pairs_mixed,
            [GP_FORM_LP] = forward_pairs_lp,
        },
    .backward_pairs =
        {
            [GP_FORM_GAUSSIAN] = backward_pairs_gaussian,
            [GP_FORM_MEAN] = backward_pairs_mean,
            [GP_FORM_MAX] = backward_pairs_max,
            [GP_FORM_SOFTMAX] = backward_pairs_softmax,
            [GP_FORM_EXPECTED] = backward_pairs_expected,
            [GP_FORM_PICKED] = backward_pairs_picked,
            [GP_FORM_MIXED] = backward_pairs_mixed,
            [GP_FORM_LP] = backward_pairs_lp,
        },
};

static gp_form form_of(const gp_pool_plan *plan) {
  switch (plan->kind->body) {
    case GP_BODY_MEAN: return GP_FORM_MEAN;
    case GP_BODY_MAX: return GP_FORM_MAX;
    case GP_BODY_SOFTMAX: return GP_FORM_SOFTMAX;
    case GP_BODY_STOCHASTIC: return plan->desc.stochasticity == GP_STOCHASTIC_NONE ? GP_FORM_EXPECTED : GP_FORM_PICKED;
    case GP_BODY_MIXED: return plan->kind->link == GP_LINK_GATE ? GP_FORM_GATED : GP_FORM_MIXED;
    case GP_BODY_LP: return GP_FORM_LP;
    default: return GP_FORM_GAUSSIAN;
  }
}

/* ---- What a call needs --------------------------------------------------------------------- */

/* Outputs beyond this many bytes are written past the caches. Not what the machine says of its last level: a virtual one
 * names its host's, of which it has a part. */
enum { CACHE_BYTES = 24 << 20 };

/* Whether vectors of the run land on their own size in memory, for an output beyond the caches; of NCHW, whole lines: a line
 * that two rows share would be written in two halves. */
static bool may_stream(const gp_pool_plan *plan, const gp_strides *strides, int64_t height, int64_t width,
                       const void *data) {
  int64_t size = (int64_t)sizeof(gp_element), vector = plan->desc.layout == GP_NCHW ? 64 : GP_LANES * size;
  if (plan->desc.batch * plan->desc.channels * height * width * size <= CACHE_BYTES) return false;
  return (uintptr_t)data % (uintptr_t)vector == 0 && strides->n * size % vector == 0 &&
         strides->c * size % (plan->desc.layout == GP_NHWC ? 1 : vector) == 0 && strides->h * size % vector == 0 &&
         (plan->desc.layout == GP_NCHW || strides->w * size % vector == 0);
}

static const char *declines(const gp_pool_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  if (GP_LANES > 8 && desc->layout == GP_NCHW8C) return "a block of 8 channels does not fill a vector";
  const gp_strides *strides[] = {&desc->x_stride, &desc->y_stride, &desc->grad_x_stride, &desc->grad_y_stride};
  for (size_t i = 0; i < sizeof strides / sizeof strides[0]; ++i) {
    bool last = i == 0 || i == 2 ? desc->width == 1 : plan->out_width == 1;
    if (desc->layout == GP_NCHW && strides[i]->w != 1 && !last) return "NCHW needs neighbouring columns";
    if (desc->layout == GP_NHWC && strides[i]->c != 1 && desc->channels > 1) return "NHWC needs neighbouring channels";
  }
  if (desc->height * desc->width > INT32_MAX) return "elements of a window are counted in 32 bits";
  if (plan->kind->link == GP_LINK_GATE && gp_param_values(plan) > GP_MASK_FLOATS / GP_STAGED_LANES)
    return "the mask is too large";
  return NULL;
}

/* Bytes of scratch memory for [task][slot][lane] and `sums` more doubles, whichever way the call is staged; where a copy of
 * a window would be too large, the reference does it. */
static size_t workspace_bytes(const gp_pool_plan *plan, bool backward, size_t sums, size_t reference) {
  size_t most = 0;
  for (int scaled = 0; scaled < 2; ++scaled)
    for (int accumulate = 0; accumulate < 2; ++accumulate)
      for (int writes = 0; writes < 2; ++writes) {
        gp_tiles tiles;
        gp_staging staging = gp_staging_of(plan, backward, scaled == 1, accumulate == 1, writes == 1);
        size_t bytes = reference;
        if (gp_tiles_make(&tiles, plan, staging))
          bytes = gp_align_up(((size_t)(tiles.count * gp_call_slots(plan) * tiles.run_lanes) + sums) * sizeof(double));
        if (bytes > most) most = bytes;
      }
  return most;
}

static size_t sums_elements(const gp_pool_plan *plan) {
  return (size_t)(gp_call_slots(plan) * plan->desc.batch * plan->desc.channels);
}

/* ---- A task -------------------------------------------------------------------------------- */

/* Values for each lane of an array [n][c], times a factor; zeros where there is no array. */
static void load_planes(const gp_work *work, const float *array, float factor, float *to) {
  for (int i = 0; i < work->run.lanes; ++i)
    to[i] = array != NULL && i < work->tile.real ? array[work->tile.plane + i] * factor : 0.0f;
}

static void load_scale(gp_work *work) {
  const gp_pool_plan *plan = work->call->plan;
  const float *scale = work->call->forward.scale, *shift = work->call->forward.shift;
  if (scale == NULL) return;
  gp_lane at = gp_lane_first(plan, &work->tile);
  for (int i = 0; i < work->run.lanes; ++i, gp_lane_next(plan, &at)) {
    work->scale[i] = i < work->tile.real ? scale[at.c] : 0.0f;
    work->shift[i] = i < work->tile.real ? shift[at.c] : 0.0f;
  }
}

static void load_mask(gp_work *work) {
  const gp_pool_plan *plan = work->call->plan;
  const float *mask = work->call->forward.weight;
  int64_t values = gp_param_values(plan);
  memset(work->mask_row_sums, 0, sizeof work->mask_row_sums);
  memset(work->mask_sums, 0, sizeof work->mask_sums);
  gp_lane at = gp_lane_first(plan, &work->tile);
  for (int i = 0; i < work->run.lanes; ++i, gp_lane_next(plan, &at))
    for (int64_t k = 0; k < values; ++k)
      work->mask[k * work->run.lanes + i] =
          i < work->tile.real ? mask[gp_param_index(plan, at.n, at.c) * values + k] : 0.0f;
}

static void prepare_work(gp_work *work, const gp_call *call, int64_t task) {
  const gp_pool_plan *plan = call->plan;
  const gp_pool_desc *desc = &plan->desc;
  work->call = call;
  work->tile = gp_tile_at(plan, &call->tiles, task);
  gp_run_make(plan, &work->tile, call->forward.mu, call->forward.sigma, call->forward.weight, &work->run);
  work->lanes = call->staging.x ? work->run.lanes : work->tile.real;
  gp_planes_make(&work->x, plan, &desc->x_stride, call->forward.x, &work->tile);
  gp_planes_make(&work->map, plan, &plan->map_stride, call->forward.weight, &work->tile);
  if (call->backward) {
    gp_planes_make(&work->out, plan, &desc->grad_y_stride, call->grads.grad_y, &work->tile);
    gp_planes_make(&work->grad_x, plan, &desc->grad_x_stride, call->grads.grad_x, &work->tile);
    gp_planes_make(&work->grad_map, plan, &plan->map_stride, call->grads.grad_weight, &work->tile);
    load_planes(work, call->grads.grad_average_y, 1.0f / (float)(plan->out_height * plan->out_width), work->add_y);
    load_planes(work, call->grads.grad_average_x, 1.0f / (float)(desc->height * desc->width), work->add_x);
  } else {
    gp_planes_make(&work->out, plan, &desc->y_stride, call->forward.y, &work->tile);
  }
  load_scale(work);
  if (call->form == GP_FORM_GATED) load_mask(work);
  int64_t row_sums = (work->tile.row_end - work->tile.row_begin) * work->run.lanes;
  if (row_sums > GP_COLUMN_FLOATS) row_sums = GP_COLUMN_FLOATS;
  for (int k = 0; k < GP_SUMS; ++k) {
    memset(work->row_sums[k], 0, (size_t)row_sums * sizeof(float));
    memset(work->sums[k], 0, (size_t)work->run.lanes * sizeof(double));
  }
  memset(work->unowned, 0, (size_t)work->run.lanes * sizeof(float));
}

/* [slot][run_lanes] of this task. */
static void store_partial(const gp_work *work) {
  const gp_call *call = work->call;
  int64_t lanes = call->tiles.run_lanes, slots = gp_call_slots(call->plan);
  double *partial = call->partial + work->tile.index * slots * lanes;
  for (int64_t slot = 0; slot < slots; ++slot) {
    const double *sums = slot < GP_SUMS ? work->sums[slot] : work->mask_sums + (slot - GP_SUMS) * work->run.lanes;
    for (int i = 0; i < work->tile.real; ++i) partial[slot * lanes + i] = sums[i];
  }
}

static void run_task(void *context, int64_t task) {
  const gp_call *call = context;
  gp_work work;
  prepare_work(&work, call, task);
  if (call->staging.pairs)
    run_planes(&work);
  else
    for (int64_t column = 0; column < call->plan->out_width; column += call->tiles.block_columns)
      run_strip(&work, column);
  if (call->partial != NULL) store_partial(&work);
  if (call->stream) gp_stream_end();
}

/* A slot of plane `lane` of a run: the sum over its bands, in their order. */
static double sum_bands(const gp_call *call, int64_t run, int64_t slot, int lane) {
  int64_t lanes = call->tiles.run_lanes, slots = gp_call_slots(call->plan);
  double total = 0;
  for (int64_t band = 0; band < call->tiles.bands; ++band)
    total += call->partial[((run * call->tiles.bands + band) * slots + slot) * lanes + lane];
  return total;
}

/* ---- Forward ------------------------------------------------------------------------------- */

static size_t forward_workspace(const gp_pool_plan *plan) {
  return workspace_bytes(plan, false, 0, gp_pool_reference.forward_workspace(plan));
}

static void store_averages(void *context, int64_t run) {
  const gp_call *call = context;
  gp_tile tile = gp_tile_of_run(call->plan, &call->tiles, run);
  double positions = (double)(call->plan->out_height * call->plan->out_width);
  float *average = call->forward.average_y;
  for (int lane = 0; lane < tile.real; ++lane)
    average[tile.plane + lane] = (float)(sum_bands(call, run, GP_SUM_MU, lane) / positions);
}

static void forward(const gp_pool_plan *plan, const gp_pool_forward_args *args) {
  gp_call call = {.plan = plan, .form = form_of(plan), .forward = *args};
  call.staging = gp_staging_of(plan, false, args->scale != NULL, false, true);
  if (!gp_tiles_make(&call.tiles, plan, call.staging)) {
    gp_pool_reference.forward(plan, args);
    return;
  }
  call.loops = call.staging.x ? &GP_FLOAT_LOOPS : &GP_LOOPS;
  call.stream = !call.staging.out && may_stream(plan, &plan->desc.y_stride, plan->out_height, plan->out_width, args->y);
  if (args->average_y != NULL) call.partial = args->workspace;
  gp_parallel_for(call.tiles.count, plan->desc.threads, run_task, &call);
  if (args->average_y != NULL) gp_parallel_for(call.tiles.runs, plan->desc.threads, store_averages, &call);
}

/* ---- Backward ------------------------------------------------------------------------------ */

static bool has_sums(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  if (args->grad_scale != NULL || args->grad_shift != NULL) return true;
  if (plan->desc.param_shape == GP_SHAPE_NCHW) return false;
  return args->grad_mu != NULL || args->grad_sigma != NULL || args->grad_weight != NULL;
}

static size_t backward_workspace(const gp_pool_plan *plan) {
  return workspace_bytes(plan, true, sums_elements(plan), gp_pool_reference.backward_workspace(plan));
}

struct backward_sums {
  const gp_call *call;
  double *sums[GP_SUMS]; /* [n][c] */
  double *mask;          /* [n][c][values] */
};

/* Adds up the bands of a run and turns Σ dW into Σ da. */
static void sum_run(void *context, int64_t index) {
  const struct backward_sums *job = context;
  const gp_call *call = job->call;
  const gp_pool_plan *plan = call->plan;
  gp_tile tile = gp_tile_of_run(plan, &call->tiles, index);
  gp_run run;
  gp_run_make(plan, &tile, call->forward.mu, call->forward.sigma, call->forward.weight, &run);
  for (int lane = 0; lane < tile.real; ++lane) {
    double totals[GP_SUMS];
    for (int k = 0; k < GP_SUMS; ++k) totals[k] = sum_bands(call, index, k, lane);
    if (run.source == GP_SOURCE_PLANE && plan->kind->draws == GP_DRAWS_NORMAL) {
      totals[GP_SUM_MU] *= (double)run.slope[lane];
      totals[GP_SUM_SIGMA] = totals[GP_SUM_MU] * (double)run.draw[lane];
    }
    for (int k = 0; k < GP_SUMS; ++k) job->sums[k][tile.plane + lane] = totals[k];
    int64_t values = gp_call_slots(plan) - GP_SUMS;
    for (int64_t k = 0; k < values; ++k)
      job->mask[(tile.plane + lane) * values + k] = sum_bands(call, index, GP_SUMS + k, lane);
  }
}

static void reduce_sums(const gp_call *call, double *memory) {
  const gp_pool_plan *plan = call->plan;
  const gp_pool_backward_args *args = &call->grads;
  struct backward_sums job = {.call = call};
  for (int k = 0; k < GP_SUMS; ++k, memory += plan->desc.batch * plan->desc.channels) job.sums[k] = memory;
  job.mask = memory;
  gp_parallel_for(call->tiles.runs, plan->desc.threads, sum_run, &job);
  if (plan->desc.param_shape != GP_SHAPE_NCHW) {
    gp_param_reduce(plan, job.sums[GP_SUM_MU], args->grad_mu);
    gp_param_reduce(plan, job.sums[GP_SUM_SIGMA], args->grad_sigma);
    gp_param_reduce(plan, plan->kind->link == GP_LINK_GATE ? job.mask : job.sums[GP_SUM_MU], args->grad_weight);
  }
  gp_channel_reduce(plan, job.sums[GP_SUM_SCALE], args->grad_scale);
  gp_channel_reduce(plan, job.sums[GP_SUM_SHIFT], args->grad_shift);
}

static void backward(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  bool writes = args->grad_x != NULL || args->grad_scale != NULL || args->grad_shift != NULL;
  gp_call call = {.plan = plan, .form = form_of(plan), .backward = true, .grads = *args};
  call.forward = gp_pool_inputs(args);
  call.covers_once = gp_covers_once(plan);
  call.staging = gp_staging_of(plan, true, args->scale != NULL, args->accumulate, writes);
  if (!gp_tiles_make(&call.tiles, plan, call.staging)) {
    gp_pool_reference.backward(plan, args);
    return;
  }
  call.loops = call.staging.x ? &GP_FLOAT_LOOPS : &GP_LOOPS;
  call.stream = writes && !call.staging.grad_x &&
                may_stream(plan, &plan->desc.grad_x_stride, plan->desc.height, plan->desc.width, args->grad_x);
  if (has_sums(plan, args)) call.partial = args->workspace;
  gp_parallel_for(call.tiles.count, plan->desc.threads, run_task, &call);
  if (call.partial != NULL)
    reduce_sums(&call, call.partial + call.tiles.count * gp_call_slots(plan) * call.tiles.run_lanes);
}

const gp_pool_kernels GP_KERNELS = {GP_KERNELS_ISA, declines, forward_workspace, backward_workspace, forward, backward};
