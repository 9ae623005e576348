/* One call, cut down to stretches: task → block → output row → a few columns with their weights → stretch of equal windows.
 * A block's input, output and input gradient are the caller's memory or staged copies (stage.h); the inner loops do not
 * know which. */
#ifndef GP_POOL_CPU_BLOCK_H
#define GP_POOL_CPU_BLOCK_H

#include "pool/cpu/run.h"
#include "pool/cpu/stage.h"
#include "pool/cpu/stretch.h"

#include <assert.h>
#include <float.h>
#include <math.h>

/* Sums over the positions of a plane that a task makes. */
enum gp_sum {
  GP_SUM_MU,    /* Σ da, or Σ dW; forward: Σ y */
  GP_SUM_SIGMA, /* Σ da·e */
  GP_SUM_SCALE, /* Σ g·x, g the gradient behind the ReLU */
  GP_SUM_SHIFT, /* Σ g */
  GP_SUMS,
};

typedef struct gp_call {
  const gp_pool_plan *plan;
  gp_tiles tiles;
  gp_staging staging;
  gp_form form;
  bool backward;
  bool covers_once;             /* every input element lies in exactly one window */
  bool stream;                  /* what is written straight to the caller's memory goes past the caches */
  gp_pool_forward_args forward; /* the inputs, of the backward call too; y and average_y only forward */
  gp_pool_backward_args grads;  /* the backward call's own */
  const gp_inner_loops *loops;  /* for what is in use: the tensors' type, or floats where x is staged */
  double *partial;              /* [task][gp_call_slots][run_lanes]; NULL: no sums */
} gp_call;

/* Sums of a task: those above, and for masks one for each element of the kernel. */
static inline int64_t gp_call_slots(const gp_pool_plan *plan) {
  return GP_SUMS + (plan->kind->link == GP_LINK_GATE ? gp_param_values(plan) : 0);
}

/* A tensor or staged copy: element (row, column) of the run's first lane is at
 * (row - first_row)·row_stride + (column - first_column)·pixel. */
typedef struct gp_view {
  char *data;
  size_t size; /* of an element */
  int64_t first_row, first_column, row, pixel;
} gp_view;

typedef struct gp_block {
  int64_t row_begin, row_end, column_begin, column_end; /* output elements it owns */
  int64_t first_row, first_column;                      /* of the windows that it makes */
  gp_rectangle owned;                                   /* of the input: whose grad_x it writes */
  gp_rectangle extent;                                  /* of the input: `owned`, and all of the windows */
  gp_view x, out, grad_x;
  float *staged_x, *staged_raw, *staged_grad_x, *staged_out; /* in gp_work.scratch, or NULL */
} gp_block;

/* What a thread has for a task. */
typedef struct gp_work {
  const gp_call *call;
  gp_tile tile;
  gp_run run;
  gp_planes x, out, grad_x, map, grad_map;
  int lanes; /* that the inner loops run over */
  float scale[GP_RUN_MAX], shift[GP_RUN_MAX];
  float add_x[GP_RUN_MAX], add_y[GP_RUN_MAX]; /* the averages' gradients, for each element */
  float row_sums[GP_SUMS][GP_RUN_MAX];
  double sums[GP_SUMS][GP_RUN_MAX];
  float mask[GP_MASK_FLOATS], mask_row_sums[GP_MASK_FLOATS]; /* [element][lane] */
  double mask_sums[GP_MASK_FLOATS];
  gp_columns columns;
  float unowned[GP_RUN_MAX]; /* takes dW of windows that another block counts */
  _Alignas(64) float scratch[GP_SCRATCH_FLOATS];
} gp_work;

static inline char *gp_view_at(const gp_view *view, int64_t row, int64_t column) {
  int64_t offset = (row - view->first_row) * view->row + (column - view->first_column) * view->pixel;
  return view->data + offset * (int64_t)view->size;
}

static gp_view gp_view_of_planes(const gp_planes *planes) {
  return (gp_view){(char *)gp_planes_at(planes, 0, 0), sizeof(gp_element), 0, 0, planes->row, planes->pixel};
}

