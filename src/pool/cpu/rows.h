/* A block's output rows, cut down to stretches: row → a few columns with their weights → stretch of equal windows. */
#ifndef GP_POOL_CPU_ROWS_H
#define GP_POOL_CPU_ROWS_H

#include "pool/cpu/work.h"

#include <float.h>
#include <math.h>

/* ---- Stretches ----------------------------------------------------------------------------- */

static gp_size size_of(const gp_stretch *stretch) {
  if (stretch->rows != stretch->columns || stretch->zeros != 0) return GP_SIZE_ANY;
  return stretch->rows == 2 ? GP_SIZE_2X2 : stretch->rows == 3 ? GP_SIZE_3X3 : GP_SIZE_ANY;
}

/* What the next rows will read, where x is the caller's and the windows step by a few elements. */
static void set_ahead(const gp_work *work, const gp_block *block, gp_stretch *stretch) {
  const gp_pool_desc *desc = &work->call->plan->desc;
  if (block->staged_x != NULL || desc->adaptive[0] > 0 || desc->stride[0] > 4 || desc->stride[1] > 4) return;
  int64_t size = (int64_t)sizeof(gp_element);
  stretch->ahead = (const char *)stretch->x + stretch->x_row * desc->kernel[0] * size;
  stretch->ahead_row = stretch->x_row * size;
  stretch->ahead_rows = desc->stride[0];
  stretch->ahead_step = stretch->x_step * size;
  stretch->ahead_pixel = stretch->x_pixel * size;
  stretch->ahead_bytes = work->tile.memory * size;
  stretch->ahead_pixels = desc->stride[1];
  if (stretch->x_pixel != work->tile.memory) return;
  stretch->ahead_bytes *= stretch->ahead_pixels;
  stretch->ahead_pixels = 1;
}

/* Output columns [begin, end) of a row, whose windows have the shape of the first one. Weights in gp_columns begin with
 * column `base`. */
static void run_stretch(gp_work *work, const gp_block *block, int64_t row, int64_t begin, int64_t end, int64_t base) {
  const gp_call *call = work->call;
  const gp_pool_plan *plan = call->plan;
  const gp_pool_desc *desc = &plan->desc;
  gp_pool_span rows = gp_pool_span_at(desc, 0, row), columns = gp_pool_span_at(desc, 1, begin);
  double divisor = (double)rows.divisor * (double)columns.divisor;
  gp_stretch stretch = {.count = end - begin,
                        .rows = rows.end - rows.begin,
                        .columns = columns.end - columns.begin,
                        .lanes = work->lanes,
                        .inverse = (float)(1.0 / divisor),
                        /* In float's range, where neither 0 nor infinity means something else. */
                        .eps = (float)fmin(fmax(desc->eps, FLT_MIN), FLT_MAX),
                        .norm = (float)fmin(desc->norm, 1e30),
                        .stream = call->stream};
  stretch.zeros = (float)(divisor - (double)(stretch.rows * stretch.columns));
  if (call->form == GP_FORM_LP) {
    double kernel = (double)gp_pool_kernel_of(desc, 0, &rows) * (double)gp_pool_kernel_of(desc, 1, &columns);
    stretch.kernel = (float)kernel;
    stretch.lp_factor = (float)pow(kernel / divisor, 1 / desc->norm);
  }
  stretch.x = gp_view_at(&block->x, rows.begin, columns.begin);
  stretch.x_row = block->x.row;
  stretch.x_pixel = block->x.pixel;
  stretch.x_step = desc->stride[1] * block->x.pixel;
  bool owned = row >= block->row_begin && begin >= block->column_begin;
  if (work->run.source == GP_SOURCE_PLANE) {
    stretch.weight = work->run.weight;
    stretch.grad_weight = owned ? work->row_sums[GP_SUM_MU] : work->unowned;
  } else if (work->run.source != GP_SOURCE_NONE) {
    stretch.weight = work->columns.weight + (begin - base) * work->run.lanes;
    stretch.weight_step = work->run.lanes;
    stretch.grad_weight = work->columns.grad + (begin - base) * work->run.lanes;
    stretch.grad_weight_step = work->run.lanes;
  }
  if (call->form == GP_FORM_GATED) {
    int64_t i = rows.begin - (row * desc->stride[0] - desc->padding[0]);
    int64_t j = columns.begin - (begin * desc->stride[1] - desc->padding[1]);
    stretch.mask_pixel = work->run.lanes;
    stretch.mask_row = desc->kernel[1] * stretch.mask_pixel;
    stretch.mask = work->mask + i * stretch.mask_row + j * stretch.mask_pixel;
    if (owned) stretch.grad_mask = work->mask_row_sums + (stretch.mask - work->mask);
  }
  set_ahead(work, block, &stretch);
  gp_size size = size_of(&stretch);
  if (!call->backward) {
    stretch.y = gp_view_at(&block->out, row, begin);
    stretch.y_step = block->out.pixel;
    if (call->forward.average_y != NULL) stretch.sum_y = work->row_sums[GP_SUM_MU];
    call->loops->forward[call->form][size](&stretch);
    return;
  }
  stretch.grad_y = gp_view_at(&block->out, row, begin);
  stretch.grad_y_step = block->out.pixel;
  /* A copy gets the average's gradient when it is finished. */
  static const float nothing[GP_RUN_MAX];
  stretch.add_x = block->staged_grad_x != NULL ? nothing : work->add_x;
  if (call->grads.grad_average_y != NULL) stretch.grad_average_y = work->add_y;
  if (block->grad_x.data != NULL) {
    stretch.grad_x = gp_view_at(&block->grad_x, rows.begin, columns.begin);
    stretch.grad_x_row = block->grad_x.row;
    stretch.grad_x_pixel = block->grad_x.pixel;
    stretch.grad_x_step = desc->stride[1] * block->grad_x.pixel;
  }
  bool direct = block->staged_grad_x == NULL || (call->covers_once && call->staging.x);
  (direct ? call->loops->backward_direct : call->loops->backward_add)[call->form][size](&stretch);
}

