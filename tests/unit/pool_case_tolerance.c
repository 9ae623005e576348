#include "pool_case_tolerance.h"

#include "base/memory.h"
#include "pool/draws.h"
#include "pool/reference_window.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const double unit = 0x1p-24; /* float's rounding */

double pool_rounding(gp_dtype dtype, double value) {
  switch (dtype) {
    case GP_FLOAT64: return 0;
    case GP_BFLOAT16: return fabs(value) * 0x1p-8 + 0x1p-134;
    case GP_FLOAT16: return fabs(value) * 0x1p-11 + 0x1p-25;
    default: return fabs(value) * unit + 0x1p-150;
  }
}

/* Errors of one window's results. */
struct errors {
  double y;
  double grad_weight;     /* of dy/dW, or for a gate dy/dΣ(ω·x) */
  double slope;           /* of dy/dx_ij, for all (i, j) */
  double to_mu, to_sigma; /* of dW/dmu and dW/dsigma */
};

/* What the errors are made of. relu(scale·x + shift) is exact in the cases made here, as x is. */
struct condition {
  double sum;        /* relative error of a sum over the window */
  double size;       /* largest |x_ij| */
  double low, high;  /* least and largest x_ij */
  double magnitudes; /* Σ |ω_ij·x_ij| */
  double mask;       /* largest |ω_ij| */
};

static struct condition condition_of(const gp_exact_window *window) {
  struct condition c = {
      .sum = unit * (8 + (double)(window->rows * window->columns)), .low = INFINITY, .high = -INFINITY};
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double x = gp_exact_element(window, i, j);
      c.low = fmin(c.low, x);
      c.high = fmax(c.high, x);
      if (window->mask == NULL) continue;
      double omega = gp_load(window->mask, window->mask_dtype, window->mask_first + i * window->mask_row + j);
      c.magnitudes += fabs(omega * x);
      c.mask = fmax(c.mask, fabs(omega));
    }
  c.size = fmax(fabs(c.low), fabs(c.high));
  return c;
}

/* Error of W = link(mu + sigma·e). */
static double weight_error(const pool_case *exact, const gp_exact_window *window, int64_t n, int64_t c, int64_t row,
                           int64_t column) {
  const gp_pool_plan *plan = &exact->plan;
  double parts = 0;
  if (plan->kind->draws != GP_DRAWS_NORMAL) return 0;
  int64_t at = gp_param_index(plan, n, c);
  double draw = plan->desc.stochasticity != GP_STOCHASTIC_NONE ? (double)gp_draw_at(plan, n, c, row, column) : 1;
  if (exact->in[POOL_MU].elements > 0) parts += fabs(test_buffer_get(&exact->in[POOL_MU], at));
  parts += fabs(test_buffer_get(&exact->in[POOL_SIGMA], at) * draw);
  return 4 * unit * (parts + fabs(window->weight));
}

static double variance_of(const gp_exact_window *window, double mean) {
  double sum = (window->divisor - (double)(window->rows * window->columns)) * mean * mean;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double difference = gp_exact_element(window, i, j) - mean;
      sum += difference * difference;
    }
  return sum / window->divisor;
}

static void gaussian_errors(struct errors *e, const struct condition *c, const gp_exact_window *window,
                            const gp_exact_solution *solution, double weight_error) {
  double s = solution->deviation, weight = fabs(solution->weight), moment = 2 * c->sum * c->size;
  double t = fmax(c->high - solution->mean, solution->mean - c->low) / s;
  e->y = moment * (1 + 2 * weight) + (weight_error + 4 * unit * weight) * s;
  e->grad_weight = 2 * moment + 4 * unit * s;
  e->to_mu = e->to_sigma = 8 * unit + weight_error;
  double t_error = moment * (1 + 2 * t) / s + 4 * unit * t;
  double through = weight_error * t + weight * t_error;
  /* Near the clamp's kink the gradient through s may or may not be there. */
  double distance = fabs(variance_of(window, solution->mean) - window->eps);
  if (distance <= 4 * s * moment + 8 * unit * s * s)
    through += weight * t;
  else if (solution->clamped)
    through = 0;
  e->slope = (through + 4 * unit * (1 + weight * t)) / window->divisor;
}

