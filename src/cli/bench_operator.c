#include "cli/bench_operator.h"

#include "base/half.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "nn/onednn/peer_pooling.h"

#include <unistd.h>

enum { FILL_ELEMENTS = 1 << 16 };

/* ---- Tensors ---- */

/* Numbers from a generator keyed by the array, uniform on [low, high). */
typedef struct filling {
  void *array;
  gp_dtype dtype;
  size_t elements;
  uint64_t key;
  float low, high;
} filling;

static void put(const filling *f, size_t i, float value) {
  switch (f->dtype) {
    case GP_FLOAT32: ((float *)f->array)[i] = value; break;
    case GP_FLOAT64: ((double *)f->array)[i] = (double)value; break;
    case GP_BFLOAT16: ((uint16_t *)f->array)[i] = gp_bfloat16_of_float(value); break;
    case GP_FLOAT16: ((uint16_t *)f->array)[i] = gp_float16_of_float(value); break;
  }
}

static void fill_task(void *context, int64_t task) {
  const filling *f = context;
  const size_t begin = (size_t)task * FILL_ELEMENTS;
  const size_t end = f->elements - begin < FILL_ELEMENTS ? f->elements : begin + FILL_ELEMENTS;
  for (size_t i = begin; i < end; i += 4) {
    const gp_philox_block block = gp_philox(f->key, (uint32_t)i, (uint32_t)((uint64_t)i >> 32), 0, 0);
    for (size_t k = 0; k < 4 && i + k < end; ++k)
      put(f, i + k, f->low + (f->high - f->low) * gp_unit_float(block.word[k]));
  }
}

static void fill(const filling *f) {
  gp_parallel_for((int64_t)((f->elements + FILL_ELEMENTS - 1) / FILL_ELEMENTS), 0, fill_task, (void *)f);
}

/* What a machine has, or 0 where it does not tell. */
static double physical_bytes(void) {
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? (double)pages * (double)size : 0;
}

