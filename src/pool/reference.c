/* The operator in scalar double precision, to be read beside its formulas (gausspool.h, reference_window.c): planes,
 * loops and sums. Every other implementation is tested against this one; where none takes a plan, this runs. */
#include "base/memory.h"
#include "base/parallel.h"
#include "pool/arguments.h"
#include "pool/kernels.h"
#include "pool/params.h"
#include "pool/reference_window.h"

#include <string.h>

static int64_t place(const gp_pool_plane *plane, int64_t row, int64_t column) {
  return plane->base + row * plane->row + column * plane->pixel;
}

static double load_or_zero(const void *array, gp_dtype dtype, int64_t i) {
  return array != NULL ? gp_load(array, dtype, i) : 0;
}

/* ---- Forward ------------------------------------------------------------------------------- */

struct forward_job {
  const gp_pool_plan *plan;
  const gp_pool_forward_args *args;
};

static void forward_plane(void *context, int64_t task) {
  const struct forward_job *job = context;
  const gp_pool_plan *plan = job->plan;
  const gp_pool_desc *desc = &plan->desc;
  int64_t lanes = gp_layout_channels(desc->layout, desc->channels);
  int64_t n = task / lanes, c = task % lanes;
  gp_pool_plane out = gp_pool_y_plane(plan, n, c);
  double sum = 0;
  for (int64_t row = 0; row < plan->out_height; ++row)
    for (int64_t column = 0; column < plan->out_width; ++column) {
      double y = 0;
      if (c < desc->channels) {
        gp_exact_window window = gp_exact_window_at(plan, job->args, n, c, row, column);
        y = gp_exact_solve(&window).y;
      }
      sum += y;
      gp_store(job->args->y, desc->dtype, place(&out, row, column), y);
    }
  if (job->args->average_y != NULL && c < desc->channels)
    gp_store(job->args->average_y, gp_dtype_of_params(desc->dtype), n * desc->channels + c,
             sum / ((double)plan->out_height * (double)plan->out_width));
}

static void forward(const gp_pool_plan *plan, const gp_pool_forward_args *args) {
  struct forward_job job = {plan, args};
  int64_t lanes = gp_layout_channels(plan->desc.layout, plan->desc.channels);
  gp_parallel_for(plan->desc.batch * lanes, plan->desc.threads, forward_plane, &job);
}

static size_t forward_workspace(const gp_pool_plan *plan) {
  (void)plan;
  return 0;
}

/* ---- Backward ------------------------------------------------------------------------------ */

/* The gradient by x, or by relu(scale·x + shift), is summed in double, in one of SLOTS planes of scratch memory; a slot serves every
 * SLOTS-th plane in turn. */
enum { SLOTS = 16 };

struct backward_job {
  const gp_pool_plan *plan;
  const gp_pool_backward_args *args;
  gp_pool_forward_args inputs;
  double *mu, *sigma, *scale, *shift; /* [n][c]: the gradients before they are summed over what is broadcast */
  double *weight;                     /* [n][c][values] */
  double *planes;                     /* [SLOTS][h][w] */
};

static size_t backward_workspace(const gp_pool_plan *plan) {
  size_t count = (size_t)(plan->desc.batch * plan->desc.channels);
  size_t plane = (size_t)(plan->desc.height * plan->desc.width);
  return gp_align_up(((4 + (size_t)gp_param_values(plan)) * count + SLOTS * plane) * sizeof(double));
}

/* A plane of the call. */
struct plane {
  int64_t n, c, at;      /* at = n·channels + c */
  double *grad;          /* [h][w] */
  double grad_y, grad_x; /* what the gradients of the averages add to each element */
};

/* dω_ij += grad·x_ij, ω the mask as a whole. */
static void add_mask_gradient(const struct backward_job *job, const gp_exact_window *window, const struct plane *plane,
                              double grad) {
  int64_t values = gp_param_values(job->plan);
  double *sums = job->weight + plane->at * values;
  int64_t first = window->mask_first - gp_param_index(job->plan, plane->n, plane->c) * values;
  for (int64_t i = 0; i < window->rows; ++i)
    for (int64_t j = 0; j < window->columns; ++j)
      sums[first + i * window->mask_row + j] += grad * gp_exact_element(window, i, j);
}

