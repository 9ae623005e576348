#include "nn/onednn/moments.h"

#include "base/parallel.h"
#include "nn/element.h"
#include "nn/onednn/lanes.h"

enum { CHUNKS = 32 };

typedef struct moments {
  double count, mean, squares; /* squares: Σ (x - mean)² */
} moments;

typedef struct job {
  od_lanes lanes;
  const od_rows *loops;
  gp_dtype type;
  const void *x;
  int64_t units, chunk; /* tiles of all samples, and how many of them a task takes */
  moments *parts;       /* [chunks][groups][OD_ROW] */
} job;

static int64_t units_of(const nn_tensor *tensor, const od_lanes *lanes) { return tensor->batch * lanes->tiles; }

static int64_t chunk_of(int64_t units) { return (units + CHUNKS - 1) / CHUNKS; }

size_t od_moments_bytes(const nn_tensor *tensor) {
  od_lanes lanes = od_lanes_of(tensor);
  int64_t units = units_of(tensor, &lanes), chunk = chunk_of(units);
  return (size_t)((units + chunk - 1) / chunk * lanes.groups) * OD_ROW * sizeof(moments);
}

static void join(moments *into, moments part) {
  double count = into->count + part.count, distance = part.mean - into->mean;
  into->mean += distance * (part.count / count);
  into->squares += part.squares + distance * distance * (into->count * part.count / count);
  into->count = count;
}

/* The pivot is the mean of the first rows: then Σ (x - mean)² is at least (first rows)·(pivot - mean)², which bounds what
 * the subtraction can cancel, whatever x holds. */
static void add_tile(const job *j, od_tile tile, moments *parts) {
  od_moment_sums sums;
  double rows = (double)tile.span.rows;
  j->loops->moments(nn_at_const(j->type, j->x, tile.offset), tile.span, &sums);
  for (int64_t l = 0; l < tile.span.lanes; ++l) {
    double sum = sums.sum[l], squares = sums.squares[l] - sum * sum / rows;
    join(&parts[l % j->lanes.group], (moments){rows, sums.pivot[l] + sum / rows, squares < 0 ? 0 : squares});
  }
}

static void sum_chunk(void *context, int64_t task) {
  const job *j = context;
  int64_t group = task % j->lanes.groups, begin = task / j->lanes.groups * j->chunk, end = begin + j->chunk;
  moments *parts = j->parts + task * OD_ROW;
  if (end > j->units) end = j->units;
  for (int64_t l = 0; l < OD_ROW; ++l) parts[l] = (moments){0};
  for (int64_t unit = begin; unit < end; ++unit)
    add_tile(j, od_tile_at(&j->lanes, unit / j->lanes.tiles, group, unit % j->lanes.tiles), parts);
}

void od_moments(const nn_tensor *tensor, const void *x, void *scratch, float *mean, float *variance) {
  job j = {.lanes = od_lanes_of(tensor),
           .loops = od_rows_best(tensor->type),
           .type = tensor->type,
           .x = x,
           .parts = scratch};
  j.units = units_of(tensor, &j.lanes);
  j.chunk = chunk_of(j.units);
  int64_t chunks = (j.units + j.chunk - 1) / j.chunk;
  gp_parallel_for(chunks * j.lanes.groups, 0, sum_chunk, &j);
  for (int64_t c = 0; c < j.lanes.channels; ++c) {
    const moments *part = j.parts + c / j.lanes.group * OD_ROW + c % j.lanes.group;
    moments all = part[0];
    for (int64_t i = 1; i < chunks; ++i) join(&all, part[i * j.lanes.groups * OD_ROW]);
    mean[c] = (float)all.mean;
    variance[c] = (float)(all.squares / all.count);
  }
}
