/* How a tensor is cut: into tasks for the threads, each a run of neighbouring planes by a band of output rows; and a task
 * into blocks small enough for their staged copies to stay in cache. A plane is a channel of a sample.
 * The cut follows from the plan and what is staged alone, so that sums over tasks do not depend on threads or instruction
 * set. */
#ifndef GP_POOL_CPU_TILES_H
#define GP_POOL_CPU_TILES_H

#include "pool/shape.h"

enum {
  GP_RUN_MAX = 128,            /* lanes of a run, at most */
  GP_STAGED_LANES = 16,        /* NCHW: planes of a run. The same for all instruction sets */
  GP_COLUMN_FLOATS = 2048,     /* weights made in one go, lanes times columns */
  GP_MASK_FLOATS = 4096,       /* masks of GP_LINK_GATE, lanes times elements */
  GP_SCRATCH_FLOATS = 1 << 16, /* staged copies of a block, at most */
};

/* What of a call goes through staged copies of floats. */
typedef struct gp_staging {
  bool pairs;  /* nothing: windows of 2×2 that step by 2, read in NCHW as they lie (pairs.h) */
  bool x;      /* the input: laid out anew, or scale and shift applied */
  bool raw;    /* the input without scale and shift as well */
  bool grad_x; /* summed in a copy */
  bool out;    /* y, or grad_y */
} gp_staging;

/* Whether every input element lies in exactly one window. */
bool gp_covers_once(const gp_pool_plan *plan);

/* What of a call: `scaled`, with scale and shift; of a backward call whether it accumulates and whether it `writes`
 * gradients of x, scale or shift. */
gp_staging gp_staging_of(const gp_pool_plan *plan, bool backward, bool scaled, bool accumulate, bool writes);

typedef struct gp_tiles {
  bool planes;       /* NCHW: a run is GP_STAGED_LANES planes, across samples */
  int64_t run_lanes; /* of a run in memory: the block, a chunk of NHWC's channels, or the planes */
  int64_t runs;      /* of the whole batch */
  int64_t rows;      /* output rows in a band */
  int64_t bands;
  int64_t count;                     /* tasks: runs · bands */
  int64_t block_rows, block_columns; /* output rows and columns of a block, at most */
  int64_t block_pixels;              /* input elements of a plane that it takes, at most */
} gp_tiles;

/* False where not even a block of one output fits GP_SCRATCH_FLOATS. */
bool gp_tiles_make(gp_tiles *tiles, const gp_pool_plan *plan, gp_staging staging);

typedef struct gp_tile {
  int64_t index;              /* run · bands + band */
  int64_t plane;              /* n·channels + c of the first lane; the others follow */
  int real;                   /* lanes that exist */
  int memory;                 /* lanes in memory, padding lanes included */
  int64_t row_begin, row_end; /* output rows */
} gp_tile;

/* Sample and channel of a lane, one after the other. */
typedef struct gp_lane {
  int64_t n, c;
} gp_lane;

static inline gp_lane gp_lane_first(const gp_pool_plan *plan, const gp_tile *tile) {
  return (gp_lane){tile->plane / plan->desc.channels, tile->plane % plan->desc.channels};
}
static inline void gp_lane_next(const gp_pool_plan *plan, gp_lane *lane) {
  if (++lane->c < plan->desc.channels) return;
  lane->c = 0;
  ++lane->n;
}

/* The tile of a task, 0 ≤ task < count. Neighbouring tasks are neighbours in memory. */
gp_tile gp_tile_at(const gp_pool_plan *plan, const gp_tiles *tiles, int64_t task);

/* A run without a band: row_begin and row_end are 0. */
gp_tile gp_tile_of_run(const gp_pool_plan *plan, const gp_tiles *tiles, int64_t run);

/* Along an axis: the input elements whose grad_x output elements [begin, end) own; they cut the input without gaps. */
gp_pool_span gp_owned_span(const gp_pool_plan *plan, int axis, int64_t begin, int64_t end);

/* First output element whose window reaches into input elements from `input` on; at most `begin`, whose window does. */
int64_t gp_first_window_over(const gp_pool_plan *plan, int axis, int64_t input, int64_t begin);

#endif
