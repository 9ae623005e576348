/* The formulas of the kinds (gausspool.h), as bindings/python/src/gausspool/torch/onnx.py has them in PyTorch's operators. The
 * deviation is summed from differences to the window's own mean: E[x²] - E[x]² would lose every digit of a small deviation
 * beside a large mean. */
#include "export/onnx_pool.h"

#include <math.h>

#include "base/status.h"
#include "export/onnx_windows.h"

/* ---- Mean and maximum ---- */

static onnx_value window_mean(onnx_model *m, const onnx_windows *w) {
  return onnx_window_divide(m, w, onnx_window_sum(m, w, w->values));
}

/* The poolings that ONNX has, over [n][c][h][w]. Its average counts all padding or none, so what ceil_mode adds must not
 * be there. */
static onnx_value library_pool(onnx_model *m, onnx_value x, const onnx_geometry *g, const char *op,
                               bool count_padding) {
  const gp_pool_desc *d = &g->plan.desc;
  onnx_node_desc node = {.op = op,
                         .in = {x},
                         .attributes = {ONNX_INTS2("kernel_shape", d->kernel[0], d->kernel[1]),
                                        ONNX_INTS2("strides", d->stride[0], d->stride[1]),
                                        ONNX_INTS4("pads", d->padding[0], d->padding[1], g->after[0], g->after[1])}};
  if (count_padding) node.attributes[3] = (onnx_attribute)ONNX_INT("count_include_pad", 1);
  return onnx_node(m, &node);
}

static onnx_value maximum(onnx_model *m, onnx_value x, const onnx_geometry *g) {
  return library_pool(m, x, g, "MaxPool", false);
}

static onnx_value average(onnx_model *m, onnx_value x, const onnx_geometry *g) {
  const bool include = g->plan.desc.pad_count == GP_COUNT_INCLUDE_PAD;
  if (!g->padded || !include || !g->uneven) return library_pool(m, x, g, "AveragePool", g->padded && include);
  const onnx_windows w = onnx_windows_of(m, x, g);
  return onnx_window_results(m, &w, window_mean(m, &w));
}

/* ---- Mean and deviation ---- */

static onnx_value softplus_weight(onnx_model *m, const onnx_pool_inputs *in) { return onnx_op(m, "Softplus", in->mu); }

static onnx_value half_weight(onnx_model *m, const onnx_pool_inputs *in) {
  return onnx_op2(m, "Mul", in->sigma, onnx_number(m, 0.79788456080286535588)); /* sqrt(2/π) */
}

/* m + weight·s. What rounding left in the mean is taken off the variance, so that a constant window has none. */
static onnx_value mean_and_deviation(onnx_model *m, onnx_value x, const onnx_geometry *g, onnx_value weight) {
  const onnx_windows w = onnx_windows_of(m, x, g);
  onnx_value mean = window_mean(m, &w);
  onnx_value difference = onnx_window_counted(m, &w, onnx_op2(m, "Sub", w.values, mean));
  onnx_value rest = onnx_window_divide(m, &w, onnx_window_sum(m, &w, difference));
  onnx_value squares = onnx_window_sum(m, &w, onnx_op2(m, "Mul", difference, difference));
  onnx_value variance = onnx_op2(m, "Sub", onnx_window_divide(m, &w, squares), onnx_op2(m, "Mul", rest, rest));
  onnx_value deviation = onnx_op(m, "Sqrt", onnx_op2(m, "Max", variance, onnx_number(m, g->plan.desc.eps)));
  onnx_value added = onnx_op2(m, "Mul", onnx_window_guide(m, weight), deviation);
  return onnx_window_results(m, &w, onnx_op2(m, "Add", mean, added));
}

/* ---- Weighted sums ---- */

/* Σ exp(λx)·x / Σ exp(λx); λ NULL is 1. */
static onnx_value maximum_entropy(onnx_model *m, onnx_value x, const onnx_geometry *g, onnx_value lambda) {
  const onnx_windows w = onnx_windows_of(m, x, g);
  onnx_value scaled = lambda == NULL ? w.values : onnx_op2(m, "Mul", w.values, onnx_window_guide(m, lambda));
  onnx_value exponents = onnx_window_real_or_least(m, &w, scaled);
  onnx_value shares = onnx_op(m, "Exp", onnx_op2(m, "Sub", exponents, onnx_window_max(m, &w, exponents)));
  onnx_value sum = onnx_window_sum(m, &w, onnx_op2(m, "Mul", shares, w.values));
  return onnx_window_results(m, &w, onnx_op2(m, "Div", sum, onnx_window_sum(m, &w, shares)));
}

/* Σ max(x, 0)·x / Σ max(x, 0), or the mean of x's elements where none is positive. */
static onnx_value expected_draw(onnx_model *m, onnx_value x, const onnx_geometry *g) {
  const onnx_windows w = onnx_windows_of(m, x, g);
  onnx_value positive = onnx_op(m, "Relu", w.values), total = onnx_window_sum(m, &w, positive);
  onnx_value some = onnx_op2(m, "Greater", total, onnx_number(m, 0));
  onnx_value equal = onnx_window_divide_by_real(m, &w, onnx_window_sum(m, &w, w.values));
  onnx_value sum = onnx_window_sum(m, &w, onnx_op2(m, "Mul", positive, positive)); /* not by x, which may be -∞ */
  onnx_value shared = onnx_op2(m, "Div", sum, onnx_op3(m, "Where", some, total, onnx_number(m, 1)));
  return onnx_window_results(m, &w, onnx_op3(m, "Where", some, shared, equal));
}

