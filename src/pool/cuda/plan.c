/* From a checked call to what its kernels are given: which of them, how samples are cut, how tensors lie, what is where in the
 * workspace. */
#include "pool/cuda/plan.h"

#include "base/memory.h"
#include "base/status.h"
#include "pool/arguments.h"
#include "pool/params.h"

#include <inttypes.h>

/* Threads below which strips are made shorter: enough for the largest devices of today. */
enum { MANY_THREADS = 1 << 17 };
/* Rows of a strip: few where nothing is summed over them, more where a thread's sums are a cost. */
enum { SHORT_STRIP = 4, LONG_STRIP = 16 };

/* ---- Which kernels ------------------------------------------------------------------------- */

static bool window_is(const gp_pool_desc *desc, int32_t kernel, int32_t stride, int32_t padding) {
  for (int axis = 0; axis < 2; ++axis)
    if (desc->adaptive[axis] != 0 || desc->kernel[axis] != kernel || desc->stride[axis] != stride ||
        desc->padding[axis] != padding)
      return false;
  return true;
}

static gp_cuda_window window_of(const gp_pool_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  gp_pool_body body = plan->kind->body;
  bool straight = body == GP_BODY_GAUSSIAN || body == GP_BODY_MEAN || body == GP_BODY_MAX;
  const int64_t sides = 1 << 28; /* columns and rows of it in 32 bits */
  if (!straight || desc->dtype == GP_FLOAT64 || desc->height > sides || desc->width > sides) return GP_CUDA_GENERAL;
  if (window_is(desc, 2, 2, 0)) return GP_CUDA_HALVES;
  return window_is(desc, 3, 2, 1) ? GP_CUDA_STEM : GP_CUDA_GENERAL;
}

static bool is_drawn(const gp_cuda_plan *plan) {
  return plan->draws == GP_DRAWS_NORMAL && plan->desc.stochasticity == GP_STOCHASTIC_HWCN;
}

/* The kernels along channels, or those that take one channel; with what each takes at once. */
static void choose(gp_cuda_plan *plan, bool channels) {
  bool general = plan->window == GP_CUDA_GENERAL, drawn = is_drawn(plan), backward = plan->slots > 1;
  size_t size = gp_dtype_size(plan->desc.dtype);
  plan->channels = channels && !plan->columns && !general;
  plan->vector = plan->channels ? gp_cuda_vector(backward, plan->window, drawn, size) : 1;
  plan->at_once = general ? 1 : gp_cuda_at_once(backward, !plan->channels, plan->window, drawn);
}

static bool is_linked(const gp_cuda_plan *plan) { return plan->draws == GP_DRAWS_NORMAL; }

/* ---- Grids --------------------------------------------------------------------------------- */

static gp_cuda_divider divider_of(uint32_t divisor) {
  uint32_t shift = 0;
  while ((UINT64_C(1) << shift) < divisor) ++shift;
  uint64_t magic = ((UINT64_C(1) << 32) * ((UINT64_C(1) << shift) - divisor)) / divisor + 1;
  return (gp_cuda_divider){divisor, (uint32_t)magic, shift};
}

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Strips of at most `rows` of `height` rows, tiles of `at_once` of `width` columns. The cut, and with it the order of sums, follows
 * from the shape, and from whether tensors lie so that threads can go along channels. */
static gp_status make_grid(gp_cuda_grid *grid, const gp_cuda_plan *plan, int64_t height, int64_t width, int32_t rows) {
  int64_t groups = divide_up(plan->lanes, plan->vector), tiles = divide_up(width, plan->at_once);
  double threads = (double)plan->desc.batch * (double)groups * (double)tiles;
  while (rows > 1 && threads * (double)divide_up(height, rows) < MANY_THREADS) rows /= 2;
  int64_t bands = divide_up(height, rows);
  if ((double)groups * (double)tiles * (double)bands > INT32_MAX - 1024 || plan->lanes > INT32_MAX - 1024)
    return gp_fail(GP_ERROR_UNSUPPORTED,
                   "pooling on CUDA: a sample of %" PRId64 " channels of %" PRId64 " x %" PRId64
                   " takes more than 2^31 threads; split the batch's tensors along channels",
                   plan->desc.channels, height, width);
  *grid = (gp_cuda_grid){
      .groups = divider_of((uint32_t)groups),
      .tiles = divider_of((uint32_t)tiles),
      .bands = divider_of((uint32_t)bands),
      .rows = rows,
      .total_rows = (int32_t)height,
      .items = (uint32_t)(groups * tiles * bands),
      .parts = (uint32_t)(tiles * bands),
  };
  return GP_OK;
}

