#include "pool_case.h"

#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 128, GUARD_BYTE = 0xA5 };

const char *const pool_output_names[POOL_OUTPUTS] = {"y", "grad_x", "grad_mu", "grad_sigma", "grad_weight"};

uint64_t random_word(test_random *random) {
  uint64_t z = random->state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

int64_t random_below(test_random *random, int64_t bound) { return (int64_t)(random_word(random) % (uint64_t)bound); }

double random_unit(test_random *random) { return (double)(random_word(random) >> 11) * 0x1p-53; }

double random_normal(test_random *random) {
  double radius = sqrt(-2 * log(1 - random_unit(random)));
  return radius * cos(6.283185307179586 * random_unit(random));
}

void test_buffer_make(test_buffer *buffer, gp_dtype dtype, size_t elements, test_random *random) {
  size_t size = gp_dtype_size(dtype), bytes = elements * size;
  *buffer = (test_buffer){.elements = elements, .bytes = bytes, .dtype = dtype};
  assert_int_equal(gp_alloc((void **)&buffer->memory, bytes + 2 * GUARD, 1), GP_OK);
  memset(buffer->memory, GUARD_BYTE, bytes + 2 * GUARD);
  buffer->data = buffer->memory + GUARD - size * (size_t)random_below(random, 16);
}

void test_buffer_poison(test_buffer *buffer) { memset(buffer->data, 0xFF, buffer->bytes); }

void test_buffer_free(test_buffer *buffer) {
  gp_free(buffer->memory);
  *buffer = (test_buffer){0};
}

double test_buffer_get(const test_buffer *buffer, int64_t i) { return gp_load(buffer->data, buffer->dtype, i); }

void test_buffer_set(test_buffer *buffer, int64_t i, double value) { gp_store(buffer->data, buffer->dtype, i, value); }

static bool guards_hold(const test_buffer *buffer) {
  const unsigned char *data = buffer->data, *end = buffer->memory + buffer->bytes + 2 * GUARD;
  for (const unsigned char *byte = buffer->memory; byte < end; ++byte)
    if ((byte < data || byte >= data + buffer->bytes) && *byte != GUARD_BYTE) return false;
  return true;
}

static int64_t pick_channels(test_random *random, gp_layout layout) {
  static const int64_t around[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40};
  if (layout == GP_NHWC && random_below(random, 40) == 0) return 250 + random_below(random, 300);
  return around[random_below(random, sizeof around / sizeof around[0])];
}

gp_pool_desc pool_random_desc(test_random *random) {
  for (;;) {
    gp_pool_desc desc = {
        .kind = (gp_pool_kind)random_below(random, 4),
        .dtype = random_below(random, 8) == 0 ? GP_FLOAT64 : GP_FLOAT32,
        .layout = (gp_layout)random_below(random, 4),
        .batch = 1 + random_below(random, 3),
        .height = 1 + random_below(random, 15),
        .width = 1 + random_below(random, 15),
        .ceil_mode = random_below(random, 2),
        .pad_count = (gp_pad_count)random_below(random, 2),
        .eps = random_below(random, 4) == 0 ? 0.5 : 0,
        .param_shape = (gp_param_shape)random_below(random, 5),
        .stochasticity = (gp_stochasticity)random_below(random, 3),
        .seed = random_word(random),
        .call_offset = (uint32_t)random_word(random),
        .first_sample = random_below(random, 3) == 0 ? random_below(random, INT64_C(1) << 36) : 0,
        .threads = random_below(random, 20) == 0 ? 2 : 1, /* more: test_thread_counts_agree */
    };
    desc.channels = pick_channels(random, desc.layout);
    for (int axis = 0; axis < 2; ++axis) {
      desc.kernel[axis] = (int32_t)(1 + random_below(random, 5));
      desc.stride[axis] = (int32_t)random_below(random, 4);
      desc.padding[axis] = (int32_t)random_below(random, desc.kernel[axis] / 2 + 1);
    }
    if (random_below(random, 3) == 0) desc.kernel[1] = desc.kernel[0];
    if (gp_pool_output_size(&desc, NULL, NULL) == GP_OK) return desc;
  }
}

int64_t pool_index(const pool_case *pool, bool output, int64_t n, int64_t c, int64_t h, int64_t w) {
  gp_pool_plane plane = output ? gp_pool_output_plane(&pool->plan, n, c) : gp_pool_input_plane(&pool->plan, n, c);
  return plane.base + h * plane.row + w * plane.pixel;
}

/* Normal numbers around `mean`; NaN in padding lanes. Some tensors are made of few values, for ties and constant windows. */
static void fill_tensor(const pool_case *pool, test_buffer *buffer, bool output, double mean, test_random *random) {
  const gp_pool_desc *desc = &pool->plan.desc;
  int64_t height = output ? pool->plan.out_height : desc->height, width = output ? pool->plan.out_width : desc->width;
  bool coarse = random_below(random, 6) == 0;
  test_buffer_poison(buffer);
  for (int64_t n = 0; n < desc->batch; ++n)
    for (int64_t c = 0; c < desc->channels; ++c)
      for (int64_t h = 0; h < height; ++h)
        for (int64_t w = 0; w < width; ++w) {
          double value = coarse ? (double)random_below(random, 2) : random_normal(random);
          test_buffer_set(buffer, pool_index(pool, output, n, c, h, w), mean + value);
        }
}

static void fill_parameter(test_buffer *buffer, double mean, double spread, test_random *random) {
  for (size_t i = 0; i < buffer->elements; ++i)
    test_buffer_set(buffer, (int64_t)i, mean + spread * random_normal(random));
}

static size_t output_elements(const pool_case *pool, enum pool_output which) {
  const gp_pool_desc *desc = &pool->plan.desc;
  int64_t n = desc->batch, c = desc->channels;
  if (which == POOL_GRAD_X) return gp_layout_elements(desc->layout, n, c, desc->height, desc->width);
  if (which == POOL_Y) return gp_layout_elements(desc->layout, n, c, pool->plan.out_height, pool->plan.out_width);
  bool has =
      which == POOL_GRAD_WEIGHT ? pool->plan.kind->link == GP_LINK_GIVEN : pool->plan.kind->link == GP_LINK_SOFTPLUS;
  return has ? gp_param_elements(&pool->plan) : 0;
}

void pool_case_make(pool_case *pool, const gp_pool_desc *desc, uint64_t seed) {
  test_random random = {seed};
  *pool = (pool_case){.seed = seed, .accumulate = random_below(&random, 2)};
  pool->no_grad_x = random_below(&random, 8) == 0;
  assert_int_equal(gp_pool_plan_make(&pool->plan, desc), GP_OK);
  size_t in = output_elements(pool, POOL_GRAD_X), out = output_elements(pool, POOL_Y);
  size_t params = gp_param_elements(&pool->plan);
  gp_dtype dtype = desc->dtype;
  test_buffer_make(&pool->x, dtype, in, &random);
  test_buffer_make(&pool->before, dtype, in, &random);
  test_buffer_make(&pool->grad_y, dtype, out, &random);
  test_buffer_make(&pool->mu, dtype, params, &random);
  test_buffer_make(&pool->sigma, dtype, params, &random);
  test_buffer_make(&pool->weight, dtype, params, &random);
  fill_tensor(pool, &pool->x, false, random_below(&random, 3) == 0 ? 3 : 0, &random);
  fill_tensor(pool, &pool->before, false, 0, &random);
  fill_tensor(pool, &pool->grad_y, true, 0, &random);
  fill_parameter(&pool->mu, 0, 1, &random);
  fill_parameter(&pool->sigma, 1, 0.3, &random);
  if (desc->param_shape == GP_SHAPE_NCHW)
    fill_tensor(pool, &pool->weight, true, 0, &random);
  else
    fill_parameter(&pool->weight, 0, 1, &random);
  for (int i = 0; i < POOL_OUTPUTS; ++i)
    test_buffer_make(&pool->out[i], dtype, output_elements(pool, (enum pool_output)i), &random);
}

void pool_case_free(pool_case *pool) {
  test_buffer *inputs[] = {&pool->x, &pool->before, &pool->grad_y, &pool->mu, &pool->sigma, &pool->weight};
  for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; ++i) test_buffer_free(inputs[i]);
  for (int i = 0; i < POOL_OUTPUTS; ++i) test_buffer_free(&pool->out[i]);
}

