/* Backward: the moments and draws are made again; x and grad_y are read once and grad_x is written once. Each tile alone
 * writes its input rows, in the order of the output rows over them, and computes its upper neighbour's last windows
 * again where they reach in: nothing is shared, and the result does not depend on the cut. */
#ifndef GP_POOL_CPU_BACKWARD_H
#define GP_POOL_CPU_BACKWARD_H

#include "pool/cpu/run.h"
#include "pool/cpu/window.h"

struct backward_job {
  const gp_pool_plan *plan;
  gp_tiles tiles;
  const gp_pool_backward_args *args;
  double *partial; /* [tile][2][run_lanes]: a tile's Σ dW, or Σ da and Σ da·e where each element is drawn */
  double *sums[2]; /* [n][c]: Σ da (Σ dW of given weights) and Σ da·e */
};

struct backward_tile {
  const gp_pool_plan *plan;
  const float *x, *map, *grad_y;
  float *grad_x, *grad_map;
  bool writes; /* grad_x is wanted */
  bool accumulate;
  bool owned; /* the row is this tile's, not its neighbour's: it enters the sums */
  gp_tile tile;
  gp_run run;
  gp_columns drawn;
  int64_t drawn_group;
  int64_t prepared; /* input rows before this one are ready to be added to */
  float row_sums[2][GP_RUN_MAX];
  double totals[2][GP_RUN_MAX];
};

/* A stretch of columns: their windows, and which of the windows' rows this tile writes. */
struct stretch {
  gp_window window;
  int64_t write_begin, write_end;
};

/* Where an output element's weight and its derivatives are. */
struct weight_lanes {
  const float *weight, *slope, *draw;
};

GP_INLINE void put(float *to, vf value, int count, bool direct) {
  vf_store(to, direct ? value : vf_load(to, count) + value, count);
}

/* dW of GP_LANES channels at `lane`, into the sums or the map. */
GP_INLINE void sum_grad_weight(struct backward_tile *work, vf grad_weight, struct weight_lanes at, int64_t out,
                               int lane, int count) {
  if (!work->owned || work->run.source == GP_SOURCE_NONE) return;
  if (work->run.source == GP_SOURCE_MAP) {
    if (work->grad_map != NULL) vf_store(work->grad_map + out + lane, grad_weight, count);
    return;
  }
  float *sums = work->row_sums[0] + lane, *draw_sums = work->row_sums[1] + lane;
  if (work->run.source == GP_SOURCE_CHANNEL) {
    vf_store(sums, vf_load(sums, GP_LANES) + grad_weight, GP_LANES);
    return;
  }
  vf grad_a = grad_weight * vf_load(at.slope + lane, GP_LANES);
  vf_store(sums, vf_load(sums, GP_LANES) + grad_a, GP_LANES);
  vf_store(draw_sums, vf_load(draw_sums, GP_LANES) + grad_a * vf_load(at.draw + lane, GP_LANES), GP_LANES);
}

GP_INLINE void backward_gaussian(struct backward_tile *work, bool direct, const float *restrict x,
                                 float *restrict grad_x, const struct stretch *stretch, vf grad_y,
                                 struct weight_lanes at, int64_t out, int lane, int count) {
  gp_window window = stretch->window;
  gp_moments moments = gp_window_moments(x, window, count);
  sum_grad_weight(work, grad_y * moments.deviation, at, out, lane, count);
  vf level = grad_y * window.inverse;
  vf tilt = level * vf_load(at.weight + lane, count) / moments.deviation;
  tilt = vf_select(moments.free, tilt, (vf){0});
  for (int64_t i = stretch->write_begin; i < stretch->write_end; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      ptrdiff_t offset = i * window.row + j * window.pixel;
      vf difference = (vf_load(x + offset, count) - moments.shift) - moments.offset;
      put(grad_x + offset, level + tilt * difference, count, direct);
    }
}

GP_INLINE void backward_max(bool direct, const float *restrict x, float *restrict grad_x, const struct stretch *stretch,
                            vf grad_y, int count) {
  gp_window window = stretch->window;
  vi where;
  gp_window_max(x, window, count, &where);
  for (int64_t i = stretch->write_begin; i < stretch->write_end; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      vi here = where == (int32_t)(i * window.columns + j);
      put(grad_x + i * window.row + j * window.pixel, vf_select(here, grad_y, (vf){0}), count, direct);
    }
}

