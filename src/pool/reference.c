/* The operator in scalar double precision, to be read beside its formulas (docs and gausspool.h):
 *
 *     m = (1/R) Σ x_i        v = (1/R) Σ (x_i - m)²        s = sqrt(max(v, eps))        y = m + W·s
 *     dx_i += gy·(1 + W·(x_i - m)/s·[v ≥ eps]) / R         dW = gy·s
 *
 * R counts padding zeros with GP_COUNT_INCLUDE_PAD; they then take part in m and v. The comparisons are written so that a
 * NaN stays one. Every other implementation is tested against this one; where none takes a plan, this runs. */
#include "base/memory.h"
#include "base/parallel.h"
#include "pool/draws.h"
#include "pool/kernels.h"
#include "pool/params.h"

#include <float.h>

/* A call and one of its planes: sample n, channel c. */
struct plane {
  const gp_pool_plan *plan;
  const void *x;
  const void *mu, *sigma, *weight;
  int64_t n, c;
  gp_pool_plane in, out;
};

struct window {
  gp_pool_span rows, columns;
  double divisor; /* R */
  double zeros;   /* padding elements that R counts */
};

static struct window window_at(const gp_pool_plan *plan, int64_t row, int64_t column) {
  gp_pool_span rows = gp_pool_span_at(&plan->desc, 0, row), columns = gp_pool_span_at(&plan->desc, 1, column);
  double divisor = (double)rows.divisor * (double)columns.divisor;
  double real = (double)(rows.end - rows.begin) * (double)(columns.end - columns.begin);
  return (struct window){rows, columns, divisor, divisor - real};
}

static double element(const struct plane *plane, int64_t row, int64_t column) {
  return gp_load(plane->x, plane->plan->desc.dtype, plane->in.base + row * plane->in.row + column * plane->in.pixel);
}

/* Σ (scale·(x_i - shift))^power over the window's real elements. */
static double window_sum(const struct plane *plane, const struct window *window, double scale, double shift,
                         int power) {
  double sum = 0;
  for (int64_t row = window->rows.begin; row < window->rows.end; ++row)
    for (int64_t column = window->columns.begin; column < window->columns.end; ++column) {
      double term = scale * (element(plane, row, column) - shift);
      sum += power == 2 ? term * term : term;
    }
  return sum;
}

struct moments {
  double mean, deviation;
  bool clamped; /* v < eps: the deviation is a constant */
};

static struct moments window_moments(const struct plane *plane, const struct window *window) {
  double r = window->divisor, eps = plane->plan->desc.eps;
  /* From the first element on, so that a constant window's mean is that constant to the last bit. */
  double first = element(plane, window->rows.begin, window->columns.begin);
  double mean = first + (window_sum(plane, window, 1, first, 1) - window->zeros * first) / r;
  if (!isfinite(mean))
    mean = window_sum(plane, window, 1 / r, 0, 1); /* the sum overflowed, or an element is infinite */
  double variance = (window_sum(plane, window, 1, mean, 2) + window->zeros * mean * mean) / r;
  if (variance < eps) return (struct moments){mean, sqrt(eps), true};
  if (!isinf(variance)) return (struct moments){mean, sqrt(variance), false};
  /* Squares beyond the largest number: measure in units of 2^600. */
  double scaled_mean = mean * 0x1p-600;
  double scaled = window_sum(plane, window, 0x1p-600, mean, 2) + window->zeros * scaled_mean * scaled_mean;
  return (struct moments){mean, sqrt(scaled / r) * 0x1p600, false};
}

/* The window's first maximum. As in PyTorch a NaN beats all before it. */
static double window_max(const struct plane *plane, const struct window *window, int64_t *row_of_max,
                         int64_t *column_of_max) {
  double best = 0;
  bool first = true;
  for (int64_t row = window->rows.begin; row < window->rows.end; ++row)
    for (int64_t column = window->columns.begin; column < window->columns.end; ++column) {
      double value = element(plane, row, column);
      if (!first && !(value > best) && !isnan(value)) continue;
      first = false;
      best = value;
      *row_of_max = row;
      *column_of_max = column;
    }
  return best;
}

static double softplus(double a) { return (a > 0 ? a : 0) + log1p(exp(-fabs(a))); }

static double sigmoid(double a) { return a < 0 ? exp(a) / (1 + exp(a)) : 1 / (1 + exp(-a)); }

struct weight {
  double value; /* W */
  double slope; /* dW/da */
  double draw;  /* da/dsigma */
};

