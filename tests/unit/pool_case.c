#include "pool_case.h"

#include "pool/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

const char *const pool_output_names[POOL_OUTPUTS] = {"y",          "grad_x",    "grad_weight", "grad_mu",
                                                     "grad_sigma", "average_y", "grad_scale",  "grad_shift"};

/* ---- Planes -------------------------------------------------------------------------------- */

gp_pool_plane pool_case_plane_in(const pool_case *pool, enum pool_input which, int64_t n, int64_t c) {
  switch (which) {
    case POOL_X: return gp_pool_x_plane(&pool->plan, n, c);
    case POOL_GRAD_Y: return gp_pool_grad_y_plane(&pool->plan, n, c);
    case POOL_BEFORE: return gp_pool_grad_x_plane(&pool->plan, n, c);
    default: return gp_pool_map_plane(&pool->plan, n, c);
  }
}

gp_pool_plane pool_case_plane_out(const pool_case *pool, enum pool_output which, int64_t n, int64_t c) {
  switch (which) {
    case POOL_Y: return gp_pool_y_plane(&pool->plan, n, c);
    case POOL_GRAD_X: return gp_pool_grad_x_plane(&pool->plan, n, c);
    default: return gp_pool_map_plane(&pool->plan, n, c);
  }
}

/* A tensor's place in memory, whatever it is. */
struct tensor {
  gp_strides strides;
  int64_t height, width;
};

static struct tensor tensor_of_x(const pool_case *pool, gp_strides strides) {
  return (struct tensor){strides, pool->plan.desc.height, pool->plan.desc.width};
}
static struct tensor tensor_of_y(const pool_case *pool, gp_strides strides) {
  return (struct tensor){strides, pool->plan.out_height, pool->plan.out_width};
}

/* Elements from the first to past the last, padding lanes included. */
static size_t extent(const pool_case *pool, struct tensor tensor) {
  const gp_pool_desc *desc = &pool->plan.desc;
  int64_t lanes = gp_layout_channels(desc->layout, desc->channels);
  gp_pool_plane last = gp_pool_plane_at(desc->layout, &tensor.strides, desc->batch - 1, lanes - 1);
  gp_pool_plane first = gp_pool_plane_at(desc->layout, &tensor.strides, desc->batch - 1, desc->channels - 1);
  int64_t end = pool_at(last, tensor.height - 1, tensor.width - 1);
  int64_t other = pool_at(first, tensor.height - 1, tensor.width - 1);
  return (size_t)(end > other ? end : other) + 1;
}

static bool has_weight(const pool_case *pool) { return gp_pool_kind_has_weight(pool->plan.kind); }

static bool weight_is_map(const pool_case *pool) {
  return has_weight(pool) && pool->plan.desc.param_shape == GP_SHAPE_NCHW;
}

static size_t param_elements(const pool_case *pool, bool has) { return has ? gp_param_elements(&pool->plan) : 0; }

static size_t output_elements(const pool_case *pool, enum pool_output which, unsigned extras) {
  const gp_pool_desc *desc = &pool->plan.desc;
  size_t channels = (size_t)desc->channels, planes = (size_t)desc->batch * channels;
  switch (which) {
    case POOL_Y: return extent(pool, tensor_of_y(pool, desc->y_stride));
    case POOL_GRAD_X: return extent(pool, tensor_of_x(pool, desc->grad_x_stride));
    case POOL_GRAD_WEIGHT: return param_elements(pool, has_weight(pool));
    case POOL_GRAD_MU: return param_elements(pool, gp_pool_kind_has_mu(pool->plan.kind));
    case POOL_GRAD_SIGMA: return param_elements(pool, gp_pool_kind_has_sigma(pool->plan.kind));
    case POOL_AVERAGE_Y: return extras & POOL_AVERAGES ? planes : 0;
    default: return extras & POOL_SCALED ? channels : 0;
  }
}

static size_t input_elements(const pool_case *pool, enum pool_input which, unsigned extras) {
  const gp_pool_desc *desc = &pool->plan.desc;
  size_t channels = (size_t)desc->channels, planes = (size_t)desc->batch * channels;
  switch (which) {
    case POOL_X: return extent(pool, tensor_of_x(pool, desc->x_stride));
    case POOL_GRAD_Y: return extent(pool, tensor_of_y(pool, desc->grad_y_stride));
    case POOL_BEFORE: return extent(pool, tensor_of_x(pool, desc->grad_x_stride));
    case POOL_WEIGHT: return param_elements(pool, has_weight(pool));
    case POOL_MU: return param_elements(pool, gp_pool_kind_has_mu(pool->plan.kind));
    case POOL_SIGMA: return param_elements(pool, gp_pool_kind_has_sigma(pool->plan.kind));
    case POOL_GRAD_AVERAGE_Y:
    case POOL_GRAD_AVERAGE_X: return extras & POOL_AVERAGES ? planes : 0;
    default: return extras & POOL_SCALED ? channels : 0;
  }
}