static void add_param_gradients(const struct backward_job *job, const gp_exact_window *window,
                                const struct plane *plane, double grad_weight, int64_t map_at) {
  const gp_pool_plan *plan = job->plan;
  if (plan->kind->link == GP_LINK_GATE) {
    add_mask_gradient(job, window, plane, grad_weight);
  } else if (plan->kind->link == GP_LINK_GIVEN && plan->desc.param_shape == GP_SHAPE_NCHW) {
    if (job->args->grad_weight != NULL) gp_store(job->args->grad_weight, plan->desc.dtype, map_at, grad_weight);
  } else {
    job->weight[plane->at] += grad_weight;
    job->mu[plane->at] += grad_weight * window->weight_to_mu;
    job->sigma[plane->at] += grad_weight * window->weight_to_sigma;
  }
}

static void backward_position(const struct backward_job *job, const struct plane *plane, int64_t row, int64_t column) {
  const gp_pool_plan *plan = job->plan;
  gp_pool_plane grad_y_plane = gp_pool_grad_y_plane(plan, plane->n, plane->c);
  gp_pool_plane map = gp_pool_map_plane(plan, plane->n, plane->c);
  double grad_y = gp_load(job->args->grad_y, plan->desc.dtype, place(&grad_y_plane, row, column)) + plane->grad_y;
  gp_exact_window window = gp_exact_window_at(plan, &job->inputs, plane->n, plane->c, row, column);
  gp_exact_solution solution = gp_exact_solve(&window);
  int64_t top = gp_pool_span_at(&plan->desc, 0, row).begin, left = gp_pool_span_at(&plan->desc, 1, column).begin;
  for (int64_t i = 0; i < window.rows; ++i)
    for (int64_t j = 0; j < window.columns; ++j) {
      double slope = gp_exact_slope(&window, &solution, i, j);
      /* An element without influence takes no part, whatever grad_y is. */
      if (slope != 0) plane->grad[(top + i) * plan->desc.width + left + j] += grad_y * slope;
    }
  add_param_gradients(job, &window, plane, grad_y * solution.grad_weight, place(&map, row, column));
}

/* From the gradient by relu(scale·x + shift) to those by x, scale and shift. A NaN passes, as in PyTorch. */
static void pass_relu(const struct backward_job *job, const struct plane *plane) {
  const gp_pool_desc *desc = &job->plan->desc;
  gp_dtype param = gp_dtype_of_params(desc->dtype);
  gp_pool_plane in = gp_pool_x_plane(job->plan, plane->n, plane->c);
  double scale = gp_load(job->args->scale, param, plane->c), shift = gp_load(job->args->shift, param, plane->c);
  for (int64_t i = 0; i < desc->height * desc->width; ++i) {
    double x = gp_load(job->args->x, desc->dtype, place(&in, i / desc->width, i % desc->width));
    double grad = scale * x + shift <= 0 ? 0 : plane->grad[i];
    plane->grad[i] = grad == 0 ? 0 : grad * scale;
    if (grad == 0) continue;
    job->scale[plane->at] += grad * x;
    job->shift[plane->at] += grad;
  }
}

static void store_grad_x(const struct backward_job *job, const struct plane *plane) {
  const gp_pool_desc *desc = &job->plan->desc;
  gp_pool_plane out = gp_pool_grad_x_plane(job->plan, plane->n, plane->c);
  bool add = job->args->accumulate && plane->c < desc->channels;
  for (int64_t i = 0; i < desc->height * desc->width; ++i) {
    int64_t at = place(&out, i / desc->width, i % desc->width);
    double before = add ? gp_load(job->args->grad_x, desc->dtype, at) : 0;
    gp_store(job->args->grad_x, desc->dtype, at, before + plane->grad[i]);
  }
}