void pool_case_print(const pool_case *pool) {
  const gp_pool_desc *d = &pool->plan.desc;
  static const char *const layouts[] = {"NCHW", "NHWC", "nChw8c", "nChw16c"};
  print_error(
      "case seed %llu: %s %s %s %lldx%lldx%lldx%lld kernel %dx%d stride %dx%d padding %dx%d ceil %d exclude %d "
      "eps %g params %d stochasticity %d accumulate %d threads %d\n",
      (unsigned long long)pool->seed, pool->plan.kind->name, d->dtype == GP_FLOAT64 ? "float64" : "float32",
      layouts[d->layout], (long long)d->batch, (long long)d->channels, (long long)d->height, (long long)d->width,
      d->kernel[0], d->kernel[1], d->stride[0], d->stride[1], d->padding[0], d->padding[1], d->ceil_mode,
      (int)d->pad_count, d->eps, (int)d->param_shape, (int)d->stochasticity, pool->accumulate, d->threads);
}

static void check(const pool_case *pool, bool holds, const char *what) {
  if (holds) return;
  pool_case_print(pool);
  fail_msg("%s", what);
}

static bool padding_lanes_zero(const pool_case *pool, const test_buffer *buffer, bool output) {
  const gp_pool_desc *desc = &pool->plan.desc;
  int64_t height = output ? pool->plan.out_height : desc->height, width = output ? pool->plan.out_width : desc->width;
  for (int64_t n = 0; n < desc->batch; ++n)
    for (int64_t c = desc->channels; c < gp_layout_channels(desc->layout, desc->channels); ++c)
      for (int64_t h = 0; h < height; ++h)
        for (int64_t w = 0; w < width; ++w)
          if (test_buffer_get(buffer, pool_index(pool, output, n, c, h, w)) != 0) return false;
  return true;
}