static struct weight weight_at(const struct plane *plane, int64_t row, int64_t column) {
  const gp_pool_plan *plan = plane->plan;
  const gp_pool_desc *desc = &plan->desc;
  if (plan->kind->link == GP_LINK_GIVEN) {
    int64_t at = desc->param_shape == GP_SHAPE_NCHW ? plane->out.base + row * plane->out.row + column * plane->out.pixel
                                                    : gp_param_index(plan, plane->n, plane->c);
    return (struct weight){gp_load(plane->weight, desc->dtype, at), 1, 0};
  }
  int64_t at = gp_param_index(plan, plane->n, plane->c);
  double draw = 0, a = gp_load(plane->mu, desc->dtype, at);
  if (desc->stochasticity != GP_STOCHASTIC_NONE) {
    float normals[4];
    bool each = desc->stochasticity == GP_STOCHASTIC_HWCN;
    gp_draw4(plan, gp_draw_plane_at(desc, plane->n, plane->c), each ? row : 0, each ? column / 4 : 0, normals);
    draw = (double)normals[each ? column % 4 : 0];
    a += gp_load(plane->sigma, desc->dtype, at) * draw;
  }
  return (struct weight){softplus(a), sigmoid(a), draw};
}

static double output_at(const struct plane *plane, int64_t row, int64_t column) {
  struct window window = window_at(plane->plan, row, column);
  if (plane->plan->kind->body == GP_BODY_MAX) return window_max(plane, &window, &(int64_t){0}, &(int64_t){0});
  struct moments moments = window_moments(plane, &window);
  if (plane->plan->kind->body == GP_BODY_MEAN) return moments.mean;
  return moments.mean + weight_at(plane, row, column).value * moments.deviation;
}

struct forward_job {
  const gp_pool_plan *plan;
  const gp_pool_forward_args *args;
};

static void forward_plane(void *context, int64_t task) {
  const struct forward_job *job = context;
  const gp_pool_plan *plan = job->plan;
  const gp_pool_forward_args *args = job->args;
  int64_t lanes = gp_layout_channels(plan->desc.layout, plan->desc.channels);
  int64_t n = task / lanes, c = task % lanes;
  struct plane plane = {plan,
                        args->x,
                        args->mu,
                        args->sigma,
                        args->weight,
                        n,
                        c,
                        gp_pool_x_plane(plan, n, c),
                        gp_pool_y_plane(plan, n, c)};
  for (int64_t row = 0; row < plan->out_height; ++row)
    for (int64_t column = 0; column < plan->out_width; ++column) {
      double y = c < plan->desc.channels ? output_at(&plane, row, column) : 0;
      gp_store(args->y, plan->desc.dtype, plane.out.base + row * plane.out.row + column * plane.out.pixel, y);
    }
}

static void forward(const gp_pool_plan *plan, const gp_pool_forward_args *args) {
  struct forward_job job = {plan, args};
  int64_t lanes = gp_layout_channels(plan->desc.layout, plan->desc.channels);
  gp_parallel_for(plan->desc.batch * lanes, plan->desc.threads, forward_plane, &job);
}

/* ---- Backward ------------------------------------------------------------------------------ */

/* grad_x is summed in double, in one of SLOTS planes of scratch memory; a slot serves every SLOTS-th plane in turn. */
enum { SLOTS = 16 };

struct backward_job {
  const gp_pool_plan *plan;
  const gp_pool_backward_args *args;
  double *sums[2]; /* [n][c]: Σ da or Σ dW, and Σ da·e */
  double *planes;  /* [SLOTS][h][w] */
};

static size_t sums_elements(const gp_pool_plan *plan) { return (size_t)(plan->desc.batch * plan->desc.channels); }

static size_t forward_workspace(const gp_pool_plan *plan) {
  (void)plan;
  return 0;
}

static size_t backward_workspace(const gp_pool_plan *plan) {
  size_t plane = (size_t)(plan->desc.height * plan->desc.width);
  return gp_align_up((2 * sums_elements(plan) + SLOTS * plane) * sizeof(double));
}

static void backward_window(const struct plane *plane, int64_t row, int64_t column, double grad_y, double weight,
                            const struct moments *moments, double *grad_x) {
  struct window window = window_at(plane->plan, row, column);
  int64_t width = plane->plan->desc.width;
  for (int64_t h = window.rows.begin; h < window.rows.end; ++h)
    for (int64_t w = window.columns.begin; w < window.columns.end; ++w) {
      double factor = 1;
      if (!moments->clamped) factor += weight * ((element(plane, h, w) - moments->mean) / moments->deviation);
      grad_x[h * width + w] += grad_y * factor / window.divisor;
    }
}

