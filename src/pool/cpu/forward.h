/* Forward: x is read once and y written once; a window's elements are in registers or the nearest cache. */
#ifndef GP_POOL_CPU_FORWARD_H
#define GP_POOL_CPU_FORWARD_H

#include "pool/cpu/run.h"
#include "pool/cpu/window.h"

struct forward_job {
  const gp_pool_plan *plan;
  gp_tiles tiles;
  const gp_pool_forward_args *args;
};

struct forward_tile {
  const gp_pool_plan *plan;
  const float *x, *map;
  float *y;
  gp_tile tile;
  gp_run run;
  gp_columns drawn;
  int64_t drawn_group; /* which columns of the row `drawn` is for; -1: none */
};

GP_INLINE vf forward_window(gp_pool_body body, const float *x, gp_window window, const float *weight, int count) {
  if (body == GP_BODY_MEAN) return gp_window_mean(x, window, count);
  if (body == GP_BODY_MAX) return gp_window_max(x, window, count, &(vi){0});
  gp_moments moments = gp_window_moments(x, window, count);
  return moments.shift + (moments.offset + vf_load(weight, count) * moments.deviation);
}

/* All the channels of one output position. `block`, a constant, is their number, or 0 when it is the tile's. */
GP_INLINE void forward_position(const struct forward_tile *work, gp_pool_body body, int block, const float *restrict x,
                                gp_window window, const float *restrict weight, float *restrict y) {
  if (block > 0) {
    for (int lane = 0; lane < block; lane += GP_LANES)
      vf_store(y + lane, forward_window(body, x + lane, window, weight + lane, GP_LANES), GP_LANES);
    return;
  }
  int real = work->tile.real, lane = 0;
  for (; lane + GP_LANES <= real; lane += GP_LANES)
    vf_store(y + lane, forward_window(body, x + lane, window, weight + lane, GP_LANES), GP_LANES);
  if (lane < real) vf_store(y + lane, forward_window(body, x + lane, window, weight + lane, real - lane), real - lane);
  for (lane = real; lane < work->tile.memory; ++lane) y[lane] = 0.0f;
}

/* Not inlined into each instance of the bodies: it is long, and made once for four columns. */
static __attribute__((noinline)) void forward_draw(struct forward_tile *work, int64_t row) {
  gp_columns_draw(&work->plan->desc, &work->run, row, work->drawn_group, false, &work->drawn);
}

/* The weights of an output position, at the address of its first channel. */
GP_INLINE const float *forward_weight(struct forward_tile *work, int64_t row, int64_t column, int64_t out) {
  switch (work->run.source) {
    case GP_SOURCE_MAP: return work->map + out;
    case GP_SOURCE_DRAWN:
      if (column / 4 != work->drawn_group) {
        work->drawn_group = column / 4;
        forward_draw(work, row);
      }
      return work->drawn.weight[column % 4];
    default: return work->run.weight;
  }
}

/* Output columns [begin, end), whose windows all have the shape of the first one. */
GP_INLINE void forward_columns(struct forward_tile *work, gp_pool_body body, int block, const gp_window_row *windows,
                               int64_t row, int64_t begin, int64_t end, int64_t rows, int64_t columns) {
  if (begin >= end) return;
  gp_pool_span span = gp_pool_span_at(&work->plan->desc, 1, begin);
  gp_window window = gp_window_at(windows, &span);
  window.rows = rows;
  window.columns = columns;
  const gp_tile *tile = &work->tile;
  int64_t step = work->plan->desc.stride[1] * tile->in.pixel;
  const float *x = work->x + tile->in.base + windows->span.begin * tile->in.row + span.begin * tile->in.pixel;
  int64_t out = tile->out.base + row * tile->out.row + begin * tile->out.pixel;
  for (int64_t column = begin; column < end; ++column, x += step, out += tile->out.pixel)
    forward_position(work, body, block, x, window, forward_weight(work, row, column, out), work->y + out);
}

/* Columns one by one, for windows cut by the border. One function for all bodies: there are few such windows. */
static __attribute__((noinline)) void forward_border(struct forward_tile *work, gp_pool_body body,
                                                     const gp_window_row *windows, int64_t row, int64_t begin,
                                                     int64_t end) {
  for (int64_t column = begin; column < end; ++column) {
    gp_pool_span span = gp_pool_span_at(&work->plan->desc, 1, column);
    forward_columns(work, body, 0, windows, row, column, column + 1, windows->window.rows, span.end - span.begin);
  }
}

GP_INLINE void forward_rows(struct forward_tile *work, gp_pool_body body, int block) {
  gp_inner_columns inner = gp_inner_columns_of(work->plan);
  int64_t kernel = work->plan->desc.kernel[1];
  for (int64_t row = work->tile.row_begin; row < work->tile.row_end; ++row) {
    gp_window_row windows = gp_window_row_at(work->plan, &work->tile.in, row);
    work->drawn_group = -1;
    forward_border(work, body, &windows, row, 0, inner.begin);
    int64_t rows = windows.window.rows;
    if (rows == 2 && kernel == 2)
      forward_columns(work, body, block, &windows, row, inner.begin, inner.end, 2, 2);
    else if (rows == 3 && kernel == 3)
      forward_columns(work, body, block, &windows, row, inner.begin, inner.end, 3, 3);
    else
      forward_columns(work, body, block, &windows, row, inner.begin, inner.end, rows, kernel);
    forward_border(work, body, &windows, row, inner.end, work->plan->out_width);
  }
}

static void forward_mean(struct forward_tile *work) { forward_rows(work, GP_BODY_MEAN, 0); }
static void forward_max(struct forward_tile *work) { forward_rows(work, GP_BODY_MAX, 0); }

/* Whole blocks of 8 and 16 channels have straight-line bodies. */
static void forward_gaussian_any(struct forward_tile *work) { forward_rows(work, GP_BODY_GAUSSIAN, 0); }
static void forward_gaussian_8(struct forward_tile *work) { forward_rows(work, GP_BODY_GAUSSIAN, 8); }
static void forward_gaussian_16(struct forward_tile *work) { forward_rows(work, GP_BODY_GAUSSIAN, 16); }

static void forward_gaussian(struct forward_tile *work) {
  if (GP_LANES <= 8 && work->tile.real == 8 && work->tile.memory == 8)
    forward_gaussian_8(work);
  else if (work->tile.real == 16 && work->tile.memory == 16)
    forward_gaussian_16(work);
  else
    forward_gaussian_any(work);
}

static void forward_tile(void *context, int64_t task) {
  const struct forward_job *job = context;
  struct forward_tile work;
  work.plan = job->plan;
  work.x = job->args->x;
  work.map = job->args->weight;
  work.y = job->args->y;
  work.tile = gp_tile_at(job->plan, &job->tiles, task);
  gp_run_make(job->plan, &work.tile, job->args->mu, job->args->sigma, job->args->weight, &work.run);
  switch (job->plan->kind->body) {
    case GP_BODY_MEAN: forward_mean(&work); break;
    case GP_BODY_MAX: forward_max(&work); break;
    default: forward_gaussian(&work); break;
  }
}

#endif