/* Output columns whose windows lie wholly inside the input; none with `adaptive`, whose windows differ. */
static gp_pool_span inner_columns(const gp_pool_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  if (desc->adaptive[1] > 0) return (gp_pool_span){.begin = plan->out_width, .end = plan->out_width};
  int64_t stride = desc->stride[1], padding = desc->padding[1];
  int64_t begin = (padding + stride - 1) / stride;
  int64_t room = desc->width + padding - desc->kernel[1];
  int64_t end = room < 0 ? 0 : room / stride + 1;
  if (begin > plan->out_width) begin = plan->out_width;
  if (end > plan->out_width) end = plan->out_width;
  return (gp_pool_span){.begin = begin, .end = end < begin ? begin : end};
}

/* Output columns [begin, end): windows cut by a border one by one, those inside together. */
static void run_columns(gp_work *work, const gp_block *block, int64_t row, int64_t begin, int64_t end, int64_t base) {
  gp_pool_span inner = inner_columns(work->call->plan);
  while (begin < end) {
    int64_t stop = begin + 1;
    if (begin >= inner.begin && begin < inner.end) stop = inner.end < end ? inner.end : end;
    if (begin < block->column_begin && stop > block->column_begin) stop = block->column_begin;
    run_stretch(work, block, row, begin, stop, base);
    begin = stop;
  }
}

/* ---- Weights of some columns --------------------------------------------------------------- */

static bool by_columns(const gp_work *work) {
  return work->run.source == GP_SOURCE_DRAWN || work->run.source == GP_SOURCE_MAP;
}

/* Weights of columns [base, end) of a row, base a multiple of four where they are drawn. */
static void make_columns(gp_work *work, int64_t row, int64_t base, int64_t end) {
  const gp_call *call = work->call;
  int lanes = work->run.lanes;
  if (call->backward) memset(work->columns.grad, 0, (size_t)((end - base) * lanes) * sizeof(float));
  if (work->run.source == GP_SOURCE_MAP) {
    gp_stage(&work->map, (gp_rectangle){row, base, 1, end - base}, lanes, work->columns.weight);
    return;
  }
  gp_columns_draw(call->plan, &work->run, row, base, end, call->backward, &work->columns);
}