/* One output position: its part of grad_x, and dW, which goes to grad_weight or into the sums. */
static void backward_position(const struct backward_job *job, const struct plane *plane, int64_t row, int64_t column,
                              double *grad_x, double sums[2]) {
  const gp_pool_plan *plan = job->plan;
  int64_t out = plane->out.base + row * plane->out.row + column * plane->out.pixel;
  double grad_y = gp_load(job->args->grad_y, plan->desc.dtype, out);
  struct window window = window_at(plan, row, column);
  if (plan->kind->body == GP_BODY_MAX) {
    int64_t h = 0, w = 0;
    window_max(plane, &window, &h, &w);
    grad_x[h * plan->desc.width + w] += grad_y;
    return;
  }
  if (plan->kind->body == GP_BODY_MEAN) {
    backward_window(plane, row, column, grad_y, 0, &(struct moments){.clamped = true}, grad_x);
    return;
  }
  struct moments moments = window_moments(plane, &window);
  struct weight weight = weight_at(plane, row, column);
  backward_window(plane, row, column, grad_y, weight.value, &moments, grad_x);
  double grad_weight = grad_y * moments.deviation;
  if (plan->desc.param_shape == GP_SHAPE_NCHW) {
    if (job->args->grad_weight != NULL) gp_store(job->args->grad_weight, plan->desc.dtype, out, grad_weight);
    return;
  }
  double grad_a = grad_weight * weight.slope;
  sums[0] += grad_a;
  sums[1] += grad_a * weight.draw;
}

static void store_grad_x(const struct backward_job *job, const struct plane *plane, const double *grad_x) {
  const gp_pool_desc *desc = &job->plan->desc;
  for (int64_t h = 0; h < desc->height; ++h)
    for (int64_t w = 0; w < desc->width; ++w) {
      int64_t at = plane->in.base + h * plane->in.row + w * plane->in.pixel;
      double before =
          job->args->accumulate && plane->c < desc->channels ? gp_load(job->args->grad_x, desc->dtype, at) : 0;
      gp_store(job->args->grad_x, desc->dtype, at, before + grad_x[h * desc->width + w]);
    }
}

static void clear_padding_lane(const struct backward_job *job, const struct plane *plane) {
  if (job->plan->desc.param_shape != GP_SHAPE_NCHW || job->args->grad_weight == NULL) return;
  for (int64_t row = 0; row < job->plan->out_height; ++row)
    for (int64_t column = 0; column < job->plan->out_width; ++column)
      gp_store(job->args->grad_weight, job->plan->desc.dtype,
               plane->out.base + row * plane->out.row + column * plane->out.pixel, 0);
}

static void backward_plane(const struct backward_job *job, int64_t n, int64_t c, double *grad_x) {
  const gp_pool_plan *plan = job->plan;
  const gp_pool_backward_args *args = job->args;
  struct plane plane = {plan,
                        args->x,
                        args->mu,
                        args->sigma,
                        args->weight,
                        n,
                        c,
                        gp_pool_x_plane(plan, n, c),
                        gp_pool_y_plane(plan, n, c)};
  memset(grad_x, 0, (size_t)(plan->desc.height * plan->desc.width) * sizeof *grad_x);
  if (c >= plan->desc.channels) {
    clear_padding_lane(job, &plane);
  } else {
    double sums[2] = {0};
    for (int64_t row = 0; row < plan->out_height; ++row)
      for (int64_t column = 0; column < plan->out_width; ++column)
        backward_position(job, &plane, row, column, grad_x, sums);
    for (int i = 0; i < 2; ++i) job->sums[i][n * plan->desc.channels + c] = sums[i];
  }
  if (args->grad_x != NULL) store_grad_x(job, &plane, grad_x);
}

static void backward_slot(void *context, int64_t slot) {
  const struct backward_job *job = context;
  const gp_pool_desc *desc = &job->plan->desc;
  int64_t lanes = gp_layout_channels(desc->layout, desc->channels);
  double *grad_x = job->planes + slot * desc->height * desc->width;
  for (int64_t task = slot; task < desc->batch * lanes; task += SLOTS)
    backward_plane(job, task / lanes, task % lanes, grad_x);
}

static void backward(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  double *workspace = args->workspace;
  size_t count = sums_elements(plan);
  struct backward_job job = {plan, args, {workspace, workspace + count}, workspace + 2 * count};
  gp_parallel_for(SLOTS, plan->desc.threads, backward_slot, &job);
  gp_param_reduce(plan, job.sums[0], args->grad_mu);
  gp_param_reduce(plan, job.sums[1], args->grad_sigma);
  gp_param_reduce(plan, job.sums[0], args->grad_weight);
}

static const char *declines(const gp_pool_plan *plan) {
  (void)plan;
  return NULL;
}

const gp_pool_kernels gp_pool_reference = {"reference", declines, forward_workspace, backward_workspace, forward, backward};
