/* A block's output rows, cut down to stretches: a few rows → some columns with their weights → stretch of equal windows. */
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
  stretch->ahead_line = stretch->x_line * size;
  stretch->ahead_pixel = stretch->x_pixel * size;
  stretch->ahead_bytes = work->tile.memory * size;
  stretch->ahead_pixels = desc->stride[1];
  if (stretch->x_pixel != work->tile.memory) return;
  stretch->ahead_bytes *= stretch->ahead_pixels;
  stretch->ahead_pixels = 1;
}

/* Output elements that are made together. */
typedef struct gp_part {
  int64_t row, lines;        /* rows [row, row + lines), whose windows have as many real rows each */
  int64_t begin, end;        /* columns */
  int64_t base, weight_line; /* first column of what lies in gp_columns, and floats there from row to row */
} gp_part;

/* The stretch of a part whose windows have the shape of the first one, without the memory that it works on. */
static gp_stretch stretch_of(const gp_call *call, const gp_part *part) {
  const gp_pool_desc *desc = &call->plan->desc;
  gp_pool_span rows = gp_pool_span_at(desc, 0, part->row), columns = gp_pool_span_at(desc, 1, part->begin);
  double divisor = (double)rows.divisor * (double)columns.divisor;
  gp_stretch stretch = {.lines = part->lines,
                        .count = part->end - part->begin,
                        .rows = rows.end - rows.begin,
                        .columns = columns.end - columns.begin,
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
  return stretch;
}

static void run_stretch(gp_work *work, const gp_block *block, const gp_part *part) {
  const gp_call *call = work->call;
  const gp_pool_desc *desc = &call->plan->desc;
  int64_t row = part->row, begin = part->begin;
  gp_pool_span rows = gp_pool_span_at(desc, 0, row), columns = gp_pool_span_at(desc, 1, begin);
  gp_stretch stretch = stretch_of(call, part);
  stretch.lanes = work->lanes;
  stretch.x = gp_view_at(&block->x, rows.begin, columns.begin);
  stretch.x_row = block->x.row;
  stretch.x_pixel = block->x.pixel;
  stretch.x_step = desc->stride[1] * block->x.pixel;
  stretch.x_line = desc->stride[0] * block->x.row;
  bool owned = row >= block->row_begin && begin >= block->column_begin;
  if (work->run.source == GP_SOURCE_PLANE) {
    stretch.weight = work->run.weight;
    stretch.grad_weight = owned ? work->row_sums[GP_SUM_MU] : work->unowned;
    if (owned) stretch.grad_weight_line = work->run.lanes;
  } else if (work->run.source != GP_SOURCE_NONE) {
    int64_t at = (begin - part->base) * work->run.lanes;
    stretch.weight = work->columns.weight + at;
    stretch.weight_step = work->run.lanes;
    stretch.weight_line = part->weight_line;
    stretch.grad_weight = work->columns.grad + at;
    stretch.grad_weight_step = work->run.lanes;
    stretch.grad_weight_line = part->weight_line;
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
    stretch.y_line = block->out.row;
    stretch.sum_y_line = work->run.lanes;
    if (call->forward.average_y != NULL) stretch.sum_y = work->row_sums[GP_SUM_MU];
    call->loops->forward[call->form][size](&stretch);
    return;
  }
  stretch.grad_y = gp_view_at(&block->out, row, begin);
  stretch.grad_y_step = block->out.pixel;
  stretch.grad_y_line = block->out.row;
  /* A copy gets the average's gradient when it is finished. */
  static const float nothing[GP_RUN_MAX];
  stretch.add_x = block->staged_grad_x != NULL ? nothing : work->add_x;
  if (call->grads.grad_average_y != NULL) stretch.grad_average_y = work->add_y;
  if (block->grad_x.data != NULL) {
    stretch.grad_x = gp_view_at(&block->grad_x, rows.begin, columns.begin);
    stretch.grad_x_row = block->grad_x.row;
    stretch.grad_x_pixel = block->grad_x.pixel;
    stretch.grad_x_step = desc->stride[1] * block->grad_x.pixel;
    stretch.grad_x_line = desc->stride[0] * block->grad_x.row;
  }
  bool direct = block->staged_grad_x == NULL || (call->covers_once && call->staging.x);
  (direct ? call->loops->backward_direct : call->loops->backward_add)[call->form][size](&stretch);
}

/* Along an axis: output elements whose windows lie wholly inside the input; none with `adaptive`, whose windows differ. */
static gp_pool_span inner_outputs(const gp_pool_plan *plan, int axis) {
  const gp_pool_desc *desc = &plan->desc;
  int64_t outputs = axis == 0 ? plan->out_height : plan->out_width, size = axis == 0 ? desc->height : desc->width;
  if (desc->adaptive[axis] > 0) return (gp_pool_span){.begin = outputs, .end = outputs};
  int64_t stride = desc->stride[axis], padding = desc->padding[axis];
  int64_t begin = (padding + stride - 1) / stride;
  int64_t room = size + padding - desc->kernel[axis];
  int64_t end = room < 0 ? 0 : room / stride + 1;
  if (begin > outputs) begin = outputs;
  if (end > outputs) end = outputs;
  return (gp_pool_span){.begin = begin, .end = end < begin ? begin : end};
}

/* Where windows that go on together from `first` stop: those cut by a border go one by one. */
static int64_t inner_end(gp_pool_span inner, int64_t first, int64_t end) {
  if (first < inner.begin || first >= inner.end) return first + 1;
  return inner.end < end ? inner.end : end;
}

static void run_columns(gp_work *work, const gp_block *block, const gp_part *part) {
  gp_pool_span inner = inner_outputs(work->call->plan, 1);
  gp_part some = *part;
  while (some.begin < part->end) {
    some.end = inner_end(inner, some.begin, part->end);
    if (some.begin < block->column_begin && some.end > block->column_begin) some.end = block->column_begin;
    run_stretch(work, block, &some);
    some.begin = some.end;
  }
}

/* ---- Weights of some columns --------------------------------------------------------------- */

static bool by_columns(const gp_work *work) {
  return work->run.source == GP_SOURCE_DRAWN || work->run.source == GP_SOURCE_MAP;
}

/* Weights of the part's columns [base, end), base a multiple of four where they are drawn. */
static void make_columns(gp_work *work, const gp_part *part) {
  const gp_call *call = work->call;
  int lanes = work->run.lanes;
  int64_t count = part->end - part->base;
  for (int64_t line = 0; line < part->lines; ++line) {
    int64_t at = line * part->weight_line;
    if (call->backward) memset(work->columns.grad + at, 0, (size_t)(count * lanes) * sizeof(float));
    if (work->run.source == GP_SOURCE_MAP)
      gp_stage(&work->map, (gp_rectangle){part->row + line, part->base, 1, count}, lanes, work->columns.weight + at);
    else
      gp_columns_draw(call->plan, &work->run, part->row + line, part->base, part->end, call->backward, at,
                      &work->columns);
  }
}

/* dW of some columns of a line, `count` of them from float `at` of gp_columns on, into the sums. */
static void sum_columns(gp_work *work, int64_t line, int64_t at, int64_t count) {
  int lanes = work->run.lanes;
  const float *grad = work->columns.grad + at, *slope = work->columns.slope + at, *draw = work->columns.draw + at;
  float *mu_sum = work->row_sums[GP_SUM_MU] + line * lanes, *sigma_sum = work->row_sums[GP_SUM_SIGMA] + line * lanes;
  for (int lane = 0; lane < lanes; lane += GP_LANES) {
    vf mu = vf_load(mu_sum + lane, GP_LANES), sigma = vf_load(sigma_sum + lane, GP_LANES);
    for (int64_t i = lane; i < count * lanes; i += lanes) {
      vf grad_a = vf_load(grad + i, GP_LANES) * vf_load(slope + i, GP_LANES);
      mu += grad_a;
      sigma += grad_a * vf_load(draw + i, GP_LANES);
    }
    vf_store(mu_sum + lane, mu, GP_LANES);
    vf_store(sigma_sum + lane, sigma, GP_LANES);
  }
}

/* dW of the columns that the block owns: into the sums or the map's gradient. */
static void take_columns(gp_work *work, const gp_block *block, const gp_part *part) {
  const gp_call *call = work->call;
  int lanes = work->run.lanes;
  int64_t begin = part->begin < block->column_begin ? block->column_begin : part->begin, count = part->end - begin;
  if (part->row < block->row_begin || count <= 0) return;
  for (int64_t line = 0; line < part->lines; ++line) {
    int64_t at = line * part->weight_line + (begin - part->base) * lanes;
    if (work->run.source == GP_SOURCE_DRAWN && call->plan->kind->draws == GP_DRAWS_NORMAL)
      sum_columns(work, line, at, count);
    else if (work->run.source == GP_SOURCE_MAP && call->grads.grad_weight != NULL)
      gp_unstage(&work->grad_map, (gp_rectangle){part->row + line, begin, 1, count}, lanes, count * lanes, false,
                 work->columns.grad + at);
  }
}

/* ---- Rows ---------------------------------------------------------------------------------- */

/* Row sums are in float and short; their totals in double. Each row has its own, so that the order of additions is the same
 * however many rows go together. */
static void fold_sum(gp_work *work, enum gp_sum which, int64_t lines) {
  int lanes = work->run.lanes;
  float *row = work->row_sums[which];
  for (int64_t line = 0; line < lines; ++line, row += lanes)
    for (int i = 0; i < lanes; ++i) {
      work->sums[which][i] += (double)row[i];
      row[i] = 0.0f;
    }
}

/* The sums that output rows make. */
static void fold_row_sums(gp_work *work, int64_t lines) {
  fold_sum(work, GP_SUM_MU, lines);
  if (work->run.source == GP_SOURCE_DRAWN) fold_sum(work, GP_SUM_SIGMA, lines);
  if (work->call->form != GP_FORM_GATED || !work->call->backward) return;
  for (int64_t i = 0; i < gp_param_values(work->call->plan) * work->run.lanes; ++i) {
    work->mask_sums[i] += (double)work->mask_row_sums[i];
    work->mask_row_sums[i] = 0.0f;
  }
}

/* Columns whose sums stay in float, at most: as many that a sum of ones would be off by no more than a few units. */
enum { FOLD_COLUMNS = 512 };

static int64_t round_up_4(int64_t value) { return (value + 3) / 4 * 4; }

/* Columns of a row that go together at most. */
static int64_t chunk_of(const gp_work *work) {
  return by_columns(work) ? GP_COLUMN_FLOATS / work->run.lanes / 4 * 4 : FOLD_COLUMNS;
}

/* Rows that go together from `row` on: of windows of one shape, and as many as there is room for their weights and sums.
 * What overlapping windows add to an element of grad_x is added row by row. */
static int64_t lines_at(const gp_work *work, const gp_block *block, int64_t row) {
  int64_t columns = round_up_4(block->column_end - block->first_column / 4 * 4);
  if (columns > chunk_of(work) || work->call->form == GP_FORM_GATED) return 1;
  if (work->call->backward && !work->call->covers_once) return 1;
  int64_t lines = inner_end(inner_outputs(work->call->plan, 0), row, block->row_end) - row;
  int64_t room = GP_COLUMN_FLOATS / work->run.lanes / (by_columns(work) ? columns : 1);
  return lines < room ? lines : room;
}

static void run_rows(gp_work *work, const gp_block *block, int64_t row, int64_t lines) {
  int64_t begin = block->first_column, end = block->column_end, folded = begin, chunk = chunk_of(work);
  for (int64_t base = by_columns(work) ? begin / 4 * 4 : begin; base < end; base += chunk) {
    gp_part part = {.row = row, .lines = lines};
    part.begin = base > begin ? base : begin;
    part.end = base + chunk < end ? base + chunk : end;
    /* A map has no elements before `begin` to be copied. */
    part.base = work->run.source == GP_SOURCE_DRAWN ? base : part.begin;
    part.weight_line = round_up_4(part.end - part.base) * work->run.lanes;
    if (by_columns(work)) make_columns(work, &part);
    run_columns(work, block, &part);
    if (by_columns(work) && work->call->backward) take_columns(work, block, &part);
    if (work->call->partial == NULL || (part.end < end && part.end - folded < FOLD_COLUMNS)) continue;
    fold_row_sums(work, lines);
    folded = part.end;
  }
}

#endif