/* dW of the columns [begin, end) that the block owns: into the sums or the map's gradient. */
static void take_columns(gp_work *work, const gp_block *block, int64_t row, int64_t begin, int64_t end, int64_t base) {
  const gp_call *call = work->call;
  int lanes = work->run.lanes;
  if (begin < block->column_begin) begin = block->column_begin;
  if (row < block->row_begin || begin >= end) return;
  const float *grad = work->columns.grad + (begin - base) * lanes;
  if (work->run.source == GP_SOURCE_MAP) {
    if (call->grads.grad_weight != NULL)
      gp_unstage(&work->grad_map, (gp_rectangle){row, begin, 1, end - begin}, lanes, (end - begin) * lanes, false,
                 grad);
    return;
  }
  if (call->plan->kind->draws != GP_DRAWS_NORMAL) return;
  const float *slope = work->columns.slope + (begin - base) * lanes,
              *draw = work->columns.draw + (begin - base) * lanes;
  for (int lane = 0; lane < lanes; lane += GP_LANES) {
    vf mu = vf_load(work->row_sums[GP_SUM_MU] + lane, GP_LANES),
       sigma = vf_load(work->row_sums[GP_SUM_SIGMA] + lane, GP_LANES);
    for (int64_t at = lane; at < (end - begin) * lanes; at += lanes) {
      vf grad_a = vf_load(grad + at, GP_LANES) * vf_load(slope + at, GP_LANES);
      mu += grad_a;
      sigma += grad_a * vf_load(draw + at, GP_LANES);
    }
    vf_store(work->row_sums[GP_SUM_MU] + lane, mu, GP_LANES);
    vf_store(work->row_sums[GP_SUM_SIGMA] + lane, sigma, GP_LANES);
  }
}

/* ---- Rows ---------------------------------------------------------------------------------- */

/* Row sums are in float and short; their totals in double. */
static void fold_sum(gp_work *work, enum gp_sum which) {
  for (int i = 0; i < work->run.lanes; ++i) {
    work->sums[which][i] += (double)work->row_sums[which][i];
    work->row_sums[which][i] = 0.0f;
  }
}

/* The sums that an output row makes. */
static void fold_row_sums(gp_work *work) {
  fold_sum(work, GP_SUM_MU);
  if (work->run.source == GP_SOURCE_DRAWN) fold_sum(work, GP_SUM_SIGMA);
  if (work->call->form != GP_FORM_GATED || !work->call->backward) return;
  for (int64_t i = 0; i < gp_param_values(work->call->plan) * work->run.lanes; ++i) {
    work->mask_sums[i] += (double)work->mask_row_sums[i];
    work->mask_row_sums[i] = 0.0f;
  }
}

/* Columns whose sums stay in float, at most: as many that a sum of ones would be off by no more than a few units. */
enum { FOLD_COLUMNS = 512 };

static void run_row(gp_work *work, const gp_block *block, int64_t row) {
  int64_t begin = block->first_column, end = block->column_end, folded = begin;
  int64_t chunk = by_columns(work) ? GP_COLUMN_FLOATS / work->run.lanes / 4 * 4 : FOLD_COLUMNS;
  for (int64_t base = by_columns(work) ? begin / 4 * 4 : begin; base < end; base += chunk) {
    int64_t from = base > begin ? base : begin, to = base + chunk < end ? base + chunk : end;
    /* A map has no elements before `begin` to be copied. */
    int64_t first = work->run.source == GP_SOURCE_DRAWN ? base : from;
    if (by_columns(work)) make_columns(work, row, first, to);
    run_columns(work, block, row, from, to, first);
    if (by_columns(work) && work->call->backward) take_columns(work, block, row, from, to, first);
    if (work->call->partial == NULL || (to < end && to - folded < FOLD_COLUMNS)) continue;
    fold_row_sums(work);
    folded = to;
  }
}

#endif
