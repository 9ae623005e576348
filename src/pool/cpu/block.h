/* A task's blocks: where their input, output and input gradient lie, the caller's memory or staged copies (stage.h), and
 * what is done to the copies besides. The inner loops do not know which. */
#ifndef GP_POOL_CPU_BLOCK_H
#define GP_POOL_CPU_BLOCK_H

#include "pool/cpu/rows.h"

#include <assert.h>

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
  if (work->call->plan->x_unread) return;
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
  fold_sum(work, GP_SUM_SCALE, 1);
  fold_sum(work, GP_SUM_SHIFT, 1);
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
  for (int64_t row = block->first_row, lines; row < block->row_end; row += lines) {
    lines = lines_at(work, block, row);
    run_rows(work, block, row, lines);
  }
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