/* The same for the straight-line windows. *parts: as many as either of their kernels has, since how much memory a call needs
 * does not depend on how its tensors lie. */
static gp_status make_either_grid(gp_cuda_plan *out, int64_t height, int64_t width, int32_t rows, uint32_t *parts) {
  gp_status status = GP_OK;
  bool channels = out->channels;
  *parts = 0;
  for (int kind = 0; kind < 2; ++kind) {
    choose(out, kind == 0 ? !channels : channels);
    GP_TRY(make_grid(&out->grid, out, height, width, rows));
    if (out->grid.parts > *parts) *parts = out->grid.parts;
  }
cleanup:
  return status;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* A window's elements are counted in 32 bits. */
static gp_status check_window(const gp_cuda_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  double height = desc->adaptive[0] > 0 ? (double)(desc->height / desc->adaptive[0] + 2) : desc->kernel[0];
  double width = desc->adaptive[1] > 0 ? (double)(desc->width / desc->adaptive[1] + 2) : desc->kernel[1];
  if (height * width > INT32_MAX)
    return gp_fail(GP_ERROR_UNSUPPORTED, "pooling on CUDA: a window of %.0f x %.0f has more than 2^31 elements", height,
                   width);
  return GP_OK;
}

/* A gate's gradient is summed by a thread for each element of each channel's mask. */
static gp_status check_mask(const gp_cuda_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  double threads = (double)desc->channels * (double)desc->kernel[0] * (double)desc->kernel[1];
  if (plan->link == GP_LINK_GATE && threads > INT32_MAX - 1024)
    return gp_fail(GP_ERROR_UNSUPPORTED,
                   "pooling on CUDA: %" PRId64
                   " channels with masks of %d x %d take more than 2^31 threads; split the "
                   "batch's tensors along channels",
                   desc->channels, (int)desc->kernel[0], (int)desc->kernel[1]);
  return GP_OK;
}

/* ---- Tensors ------------------------------------------------------------------------------- */

/* Whether runs of `bytes` begin at multiples of an access's width, wherever a thread begins. */
static bool is_whole(const gp_cuda_plan *plan, const void *tensor, const gp_strides *strides, size_t bytes) {
  size_t size = gp_dtype_size(plan->desc.dtype), access = bytes < 16 ? bytes : 16;
  bool blocked = gp_layout_block(plan->desc.layout) > 0;
  if (plan->columns ? strides->w != 1 : !blocked && strides->c != 1) return false;
  int64_t along = plan->columns ? strides->c : strides->w;
  int64_t of_block = blocked ? strides->c : 0;
  int64_t steps[] = {strides->n, strides->h, along, of_block};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; ++i)
    if ((size_t)steps[i] * size % access != 0) return false;
  return (uintptr_t)tensor % access == 0;
}

static void set_params(gp_cuda_plan *out) {
  switch (out->desc.param_shape) {
    case GP_SHAPE_NC:
      out->param_n = out->desc.channels;
      out->param_c = 1;
      break;
    case GP_SHAPE_C: out->param_c = 1; break;
    case GP_SHAPE_N: out->param_n = 1; break;
    default: break;
  }
}

static gp_cuda_plan begin(const gp_pool_plan *plan, bool backward) {
  const gp_pool_desc *desc = &plan->desc;
  gp_cuda_plan out = {
      .desc = *desc,
      .map_stride = plan->map_stride,
      .body = plan->kind->body,
      .link = plan->kind->link,
      .draws = plan->kind->draws,
      .out_height = plan->out_height,
      .out_width = plan->out_width,
      .lanes = gp_layout_channels(desc->layout, desc->channels),
      .window = window_of(plan),
      .columns = desc->layout == GP_NCHW,
      .slots = backward ? GP_CUDA_SUMS : 1,
      .per_output = (float)(1 / ((double)plan->out_height * (double)plan->out_width)),
      .per_element = (float)(1 / ((double)desc->height * (double)desc->width)),
  };
  choose(&out, true);
  set_params(&out);
  return out;
}

