/* What the inner loops work on: a stretch of output columns, over one or more rows, whose windows all have the same shape,
 * in memory whose innermost run is channels. That memory is the caller's tensor, or a staged copy of a part of it
 * (stage.h). In the loops of pairs.h the innermost run is columns: there lanes are columns, sums have GP_PAIR_SUMS parts in
 * place of a value for each channel, and what leads from column to column or asks for memory ahead is not used. */
#ifndef GP_POOL_CPU_STRETCH_H
#define GP_POOL_CPU_STRETCH_H

#include "pool/kinds.h"

/* The inner loops there are: a body, or where training and inference compute different things, one of its forms. */
typedef enum gp_form {
  GP_FORM_GAUSSIAN,
  GP_FORM_MEAN,
  GP_FORM_MAX,
  GP_FORM_SOFTMAX,
  GP_FORM_EXPECTED, /* GP_BODY_STOCHASTIC at inference */
  GP_FORM_PICKED,   /* GP_BODY_STOCHASTIC in training: the weight is the uniform draw */
  GP_FORM_MIXED,
  GP_FORM_GATED, /* GP_BODY_MIXED whose weight is the window's own */
  GP_FORM_LP,
  GP_FORM_COUNT,
} gp_form;

/* All strides in elements: `step` from an output column to the next, `line` from an output row to the next. Arrays of floats
 * hold a value for each lane; a step and a line of 0 use the same values for all outputs. */
typedef struct gp_stretch {
  int64_t lines;         /* output rows */
  int64_t count;         /* output columns */
  int64_t rows, columns; /* real elements of each window */
  int lanes;             /* channels */
  float inverse;         /* 1/R */
  float zeros;           /* padding elements that R counts */
  float eps, norm;
  float kernel;    /* K */
  float lp_factor; /* (K/R)^(1/norm) */

  const void *x; /* first window's first element */
  int64_t x_row, x_pixel, x_step, x_line;
  const float *weight; /* W, or u of GP_FORM_PICKED */
  int64_t weight_step, weight_line;
  const float *mask; /* ω at the window's first element; GP_FORM_GATED */
  int64_t mask_row, mask_pixel;

  void *y;
  int64_t y_step, y_line;
  float *sum_y; /* += Σ y of a line; NULL: not wanted */
  int64_t sum_y_line;

  const void *grad_y;
  int64_t grad_y_step, grad_y_line;
  const float *grad_average_y; /* adds to every grad_y, [lanes]; NULL: nothing */
  void *grad_x;                /* at the window's first element; NULL: only the sums are wanted */
  int64_t grad_x_row, grad_x_pixel, grad_x_step, grad_x_line;
  const float *add_x; /* adds to every element of grad_x where that is written whole; never NULL there */
  float *grad_weight; /* += dW; NULL: not wanted */
  int64_t grad_weight_step, grad_weight_line;
  float *grad_mask; /* += dω, as mask; NULL: not wanted */

  bool stream; /* the output goes past the caches */
  /* Memory that is read soon, in bytes: for each column ahead_rows × ahead_pixels pieces; NULL: nothing. */
  const char *ahead;
  int64_t ahead_row, ahead_pixel, ahead_step, ahead_line, ahead_bytes;
  int ahead_rows, ahead_pixels;
} gp_stretch;

typedef void (*gp_stretch_fn)(const gp_stretch *stretch);

/* Straight-line instances: windows of 2×2 and 3×3; and of any size. */
typedef enum gp_size {
  GP_SIZE_2X2,
  GP_SIZE_3X3,
  GP_SIZE_ANY,
  GP_SIZE_COUNT,
} gp_size;

/* The inner loops of an instruction set and storage type. Where `direct`, each element of grad_x lies in exactly one window
 * and is stored, in the storage type; otherwise what belongs to it is added to floats. */
typedef struct gp_inner_loops {
  gp_stretch_fn forward[GP_FORM_COUNT][GP_SIZE_COUNT];
  gp_stretch_fn backward_direct[GP_FORM_COUNT][GP_SIZE_COUNT];
  gp_stretch_fn backward_add[GP_FORM_COUNT][GP_SIZE_COUNT];
  /* pairs.h; NULL for GP_FORM_GATED */
  gp_stretch_fn forward_pairs[GP_FORM_COUNT], backward_pairs[GP_FORM_COUNT];
} gp_inner_loops;

#endif
