/* The formulas of gausspool.h, one window at a time. Comparisons are written so that a NaN stays one. */
#include "pool/reference_window.h"

#include "pool/params.h"

#include <float.h>
#include <math.h>

static inline double element(const gp_exact_window *window, int64_t i, int64_t j) {
  double x = gp_load(window->x, window->dtype, window->first + i * window->row + j * window->pixel);
  if (!window->rectify) return x;
  double sum = window->scale * x + window->shift;
  return sum <= 0 ? 0 : sum;
}

double gp_exact_element(const gp_exact_window *window, int64_t i, int64_t j) { return element(window, i, j); }

static double count(const gp_exact_window *window) { return (double)window->rows * (double)window->columns; }

/* ---- Mean and deviation -------------------------------------------------------------------- */

/* Σ (scale·(x_ij - shift))^power over the real elements. */
static double power_sum(const gp_exact_window *window, double scale, double shift, int power) {
  double sum = 0;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double term = scale * (element(window, i, j) - shift);
      sum += power == 2 ? term * term : term;
    }
  return sum;
}

/* (1/divisor) Σ x_ij */
static double mean_of(const gp_exact_window *window, double divisor) {
  /* From the first element on, so that a constant window's mean is that constant to the last bit. */
  double first = element(window, 0, 0), zeros = divisor - count(window);
  double mean = first + (power_sum(window, 1, first, 1) - zeros * first) / divisor;
  /* Otherwise the sum overflowed, or an element is infinite. */
  return isfinite(mean) ? mean : power_sum(window, 1 / divisor, 0, 1);
}

/* v = (1/R) Σ (x_ij - m)², s = sqrt(max(v, eps)); the padding zeros that R counts take part. */
static void solve_moments(const gp_exact_window *window, gp_exact_solution *solution) {
  double r = window->divisor, zeros = r - count(window);
  double mean = mean_of(window, r);
  double variance = (power_sum(window, 1, mean, 2) + zeros * mean * mean) / r;
  solution->mean = mean;
  solution->clamped = variance < window->eps;
  solution->deviation = sqrt(solution->clamped ? window->eps : variance);
  if (!isinf(variance)) return;
  /* Squares beyond the largest number: measure in units of 2^600. */
  double scaled_mean = mean * 0x1p-600;
  double scaled = power_sum(window, 0x1p-600, mean, 2) + zeros * scaled_mean * scaled_mean;
  solution->deviation = sqrt(scaled / r) * 0x1p600;
}

/* ---- Maximum ------------------------------------------------------------------------------- */

/* The first maximum of x_ij, of |x_ij| or of -x_ij. As in PyTorch a NaN beats all before it. */
enum measure { VALUE, MAGNITUDE, NEGATIVE };

static double largest(const gp_exact_window *window, enum measure measure, gp_exact_solution *solution) {
  double best = 0;
  bool first = true;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double x = element(window, i, j);
      double value = measure == MAGNITUDE ? fabs(x) : measure == NEGATIVE ? -x : x;
      if (!first && !(value > best) && !isnan(value)) continue;
      first = false;
      best = value;
      solution->row = i;
      solution->column = j;
    }
  return best;
}

/* ---- Softmax ------------------------------------------------------------------------------- */

/* exp(λ·(x - peak)): at most 1. */
static double softmax_term(const gp_exact_solution *solution, double x) {
  return solution->weight == 0 ? 1 : exp(solution->weight * (x - solution->peak));
}

/* Σ p_ij·x_ij */
static double softmax_sum(const gp_exact_window *window, const gp_exact_solution *solution) {
  double sum = 0;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double x = element(window, i, j);
      sum += softmax_term(solution, x) / solution->total * x;
    }
  return sum;
}

static void solve_softmax(const gp_exact_window *window, gp_exact_solution *solution) {
  solution->peak = solution->weight < 0 ? -largest(window, NEGATIVE, solution) : largest(window, VALUE, solution);
  double moment = 0, spread = 0;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double x = element(window, i, j), term = softmax_term(solution, x);
      solution->total += term;
      moment += term * (x - solution->peak);
    }
  solution->y = solution->peak + moment / solution->total;
  /* Otherwise a difference overflowed, or an element is infinite. */
  if (!isfinite(solution->y)) solution->y = softmax_sum(window, solution);
  /* dy/dλ = Σ p_ij·(x_ij - y)² */
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double x = element(window, i, j), term = softmax_term(solution, x);
      if (term != 0) spread += term / solution->total * ((x - solution->y) * (x - solution->y));
    }
  solution->grad_weight = spread;
}

/* p·(1 + λ·(x - y)) */
static double softmax_slope(const gp_exact_solution *solution, double x) {
  double term = softmax_term(solution, x);
  return term == 0 ? 0 : term / solution->total * (1 + solution->weight * (x - solution->y));
}

/* ---- Stochastic ---------------------------------------------------------------------------- */

/* Element (i, j)'s share of the probability, not normalised: max(x, 0), or 1 where no element is positive. Powers of two keep sums in
 * range and every comparison as it is. */
static double share(const gp_exact_solution *solution, double x) {
  if (solution->peak <= 0) return 1;
  double positive = x <= 0 ? 0 : x;
  return solution->peak > 0x1p960 ? positive * 0x1p-64 : positive;
}