GP_INLINE void backward_mean(bool direct, float *restrict grad_x, const struct stretch *stretch, vf grad_y, int count) {
  gp_window window = stretch->window;
  for (int64_t i = stretch->write_begin; i < stretch->write_end; ++i)
    for (int64_t j = 0; j < window.columns; ++j)
      put(grad_x + i * window.row + j * window.pixel, grad_y * window.inverse, count, direct);
}

GP_INLINE void backward_lanes(struct backward_tile *work, gp_pool_body body, bool direct, int64_t in,
                              const struct stretch *stretch, struct weight_lanes at, int64_t out, int lane, int count) {
  vf grad_y = vf_load(work->grad_y + out + lane, count);
  const float *x = work->x + in + lane;
  float *grad_x = work->writes ? work->grad_x + in + lane : NULL;
  if (body == GP_BODY_GAUSSIAN)
    backward_gaussian(work, direct, x, grad_x, stretch, grad_y, at, out, lane, count);
  else if (body == GP_BODY_MAX)
    backward_max(direct, x, grad_x, stretch, grad_y, count);
  else
    backward_mean(direct, grad_x, stretch, grad_y, count);
}

/* Zeros for the lanes past the last channel, at one output position. */
static void clear_padding_lanes(struct backward_tile *work, bool direct, int64_t in, const struct stretch *stretch,
                                int64_t out) {
  size_t bytes = (size_t)(work->tile.memory - work->tile.real) * sizeof(float);
  if (work->owned && work->grad_map != NULL) memset(work->grad_map + out + work->tile.real, 0, bytes);
  if (!direct) return; /* prepare_rows has done it */
  for (int64_t i = stretch->write_begin; i < stretch->write_end; ++i)
    for (int64_t j = 0; j < stretch->window.columns; ++j)
      memset(work->grad_x + in + i * stretch->window.row + j * stretch->window.pixel + work->tile.real, 0, bytes);
}

/* All the channels of one output position. `block`, a constant, is their number, or 0 when it is the tile's. */
GP_INLINE void backward_position(struct backward_tile *work, gp_pool_body body, bool direct, int block, int64_t in,
                                 const struct stretch *stretch, struct weight_lanes at, int64_t out) {
  if (block > 0) {
    for (int lane = 0; lane < block; lane += GP_LANES)
      backward_lanes(work, body, direct, in, stretch, at, out, lane, GP_LANES);
    return;
  }
  int real = work->tile.real, lane = 0;
  for (; lane + GP_LANES <= real; lane += GP_LANES)
    backward_lanes(work, body, direct, in, stretch, at, out, lane, GP_LANES);
  if (lane < real) backward_lanes(work, body, direct, in, stretch, at, out, lane, real - lane);
  if (real < work->tile.memory) clear_padding_lanes(work, direct, in, stretch, out);
}

/* Not inlined into each instance of the bodies: it is long, and made once for four columns. */
static __attribute__((noinline)) void backward_draw(struct backward_tile *work, int64_t row) {
  gp_columns_draw(&work->plan->desc, &work->run, row, work->drawn_group, true, &work->drawn);
}

GP_INLINE struct weight_lanes backward_weight(struct backward_tile *work, int64_t row, int64_t column, int64_t out) {
  const gp_run *run = &work->run;
  if (run->source == GP_SOURCE_MAP) return (struct weight_lanes){work->map + out, run->slope, run->draw};
  if (run->source != GP_SOURCE_DRAWN) return (struct weight_lanes){run->weight, run->slope, run->draw};
  if (column / 4 != work->drawn_group) {
    work->drawn_group = column / 4;
    backward_draw(work, row);
  }
  const gp_columns *drawn = &work->drawn;
  return (struct weight_lanes){drawn->weight[column % 4], drawn->slope[column % 4], drawn->draw[column % 4]};
}

/* Output columns [begin, end), whose windows all have the shape of the first one. */
GP_INLINE void backward_columns(struct backward_tile *work, gp_pool_body body, bool direct, int block,
                                const gp_window_row *windows, int64_t row, int64_t begin, int64_t end, int64_t rows,
                                int64_t columns, int64_t write_begin, int64_t write_end) {
  if (begin >= end) return;
  gp_pool_span span = gp_pool_span_at(&work->plan->desc, 1, begin);
  struct stretch stretch = {gp_window_at(windows, &span), write_begin, write_end};
  stretch.window.rows = rows;
  stretch.window.columns = columns;
  const gp_tile *tile = &work->tile;
  int64_t step = work->plan->desc.stride[1] * tile->in.pixel;
  int64_t in = tile->in.base + windows->span.begin * tile->in.row + span.begin * tile->in.pixel;
  int64_t out = tile->out.base + row * tile->out.row + begin * tile->out.pixel;
  for (int64_t column = begin; column < end; ++column, in += step, out += tile->out.pixel)
    backward_position(work, body, direct, block, in, &stretch, backward_weight(work, row, column, out), out);
}

