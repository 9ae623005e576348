#include "pool/cpu/tiles.h"

/* Input floats of a tile: what leaves the second-level cache room for the output beside it. */
enum { TILE_FLOATS = 1 << 16 };
/* Tasks wanted at least, so that many threads have work; but none smaller than what pays for making its weights. */
enum { TASKS_WANTED = 64, TILE_FLOATS_LEAST = 1 << 13 };
/* Rows of a band at least, where windows overlap and each band computes its neighbour's last windows again. */
enum { OVERLAPPING_ROWS = 6 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

gp_tiles gp_tiles_make(const gp_pool_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  int64_t block = gp_layout_block(desc->layout);
  gp_tiles tiles = {.run_lanes = block > 0 ? block : least(desc->channels, GP_RUN_MAX)};
  tiles.runs = divide_up(desc->channels, tiles.run_lanes);
  int64_t planes = desc->batch * tiles.runs;
  int64_t row_floats = desc->stride[0] * desc->width * tiles.run_lanes;
  int64_t rows = least(TILE_FLOATS / row_floats, planes * plan->out_height / TASKS_WANTED);
  rows = most(rows, divide_up(TILE_FLOATS_LEAST, row_floats));
  rows = most(rows, desc->stride[0] < desc->kernel[0] ? OVERLAPPING_ROWS : 1);
  tiles.rows = least(rows, plan->out_height);
  tiles.bands = divide_up(plan->out_height, tiles.rows);
  tiles.count = planes * tiles.bands;
  return tiles;
}

/* First input row of a band that begins with the given output row. */
static int64_t input_row(const gp_pool_plan *plan, int64_t row) {
  if (row <= 0) return 0;
  if (row >= plan->out_height) return plan->desc.height;
  return most(row * plan->desc.stride[0] - plan->desc.padding[0], 0);
}

/* First output row whose window ends after the given input row. */
static int64_t first_row_over(const gp_pool_plan *plan, int64_t input_begin, int64_t row) {
  while (row > 0 && gp_pool_span_at(&plan->desc, 0, row - 1).end > input_begin) --row;
  return row;
}

gp_tile gp_tile_at(const gp_pool_plan *plan, const gp_tiles *tiles, int64_t task) {
  const gp_pool_desc *desc = &plan->desc;
  int64_t sample_tasks = tiles->runs * tiles->bands, n = task / sample_tasks, within = task % sample_tasks;
  /* Blocked: a run's bands follow each other. NHWC: a band's runs do. */
  bool blocked = gp_layout_block(desc->layout) > 0;
  int64_t run = blocked ? within / tiles->bands : within % tiles->runs;
  int64_t band = blocked ? within % tiles->bands : within / tiles->runs;
  gp_tile tile = {.index = (n * tiles->runs + run) * tiles->bands + band, .n = n, .c = run * tiles->run_lanes};
  tile.real = (int)least(tiles->run_lanes, desc->channels - tile.c);
  tile.memory = blocked ? (int)tiles->run_lanes : tile.real;
  tile.row_begin = band * tiles->rows;
  tile.row_end = least(tile.row_begin + tiles->rows, plan->out_height);
  tile.input_begin = input_row(plan, tile.row_begin);
  tile.input_end = input_row(plan, tile.row_end);
  tile.first_row = first_row_over(plan, tile.input_begin, tile.row_begin);
  tile.in = gp_pool_x_plane(plan, n, tile.c);
  tile.out = gp_pool_y_plane(plan, n, tile.c);
  return tile;
}