/* The first element with p_0 + … + p_l > u; none where a NaN or an infinity leaves no probabilities. */
static void solve_drawn(const gp_exact_window *window, gp_exact_solution *solution) {
  double total = 0, sum = 0;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) total += share(solution, element(window, i, j));
  solution->y = NAN;
  solution->row = -1;
  if (!isfinite(total)) return;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      solution->y = element(window, i, j);
      solution->row = i;
      solution->column = j;
      sum += share(solution, solution->y);
      if (sum > window->uniform * total) return;
    }
}

static void solve_stochastic(const gp_exact_window *window, gp_exact_solution *solution) {
  solution->peak = largest(window, VALUE, solution);
  if (window->uniform >= 0) {
    solve_drawn(window, solution);
    return;
  }
  if (solution->peak <= 0) {
    solution->y = mean_of(window, count(window));
    return;
  }
  double squares = 0;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) {
      double x = element(window, i, j), part = x <= 0 ? 0 : x / solution->peak;
      solution->total += part;
      squares += part * part;
    }
  solution->y = solution->peak * (squares / solution->total);
}

/* y = Σ r²/Σ r with r = max(x, 0): dy/dx = (2r - y)/Σ r where x > 0. */
static double expectation_slope(const gp_exact_window *window, const gp_exact_solution *solution, double x) {
  if (solution->peak <= 0) return 1 / count(window);
  return x <= 0 ? 0 : (2 * (x / solution->peak) - solution->y / solution->peak) / solution->total;
}

/* ---- Lp ------------------------------------------------------------------------------------ */

/* y = M·(K/R·Σ t^norm)^(1/norm) with t = |x|/M, M the largest |x|: no power leaves the range. */
static void solve_lp(const gp_exact_window *window, gp_exact_solution *solution) {
  double sum = 0, peak = largest(window, MAGNITUDE, solution);
  solution->peak = solution->y = peak;
  if (peak == 0 || !isfinite(peak)) return;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) sum += pow(fabs(element(window, i, j)) / peak, window->norm);
  solution->total = pow(window->kernel / window->divisor * sum, 1 / window->norm);
  solution->y = peak * solution->total;
}

/* dy/dx = K/R·(|x|/y)^(norm - 1)·sign(x) */
static double lp_slope(const gp_exact_window *window, const gp_exact_solution *solution, double x) {
  if (solution->y == 0 || x == 0) return 0;
  double ratio = fabs(x) / solution->peak / solution->total;
  return copysign(window->kernel / window->divisor * pow(ratio, window->norm - 1), x);
}

/* ---- Mixed and gated ----------------------------------------------------------------------- */

static double mask_at(const gp_exact_window *window, int64_t i, int64_t j) {
  return gp_load(window->mask, window->mask_dtype, window->mask_first + i * window->mask_row + j);
}

/* unit·Σ ω_ij·x_ij */
static double gate_sum(const gp_exact_window *window, double unit) {
  double sum = 0;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j) sum += unit * mask_at(window, i, j) * (unit * element(window, i, j));
  return sum;
}

static void solve_mixed(const gp_exact_window *window, gp_exact_solution *solution) {
  double maximum = largest(window, VALUE, solution);
  solution->mean = mean_of(window, window->divisor);
  solution->grad_weight = maximum - solution->mean;
  if (window->mask != NULL) {
    double gate = gate_sum(window, 1);
    if (!isfinite(gate)) gate = gate_sum(window, 0x1p-520) * 0x1p520 * 0x1p520;
    solution->weight = gp_exact_sigmoid(gate);
    solution->grad_weight *= solution->weight * gp_exact_sigmoid(-gate);
  }
  solution->y = solution->weight * maximum + (1 - solution->weight) * solution->mean;
}

/* ---- Any body ------------------------------------------------------------------------------ */

gp_exact_solution gp_exact_solve(const gp_exact_window *window) {
  gp_exact_solution solution = {.weight = window->weight};
  switch (window->kind->body) {
    case GP_BODY_GAUSSIAN:
      solve_moments(window, &solution);
      solution.y = solution.mean + solution.weight * solution.deviation;
      solution.grad_weight = solution.deviation;
      break;
    case GP_BODY_MEAN: solution.y = mean_of(window, window->divisor); break;
    case GP_BODY_MAX: solution.y = largest(window, VALUE, &solution); break;
    case GP_BODY_SOFTMAX: solve_softmax(window, &solution); break;
    case GP_BODY_STOCHASTIC: solve_stochastic(window, &solution); break;
    case GP_BODY_MIXED: solve_mixed(window, &solution); break;
    case GP_BODY_LP: solve_lp(window, &solution); break;
  }
  return solution;
}

double gp_exact_slope(const gp_exact_window *window, const gp_exact_solution *solution, int64_t i, int64_t j) {
  double r = window->divisor, weight = solution->weight, x = element(window, i, j);
  double chosen = i == solution->row && j == solution->column ? 1 : 0;
  switch (window->kind->body) {
    case GP_BODY_GAUSSIAN:
      return (solution->clamped ? 1 : 1 + weight * ((x - solution->mean) / solution->deviation)) / r;
    case GP_BODY_MEAN: return 1 / r;
    case GP_BODY_MAX: return chosen;
    case GP_BODY_SOFTMAX: return softmax_slope(solution, x);
    case GP_BODY_STOCHASTIC: return window->uniform >= 0 ? chosen : expectation_slope(window, solution, x);
    case GP_BODY_MIXED: {
      double through_gate = window->mask != NULL ? solution->grad_weight * mask_at(window, i, j) : 0;
      return weight * chosen + (1 - weight) / r + through_gate;
    }
    case GP_BODY_LP: return lp_slope(window, solution, x);
  }
  return 0;
}