static gp_view gp_view_of_copy(float *copy, gp_rectangle area, int lanes) {
  return (gp_view){(char *)copy, sizeof(float), area.row, area.column, area.columns * lanes, lanes};
}

/* ---- Stretches ----------------------------------------------------------------------------- */

static gp_size size_of(const gp_stretch *stretch) {
  if (stretch->rows != stretch->columns || stretch->zeros != 0) return GP_SIZE_ANY;
  return stretch->rows == 2 ? GP_SIZE_2X2 : stretch->rows == 3 ? GP_SIZE_3X3 : GP_SIZE_ANY;
}

/* What the next rows will read, where x is the caller's and rows of windows are low. */
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

/* ---- Blocks -------------------------------------------------------------------------------- */

static gp_rectangle rectangle_of(gp_pool_span rows, gp_pool_span columns) {
  return (gp_rectangle){rows.begin, columns.begin, rows.end - rows.begin, columns.end - columns.begin};
}

/* Along an axis: the input that output elements [first, end) read, and `owned`. */
static gp_pool_span extent_of(const gp_pool_plan *plan, int axis, int64_t first, int64_t end, gp_pool_span owned) {
  gp_pool_span extent = {.begin = gp_pool_span_at(&plan->desc, axis, first).begin,
                         .end = gp_pool_span_at(&plan->desc, axis, end - 1).end};
  if (owned.begin < owned.end && owned.begin < extent.begin) extent.begin = owned.begin;
  if (owned.begin < owned.end && owned.end > extent.end) extent.end = owned.end;
  return extent;
}

/* The block whose windows begin with row `first`. Rows before the tile's are its neighbour's, made again for what they give
 * to the tile's input: their block owns nothing. */
static gp_block block_at(const gp_work *work, int64_t first, int64_t column) {
  const gp_call *call = work->call;
  const gp_pool_plan *plan = call->plan;
  int64_t limit = first < work->tile.row_begin ? work->tile.row_begin : work->tile.row_end;
  gp_block block = {.first_row = first, .column_begin = column, .first_column = column};
  block.row_end = first + call->tiles.block_rows < limit ? first + call->tiles.block_rows : limit;
  block.row_begin = first < work->tile.row_begin ? block.row_end : first;
  block.column_end = column + call->tiles.block_columns;
  if (block.column_end > plan->out_width) block.column_end = plan->out_width;
  gp_pool_span rows = {0}, columns = {0};
  if (call->backward) {
    rows = gp_owned_span(plan, 0, block.row_begin, block.row_end);
    columns = gp_owned_span(plan, 1, column, block.column_end);
    if (call->staging.grad_x) block.first_column = gp_first_window_over(plan, 1, columns.begin, column);
  }
  block.owned = rectangle_of(rows, columns);
  block.extent = rectangle_of(extent_of(plan, 0, first, block.row_end, rows),
                              extent_of(plan, 1, block.first_column, block.column_end, columns));
  return block;
}

/* relu(scale·x + shift), the same operations in the same order wherever it is made. */
static void apply_scale(const gp_work *work, const float *raw, float *x, int64_t pixels) {
  int lanes = work->run.lanes;
  for (int lane = 0; lane < lanes; lane += GP_LANES) {
    vf scale = vf_load(work->scale + lane, GP_LANES), shift = vf_load(work->shift + lane, GP_LANES);
    for (int64_t at = lane; at < pixels * lanes; at += lanes) {
      vf value = scale * vf_load(raw + at, GP_LANES) + shift;
      vf_store(x + at, vf_select(value < 0.0f, (vf){0}, value), GP_LANES);
    }
  }
}

/* Rows at the top of the block's extent that the block above it, in the same columns, has staged already. */
static int64_t rows_carried(const gp_block *block, const gp_block *above) {
  if (above == NULL) return 0;
  int64_t rows = above->extent.row + above->extent.rows - block->extent.row;
  return rows < 0 ? 0 : rows < block->extent.rows ? rows : block->extent.rows;
}