/* Columns one by one, for windows cut by the border. One function for all bodies: there are few such windows. */
static __attribute__((noinline)) void backward_border(struct backward_tile *work, gp_pool_body body, bool direct,
                                                      const gp_window_row *windows, int64_t row, int64_t begin,
                                                      int64_t end, int64_t write_begin, int64_t write_end) {
  for (int64_t column = begin; column < end; ++column) {
    gp_pool_span span = gp_pool_span_at(&work->plan->desc, 1, column);
    backward_columns(work, body, direct, 0, windows, row, column, column + 1, windows->window.rows,
                     span.end - span.begin, write_begin, write_end);
  }
}

GP_INLINE void backward_row(struct backward_tile *work, gp_pool_body body, bool direct, int block,
                            const gp_window_row *windows, gp_inner_columns inner, int64_t row, int64_t write_begin,
                            int64_t write_end) {
  int64_t kernel = work->plan->desc.kernel[1], rows = windows->window.rows;
  bool whole = write_begin == 0 && write_end == rows;
  work->drawn_group = -1;
  backward_border(work, body, direct, windows, row, 0, inner.begin, write_begin, write_end);
  if (whole && rows == 2 && kernel == 2)
    backward_columns(work, body, direct, block, windows, row, inner.begin, inner.end, 2, 2, 0, 2);
  else if (whole && rows == 3 && kernel == 3)
    backward_columns(work, body, direct, block, windows, row, inner.begin, inner.end, 3, 3, 0, 3);
  else
    backward_columns(work, body, direct, block, windows, row, inner.begin, inner.end, rows, kernel, write_begin,
                     write_end);
  backward_border(work, body, direct, windows, row, inner.end, work->plan->out_width, write_begin, write_end);
}

/* Makes the input rows before `end` ready to be added to: zeros, or what the caller has there, without padding lanes. */
static void prepare_rows(struct backward_tile *work, int64_t end) {
  const gp_tile *tile = &work->tile;
  int kept = work->accumulate ? tile->real : 0;
  size_t bytes = (size_t)(tile->memory - kept) * sizeof(float);
  int64_t width = work->plan->desc.width;
  for (; work->prepared < end; ++work->prepared) {
    float *row = work->grad_x + tile->in.base + work->prepared * tile->in.row;
    if (kept == 0 && tile->in.pixel == tile->memory)
      memset(row, 0, (size_t)width * bytes);
    else
      for (int64_t w = 0; w < width && bytes > 0; ++w) memset(row + w * tile->in.pixel + kept, 0, bytes);
  }
}

/* Row sums are in float and short; their totals in double. */
static void fold_row_sums(struct backward_tile *work) {
  for (int k = 0; k < 2; ++k)
    for (int i = 0; i < work->run.lanes; ++i) {
      work->totals[k][i] += (double)work->row_sums[k][i];
      work->row_sums[k][i] = 0.0f;
    }
}

GP_INLINE void backward_rows(struct backward_tile *work, gp_pool_body body, bool direct, int block) {
  const gp_tile *tile = &work->tile;
  gp_inner_columns inner = gp_inner_columns_of(work->plan);
  bool writes = work->writes;
  for (int64_t row = writes ? tile->first_row : tile->row_begin; row < tile->row_end; ++row) {
    gp_window_row windows = gp_window_row_at(work->plan, &tile->in, row);
    int64_t begin = windows.span.begin > tile->input_begin ? windows.span.begin : tile->input_begin;
    int64_t end = windows.span.end < tile->input_end ? windows.span.end : tile->input_end;
    if (!writes || end < begin) end = begin = windows.span.begin;
    work->owned = row >= tile->row_begin;
    if (!work->owned && begin == end) continue;
    if (writes && !direct) prepare_rows(work, end);
    backward_row(work, body, direct, block, &windows, inner, row, begin - windows.span.begin, end - windows.span.begin);
    if (work->owned && body == GP_BODY_GAUSSIAN) fold_row_sums(work);
  }
  if (writes && !direct) prepare_rows(work, tile->input_end);
}

/* Every input element lies in exactly one window, so that grad_x is stored rather than added to. */
static bool windows_cover_once(const gp_pool_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  return desc->stride[0] == desc->kernel[0] && desc->stride[1] == desc->kernel[1] &&
         plan->out_height * desc->stride[0] - desc->padding[0] >= desc->height &&
         plan->out_width * desc->stride[1] - desc->padding[1] >= desc->width;
}