static gp_dtype output_dtype(const pool_case *pool, enum pool_output which) {
  bool tensor = which <= POOL_GRAD_X || (which == POOL_GRAD_WEIGHT && weight_is_map(pool));
  return tensor ? pool->plan.desc.dtype : gp_dtype_of_params(pool->plan.desc.dtype);
}

static gp_dtype input_dtype(const pool_case *pool, enum pool_input which) {
  bool tensor = which <= POOL_BEFORE || (which == POOL_WEIGHT && weight_is_map(pool));
  return tensor ? pool->plan.desc.dtype : gp_dtype_of_params(pool->plan.desc.dtype);
}

/* ---- Filling ------------------------------------------------------------------------------- */

/* How the numbers of a tensor are drawn. */
struct numbers {
  double mean, spread;
  bool coarse;  /* few values: ties and constant windows */
  bool rounded; /* to a multiple of 1/256 */
};

static double number(const struct numbers *numbers, test_random *random) {
  double value = numbers->coarse ? (double)random_below(random, 3) - 1 : random_normal(random);
  value = numbers->mean + numbers->spread * value;
  return numbers->rounded ? nearbyint(value * 256) / 256 : value;
}

static void fill_tensor(pool_case *pool, enum pool_input which, bool of_y, struct numbers numbers,
                        test_random *random) {
  const gp_pool_desc *desc = &pool->plan.desc;
  int64_t height = of_y ? pool->plan.out_height : desc->height, width = of_y ? pool->plan.out_width : desc->width;
  test_buffer_poison(&pool->in[which]);
  for (int64_t n = 0; n < desc->batch; ++n)
    for (int64_t c = 0; c < desc->channels; ++c) {
      gp_pool_plane plane = pool_case_plane_in(pool, which, n, c);
      for (int64_t h = 0; h < height; ++h)
        for (int64_t w = 0; w < width; ++w)
          test_buffer_set(&pool->in[which], pool_at(plane, h, w), number(&numbers, random));
    }
}

static void fill_array(pool_case *pool, enum pool_input which, double mean, double spread, test_random *random) {
  for (size_t i = 0; i < pool->in[which].elements; ++i)
    test_buffer_set(&pool->in[which], (int64_t)i, mean + spread * random_normal(random));
}

/* Powers of two, of either sign, and shifts that leave some channels mostly positive, some mostly not. */
static void fill_scale(pool_case *pool, test_random *random) {
  static const double scales[] = {1, 0.5, 2, -1, 0.75, -1.25};
  for (size_t i = 0; i < pool->in[POOL_SCALE].elements; ++i) {
    test_buffer_set(&pool->in[POOL_SCALE], (int64_t)i, scales[random_below(random, 6)]);
    test_buffer_set(&pool->in[POOL_SHIFT], (int64_t)i, nearbyint(random_normal(random) * 64) / 64);
  }
}

static void fill(pool_case *pool, unsigned extras, test_random *random) {
  bool scaled = extras & POOL_SCALED;
  struct numbers x = {random_one_in(random, 3) ? 3 : 0, 1, random_one_in(random, 6), scaled};
  fill_tensor(pool, POOL_X, false, x, random);
  fill_tensor(pool, POOL_GRAD_Y, true, (struct numbers){.spread = 1}, random);
  fill_tensor(pool, POOL_BEFORE, false, (struct numbers){.spread = 1}, random);
  if (weight_is_map(pool))
    fill_tensor(pool, POOL_WEIGHT, true, (struct numbers){.spread = 1}, random);
  else
    fill_array(pool, POOL_WEIGHT, 0, 1, random);
  fill_array(pool, POOL_MU, 0, 1, random);
  fill_array(pool, POOL_SIGMA, 1, 0.3, random);
  fill_array(pool, POOL_GRAD_AVERAGE_Y, 0, 3, random);
  fill_array(pool, POOL_GRAD_AVERAGE_X, 0, 3, random);
  fill_scale(pool, random);
}