/* Moves those rows of a staged copy to its top. Gives the first element after them. */
static float *carry_rows(const gp_block *block, const gp_block *above, int64_t rows, int lanes, float *copy) {
  int64_t row = block->extent.columns * lanes;
  if (rows > 0)
    memmove(copy, copy + (block->extent.row - above->extent.row) * row, (size_t)(rows * row) * sizeof(float));
  return copy + rows * row;
}

static void stage_x(gp_work *work, const gp_block *block, const gp_block *above) {
  int lanes = work->run.lanes;
  int64_t carried = rows_carried(block, above);
  float *x = carry_rows(block, above, carried, lanes, block->staged_x), *raw = x;
  if (block->staged_raw != block->staged_x) raw = carry_rows(block, above, carried, lanes, block->staged_raw);
  gp_rectangle fresh = block->extent;
  fresh.row += carried;
  fresh.rows -= carried;
  gp_stage(&work->x, fresh, lanes, raw);
  if (work->call->forward.scale != NULL) apply_scale(work, raw, x, fresh.rows * fresh.columns);
}

/* Sums that windows above have begun, and zeros; nothing where each element is written whole. */
static void stage_grad_x(const gp_work *work, const gp_block *block, const gp_block *above) {
  if (work->call->covers_once && work->call->staging.x) return;
  int64_t carried = rows_carried(block, above);
  float *fresh = carry_rows(block, above, carried, work->run.lanes, block->staged_grad_x);
  int64_t elements = (block->extent.rows - carried) * block->extent.columns * work->run.lanes;
  memset(fresh, 0, (size_t)elements * sizeof(float));
}

/* Places the block's views: on the caller's memory, or on copies in scratch memory, which are filled. */
static void stage_block(gp_work *work, gp_block *block, const gp_block *above) {
  const gp_staging *staging = &work->call->staging;
  int lanes = work->run.lanes;
  int64_t copy = work->call->tiles.block_pixels * lanes;
  assert(copy == 0 || block->extent.rows * block->extent.columns * lanes <= copy);
  float *next = work->scratch;
  block->x = gp_view_of_planes(&work->x);
  block->out = gp_view_of_planes(&work->out);
  if (staging->x) {
    block->staged_raw = block->staged_x = next;
    next += copy;
    if (staging->raw) block->staged_raw = next, next += copy;
    stage_x(work, block, above);
    block->x = gp_view_of_copy(block->staged_x, block->extent, lanes);
  }
  if (staging->grad_x) {
    block->staged_grad_x = next;
    next += copy;
    stage_grad_x(work, block, above);
    block->grad_x = gp_view_of_copy(block->staged_grad_x, block->extent, lanes);
  } else if (work->call->grads.grad_x != NULL) {
    block->grad_x = gp_view_of_planes(&work->grad_x);
  }
  if (staging->out) {
    gp_rectangle area = {block->first_row, block->first_column, block->row_end - block->first_row,
                         block->column_end - block->first_column};
    block->staged_out = next;
    if (work->call->backward) gp_stage(&work->out, area, lanes, block->staged_out);
    block->out = gp_view_of_copy(block->staged_out, area, lanes);
  }
}

