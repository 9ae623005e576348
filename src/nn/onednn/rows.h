/* The inner loops of the batch norm that is not stored, over rows of 16 elements; compiled once per instruction set and type of
 * elements, float or bfloat16, which the pointers to void are to. */
#ifndef GP_NN_ONEDNN_ROWS_H
#define GP_NN_ONEDNN_ROWS_H

#include <gausspool/gausspool.h>

enum { OD_ROW = 16 };

/* `rows` rows, `step` elements from one to the next; of each the first `lanes` count, at most OD_ROW. Every result is of
 * one lane, i.e. column. */
typedef struct od_span {
  int64_t rows, step, lanes;
} od_span;

typedef struct od_moment_sums {
  float pivot[OD_ROW], sum[OD_ROW], squares[OD_ROW]; /* the pivot is the mean of the first rows, at most 16 */
} od_moment_sums;

typedef struct od_average_constants {
  float scale[OD_ROW], shift[OD_ROW], mean[OD_ROW];
} od_average_constants;

typedef struct od_average_sums {
  float total[OD_ROW], active[OD_ROW], centred[OD_ROW];
} od_average_sums;

typedef struct od_gradient_constants {
  float scale[OD_ROW], shift[OD_ROW], mean[OD_ROW], slope[OD_ROW], offset[OD_ROW], spread[OD_ROW];
} od_gradient_constants;

typedef struct od_rows {
  /* Σ (x - pivot) and Σ (x - pivot)². */
  void (*moments)(const void *x, od_span span, od_moment_sums *out);
  /* With y = scale·x + shift: Σ max(0, y), the number of y > 0, and Σ (x - mean) over these. NaN stays in the first. */
  void (*average)(const od_average_constants *c, const void *x, od_span span, od_average_sums *out);
  /* grad_x = grad_out + offset + slope·(x - mean), and spread on top where scale·x + shift > 0. grad_x may be grad_out. */
  void (*gradient)(const od_gradient_constants *c, void *grad_x, const void *grad_out, const void *x, od_span span);
} od_rows;

/* Those for this machine; GP_FLOAT32 or GP_BFLOAT16. */
const od_rows *od_rows_best(gp_dtype type);

#endif