static void check_outputs(const pool_case *pool) {
  for (int i = 0; i < POOL_OUTPUTS; ++i) check(pool, guards_hold(&pool->out[i]), "bytes around an output were written");
  check(pool, padding_lanes_zero(pool, &pool->out[POOL_Y], true), "padding lanes of y are not zero");
  check(pool, padding_lanes_zero(pool, &pool->out[POOL_GRAD_X], false), "padding lanes of grad_x are not zero");
  if (pool->plan.desc.param_shape == GP_SHAPE_NCHW && pool->out[POOL_GRAD_WEIGHT].elements > 0)
    check(pool, padding_lanes_zero(pool, &pool->out[POOL_GRAD_WEIGHT], true),
          "padding lanes of grad_weight are not zero");
}

static void *data_or_null(const test_buffer *buffer) { return buffer->elements > 0 ? buffer->data : NULL; }

void pool_case_run(pool_case *pool, gp_isa isa) {
  gp_isa_set(isa);
  const gp_pool_desc *desc = &pool->plan.desc;
  for (int i = 0; i < POOL_OUTPUTS; ++i) test_buffer_poison(&pool->out[i]);
  if (pool->accumulate) memcpy(pool->out[POOL_GRAD_X].data, pool->before.data, pool->before.bytes);
  gp_pool_forward_args forward = {pool->x.data, pool->mu.data, pool->sigma.data, pool->weight.data,
                                  pool->out[POOL_Y].data};
  check(pool, gp_pool_forward(desc, &forward) == GP_OK, gp_last_error());
  test_random random = {pool->seed};
  size_t bytes = 0;
  check(pool, gp_pool_backward_workspace(desc, &bytes) == GP_OK, gp_last_error());
  test_buffer workspace;
  test_buffer_make(&workspace, GP_FLOAT32, bytes / sizeof(float), &random);
  workspace.data = workspace.memory + GUARD; /* aligned to 64 */
  test_buffer_poison(&workspace);
  gp_pool_backward_args backward = {
      .x = pool->x.data,
      .mu = pool->mu.data,
      .sigma = pool->sigma.data,
      .weight = pool->weight.data,
      .grad_y = pool->grad_y.data,
      .grad_x = pool->no_grad_x ? NULL : pool->out[POOL_GRAD_X].data,
      .grad_mu = data_or_null(&pool->out[POOL_GRAD_MU]),
      .grad_sigma = data_or_null(&pool->out[POOL_GRAD_SIGMA]),
      .grad_weight = data_or_null(&pool->out[POOL_GRAD_WEIGHT]),
      .accumulate = pool->accumulate,
      .workspace = bytes > 0 ? workspace.data : NULL,
  };
  check(pool, gp_pool_backward(desc, &backward) == GP_OK, gp_last_error());
  check(pool, guards_hold(&workspace), "bytes around the workspace were written");
  test_buffer_free(&workspace);
  if (pool->no_grad_x) memset(pool->out[POOL_GRAD_X].data, 0, pool->out[POOL_GRAD_X].bytes);
  check_outputs(pool);
}

void pool_case_take(pool_case *pool, test_buffer taken[POOL_OUTPUTS]) {
  test_random random = {pool->seed + 1};
  for (int i = 0; i < POOL_OUTPUTS; ++i) {
    taken[i] = pool->out[i];
    test_buffer_make(&pool->out[i], taken[i].dtype, taken[i].elements, &random);
  }
}
