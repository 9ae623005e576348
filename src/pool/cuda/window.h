/* A window of any shape and body, one thread's work: the formulas of gausspool.h as reference_window.c has them, in float or
 * double. What leaves float's range is computed again in double. */
#ifndef GP_POOL_CUDA_WINDOW_H
#define GP_POOL_CUDA_WINDOW_H

#include "pool/cuda/weight.h"

#include <math.h>

namespace gausspool {

GP_HD inline float root(float a) { return sqrtf(a); }
GP_HD inline double root(double a) { return sqrt(a); }
GP_HD inline float power(float a, float b) { return powf(a, b); }
GP_HD inline double power(double a, double b) { return pow(a, b); }
GP_HD inline float magnitude(float a) { return fabsf(a); }
GP_HD inline double magnitude(double a) { return fabs(a); }
/* Neither infinite nor NaN. */
template <typename Real>
GP_HD inline bool is_finite(Real a) {
  return a - a == 0;
}
template <typename Real>
GP_HD inline bool is_nan(Real a) {
  return a != a;
}

/* Double: there is nothing wider to compute in. */
template <typename Real>
GP_HD constexpr bool is_wide() {
  return sizeof(Real) == sizeof(double);
}

/* relu(scale·x + shift); a NaN passes. */
template <typename Real>
GP_HD inline Real rectified(Real x, Real scale, Real shift) {
  Real sum = scale * x + shift;
  return sum <= 0 ? 0 : sum;
}

template <typename T, typename Real>
struct Window {
  const T *x; /* the first real element; x_ij = x[i·row + j·pixel], or relu(scale·x[…] + shift) */
  int64_t row, pixel;
  int rows, columns; /* at least 1 each */
  bool rectify;
  Real scale, shift;
  Real divisor, kernel;                    /* R; K of the Lp kind */
  Real uniform;                            /* of the stochastic kind; below 0 for the expectation */
  const typename Computing<T>::Real *mask; /* a gate's ω of the first real element, or NULL */
  int mask_row;
  Weight<Real> weight;