/* Bytes of the runs that a thread reads and writes of tensors as large as x, and as y. */
static size_t run_of_x(const gp_cuda_plan *plan) {
  return (size_t)(plan->columns ? 8 : plan->vector) * gp_dtype_size(plan->desc.dtype);
}
static size_t run_of_y(const gp_cuda_plan *plan) {
  return (size_t)(plan->columns ? plan->at_once : plan->vector) * gp_dtype_size(plan->desc.dtype);
}

/* Threads go along channels if all tensors lie so that they can, and nothing is asked for that these kernels have no registers
 * left for. Otherwise they read element by element. */
static void set_kernels(gp_cuda_plan *out, bool all_whole) {
  bool map = out->link == GP_LINK_GIVEN && out->desc.param_shape == GP_SHAPE_NCHW;
  bool plain = out->scale == NULL && !map && !out->accumulate;
  if (!out->channels || (plain && all_whole && out->lanes % out->vector == 0)) return;
  choose(out, false);
  out->x_whole = out->y_whole = out->grad_x_whole = out->grad_y_whole = out->map_whole = false;
}

/* The inputs, and how wide they and the tensors of the output's size may be accessed. */
static void set_inputs(gp_cuda_plan *out, const gp_pool_forward_args *args) {
  out->x = args->x;
  out->mu = args->mu;
  out->sigma = args->sigma;
  out->weight = args->weight;
  out->scale = args->scale;
  out->shift = args->shift;
  out->seed = args->seed;
  out->x_whole = args->x == NULL || is_whole(out, args->x, &out->desc.x_stride, run_of_x(out));
}

/* W of whole planes: worked out ahead where it comes of mu and sigma, given otherwise. */
static void set_plane_weight(gp_cuda_plan *out) {
  if (is_drawn(out)) return;
  if (is_linked(out)) {
    out->plane_weight = out->weights;
    out->plane_n = out->desc.channels;
    out->plane_c = 1;
  } else if (out->link == GP_LINK_GIVEN && out->desc.param_shape != GP_SHAPE_NCHW) {
    out->plane_weight = out->weight;
    out->plane_n = out->param_n;
    out->plane_c = out->param_c;
  }
}

/* ---- Workspace ----------------------------------------------------------------------------- */

/* Takes memory from the workspace piece by piece, or counts it where there is none. */
struct pieces {
  char *memory;
  size_t used;
};

static void *take(struct pieces *pieces, size_t count, size_t size) {
  char *piece = pieces->memory != NULL ? pieces->memory + pieces->used : NULL;
  pieces->used += gp_align_up(count * size);
  return piece;
}

static size_t planes_of(const gp_cuda_plan *plan) { return (size_t)(plan->desc.batch * plan->desc.channels); }

static size_t part_count(const gp_cuda_plan *plan, uint32_t parts) {
  return (size_t)(plan->desc.batch * plan->lanes) * parts * (size_t)plan->slots;
}

static size_t real_size(const gp_cuda_plan *plan) { return plan->desc.dtype == GP_FLOAT64 ? 8 : 4; }

/* ---- The two passes ------------------------------------------------------------------------ */

gp_status gp_cuda_plan_forward(gp_cuda_plan *out, size_t *bytes, const gp_pool_plan *plan,
                               const gp_pool_forward_args *args) {
  gp_status status = GP_OK;
  *out = begin(plan, false);
  bool averages = args == NULL || args->average_y != NULL;
  struct pieces pieces = {args != NULL ? args->workspace : NULL, 0};
  uint32_t parts;
  GP_TRY(check_window(out));
  if (args != NULL) {
    set_inputs(out, args);
    out->y = args->y;
    out->average_y = args->average_y;
    out->y_whole = is_whole(out, args->y, &out->desc.y_stride, run_of_y(out));
    set_kernels(out, out->x_whole && out->y_whole);
  }
  GP_TRY(make_either_grid(out, out->out_height, out->out_width, averages ? LONG_STRIP : SHORT_STRIP, &parts));
  if (is_linked(out) && !is_drawn(out)) out->weights = take(&pieces, planes_of(out), real_size(out));
  if (averages) out->parts = take(&pieces, part_count(out, parts), real_size(out));
  *bytes = pieces.used;
  set_plane_weight(out);
cleanup:
  return status;
}

