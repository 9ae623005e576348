/* Running a case and checking what was written where. */
#include "pool_case.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Padding lanes are zeros; what lies between a slice's elements is untouched. */
static void check_places(const pool_case *pool, enum pool_output which) {
  const gp_pool_desc *desc = &pool->plan.desc;
  const test_buffer *buffer = &pool->out[which];
  bool of_x = which == POOL_GRAD_X;
  int64_t height = of_x ? desc->height : pool->plan.out_height, width = of_x ? desc->width : pool->plan.out_width;
  unsigned char *owned = NULL;
  assert_int_equal(GP_ALLOC(&owned, buffer->elements), GP_OK);
  bool zeros = true;
  for (int64_t n = 0; n < desc->batch; ++n)
    for (int64_t c = 0; c < gp_layout_channels(desc->layout, desc->channels); ++c) {
      gp_pool_plane plane = pool_case_plane_out(pool, which, n, c);
      for (int64_t i = 0; i < height * width; ++i) {
        int64_t at = pool_at(plane, i / width, i % width);
        owned[at] = 1;
        if (c >= desc->channels && test_buffer_get(buffer, at) != 0) zeros = false;
      }
    }
  bool untouched = true;
  size_t size = gp_dtype_size(buffer->dtype);
  for (size_t i = 0; i < buffer->elements * size; ++i)
    if (!owned[i / size] && ((const unsigned char *)buffer->data)[i] != 0xFF) untouched = false;
  gp_free(owned);
  if (!zeros || !untouched) print_error("%s: ", pool_output_names[which]);
  pool_case_check(pool, zeros, "padding lanes are not zero");
  pool_case_check(pool, untouched, "memory between the slice's elements was written");
}

static void check_outputs(const pool_case *pool) {
  for (int i = 0; i < POOL_OUTPUTS; ++i) {
    if (!test_buffer_guards_hold(&pool->out[i])) print_error("%s: ", pool_output_names[i]);
    pool_case_check(pool, test_buffer_guards_hold(&pool->out[i]), "bytes around an output were written");
  }
  check_places(pool, POOL_Y);
  if (!pool->no_grad_x) check_places(pool, POOL_GRAD_X);
  if (pool->plan.desc.param_shape == GP_SHAPE_NCHW && pool->out[POOL_GRAD_WEIGHT].elements > 0)
    check_places(pool, POOL_GRAD_WEIGHT);
}

static void make_workspace(const pool_case *pool, test_buffer *workspace, size_t bytes) {
  test_random random = {pool->seed};
  test_buffer_make(workspace, GP_FLOAT16, bytes / 2, &random);
  test_buffer_align(workspace);
  test_buffer_undefine(workspace);
}

static void release_workspace(const pool_case *pool, test_buffer *workspace) {
  pool_case_check(pool, test_buffer_guards_hold(workspace), "bytes around the workspace were written");
  test_buffer_free(workspace);
}

static gp_pool_desc desc_of_call(const pool_case *pool) {
  gp_pool_desc desc = pool->plan.desc;
  if (pool->seed_apart) desc.seed = ~desc.seed;
  return desc;
}

static const uint64_t *seed_of_call(const pool_case *pool) { return pool->seed_apart ? &pool->plan.desc.seed : NULL; }

gp_pool_forward_args pool_case_args(const pool_case *pool) {
  return (gp_pool_forward_args){
      .x = pool->in[POOL_X].data,
      .mu = test_buffer_or_null(&pool->in[POOL_MU]),
      .sigma = test_buffer_or_null(&pool->in[POOL_SIGMA]),
      .weight = test_buffer_or_null(&pool->in[POOL_WEIGHT]),
      .scale = test_buffer_or_null(&pool->in[POOL_SCALE]),
      .shift = test_buffer_or_null(&pool->in[POOL_SHIFT]),
      .seed = seed_of_call(pool),
      .y = pool->out[POOL_Y].data,
      .average_y = test_buffer_or_null(&pool->out[POOL_AVERAGE_Y]),
  };
}