  GP_HD Real at(int i, int j) const {
    Real value = (Real)real_of(x[i * row + j * pixel]);
    return rectify ? rectified(value, scale, shift) : value;
  }
  GP_HD Real mask_at(int i, int j) const { return (Real)mask[(int64_t)i * mask_row + j]; }
  GP_HD Real count() const { return (Real)rows * (Real)columns; }
};

/* f(x_ij, i, j) for every element, along rows. */
template <typename T, typename Real, typename F>
GP_HD inline void each(const Window<T, Real> &window, F f) {
  for (int i = 0; i < window.rows; ++i)
    for (int j = 0; j < window.columns; ++j) f(window.at(i, j), i, j);
}

/* As gp_exact_solution. */
template <typename Real>
struct Solution {
  Real y, grad_weight, weight, mean, deviation, peak, total;
  bool clamped;
  int row, column;
};

template <typename T, typename Real>
GP_HD inline Real mean_of(const Window<T, Real> &window, Real divisor) {
  /* From the first element on, so that a constant window's mean is that constant to the last bit. */
  Real first = window.at(0, 0), sum = 0;
  each(window, [&](Real x, int, int) { sum += x - first; });
  Real mean = first + (sum - (divisor - window.count()) * first) / divisor;
  if (is_finite(mean)) return mean;
  sum = 0;
  each(window, [&](Real x, int, int) { sum += x / divisor; });
  return sum;
}

template <typename T, typename Real>
GP_HD inline void solve_moments(const Window<T, Real> &window, Real eps, Solution<Real> &s) {
  Real mean = mean_of(window, window.divisor), zeros = window.divisor - window.count();
  /* Double has nothing wider: where squares overflow, measure in units of 2^600. */
  const Real small = (Real)(is_wide<Real>() ? 0x1p-600 : 1.0);
  for (Real unit = 1;; unit = small) {
    Real sum = 0;
    each(window, [&](Real x, int, int) {
      Real term = unit * (x - mean);
      sum += term * term;
    });
    Real variance = (sum + zeros * (unit * mean) * (unit * mean)) / window.divisor;
    s.mean = mean;
    s.clamped = unit == 1 && variance < eps;
    s.deviation = root(s.clamped ? eps : variance) / unit;
    if (!is_wide<Real>() || unit < 1 || !(variance - variance != 0 && variance > 0)) return;
  }
}

enum Measure { VALUE, MAGNITUDE, NEGATIVE };

/* The first maximum; a NaN beats all before it. */
template <typename T, typename Real>
GP_HD inline Real largest(const Window<T, Real> &window, Measure measure, Solution<Real> &s) {
  Real best = 0;
  bool first = true;
  each(window, [&](Real x, int i, int j) {
    Real value = measure == MAGNITUDE ? magnitude(x) : measure == NEGATIVE ? -x : x;
    if (!first && !(value > best) && !is_nan(value)) return;
    first = false;
    best = value;
    s.row = i;
    s.column = j;
  });
  return best;
}

/* exp(λ·(x - peak)): at most 1. */
template <typename Real>
GP_HD inline Real softmax_term(Real weight, Real peak, Real x) {
  return weight == 0 ? (Real)1 : exponential(weight * (x - peak));
}

template <typename T, typename Real>
GP_HD inline void solve_softmax(const Window<T, Real> &window, Solution<Real> &s) {
  Real weight = s.weight, peak = weight < 0 ? -largest(window, NEGATIVE, s) : largest(window, VALUE, s);
  Real total = 0, moment = 0, spread = 0;
  each(window, [&](Real x, int, int) {
    Real term = softmax_term(weight, peak, x);
    total += term;
    moment += term * (x - peak);
  });
  Real y = peak + moment / total;
  if (!is_finite(y)) {
    y = 0;
    each(window, [&](Real x, int, int) { y += softmax_term(weight, peak, x) / total * x; });
  }
  each(window, [&](Real x, int, int) {
    Real term = softmax_term(weight, peak, x);
    if (term != 0) spread += term / total * ((x - y) * (x - y));
  });
  s.peak = peak;
  s.total = total;
  s.y = y;
  s.grad_weight = spread;
}

/* An element's share of the probability, not normalised. Double has nothing wider: a power of two keeps sums in range. */
template <typename Real>
GP_HD inline Real share(Real peak, Real x) {
  if (peak <= 0) return 1;
  Real positive = x <= 0 ? 0 : x;
  return is_wide<Real>() && (double)peak > 0x1p960 ? positive * (Real)0x1p-64 : positive;
}

template <typename T, typename Real>
GP_HD inline void solve_drawn(const Window<T, Real> &window, Solution<Real> &s) {
  Real total = 0, sum = 0, peak = s.peak;
  each(window, [&](Real x, int, int) { total += share(peak, x); });
  s.y = (Real)NAN;
  s.row = -1;
  if (!is_finite(total)) return;
  for (int i = 0; i < window.rows; ++i)
    for (int j = 0; j < window.columns; ++j) {
      s.y = window.at(i, j);
      s.row = i;
      s.column = j;
      sum += share(peak, s.y);
      if (sum > window.uniform * total) return;
    }
}

template <typename T, typename Real>
GP_HD inline void solve_stochastic(const Window<T, Real> &window, Solution<Real> &s) {
  s.peak = largest(window, VALUE, s);
  if (window.uniform >= 0) {
    solve_drawn(window, s);
    return;
  }
  if (s.peak <= 0) {
    s.y = mean_of(window, window.count());
    return;
  }
  Real squares = 0, total = 0, peak = s.peak;
  each(window, [&](Real x, int, int) {
    Real part = x <= 0 ? 0 : x / peak;
    total += part;
    squares += part * part;
  });
  s.total = total;
  s.y = peak * (squares / total);
}

template <typename T, typename Real>
GP_HD inline void solve_lp(const Window<T, Real> &window, Real norm, Solution<Real> &s) {
  Real sum = 0, peak = largest(window, MAGNITUDE, s);
  s.peak = s.y = peak;
  if (peak == 0 || !is_finite(peak)) return;
  each(window, [&](Real x, int, int) { sum += power(magnitude(x) / peak, norm); });
  s.total = power(window.kernel / window.divisor * sum, 1 / norm);
  s.y = peak * s.total;
}

template <typename T, typename Real>
GP_HD inline void solve_mixed(const Window<T, Real> &window, Solution<Real> &s) {
  Real maximum = largest(window, VALUE, s);
  s.mean = mean_of(window, window.divisor);
  s.grad_weight = maximum - s.mean;
  if (window.mask != NULL) {
    /* Double has nothing wider: where the sum overflows, measure in units of 2^520. */
    Real gate = 0;
    each(window, [&](Real x, int i, int j) { gate += window.mask_at(i, j) * x; });
    if (is_wide<Real>() && !is_finite(gate)) {
      const Real unit = (Real)(is_wide<Real>() ? 0x1p-520 : 1.0);
      gate = 0;
      each(window, [&](Real x, int i, int j) { gate += unit * window.mask_at(i, j) * (unit * x); });
      gate = gate / unit / unit;
    }
    s.weight = sigmoid(gate);
    s.grad_weight *= s.weight * sigmoid(-gate);
  }
  s.y = s.weight * maximum + (1 - s.weight) * s.mean;
}

template <typename T, typename Real>
GP_HD inline Solution<Real> solve(const gp_cuda_plan &plan, const Window<T, Real> &window) {
  Solution<Real> s = {};
  s.weight = window.weight.value;
  switch (plan.body) {
    case GP_BODY_GAUSSIAN:
      solve_moments(window, (Real)plan.desc.eps, s);
      s.y = s.mean + s.weight * s.deviation;
      s.grad_weight = s.deviation;
      break;
    case GP_BODY_MEAN: s.y = mean_of(window, window.divisor); break;
    case GP_BODY_MAX: s.y = largest(window, VALUE, s); break;
    case GP_BODY_SOFTMAX: solve_softmax(window, s); break;
    case GP_BODY_STOCHASTIC: solve_stochastic(window, s); break;
    case GP_BODY_MIXED: solve_mixed(window, s); break;
    case GP_BODY_LP: solve_lp(window, (Real)plan.desc.norm, s); break;
  }
  return s;
}

/* ---- From the plan ------------------------------------------------------------------------- */

template <typename T, typename Real>
GP_HD inline Window<T, Real> window_at(const gp_cuda_plan &plan, int64_t n, int64_t c, int64_t row, int64_t column) {
  using Param = typename Computing<T>::Real;
  const gp_pool_desc &desc = plan.desc;
  gp_pool_span rows = gp_pool_span_at(&desc, 0, row), columns = gp_pool_span_at(&desc, 1, column);
  gp_pool_plane plane = gp_pool_plane_at(desc.layout, &desc.x_stride, n, c);
  Window<T, Real> window = {};
  if (plan.x != NULL) window.x = (const T *)plan.x + plane.base + rows.begin * plane.row + columns.begin * plane.pixel;
  window.row = plane.row;
  window.pixel = plane.pixel;
  window.rows = (int)(rows.end - rows.begin);
  window.columns = (int)(columns.end - columns.begin);
  window.divisor = (Real)rows.divisor * (Real)columns.divisor;
  window.kernel = (Real)gp_pool_kernel_of(&desc, 0, &rows) * (Real)gp_pool_kernel_of(&desc, 1, &columns);
  window.rectify = plan.scale != NULL;
  if (window.rectify) {
    window.scale = (Real)((const Param *)plan.scale)[c];
    window.shift = (Real)((const Param *)plan.shift)[c];
  }
  window.uniform = -1;
  if (plan.draws == GP_DRAWS_UNIFORM && desc.stochasticity != GP_STOCHASTIC_NONE)
    window.uniform = (Real)draw_at(plan, n, c, row, column);
  window.weight = weight_at<T, Real>(plan, n, c, row, column);
  if (plan.link == GP_LINK_GATE) {
    int64_t above = rows.begin - (row * desc.stride[0] - desc.padding[0]);
    int64_t before = columns.begin - (column * desc.stride[1] - desc.padding[1]);
    window.mask = (const Param *)plan.weight +
                  (desc.param_shape == GP_SHAPE_C ? c : 0) * desc.kernel[0] * desc.kernel[1] + above * desc.kernel[1] +
                  before;
    window.mask_row = desc.kernel[1];
  }
  return window;
}

/* ---- Gradients ----------------------------------------------------------------------------- */

/* What the gradient of an output gives to the elements of its window; the meaning of the numbers is the body's. */
template <typename Real>
struct Record {
  Real a, b, c;
  int32_t place; /* within the window, along its rows: of the maximum or the element drawn */
};

template <typename T, typename Real>
GP_HD inline Record<Real> record_of(const gp_cuda_plan &plan, const Window<T, Real> &window, const Solution<Real> &s,
                                    Real grad) {
  int32_t place = s.row * window.columns + s.column;
  switch (plan.body) {
    case GP_BODY_GAUSSIAN:
      return {grad / window.divisor, s.clamped ? 0 : grad / window.divisor * (s.weight / s.deviation), s.mean, 0};
    case GP_BODY_MEAN: return {grad / window.divisor, 0, 0, 0};
    case GP_BODY_MAX: return {grad, 0, 0, place};
    case GP_BODY_SOFTMAX: return {grad / s.total, s.peak, s.y, 0};
    case GP_BODY_STOCHASTIC:
      if (window.uniform >= 0) return {grad, 0, 0, s.row < 0 ? -1 : place};
      if (s.peak <= 0) return {grad / window.count(), 0, 0, -1};
      return {grad / s.total, s.peak, s.y / s.peak, 0};
    case GP_BODY_MIXED: return {grad * s.weight, grad * (1 - s.weight) / window.divisor, grad * s.grad_weight, place};
    case GP_BODY_LP: return {grad * (window.kernel / window.divisor), s.peak, s.y == 0 ? 0 : s.total, 0};
  }
  return {0, 0, 0, 0};
}

/* What record and element make: grad_y·dy/dx. `place` is the element's own, `weight` the softmax's, `omega` the gate's. An
 * element without influence takes no part, whatever the gradient is. */
template <typename Real>
GP_HD inline Real contribution(const gp_cuda_plan &plan, const Record<Real> &r, Real x, int32_t place, Real weight,
                               Real omega) {
  switch (plan.body) {
    case GP_BODY_GAUSSIAN: return r.b == 0 ? r.a : r.a + r.b * (x - r.c);
    case GP_BODY_MEAN: return r.a;
    case GP_BODY_MAX: return place == r.place ? r.a : 0;
    case GP_BODY_SOFTMAX: {
      Real term = softmax_term(weight, r.b, x);
      return term == 0 ? 0 : r.a * term * (1 + weight * (x - r.c));
    }
    case GP_BODY_STOCHASTIC:
      if (plan.desc.stochasticity != GP_STOCHASTIC_NONE) return place == r.place ? r.a : 0;
      if (r.place < 0) return r.a;
      return x <= 0 ? 0 : r.a * (2 * (x / r.b) - r.c);
    case GP_BODY_MIXED: return (place == r.place ? r.a : 0) + r.b + (plan.link == GP_LINK_GATE ? r.c * omega : 0);
    case GP_BODY_LP: {
      if (r.c == 0 || x == 0) return 0;
      Real slope = r.a * power(magnitude(x) / r.b / r.c, (Real)plan.desc.norm - 1);
      return x < 0 ? -slope : slope;
    }
  }
  return 0;
}

}  // namespace gausspool

#endif