static void set_gradients(gp_cuda_plan *out, const gp_pool_backward_args *args) {
  out->grad_y = args->grad_y;
  out->grad_average_y = args->grad_average_y;
  out->grad_average_x = args->grad_average_x;
  out->grad_x = args->grad_x;
  out->grad_mu = args->grad_mu;
  out->grad_sigma = args->grad_sigma;
  out->grad_weight = args->grad_weight;
  out->grad_scale = args->grad_scale;
  out->grad_shift = args->grad_shift;
  out->accumulate = args->accumulate;
  out->grad_y_whole = is_whole(out, args->grad_y, &out->desc.grad_y_stride, run_of_y(out));
  out->grad_x_whole = args->grad_x == NULL || is_whole(out, args->grad_x, &out->desc.grad_x_stride, run_of_x(out));
  /* A map of weights is read element by element, its gradient written. */
  if (out->grad_weight != NULL && out->desc.param_shape == GP_SHAPE_NCHW)
    out->map_whole = is_whole(out, args->grad_weight, &out->map_stride, run_of_y(out));
  set_kernels(out, out->x_whole && out->grad_y_whole && out->grad_x_whole);
}

/* Whether a gradient that is a sum over positions is wanted. */
static bool wants_sums(const gp_pool_backward_args *args, const gp_pool_plan *plan) {
  bool weight = args->grad_weight != NULL && plan->desc.param_shape != GP_SHAPE_NCHW;
  return args->grad_mu != NULL || args->grad_sigma != NULL || weight || args->grad_scale != NULL ||
         args->grad_shift != NULL;
}

static gp_status make_backward_grids(gp_cuda_plan *out, uint32_t *parts) {
  gp_status status = GP_OK;
  const gp_pool_desc *desc = &out->desc;
  if (out->window == GP_CUDA_GENERAL) {
    GP_TRY(make_grid(&out->grid, out, out->out_height, out->out_width, LONG_STRIP));
    GP_TRY(make_grid(&out->gather, out, desc->height, desc->width, LONG_STRIP));
    *parts = out->gather.parts > out->grid.parts ? out->gather.parts : out->grid.parts;
  } else {
    int64_t height = larger(out->out_height, divide_up(desc->height, 2));
    int64_t width = larger(out->out_width, divide_up(desc->width, 2));
    GP_TRY(make_either_grid(out, height, width, LONG_STRIP, parts));
  }
cleanup:
  return status;
}

gp_status gp_cuda_plan_backward(gp_cuda_plan *out, size_t *bytes, const gp_pool_plan *plan,
                                const gp_pool_backward_args *args) {
  gp_status status = GP_OK;
  *out = begin(plan, true);
  bool general = out->window == GP_CUDA_GENERAL;
  size_t planes = planes_of(out), values = (size_t)gp_param_values(plan), real = real_size(out);
  struct pieces pieces = {args != NULL ? args->workspace : NULL, 0};
  uint32_t parts;
  GP_TRY(check_window(out));
  GP_TRY(check_mask(out));
  if (args != NULL) {
    const gp_pool_forward_args inputs = gp_pool_inputs(args);
    set_inputs(out, &inputs);
    set_gradients(out, args);
  }
  GP_TRY(make_backward_grids(out, &parts));
  if (is_linked(out) && !is_drawn(out)) out->weights = take(&pieces, planes, real);
  out->parts = take(&pieces, part_count(out, parts), real);
  if (general) {
    size_t outputs = (size_t)(out->desc.batch * out->lanes * out->out_height * out->out_width);
    out->records = take(&pieces, outputs, 4 * real);
  }
  out->sums = take(&pieces, planes * (GP_CUDA_SUMS - 1 + values), sizeof(double));
  /* A step of 64 terms leaves, at most, a value for each output and each whole chunk. */
  out->scratch_size = planes * values / 64 + gp_param_elements(plan) + (size_t)out->desc.channels * (1 + values) + 64;
  if (plan->desc.param_shape == GP_SHAPE_NCHW) out->scratch_size = planes / 64 + (size_t)out->desc.channels + 64;
  for (int i = 0; i < 2; ++i) out->scratch[i] = take(&pieces, out->scratch_size, sizeof(double));
  *bytes = pieces.used;
  if (args != NULL && !wants_sums(args, plan)) out->parts = NULL;
  set_plane_weight(out);
cleanup:
  return status;
}