/* ---- Mixtures and norms ---- */

static onnx_value mix(onnx_model *m, onnx_value x, const onnx_geometry *g, onnx_value weight) {
  onnx_value of_maximum = onnx_op2(m, "Mul", weight, maximum(m, x, g));
  onnx_value rest = onnx_op2(m, "Sub", onnx_number(m, 1), weight);
  return onnx_op2(m, "Add", of_maximum, onnx_op2(m, "Mul", rest, average(m, x, g)));
}

static onnx_value gate(onnx_model *m, onnx_value x, const onnx_geometry *g, onnx_value mask) {
  const onnx_windows w = onnx_windows_of(m, x, g);
  mask = onnx_op2(m, "Reshape", mask, onnx_int64s(m, w.mask_dims, 4));
  onnx_value sum = onnx_window_sum(m, &w, onnx_op2(m, "Mul", w.values, mask));
  return mix(m, x, g, onnx_op(m, "Sigmoid", onnx_window_results(m, &w, sum)));
}

static onnx_value power(onnx_model *m, onnx_value x, double exponent) {
  if (exponent == 1) return x;
  if (exponent == 0.5) return onnx_op(m, "Sqrt", x);
  if (exponent == 2) return onnx_op2(m, "Mul", x, x);
  return onnx_op2(m, "Pow", x, onnx_number(m, exponent));
}

/* (K/R·Σ |x|^norm)^(1/norm) */
static onnx_value norm(onnx_model *m, onnx_value x, const onnx_geometry *g) {
  const gp_pool_desc *d = &g->plan.desc;
  const onnx_windows w = onnx_windows_of(m, x, g);
  onnx_value sum = onnx_window_sum(m, &w, power(m, onnx_op(m, "Abs", w.values), d->norm));
  if (g->uneven)
    sum = onnx_op2(m, "Mul", onnx_window_divide(m, &w, sum), onnx_number(m, (double)d->kernel[0] * d->kernel[1]));
  return onnx_window_results(m, &w, power(m, sum, 1 / d->norm));
}

/* ---- All kinds ---- */

onnx_value onnx_pool(onnx_model *m, const gp_pool_desc *operation, const onnx_pool_inputs *in) {
  onnx_geometry g;
  gp_status status = onnx_geometry_make(&g, operation);
  if (status != GP_OK) onnx_model_fail(m, status, "%s", gp_last_error());
  if (onnx_model_status(m) != GP_OK) return NULL;
  switch (operation->kind) {
    case GP_POOL_ISP_GAUSSIAN: return mean_and_deviation(m, in->x, &g, softplus_weight(m, in));
    case GP_POOL_GAUSSIAN: return mean_and_deviation(m, in->x, &g, in->mu);
    case GP_POOL_HALF_GAUSSIAN: return mean_and_deviation(m, in->x, &g, half_weight(m, in));
    case GP_POOL_WEIGHTED: return mean_and_deviation(m, in->x, &g, in->weight);
    case GP_POOL_AVERAGE: return average(m, in->x, &g);
    case GP_POOL_MAX: return maximum(m, in->x, &g);
    case GP_POOL_MAX_ENTROPY: return maximum_entropy(m, in->x, &g, in->weight);
    case GP_POOL_SOFTPOOL: return maximum_entropy(m, in->x, &g, NULL);
    case GP_POOL_STOCHASTIC: return expected_draw(m, in->x, &g);
    case GP_POOL_MIXED: return mix(m, in->x, &g, in->weight);
    case GP_POOL_GATED: return gate(m, in->x, &g, in->weight);
    case GP_POOL_LP: return norm(m, in->x, &g);
  }
  onnx_model_fail(m, GP_ERROR_UNSUPPORTED, "pooling %d has no form in ONNX's operators", (int)operation->kind);
  return NULL;
}

/* ---- Adaptive averages ---- */

/* [to][from], or transposed: each cell's share of each element along an axis. */
static onnx_value cells(onnx_model *m, const char *name, int64_t from, int64_t to, bool transposed) {
  float *shares = onnx_floats(m, from * to);
  if (shares == NULL) return NULL;
  for (int64_t cell = 0; cell < to; ++cell) {
    const int64_t first = cell * from / to, end = ((cell + 1) * from + to - 1) / to;
    for (int64_t i = first; i < end; ++i)
      shares[transposed ? i * to + cell : cell * from + i] = 1.0f / (float)(end - first);
  }
  const int64_t shape[2] = {transposed ? from : to, transposed ? to : from};
  return onnx_float_tensor(m, name, true, shape, 2, shares);
}

onnx_value onnx_adaptive_average(onnx_model *m, onnx_value x, const int64_t from[2], const int64_t to[2]) {
  if (from[0] % to[0] == 0 && from[1] % to[1] == 0)
    return onnx_node(m, &(onnx_node_desc){.op = "AveragePool",
                                          .in = {x},
                                          .attributes = {ONNX_INTS2("kernel_shape", from[0] / to[0], from[1] / to[1]),
                                                         ONNX_INTS2("strides", from[0] / to[0], from[1] / to[1])}});
  x = onnx_op2(m, "MatMul", cells(m, "rows", from[0], to[0], false), x);
  return onnx_op2(m, "MatMul", x, cells(m, "columns", from[1], to[1], true));
}
