/* One window in scalar double precision: what each body gives, and its slopes. The reference runs on these; the fast
 * kernels call them for a lane whose float result left float's range.
 *
 *     gp_exact_window window = gp_exact_window_at(plan, args, n, c, row, column);
 *     gp_exact_solution solution = gp_exact_solve(&window);
 *     solution.y, and dy/dx of element (i, j): gp_exact_slope(&window, &solution, i, j)
 *
 * A window of numbers at hand needs no plan: {.kind, .x, .dtype = GP_FLOAT64, .rows = 1, .columns = count, .pixel = 1,
 * .divisor, …}. */
#ifndef GP_POOL_REFERENCE_WINDOW_H
#define GP_POOL_REFERENCE_WINDOW_H

#include "pool/shape.h"

#include <math.h>

/* The real elements x_ij, 0 ≤ i < rows, 0 ≤ j < columns, and the formula's constants. */
typedef struct gp_exact_window {
  const gp_pool_kind_info *kind;
  const void *x; /* x_ij = x[first + i·row + j·pixel], or relu(scale·x[…] + shift) with `rectify` */
  gp_dtype dtype;
  int64_t first, row, pixel;
  int64_t rows, columns; /* at least 1 each */
  bool rectify;
  double scale, shift;
  double divisor;                       /* R: real elements and the padding zeros counted */
  double kernel;                        /* K; GP_BODY_LP */
  double eps, norm;                     /* GP_BODY_GAUSSIAN; GP_BODY_LP */
  double uniform;                       /* GP_BODY_STOCHASTIC: the draw, or below 0 for the expectation */
  double weight;                        /* W, where the body has one and it does not come from a gate */
  double weight_to_mu, weight_to_sigma; /* dW/dmu, dW/dsigma */
  const void *mask;                     /* GP_LINK_GATE: ω_ij = mask[mask_first + i·mask_row + j], or NULL */
  gp_dtype mask_dtype;
  int64_t mask_first, mask_row;
} gp_exact_window;

typedef struct gp_exact_solution {
  double y;
  double grad_weight; /* dy/dW; for a gate dy/dΣ(ω_ij·x_ij) */
  /* What the slopes need. */
  double weight;          /* W */
  double mean, deviation; /* m, s */
  bool clamped;           /* v < eps: s is a constant */
  int64_t row, column;    /* of the maximum or the element drawn */
  double peak,
      total; /* softmax: the x of the largest exponent, Σ exp(λ·(x_ij - peak)); stochastic: the largest x_ij, at
                           * least 0, Σ max(x_ij, 0)/peak; Lp: the largest |x_ij|, y/peak */
} gp_exact_solution;

/* The window of output element (row, column) of sample n and channel c. Of args everything but y, average_y and the
 * workspace is read. */
gp_exact_window gp_exact_window_at(const gp_pool_plan *plan, const gp_pool_forward_args *args, int64_t n, int64_t c,
                                   int64_t row, int64_t column);

gp_exact_solution gp_exact_solve(const gp_exact_window *window);

/* dy/dx_ij: with `rectify` by what comes out of the ReLU. */
double gp_exact_slope(const gp_exact_window *window, const gp_exact_solution *solution, int64_t i, int64_t j);

/* 1/(1 + e^-a), without overflow. */
static inline double gp_exact_sigmoid(double a) { return a < 0 ? exp(a) / (1 + exp(a)) : 1 / (1 + exp(-a)); }

/* x_ij. */
double gp_exact_element(const gp_exact_window *window, int64_t i, int64_t j);

#endif