static void clear_map_lane(const struct backward_job *job, const struct plane *plane) {
  const gp_pool_plan *plan = job->plan;
  if (plan->desc.param_shape != GP_SHAPE_NCHW || job->args->grad_weight == NULL) return;
  gp_pool_plane map = gp_pool_map_plane(plan, plane->n, plane->c);
  for (int64_t row = 0; row < plan->out_height; ++row)
    for (int64_t column = 0; column < plan->out_width; ++column)
      gp_store(job->args->grad_weight, plan->desc.dtype, place(&map, row, column), 0);
}

static void backward_channel(const struct backward_job *job, const struct plane *plane) {
  const gp_pool_plan *plan = job->plan;
  int64_t values = gp_param_values(plan);
  memset(job->weight + plane->at * values, 0, (size_t)values * sizeof(double));
  job->mu[plane->at] = job->sigma[plane->at] = job->scale[plane->at] = job->shift[plane->at] = 0;
  for (int64_t row = 0; row < plan->out_height; ++row)
    for (int64_t column = 0; column < plan->out_width; ++column) backward_position(job, plane, row, column);
  for (int64_t i = 0; i < plan->desc.height * plan->desc.width; ++i) plane->grad[i] += plane->grad_x;
  if (job->args->scale != NULL) pass_relu(job, plane);
}

static void backward_plane(const struct backward_job *job, int64_t n, int64_t c, double *grad) {
  const gp_pool_plan *plan = job->plan;
  const gp_pool_desc *desc = &plan->desc;
  int64_t size = desc->height * desc->width;
  struct plane plane = {.n = n, .c = c, .at = n * desc->channels + c, .grad = grad};
  memset(grad, 0, (size_t)size * sizeof *grad);
  if (c < desc->channels) {
    gp_dtype param = gp_dtype_of_params(desc->dtype);
    plane.grad_y =
        load_or_zero(job->args->grad_average_y, param, plane.at) / (double)(plan->out_height * plan->out_width);
    plane.grad_x = load_or_zero(job->args->grad_average_x, param, plane.at) / (double)size;
    backward_channel(job, &plane);
  } else {
    clear_map_lane(job, &plane);
  }
  if (job->args->grad_x != NULL) store_grad_x(job, &plane);
}

static void backward_slot(void *context, int64_t slot) {
  const struct backward_job *job = context;
  const gp_pool_desc *desc = &job->plan->desc;
  int64_t lanes = gp_layout_channels(desc->layout, desc->channels);
  double *grad = job->planes + slot * desc->height * desc->width;
  for (int64_t task = slot; task < desc->batch * lanes; task += SLOTS)
    backward_plane(job, task / lanes, task % lanes, grad);
}

static void backward(const gp_pool_plan *plan, const gp_pool_backward_args *args) {
  double *workspace = args->workspace;
  int64_t count = plan->desc.batch * plan->desc.channels;
  struct backward_job job = {
      .plan = plan,
      .args = args,
      .inputs = gp_pool_inputs(args),
      .mu = workspace,
      .sigma = workspace + count,
      .scale = workspace + 2 * count,
      .shift = workspace + 3 * count,
      .weight = workspace + 4 * count,
      .planes = workspace + (4 + gp_param_values(plan)) * count,
  };
  gp_parallel_for(SLOTS, plan->desc.threads, backward_slot, &job);
  gp_param_reduce(plan, job.mu, args->grad_mu);
  gp_param_reduce(plan, job.sigma, args->grad_sigma);
  gp_param_reduce(plan, job.weight, args->grad_weight);
  gp_channel_reduce(plan, job.scale, args->grad_scale);
  gp_channel_reduce(plan, job.shift, args->grad_shift);
}

static const char *declines(const gp_pool_plan *plan) {
  (void)plan;
  return NULL;
}

const gp_pool_kernels gp_pool_reference = {"reference",        declines, forward_workspace,
                                           backward_workspace, forward,  backward};
