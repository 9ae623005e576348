/* A window of a call: its elements, and the weight W by the kind's link. */
#include "pool/draws.h"
#include "pool/params.h"
#include "pool/reference_window.h"

#include <math.h>

static double softplus(double a) { return (a > 0 ? a : 0) + log1p(exp(-fabs(a))); }

/* W = link(mu + sigma·e); without a draw e = 0, but for the half-Gaussian's mean of |e|. */
static void set_drawn_weight(gp_exact_window *window, const gp_pool_plan *plan, const gp_pool_forward_args *args,
                             int64_t at, double draw) {
  gp_dtype dtype = gp_dtype_of_params(plan->desc.dtype);
  bool drawn = plan->desc.stochasticity != GP_STOCHASTIC_NONE;
  if (plan->kind->link == GP_LINK_ABSOLUTE) {
    double sigma = gp_load(args->sigma, dtype, at);
    double a = sigma * draw, slope = a > 0 ? draw : a < 0 ? -draw : 0;
    const double mean_of_absolute_normal = 0.79788456080286535588; /* sqrt(2/π) */
    window->weight = drawn ? fabs(a) : sigma * mean_of_absolute_normal;
    window->weight_to_sigma = drawn ? slope : mean_of_absolute_normal;
    return;
  }
  double a = gp_load(args->mu, dtype, at) + (drawn ? gp_load(args->sigma, dtype, at) * draw : 0);
  bool identity = plan->kind->link == GP_LINK_IDENTITY;
  window->weight = identity ? a : softplus(a);
  window->weight_to_mu = identity ? 1 : gp_exact_sigmoid(a);
  window->weight_to_sigma = window->weight_to_mu * draw;
}

static void set_weight(gp_exact_window *window, const gp_pool_plan *plan, const gp_pool_forward_args *args, int64_t n,
                       int64_t c, int64_t row, int64_t column) {
  const gp_pool_desc *desc = &plan->desc;
  gp_dtype dtype = gp_dtype_of_params(desc->dtype);
  double draw = 0;
  if (desc->stochasticity != GP_STOCHASTIC_NONE) draw = (double)gp_draw_at(plan, n, c, row, column);
  window->uniform = plan->kind->draws == GP_DRAWS_UNIFORM && desc->stochasticity != GP_STOCHASTIC_NONE ? draw : -1;
  switch (plan->kind->link) {
    case GP_LINK_NONE: break;
    case GP_LINK_ONE: window->weight = 1; break;
    case GP_LINK_SOFTPLUS:
    case GP_LINK_IDENTITY:
    case GP_LINK_ABSOLUTE: set_drawn_weight(window, plan, args, gp_param_index(plan, n, c), draw); break;
    case GP_LINK_GIVEN:
      if (desc->param_shape == GP_SHAPE_NCHW) {
        gp_pool_plane map = gp_pool_map_plane(plan, n, c);
        window->weight = gp_load(args->weight, desc->dtype, map.base + row * map.row + column * map.pixel);
      } else {
        window->weight = gp_load(args->weight, dtype, gp_param_index(plan, n, c));
      }
      break;
    case GP_LINK_GATE: {
      int64_t above = row * desc->stride[0] - desc->padding[0], before = column * desc->stride[1] - desc->padding[1];
      window->mask = args->weight;
      window->mask_dtype = dtype;
      window->mask_row = desc->kernel[1];
      window->mask_first = gp_param_index(plan, n, c) * gp_param_values(plan) +
                           (above < 0 ? -above : 0) * desc->kernel[1] + (before < 0 ? -before : 0);
      break;
    }
  }
}

gp_exact_window gp_exact_window_at(const gp_pool_plan *plan, const gp_pool_forward_args *args, int64_t n, int64_t c,
                                   int64_t row, int64_t column) {
  const gp_pool_desc *desc = &plan->desc;
  gp_pool_span rows = gp_pool_span_at(desc, 0, row), columns = gp_pool_span_at(desc, 1, column);
  gp_pool_plane plane = gp_pool_x_plane(plan, n, c);
  gp_exact_window window = {
      .kind = plan->kind,
      .x = args->x,
      .dtype = desc->dtype,
      .first = plane.base + rows.begin * plane.row + columns.begin * plane.pixel,
      .row = plane.row,
      .pixel = plane.pixel,
      .rows = rows.end - rows.begin,
      .columns = columns.end - columns.begin,
      .divisor = (double)rows.divisor * (double)columns.divisor,
      .kernel = (double)gp_pool_kernel_of(desc, 0, &rows) * (double)gp_pool_kernel_of(desc, 1, &columns),
      .eps = desc->eps,
      .norm = desc->norm,
      .rectify = args->scale != NULL,
  };
  if (window.rectify) {
    gp_dtype dtype = gp_dtype_of_params(desc->dtype);
    window.scale = gp_load(args->scale, dtype, c);
    window.shift = gp_load(args->shift, dtype, c);
  }
  set_weight(&window, plan, args, n, c, row, column);
  return window;
}