/* ---- Cases --------------------------------------------------------------------------------- */

void pool_case_make(pool_case *pool, const gp_pool_desc *desc, unsigned extras, uint64_t seed) {
  test_random random = {seed};
  *pool = (pool_case){.seed = seed,
                      .accumulate = extras & POOL_ADDING,
                      .no_grad_x = extras & POOL_NO_GRAD_X,
                      .seed_apart = extras & POOL_SEED};
  assert_int_equal(gp_pool_plan_make(&pool->plan, desc), GP_OK);
  for (int i = 0; i < POOL_INPUTS; ++i) {
    enum pool_input which = (enum pool_input)i;
    test_buffer_make(&pool->in[i], input_dtype(pool, which), input_elements(pool, which, extras), &random);
  }
  for (int i = 0; i < POOL_OUTPUTS; ++i) {
    enum pool_output which = (enum pool_output)i;
    test_buffer_make(&pool->out[i], output_dtype(pool, which), output_elements(pool, which, extras), &random);
  }
  fill(pool, extras, &random);
}

void pool_outputs_free(test_buffer outputs[POOL_OUTPUTS]) {
  for (int i = 0; i < POOL_OUTPUTS; ++i) test_buffer_free(&outputs[i]);
}

void pool_case_free(pool_case *pool) {
  for (int i = 0; i < POOL_INPUTS; ++i) test_buffer_free(&pool->in[i]);
  pool_outputs_free(pool->out);
}

void pool_case_exact(pool_case *exact, const pool_case *pool) {
  test_random random = {pool->seed};
  *exact = *pool;
  exact->plan.desc.dtype = GP_FLOAT64;
  exact->seed_apart = false;
  for (int i = 0; i < POOL_INPUTS; ++i) test_buffer_convert(&exact->in[i], &pool->in[i], GP_FLOAT64, &random);
  for (int i = 0; i < POOL_OUTPUTS; ++i) test_buffer_make(&exact->out[i], GP_FLOAT64, pool->out[i].elements, &random);
}

void pool_case_take(pool_case *pool, test_buffer taken[POOL_OUTPUTS]) {
  test_random random = {pool->seed + 1};
  for (int i = 0; i < POOL_OUTPUTS; ++i) {
    taken[i] = pool->out[i];
    test_buffer_make(&pool->out[i], taken[i].dtype, taken[i].elements, &random);
  }
}

/* ---- Messages ------------------------------------------------------------------------------ */

static void print_strides(const char *name, gp_strides s) {
  print_error(" %s %lld,%lld,%lld,%lld", name, (long long)s.n, (long long)s.c, (long long)s.h, (long long)s.w);
}

void pool_case_print(const pool_case *pool) {
  const gp_pool_desc *d = &pool->plan.desc;
  static const char *const layouts[] = {"NCHW", "NHWC", "nChw8c", "nChw16c"};
  static const char *const dtypes[] = {"float32", "float64", "bfloat16", "float16"};
  print_error(
      "case seed %llu on %s: %s %s %s %lldx%lldx%lldx%lld kernel %dx%d stride %dx%d padding %dx%d adaptive %dx%d "
      "ceil %d exclude %d eps %g norm %g params %d stochasticity %d accumulate %d grad_x %d scale %d averages %d "
      "threads %d\n",
      (unsigned long long)pool->seed, gp_pool_kernels_for(&pool->plan)->name, pool->plan.kind->name, dtypes[d->dtype],
      layouts[d->layout], (long long)d->batch, (long long)d->channels, (long long)d->height, (long long)d->width,
      d->kernel[0], d->kernel[1], d->stride[0], d->stride[1], d->padding[0], d->padding[1], d->adaptive[0],
      d->adaptive[1], d->ceil_mode, (int)d->pad_count, d->eps, d->norm, (int)d->param_shape, (int)d->stochasticity,
      pool->accumulate, !pool->no_grad_x, pool->in[POOL_SCALE].elements > 0, pool->out[POOL_AVERAGE_Y].elements > 0,
      d->threads);
  print_strides("x", d->x_stride);
  print_strides("y", d->y_stride);
  print_strides("grad_x", d->grad_x_stride);
  print_strides("grad_y", d->grad_y_stride);
  print_error("\n");
}

void pool_case_check(const pool_case *pool, bool holds, const char *what) {
  if (holds) return;
  pool_case_print(pool);
  fail_msg("%s", what);
}