static void softmax_errors(struct errors *e, const struct condition *c, const gp_exact_solution *solution) {
  double lambda = fabs(solution->weight), width = c->high - c->low;
  double term = c->sum + 4 * unit + lambda * 4 * unit * c->size; /* relative, of p */
  double difference = 2 * unit * c->size;
  e->y = c->sum * c->size + 2 * term * width;
  e->slope = (term + 4 * unit) * (1 + lambda * width) + lambda * (difference + e->y);
  e->grad_weight = solution->grad_weight * 4 * (term + c->sum) + 2 * width * (difference + e->y);
}

/* Whether the draw lies within a float sum's rounding of the boundary between two elements. */
static bool draw_is_close(const gp_exact_window *window, const gp_exact_solution *solution, double error) {
  double total = 0, reached = 0;
  bool close = false;
  for (int pass = 0; pass < 2; ++pass)
    for (int64_t i = 0; i < window->rows; ++i)
      for (int64_t j = 0; j < window->columns; ++j) {
        double share = solution->peak <= 0 ? 1 : fmax(gp_exact_element(window, i, j), 0);
        total += pass == 0 ? share : 0;
        reached += pass == 1 ? share : 0;
        close |= pass == 1 && fabs(reached / total - window->uniform) < error;
      }
  return close;
}

static void stochastic_errors(struct errors *e, const struct condition *c, const gp_exact_window *window,
                              const gp_exact_solution *solution) {
  if (window->uniform >= 0) {
    if (!draw_is_close(window, solution, 2 * c->sum)) return;
    e->y = c->high - c->low;
    e->slope = 1;
    return;
  }
  e->y = 4 * c->sum * c->size;
  e->slope = 8 * unit / window->divisor;
  if (solution->peak > 0) e->slope = 12 * c->sum / solution->total;
}

static void mixed_errors(struct errors *e, const struct condition *c, const gp_exact_window *window,
                         const gp_exact_solution *solution) {
  double weight = fabs(solution->weight), rest = fabs(1 - solution->weight);
  double moment = c->sum * c->size, reach = fabs(c->high - solution->mean);
  double gate = window->mask != NULL ? c->sum * c->magnitudes + 8 * unit : 0;
  e->y = (moment + 4 * unit * c->size) * (weight + rest) + gate * reach;
  e->grad_weight = 2 * moment + (window->mask != NULL ? reach * (gate + 8 * unit) : 0);
  e->slope =
      4 * unit * (weight + rest) + 2 * gate + c->mask * (e->grad_weight + 4 * unit * fabs(solution->grad_weight));
}

static void lp_errors(struct errors *e, const struct condition *c, const gp_exact_window *window,
                      const gp_exact_solution *solution) {
  if (solution->y == 0) return;
  double p = window->norm, logarithm = 2 + fabs(log(solution->peak));
  double power = 4 * c->sum + 8 * unit * p * logarithm; /* relative, of Σ |x|^p */
  e->y = solution->y * (power / p + 8 * unit * logarithm);
  e->slope = window->kernel / window->divisor * (power + 8 * unit) * (p + 1) * 4;
}

static struct errors errors_of(const gp_exact_window *window, const gp_exact_solution *solution, double weight_error) {
  struct condition c = condition_of(window);
  struct errors e = {0};
  switch (window->kind->body) {
    case GP_BODY_GAUSSIAN: gaussian_errors(&e, &c, window, solution, weight_error); break;
    case GP_BODY_MEAN:
      e.y = c.sum * c.size;
      e.slope = 4 * unit / window->divisor;
      break;
    case GP_BODY_MAX: break; /* exact */
    case GP_BODY_SOFTMAX: softmax_errors(&e, &c, solution); break;
    case GP_BODY_STOCHASTIC: stochastic_errors(&e, &c, window, solution); break;
    case GP_BODY_MIXED: mixed_errors(&e, &c, window, solution); break;
    case GP_BODY_LP: lp_errors(&e, &c, window, solution); break;
  }
  return e;
}

/* ---- From windows to outputs --------------------------------------------------------------- */

