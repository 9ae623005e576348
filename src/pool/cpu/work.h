/* A call, a task's memory and a block: what rows.h and block.h work on. */
#ifndef GP_POOL_CPU_WORK_H
#define GP_POOL_CPU_WORK_H

#include "pool/cpu/run.h"
#include "pool/cpu/stage.h"
#include "pool/cpu/stretch.h"

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
  float row_sums[GP_SUMS][GP_COLUMN_FLOATS];  /* [row][lane] of the rows that go together */
  double sums[GP_SUMS][GP_RUN_MAX];
  float mask[GP_MASK_FLOATS], mask_row_sums[GP_MASK_FLOATS]; /* [element][lane] */
  double mask_sums[GP_MASK_FLOATS];
  gp_columns columns;
  gp_run groups;             /* of plane.h: a lane's counter and parameters are those of four outputs of one plane */
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

#endif