static void backward_mean_direct(struct backward_tile *work) { backward_rows(work, GP_BODY_MEAN, true, 0); }
static void backward_mean_add(struct backward_tile *work) { backward_rows(work, GP_BODY_MEAN, false, 0); }
static void backward_max_direct(struct backward_tile *work) { backward_rows(work, GP_BODY_MAX, true, 0); }
static void backward_max_add(struct backward_tile *work) { backward_rows(work, GP_BODY_MAX, false, 0); }

/* Whole blocks of 8 and 16 channels have straight-line bodies. */
#define BACKWARD_GAUSSIAN(name, direct)                                                                      \
  static void name##_any(struct backward_tile *work) { backward_rows(work, GP_BODY_GAUSSIAN, (direct), 0); } \
  static void name##_8(struct backward_tile *work) { backward_rows(work, GP_BODY_GAUSSIAN, (direct), 8); }   \
  static void name##_16(struct backward_tile *work) { backward_rows(work, GP_BODY_GAUSSIAN, (direct), 16); } \
  static void name(struct backward_tile *work) {                                                             \
    if (GP_LANES <= 8 && work->tile.real == 8 && work->tile.memory == 8)                                     \
      name##_8(work);                                                                                        \
    else if (work->tile.real == 16 && work->tile.memory == 16)                                               \
      name##_16(work);                                                                                       \
    else                                                                                                     \
      name##_any(work);                                                                                      \
  }

BACKWARD_GAUSSIAN(backward_gaussian_direct, true)
BACKWARD_GAUSSIAN(backward_gaussian_add, false)

static void backward_tile(void *context, int64_t task) {
  const struct backward_job *job = context;
  const gp_pool_backward_args *args = job->args;
  struct backward_tile work;
  work.plan = job->plan;
  work.x = args->x;
  work.map = args->weight;
  work.grad_y = args->grad_y;
  work.grad_x = args->grad_x;
  work.writes = args->grad_x != NULL;
  work.accumulate = args->accumulate;
  work.tile = gp_tile_at(job->plan, &job->tiles, task);
  work.prepared = work.tile.input_begin;
  memset(work.row_sums, 0, sizeof work.row_sums);
  memset(work.totals, 0, sizeof work.totals);
  gp_run_make(job->plan, &work.tile, args->mu, args->sigma, args->weight, &work.run);
  work.grad_map = work.run.source == GP_SOURCE_MAP ? args->grad_weight : NULL;
  bool direct = windows_cover_once(job->plan) && !args->accumulate && work.writes;
  switch (job->plan->kind->body) {
    case GP_BODY_MEAN: direct ? backward_mean_direct(&work) : backward_mean_add(&work); break;
    case GP_BODY_MAX: direct ? backward_max_direct(&work) : backward_max_add(&work); break;
    default: direct ? backward_gaussian_direct(&work) : backward_gaussian_add(&work); break;
  }
  if (job->partial == NULL) return;
  double *partial = job->partial + work.tile.index * 2 * job->tiles.run_lanes;
  for (int k = 0; k < 2; ++k)
    for (int i = 0; i < work.tile.real; ++i) partial[k * job->tiles.run_lanes + i] = work.totals[k][i];
}

/* Adds up the bands of a run and turns Σ dW into Σ da. */
static void backward_run(void *context, int64_t task) {
  const struct backward_job *job = context;
  const gp_pool_plan *plan = job->plan;
  const gp_tiles *tiles = &job->tiles;
  int64_t n = task / tiles->runs, c = task % tiles->runs * tiles->run_lanes;
  int64_t left = plan->desc.channels - c;
  gp_tile tile = {.n = n, .c = c, .real = (int)(left < tiles->run_lanes ? left : tiles->run_lanes)};
  gp_run run;
  gp_run_make(plan, &tile, job->args->mu, job->args->sigma, job->args->weight, &run);
  for (int i = 0; i < tile.real; ++i) {
    double totals[2] = {0};
    for (int64_t band = 0; band < tiles->bands; ++band)
      for (int k = 0; k < 2; ++k)
        totals[k] += job->partial[((task * tiles->bands + band) * 2 + k) * tiles->run_lanes + i];
    if (run.source == GP_SOURCE_CHANNEL) {
      totals[0] *= (double)run.slope[i];
      totals[1] = totals[0] * (double)run.draw[i];
    }
    for (int k = 0; k < 2; ++k) job->sums[k][n * plan->desc.channels + c + i] = totals[k];
  }
}

#endif
