#include "pool/cpu/tiles.h"

/* Input elements of a band that is not staged: what leaves the second-level cache room for the output beside it. */
enum { BAND_ELEMENTS = 1 << 16 };
/* Tasks wanted at least, so that many threads have work; but none smaller than what pays for making its weights. */
enum { TASKS_WANTED = 64, BAND_ELEMENTS_LEAST = 1 << 13 };
/* Staged floats of a block wanted at most: the nearest caches. */
enum { BLOCK_FLOATS = 1 << 14 };
/* Lanes of an NHWC run where blocks are staged. */
enum { STAGED_RUN = 64 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t output_size(const gp_pool_plan *plan, int axis) {
  return axis == 0 ? plan->out_height : plan->out_width;
}
static int64_t input_size(const gp_pool_plan *plan, int axis) {
  return axis == 0 ? plan->desc.height : plan->desc.width;
}

/* Windows before those of a block that reach into its input, at most. */
static int64_t halo_of(const gp_pool_plan *plan, int axis) {
  int64_t outputs = plan->desc.adaptive[axis];
  if (outputs > 0) return divide_up(outputs, input_size(plan, axis)) + 1;
  return divide_up(plan->desc.kernel[axis], plan->desc.stride[axis]) - 1;
}

/* Input elements along an axis under `outputs` neighbouring windows, with the gaps between them, at most. */
static int64_t input_extent(const gp_pool_plan *plan, int axis, int64_t outputs) {
  int64_t size = input_size(plan, axis), kernel = plan->desc.kernel[axis], stride = plan->desc.stride[axis];
  if (plan->desc.adaptive[axis] > 0) {
    stride = divide_up(size, plan->desc.adaptive[axis]);
    kernel = stride + 1;
  }
  /* What is left after the last window is less than a stride. */
  return least(size, (outputs - 1) * stride + most(kernel, stride) + stride - 1);
}

/* ---- Staging ------------------------------------------------------------------------------- */

static bool covers_once_along(const gp_pool_plan *plan, int axis) {
  const gp_pool_desc *desc = &plan->desc;
  int64_t size = input_size(plan, axis), outputs = output_size(plan, axis);
  if (desc->adaptive[axis] > 0) return size % outputs == 0;
  return desc->stride[axis] == desc->kernel[axis] && outputs * desc->stride[axis] - desc->padding[axis] >= size;
}

bool gp_covers_once(const gp_pool_plan *plan) { return covers_once_along(plan, 0) && covers_once_along(plan, 1); }

/* Windows of a row that pay for reading them where they lie: with fewer of them most lanes of a vector stay empty. Drawn
 * weights come for groups of four neighbours, of which a row should have several. */
enum { PAIR_COLUMNS = 7, DRAWN_PAIR_COLUMNS = 14 };

/* Whole windows of 2×2 that step by 2, in rows of neighbouring elements. */
static bool in_pairs(const gp_pool_plan *plan, bool backward) {
  const gp_pool_desc *desc = &plan->desc;
  if (desc->layout != GP_NCHW || plan->kind->link == GP_LINK_GATE || desc->param_shape == GP_SHAPE_NCHW) return false;
  bool drawn = plan->kind->draws != GP_DRAWS_NOTHING && desc->stochasticity == GP_STOCHASTIC_HWCN;
  if (plan->out_width < (drawn ? DRAWN_PAIR_COLUMNS : PAIR_COLUMNS)) return false;
  for (int axis = 0; axis < 2; ++axis) {
    if (desc->adaptive[axis] > 0 || desc->padding[axis] != 0) return false;
    if (desc->kernel[axis] != 2 || desc->stride[axis] != 2) return false;
    if (2 * output_size(plan, axis) > input_size(plan, axis)) return false;
  }
  return !backward || gp_covers_once(plan);
}

gp_staging gp_staging_of(const gp_pool_plan *plan, bool backward, bool scaled, bool accumulate, bool writes) {
  if (!scaled && !accumulate && in_pairs(plan, backward)) return (gp_staging){.pairs = true};
  bool copies = plan->desc.layout == GP_NCHW || scaled;
  if (!backward) return (gp_staging){.x = copies, .out = copies};
  bool grad_x = writes && (copies || accumulate || !gp_covers_once(plan));
  return (gp_staging){.x = copies, .raw = scaled, .grad_x = grad_x, .out = copies};
}

/* ---- Runs ---------------------------------------------------------------------------------- */

static int64_t run_lanes_of(const gp_pool_plan *plan, gp_staging staging) {
  const gp_pool_desc *desc = &plan->desc;
  if (desc->layout == GP_NCHW) return GP_STAGED_LANES;
  int64_t block = gp_layout_block(desc->layout);
  if (block > 0) return block;
  int64_t lanes = GP_RUN_MAX;
  if (staging.x || staging.grad_x || staging.out) lanes = STAGED_RUN;
  if (plan->kind->link == GP_LINK_GATE) {
    int64_t elements = (int64_t)desc->kernel[0] * desc->kernel[1];
    lanes = least(lanes, most(GP_MASK_FLOATS / elements / GP_STAGED_LANES, 1) * GP_STAGED_LANES);
  }
  return least(desc->channels, lanes);
}

/* ---- Blocks -------------------------------------------------------------------------------- */

/* Of a block of rows × columns outputs. A block goes on from the one above it, and makes the windows to its left again. */
static int64_t block_pixels(const gp_pool_plan *plan, int64_t rows, int64_t columns) {
  int64_t windows = columns < plan->out_width ? columns + halo_of(plan, 1) : columns;
  /* Far beyond what can be staged all is alike, and products of it still fit. */
  return least(input_extent(plan, 0, rows) * input_extent(plan, 1, windows), (int64_t)1 << 40);
}

/* Floats of the staged copies. */
static int64_t block_floats(const gp_pool_plan *plan, gp_staging staging, int64_t lanes, int64_t rows,
                            int64_t columns) {
  int64_t padded = divide_up(lanes, GP_STAGED_LANES) * GP_STAGED_LANES;
  int64_t copies = (staging.x ? 1 : 0) + (staging.raw ? 1 : 0) + (staging.grad_x ? 1 : 0);
  int64_t out = staging.out ? rows * least(plan->out_width, columns + halo_of(plan, 1)) : 0;
  return padded * (copies * block_pixels(plan, rows, columns) + out);
}

/* As many columns as fit, in equal strips. */
static int64_t columns_that_fit(const gp_pool_plan *plan, gp_staging staging, int64_t lanes, int64_t rows,
                                int64_t limit) {
  int64_t strips = 1, columns = plan->out_width;
  while (columns > 1 && block_floats(plan, staging, lanes, rows, columns) > limit)
    columns = divide_up(plan->out_width, ++strips);
  /* Draws come in fours. */
  return strips > 1 && columns > 4 ? columns / 4 * 4 : columns;
}

static int64_t rows_that_fit(const gp_pool_plan *plan, gp_staging staging, int64_t lanes, int64_t columns,
                             int64_t limit) {
  int64_t rows = 1;
  while (rows < plan->out_height && block_floats(plan, staging, lanes, rows + 1, columns) <= limit) ++rows;
  return rows;
}

static bool choose_block(gp_tiles *tiles, const gp_pool_plan *plan, gp_staging staging) {
  tiles->block_rows = plan->out_height;
  tiles->block_columns = plan->out_width;
  if (!staging.x && !staging.grad_x && !staging.out) return true;
  if (plan->desc.layout == GP_NHWC && block_floats(plan, staging, tiles->run_lanes, 1, 1) > GP_SCRATCH_FLOATS)
    tiles->run_lanes = least(tiles->run_lanes, GP_STAGED_LANES);
  if (block_floats(plan, staging, tiles->run_lanes, 1, 1) > GP_SCRATCH_FLOATS) return false;
  /* Whole rows, if need be from the second-level cache. */
  int64_t row = block_floats(plan, staging, tiles->run_lanes, 1, plan->out_width);
  int64_t limit = row <= 2 * BLOCK_FLOATS ? 2 * BLOCK_FLOATS : BLOCK_FLOATS;
  tiles->block_columns = columns_that_fit(plan, staging, tiles->run_lanes, 1, limit);
  /* A strip makes the windows to its left again: not more of them than its own, while memory allows. */
  if (staging.grad_x && tiles->block_columns < least(plan->out_width, halo_of(plan, 1)))
    tiles->block_columns = columns_that_fit(plan, staging, tiles->run_lanes, 1, GP_SCRATCH_FLOATS);
  tiles->block_rows = rows_that_fit(plan, staging, tiles->run_lanes, tiles->block_columns, BLOCK_FLOATS);
  tiles->block_pixels = block_pixels(plan, tiles->block_rows, tiles->block_columns);
  return true;
}

/* ---- Tiles --------------------------------------------------------------------------------- */

bool gp_tiles_make(gp_tiles *tiles, const gp_pool_plan *plan, gp_staging staging) {
  const gp_pool_desc *desc = &plan->desc;
  *tiles = (gp_tiles){.planes = desc->layout == GP_NCHW, .run_lanes = run_lanes_of(plan, staging)};
  if (!choose_block(tiles, plan, staging)) return false;
  tiles->runs = tiles->planes ? divide_up(desc->batch * desc->channels, tiles->run_lanes)
                              : desc->batch * divide_up(desc->channels, tiles->run_lanes);
  int64_t row_elements = most(least(desc->stride[0], desc->height), 1) * desc->width;
  /* Of one plane after the other there is never more than a row in cache. */
  if (!staging.pairs) row_elements *= tiles->run_lanes;
  int64_t rows = least(BAND_ELEMENTS / row_elements, tiles->runs * plan->out_height / TASKS_WANTED);
  rows = most(rows, divide_up(BAND_ELEMENTS_LEAST, row_elements));
  /* Where windows overlap a task makes its neighbour's last ones again: not for a few rows only. */
  if (staging.grad_x && halo_of(plan, 0) > 0)
    rows = most(rows, least(tiles->runs * plan->out_height / TASKS_WANTED, 16));
  if (tiles->block_rows < plan->out_height) rows = divide_up(rows, tiles->block_rows) * tiles->block_rows;
  tiles->rows = least(most(rows, 1), plan->out_height);
  tiles->bands = divide_up(plan->out_height, tiles->rows);
  tiles->count = tiles->runs * tiles->bands;
  return true;
}

gp_tile gp_tile_of_run(const gp_pool_plan *plan, const gp_tiles *tiles, int64_t run) {
  const gp_pool_desc *desc = &plan->desc;
  gp_tile tile = {.index = run * tiles->bands};
  if (tiles->planes) {
    tile.plane = run * tiles->run_lanes;
    tile.real = (int)least(tiles->run_lanes, desc->batch * desc->channels - tile.plane);
  } else {
    int64_t sample_runs = divide_up(desc->channels, tiles->run_lanes);
    int64_t c = run % sample_runs * tiles->run_lanes;
    tile.plane = run / sample_runs * desc->channels + c;
    tile.real = (int)least(tiles->run_lanes, desc->channels - c);
  }
  tile.memory = gp_layout_block(desc->layout) > 0 ? (int)tiles->run_lanes : tile.real;
  return tile;
}

gp_tile gp_tile_at(const gp_pool_plan *plan, const gp_tiles *tiles, int64_t task) {
  int64_t run = task / tiles->bands, band = task % tiles->bands;
  if (plan->desc.layout == GP_NHWC) {
    /* A band's runs follow each other in memory. */
    int64_t sample_runs = divide_up(plan->desc.channels, tiles->run_lanes);
    int64_t sample_tasks = sample_runs * tiles->bands, within = task % sample_tasks;
    run = task / sample_tasks * sample_runs + within % sample_runs;
    band = within / sample_runs;
  }
  gp_tile tile = gp_tile_of_run(plan, tiles, run);
  tile.index = run * tiles->bands + band;
  tile.row_begin = band * tiles->rows;
  tile.row_end = least(tile.row_begin + tiles->rows, plan->out_height);
  return tile;
}

/* ---- Ownership ----------------------------------------------------------------------------- */

/* First input element of a range that begins with the given output element. */
static int64_t owned_from(const gp_pool_plan *plan, int axis, int64_t out) {
  if (out <= 0) return 0;
  if (out >= output_size(plan, axis)) return input_size(plan, axis);
  return gp_pool_span_at(&plan->desc, axis, out).begin;
}

gp_pool_span gp_owned_span(const gp_pool_plan *plan, int axis, int64_t begin, int64_t end) {
  return (gp_pool_span){.begin = owned_from(plan, axis, begin), .end = owned_from(plan, axis, end)};
}

int64_t gp_first_window_over(const gp_pool_plan *plan, int axis, int64_t input, int64_t begin) {
  while (begin > 0 && gp_pool_span_at(&plan->desc, axis, begin - 1).end > input) --begin;
  return begin;
}