/* Errors of the gradients of one plane, and the sizes of the sums they are. */
struct plane {
  const pool_case *exact;
  test_buffer *tolerance;
  int64_t n, c;
  double *slopes, *sizes; /* [h][w]: error of the gradient by relu(scale·x + shift), and sum of its terms' sizes */
  double mu, sigma, weight, average_y;
};

static void add(test_buffer *buffer, int64_t at, double error) {
  if (buffer->elements > 0) test_buffer_set(buffer, at, test_buffer_get(buffer, at) + error);
}

static double get_or_zero(const test_buffer *buffer, int64_t at) {
  return buffer->elements > 0 ? test_buffer_get(buffer, at) : 0;
}

static void add_slopes(struct plane *plane, const gp_exact_window *window, const gp_exact_solution *solution,
                       const struct errors *e, int64_t first, double grad_y, double grad_error) {
  int64_t width = plane->exact->plan.desc.width;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double slope = fabs(gp_exact_slope(window, solution, i, j));
      plane->slopes[first + i * width + j] += fabs(grad_y) * e->slope + slope * grad_error;
      plane->sizes[first + i * width + j] += fabs(grad_y) * slope;
    }
}

static void add_params(struct plane *plane, const gp_exact_window *window, const gp_exact_solution *solution,
                       const struct errors *e, double grad_y, double grad_error, int64_t map_at) {
  const gp_pool_plan *plan = &plane->exact->plan;
  double grad = fabs(grad_y * solution->grad_weight), error = fabs(grad_y) * e->grad_weight + 64 * unit * grad;
  error += grad_error * fabs(solution->grad_weight);
  if (plan->kind->link == GP_LINK_GATE) {
    for (int64_t i = 0; i < window->rows; ++i)
      for (int64_t j = 0; j < window->columns; ++j)
        add(&plane->tolerance[POOL_GRAD_WEIGHT], window->mask_first + i * window->mask_row + j,
            error * fabs(gp_exact_element(window, i, j)));
  } else if (plan->desc.param_shape == GP_SHAPE_NCHW) {
    add(&plane->tolerance[POOL_GRAD_WEIGHT], map_at, error);
  } else {
    plane->weight += error;
    plane->mu += error * fabs(window->weight_to_mu) + grad * e->to_mu;
    plane->sigma += error * fabs(window->weight_to_sigma) + grad * 8 * e->to_sigma;
  }
}

static void add_position(struct plane *plane, int64_t row, int64_t column) {
  const pool_case *exact = plane->exact;
  const gp_pool_plan *plan = &exact->plan;
  int64_t n = plane->n, c = plane->c, at = n * plan->desc.channels + c;
  gp_pool_forward_args args = pool_case_args(exact);
  gp_exact_window window = gp_exact_window_at(plan, &args, n, c, row, column);
  gp_exact_solution solution = gp_exact_solve(&window);
  double parameter = weight_error(exact, &window, n, c, row, column);
  struct errors e = errors_of(&window, &solution, parameter);
  double outputs = (double)(plan->out_height * plan->out_width);
  add(&plane->tolerance[POOL_Y], pool_y_at(exact, n, c, row, column), e.y);
  plane->average_y += (e.y + 32 * unit * fabs(solution.y)) / outputs;
  double direct = test_buffer_get(&exact->in[POOL_GRAD_Y], pool_grad_y_at(exact, n, c, row, column));
  double average = get_or_zero(&exact->in[POOL_GRAD_AVERAGE_Y], at) / outputs;
  int64_t first =
      gp_pool_span_at(&plan->desc, 0, row).begin * plan->desc.width + gp_pool_span_at(&plan->desc, 1, column).begin;
  double grad_y = direct + average, grad_error = 4 * unit * (fabs(direct) + fabs(average));
  add_slopes(plane, &window, &solution, &e, first, grad_y, grad_error);
  add_params(plane, &window, &solution, &e, grad_y, grad_error, pool_at(gp_pool_map_plane(plan, n, c), row, column));
}