static gp_status allocate(bench_tensors *out, size_t x, size_t y, size_t size) {
  gp_status status = GP_OK;
  const double mib = 2 * (double)size * ((double)x + (double)y) / (1 << 20), memory = physical_bytes() / (1 << 20);
  if (memory > 0 && mib > memory)
    GP_TRY(gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory: the machine has %.0f MiB", memory));
  GP_TRY(gp_alloc(&out->x, x, size));
  GP_TRY(gp_alloc(&out->y, y, size));
  GP_TRY(gp_alloc(&out->grad_y, y, size));
  GP_TRY(gp_alloc(&out->grad_x, x, size));
  out->x_bytes = x * size;
  out->y_bytes = y * size;
cleanup:
  return status == GP_OK ? GP_OK : gp_fail_in(status, "x, y and their gradients, %.0f MiB", mib);
}

gp_status bench_tensors_create(bench_tensors *out, const gp_pool_desc *pool) {
  gp_status status = GP_OK;
  int64_t height = 0, width = 0;
  GP_TRY(gp_pool_output_size(pool, &height, &width));
  const size_t x = gp_layout_elements(pool->layout, pool->batch, pool->channels, pool->height, pool->width);
  const size_t y = gp_layout_elements(pool->layout, pool->batch, pool->channels, height, width);
  GP_TRY(allocate(out, x, y, gp_dtype_size(pool->dtype)));
  fill(&(filling){.array = out->x, .dtype = pool->dtype, .elements = x, .key = 1, .low = -1, .high = 1});
  fill(&(filling){.array = out->grad_y, .dtype = pool->dtype, .elements = y, .key = 2, .low = -1, .high = 1});
cleanup:
  if (status != GP_OK) bench_tensors_clear(out);
  return status;
}

void bench_tensors_clear(bench_tensors *tensors) {
  gp_free(tensors->x);
  gp_free(tensors->y);
  gp_free(tensors->grad_y);
  gp_free(tensors->grad_x);
  *tensors = (bench_tensors){0};
}

/* ---- A pooling ---- */

struct bench_operator {
  gp_pool_desc pool, inference; /* inference: without draws */
  gp_pool_forward_args forward;
  gp_pool_backward_args backward;
  void *mu, *sigma, *weight, *grad_mu, *grad_sigma, *grad_weight, *workspace;
  nn_peer_pool *peer; /* NULL: ours */
};

/* For GP_SHAPE_NC, or the gate's one mask. */
static gp_status make_parameters(bench_operator *op) {
  gp_status status = GP_OK;
  const gp_pool_desc *pool = &op->pool;
  const gp_dtype dtype = gp_dtype_of_params(pool->dtype);
  const bool gated = pool->kind == GP_POOL_GATED;
  const size_t elements =
      gated ? (size_t)pool->kernel[0] * (size_t)pool->kernel[1] : (size_t)pool->batch * (size_t)pool->channels;
  const struct {
    void **array, **gradient;
    float low, high;
  } parameters[] = {{&op->mu, &op->grad_mu, -0.5F, 0.5F},
                    {&op->sigma, &op->grad_sigma, 0.25F, 0.75F},
                    {&op->weight, &op->grad_weight, 0.25F, 0.75F}};
  for (size_t i = 0; i < sizeof parameters / sizeof *parameters; ++i) {
    GP_TRY(gp_alloc(parameters[i].array, elements, gp_dtype_size(dtype)));
    GP_TRY(gp_alloc(parameters[i].gradient, elements, gp_dtype_size(dtype)));
    fill(&(filling){.array = *parameters[i].array,
                    .dtype = dtype,
                    .elements = elements,
                    .key = 3 + i,
                    .low = parameters[i].low,
                    .high = parameters[i].high});
  }
cleanup:
  return status;
}

static gp_status make_ours(bench_operator *op, const bench_tensors *tensors) {
  gp_status status = GP_OK;
  size_t bytes = 0;
  op->inference = op->pool;
  op->inference.stochasticity = GP_STOCHASTIC_NONE;
  GP_TRY(make_parameters(op));
  GP_TRY(gp_pool_backward_workspace(&op->pool, &bytes));
  GP_TRY(gp_alloc(&op->workspace, bytes, 1));
  op->forward =
      (gp_pool_forward_args){.x = tensors->x, .mu = op->mu, .sigma = op->sigma, .weight = op->weight, .y = tensors->y};
  op->backward = (gp_pool_backward_args){.x = tensors->x,
                                         .mu = op->mu,
                                         .sigma = op->sigma,
                                         .weight = op->weight,
                                         .grad_y = tensors->grad_y,
                                         .grad_x = tensors->grad_x,
                                         .grad_mu = op->grad_mu,
                                         .grad_sigma = op->grad_sigma,
                                         .grad_weight = op->grad_weight,
                                         .workspace = op->workspace};
cleanup:
  return status;
}

gp_status bench_operator_create(bench_operator **out, const bench_operator_desc *desc) {
  gp_status status = GP_OK;
  bench_operator *op = NULL;
  *out = NULL;
  GP_TRY(GP_ALLOC(&op, 1));
  op->pool = desc->pool;
  if (desc->peer)
    GP_TRY(nn_peer_pool_create(&op->peer, &(nn_peer_pool_desc){.pool = &desc->pool,
                                                               .x = desc->tensors->x,
                                                               .grad_y = desc->tensors->grad_y,
                                                               .y = desc->tensors->y,
                                                               .grad_x = desc->tensors->grad_x}));
  else
    GP_TRY(make_ours(op, desc->tensors));
  *out = op;
  op = NULL;
cleanup:
  bench_operator_destroy(&op);
  return status;
}

void bench_operator_destroy(bench_operator **op_pointer) {
  bench_operator *op = *op_pointer;
  if (op == NULL) return;
  void *const owned[] = {op->mu, op->sigma, op->weight, op->grad_mu, op->grad_sigma, op->grad_weight, op->workspace};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; ++i) gp_free(owned[i]);
  nn_peer_pool_destroy(&op->peer);
  gp_free(op);
  *op_pointer = NULL;
}

gp_status bench_operator_run(bench_operator *op, bench_pass pass) {
  if (op->peer != NULL)
    return pass == BENCH_FORWARD    ? nn_peer_pool_forward(op->peer)
           : pass == BENCH_BACKWARD ? nn_peer_pool_backward(op->peer)
                                    : nn_peer_pool_infer(op->peer);
  if (pass == BENCH_BACKWARD) return gp_pool_backward(&op->pool, &op->backward);
  return gp_pool_forward(pass == BENCH_FORWARD ? &op->pool : &op->inference, &op->forward);
}
