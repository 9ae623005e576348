/* Going over a tensor channel by channel, whatever its layout, in rows of up to 16 elements: 16 channels of one position, or
 * of narrower blocks as many whole positions as fill a row. A group is the channels of a row, a tile the rows of one
 * sample and group that fit the first-level cache. Cut by shape alone, so that sums made per tile and added in order do
 * not depend on the threads. */
#ifndef GP_NN_ONEDNN_LANES_H
#define GP_NN_ONEDNN_LANES_H

#include "nn/device.h"
#include "nn/onednn/rows.h"

enum { OD_TILE_ROWS = 128 }; /* 8 KiB of whole rows of floats */

typedef struct od_lanes {
  nn_blocking blocking;
  int64_t channels;
  int64_t groups;      /* of each sample */
  int64_t group;       /* channels in one; the last may have fewer */
  int64_t fold;        /* positions in a row */
  int64_t step;        /* elements from a row to the next */
  int64_t rows, tiles; /* of each sample and group; a last row that is short is a tile of its own, and not in `rows` */
} od_lanes;

typedef struct od_tile {
  int64_t offset; /* of its first element */
  od_span span;
} od_tile;

static inline od_lanes od_lanes_of(const nn_tensor *tensor) {
  od_lanes l = {.blocking = nn_blocking_of(tensor), .channels = tensor->shape.channels};
  bool nhwc = tensor->layout == GP_NHWC;
  l.group = nhwc ? OD_ROW : l.blocking.block;
  l.groups = nhwc ? (l.channels + OD_ROW - 1) / OD_ROW : l.blocking.blocks;
  l.fold = OD_ROW / l.group;
  l.step = l.fold * l.blocking.block;
  l.rows = l.blocking.positions / l.fold;
  l.tiles = (l.rows + OD_TILE_ROWS - 1) / OD_TILE_ROWS + (l.blocking.positions % l.fold > 0);
  return l;
}

/* The channels of a group that are not padding. */
static inline int64_t od_channels_of_group(const od_lanes *l, int64_t group) {
  int64_t left = l->channels - group * l->group;
  return left < l->group ? left : l->group;
}

static inline od_tile od_tile_at(const od_lanes *l, int64_t n, int64_t group, int64_t tile) {
  int64_t row = tile * OD_TILE_ROWS, rows = l->rows - row, lanes = l->fold * l->group,
          rest = l->blocking.positions % l->fold;
  if (l->blocking.block != l->group) lanes = od_channels_of_group(l, group); /* NHWC: other channels lie behind */
  if (rest > 0 && tile == l->tiles - 1) {
    row = l->rows;
    rows = 1;
    lanes = rest * l->group;
  }
  return (od_tile){nn_offset(&l->blocking, n, group * l->group, 0) + row * l->step,
                   {rows < OD_TILE_ROWS ? rows : OD_TILE_ROWS, l->step, lanes}};
}

/* What each element of a group's row has of an array by channel, whose length is rounded up to whole groups. */
static inline void od_load_lanes(const od_lanes *l, int64_t group, const float *array, float *out) {
  for (int64_t i = 0; i < OD_ROW; ++i) out[i] = array[group * l->group + i % l->group];
}

#endif
