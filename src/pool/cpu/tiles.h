/* How the channel-innermost layouts are cut into tasks: (sample, run of neighbouring channels, band of output rows).
 * The cut follows from the plan alone, so that sums over tiles do not depend on threads or instruction set. */
#ifndef GP_POOL_CPU_TILES_H
#define GP_POOL_CPU_TILES_H

#include "pool/shape.h"

enum { GP_RUN_MAX = 256 }; /* channels in a run, at most */

typedef struct gp_tiles {
  int64_t run_lanes; /* channels in a run in memory: the block, or a chunk of NHWC's channels */
  int64_t runs;      /* of a sample */
  int64_t rows;      /* output rows in a band */
  int64_t bands;
  int64_t count; /* batch · runs · bands */
} gp_tiles;

gp_tiles gp_tiles_make(const gp_pool_plan *plan);

typedef struct gp_tile {
  int64_t index;                  /* ((n · runs) + run) · bands + band */
  int64_t n, c;                   /* sample and first channel */
  int real;                       /* channels that exist */
  int memory;                     /* lanes in memory, padding lanes included */
  int64_t row_begin, row_end;     /* output rows it owns */
  int64_t input_begin, input_end; /* input rows whose grad_x it writes; bands cut the input without gaps */
  int64_t first_row;              /* first output row whose window reaches into those input rows; ≤ row_begin */
  gp_pool_plane in, out;
} gp_tile;

/* The tile of a task, 0 ≤ task < count. Neighbouring tasks are neighbours in memory. */
gp_tile gp_tile_at(const gp_pool_plan *plan, const gp_tiles *tiles, int64_t task);

#endif