const pool_calls pool_cpu_calls = {gp_pool_forward_workspace, gp_pool_forward, gp_pool_backward_workspace,
                                   gp_pool_backward, false};

void pool_case_forward(pool_case *pool) { pool_case_forward_by(pool, &pool_cpu_calls); }

void pool_case_forward_by(pool_case *pool, const pool_calls *calls) {
  gp_pool_desc desc = desc_of_call(pool);
  gp_pool_forward_args args = pool_case_args(pool);
  size_t bytes = 0;
  pool_case_check(pool, calls->forward_workspace(&desc, &bytes) == GP_OK, gp_last_error());
  if (args.average_y == NULL && !calls->always_workspace) bytes = 0;
  test_buffer workspace;
  make_workspace(pool, &workspace, bytes);
  if (bytes > 0) args.workspace = workspace.data;
  pool_case_check(pool, calls->forward(&desc, &args) == GP_OK, gp_last_error());
  release_workspace(pool, &workspace);
}

static void run_backward(pool_case *pool, const pool_calls *calls) {
  gp_pool_desc desc = desc_of_call(pool);
  size_t bytes = 0;
  pool_case_check(pool, calls->backward_workspace(&desc, &bytes) == GP_OK, gp_last_error());
  test_buffer workspace;
  make_workspace(pool, &workspace, bytes);
  bool depends_on_x = desc.kind != GP_POOL_AVERAGE || pool->in[POOL_SCALE].elements > 0;
  gp_pool_backward_args args = {
      .x = depends_on_x ? pool->in[POOL_X].data : NULL,
      .mu = test_buffer_or_null(&pool->in[POOL_MU]),
      .sigma = test_buffer_or_null(&pool->in[POOL_SIGMA]),
      .weight = test_buffer_or_null(&pool->in[POOL_WEIGHT]),
      .scale = test_buffer_or_null(&pool->in[POOL_SCALE]),
      .shift = test_buffer_or_null(&pool->in[POOL_SHIFT]),
      .seed = seed_of_call(pool),
      .grad_y = pool->in[POOL_GRAD_Y].data,
      .grad_average_y = test_buffer_or_null(&pool->in[POOL_GRAD_AVERAGE_Y]),
      .grad_average_x = test_buffer_or_null(&pool->in[POOL_GRAD_AVERAGE_X]),
      .grad_x = pool->no_grad_x ? NULL : pool->out[POOL_GRAD_X].data,
      .grad_mu = test_buffer_or_null(&pool->out[POOL_GRAD_MU]),
      .grad_sigma = test_buffer_or_null(&pool->out[POOL_GRAD_SIGMA]),
      .grad_weight = test_buffer_or_null(&pool->out[POOL_GRAD_WEIGHT]),
      .grad_scale = test_buffer_or_null(&pool->out[POOL_GRAD_SCALE]),
      .grad_shift = test_buffer_or_null(&pool->out[POOL_GRAD_SHIFT]),
      .accumulate = pool->accumulate,
      .workspace = bytes > 0 ? workspace.data : NULL,
  };
  pool_case_check(pool, calls->backward(&desc, &args) == GP_OK, gp_last_error());
  release_workspace(pool, &workspace);
}

void pool_case_run(pool_case *pool, gp_isa isa) {
  gp_isa_set(isa);
  pool_case_run_by(pool, &pool_cpu_calls);
}

void pool_case_run_by(pool_case *pool, const pool_calls *calls) {
  for (int i = 0; i < POOL_OUTPUTS; ++i) test_buffer_poison(&pool->out[i]);
  if (pool->accumulate) memcpy(pool->out[POOL_GRAD_X].data, pool->in[POOL_BEFORE].data, pool->in[POOL_BEFORE].bytes);
  pool_case_forward_by(pool, calls);
  run_backward(pool, calls);
  check_outputs(pool);
  if (pool->no_grad_x) memset(pool->out[POOL_GRAD_X].data, 0, pool->out[POOL_GRAD_X].bytes);
}