static void add_grad_x(struct plane *plane) {
  const pool_case *exact = plane->exact;
  const gp_pool_desc *desc = &exact->plan.desc;
  int64_t n = plane->n, c = plane->c;
  double average =
      fabs(get_or_zero(&exact->in[POOL_GRAD_AVERAGE_X], n * desc->channels + c)) / (double)(desc->height * desc->width);
  bool scaled = exact->in[POOL_SCALE].elements > 0;
  double scale = scaled ? fabs(test_buffer_get(&exact->in[POOL_SCALE], c)) : 1;
  for (int64_t i = 0; i < desc->height * desc->width; ++i) {
    double size = plane->sizes[i] + average, error = plane->slopes[i] + 16 * unit * size;
    int64_t h = i / desc->width, w = i % desc->width, at = pool_grad_x_at(exact, n, c, h, w);
    double before = exact->accumulate ? fabs(test_buffer_get(&exact->in[POOL_BEFORE], at)) : 0;
    add(&plane->tolerance[POOL_GRAD_X], at, scale * error + 4 * unit * before);
    double x = fabs(test_buffer_get(&exact->in[POOL_X], pool_x_at(exact, n, c, h, w)));
    /* Sums over a plane: each term's own error, and that of adding it. */
    add(&plane->tolerance[POOL_GRAD_SCALE], c, (error + 64 * unit * size) * x);
    add(&plane->tolerance[POOL_GRAD_SHIFT], c, error + 64 * unit * size);
  }
}

static void add_plane(struct plane *plane) {
  const pool_case *exact = plane->exact;
  const gp_pool_plan *plan = &exact->plan;
  for (int64_t row = 0; row < plan->out_height; ++row)
    for (int64_t column = 0; column < plan->out_width; ++column) add_position(plane, row, column);
  add_grad_x(plane);
  if (plan->desc.param_shape != GP_SHAPE_NCHW && plan->kind->link != GP_LINK_GATE) {
    int64_t at = gp_param_index(plan, plane->n, plane->c);
    add(&plane->tolerance[POOL_GRAD_WEIGHT], at, plane->weight);
    add(&plane->tolerance[POOL_GRAD_MU], at, plane->mu);
    add(&plane->tolerance[POOL_GRAD_SIGMA], at, plane->sigma);
  }
  add(&plane->tolerance[POOL_AVERAGE_Y], plane->n * plan->desc.channels + plane->c, plane->average_y);
}

void pool_tolerance_make(test_buffer tolerance[POOL_OUTPUTS], const pool_case *exact) {
  const gp_pool_desc *desc = &exact->plan.desc;
  size_t size = (size_t)(desc->height * desc->width);
  test_random random = {exact->seed};
  for (int i = 0; i < POOL_OUTPUTS; ++i) {
    test_buffer_make(&tolerance[i], GP_FLOAT64, exact->out[i].elements, &random);
    for (size_t at = 0; at < tolerance[i].elements; ++at) test_buffer_set(&tolerance[i], (int64_t)at, 0);
  }
  double *sums = NULL;
  pool_case_check(exact, GP_ALLOC(&sums, 2 * size) == GP_OK, "out of memory");
  for (int64_t n = 0; n < desc->batch; ++n)
    for (int64_t c = 0; c < desc->channels; ++c) {
      memset(sums, 0, 2 * size * sizeof *sums);
      add_plane(&(struct plane){
          .exact = exact, .tolerance = tolerance, .n = n, .c = c, .slopes = sums, .sizes = sums + size});
    }
  gp_free(sums);
}

void pool_tolerance_check(const pool_case *pool, const pool_case *exact, const test_buffer tolerance[POOL_OUTPUTS]) {
  for (int which = 0; which < POOL_OUTPUTS; ++which) {
    const test_buffer *found = &pool->out[which];
    for (int64_t i = 0; i < (int64_t)found->elements; ++i) {
      double want = test_buffer_get(&exact->out[which], i), have = test_buffer_get(found, i);
      if (isnan(want) && isnan(have)) continue; /* between a slice's elements */
      double allowed = test_buffer_get(&tolerance[which], i);
      allowed = 1.001 * (allowed + pool_rounding(found->dtype, fabs(want) + allowed));
      if (fabs(want - have) <= allowed) continue;
      pool_case_print(pool);
      fail_msg("%s, element %lld: expected %.9g ± %.2g, found %.9g", pool_output_names[which], (long long)i, want,
               allowed, have);
    }
  }
}