/* The averages' gradient, and back through ReLU and scale, with their sums, for a part of a row of what the block owns. */
static void finish_row(gp_work *work, const float *x, const float *raw, float *grad_x, int64_t columns) {
  int lanes = work->run.lanes;
  bool scaled = work->call->forward.scale != NULL;
  for (int lane = 0; lane < lanes; lane += GP_LANES) {
    vf add = vf_load(work->add_x + lane, GP_LANES), scale = vf_load(work->scale + lane, GP_LANES);
    vf scale_sum = {0}, shift_sum = {0};
    for (int64_t at = lane; at < columns * lanes; at += lanes) {
      vf grad = vf_load(grad_x + at, GP_LANES) + add;
      if (scaled) {
        grad = vf_select(vf_load(x + at, GP_LANES) <= 0.0f, (vf){0}, grad);
        scale_sum += grad * vf_load(raw + at, GP_LANES);
        shift_sum += grad;
        grad *= scale;
      }
      vf_store(grad_x + at, grad, GP_LANES);
    }
    if (!scaled) continue;
    vf_store(work->row_sums[GP_SUM_SCALE] + lane, scale_sum, GP_LANES);
    vf_store(work->row_sums[GP_SUM_SHIFT] + lane, shift_sum, GP_LANES);
  }
  if (!scaled) return;
  fold_sum(work, GP_SUM_SCALE);
  fold_sum(work, GP_SUM_SHIFT);
}

static void finish_grad_x(gp_work *work, const gp_block *block) {
  const gp_call *call = work->call;
  gp_rectangle owned = block->owned, extent = block->extent;
  if (owned.rows <= 0 || owned.columns <= 0) return;
  int lanes = work->run.lanes;
  int64_t row = extent.columns * lanes;
  int64_t first = (owned.row - extent.row) * row + (owned.column - extent.column) * lanes;
  if (call->forward.scale != NULL || call->grads.grad_average_x != NULL)
    for (int64_t i = 0; i < owned.rows; ++i) {
      int64_t at = first + i * row;
      bool scaled = call->forward.scale != NULL;
      for (int64_t done = 0; done < owned.columns; done += FOLD_COLUMNS, at += FOLD_COLUMNS * lanes) {
        int64_t columns = owned.columns - done < FOLD_COLUMNS ? owned.columns - done : FOLD_COLUMNS;
        finish_row(work, scaled ? block->staged_x + at : NULL, scaled ? block->staged_raw + at : NULL,
                   block->staged_grad_x + at, columns);
      }
    }
  if (call->grads.grad_x != NULL)
    gp_unstage(&work->grad_x, owned, lanes, row, call->grads.accumulate, block->staged_grad_x + first);
}

/* Zeros for the lanes in memory past the last plane, where the inner loops write straight to it. */
static void clear_padding_lanes(const gp_planes *planes, gp_rectangle area) {
  if (planes->real == planes->memory) return;
  size_t bytes = (size_t)(planes->memory - planes->real) * sizeof(gp_element);
  for (int64_t row = 0; row < area.rows; ++row)
    for (int64_t column = 0; column < area.columns; ++column)
      memset(gp_planes_at(planes, area.row + row, area.column + column) + planes->real, 0, bytes);
}

static void run_block(gp_work *work, gp_block *block, const gp_block *above) {
  stage_block(work, block, above);
  for (int64_t row = block->first_row; row < block->row_end; ++row) run_row(work, block, row);
  gp_rectangle outputs = {block->row_begin, block->column_begin, block->row_end - block->row_begin,
                          block->column_end - block->column_begin};
  if (!work->call->backward) {
    if (block->staged_out != NULL)
      gp_unstage(&work->out, outputs, work->run.lanes, outputs.columns * work->run.lanes, false, block->staged_out);
    else
      clear_padding_lanes(&work->out, outputs);
  } else if (block->staged_grad_x != NULL) {
    finish_grad_x(work, block);
  } else if (work->call->grads.grad_x != NULL) {
    clear_padding_lanes(&work->grad_x, block->owned);
  }
}

/* The tile's rows in columns from `column` on, each block going on from the one above. */
static void run_strip(gp_work *work, int64_t column) {
  const gp_call *call = work->call;
  int64_t row = work->tile.row_begin;
  if (call->staging.grad_x)
    row = gp_first_window_over(call->plan, 0, gp_owned_span(call->plan, 0, row, row).begin, row);
  gp_block blocks[2], *above = NULL;
  for (int k = 0; row < work->tile.row_end; k ^= 1) {
    blocks[k] = block_at(work, row, column);
    run_block(work, &blocks[k], above);
    above = &blocks[k];
    row = above->row_end;
  }
}

#endif
