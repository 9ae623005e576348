#include "bench/operator.h"

#include "base/memory.h"
#include "base/status.h"
#include "pool/shape.h"

typedef struct our_operator {
  bench_operator base;
  const bench_tensors *tensors;
  gp_pool_desc pool, inference; /* inference: without draws */
  void *mu, *sigma, *weight, *grad_mu, *grad_sigma, *grad_weight, *workspace;
} our_operator;

/* For GP_SHAPE_NC, or the gate's one mask. */
static gp_status make_parameters(our_operator *op) {
  gp_status status = GP_OK;
  const gp_pool_desc *pool = &op->pool;
  bench_device *device = op->tensors->device;
  const gp_dtype dtype = gp_dtype_of_params(pool->dtype);
  const bool gated = pool->kind == GP_POOL_GATED;
  const size_t elements =
      gated ? (size_t)pool->kernel[0] * (size_t)pool->kernel[1] : (size_t)pool->batch * (size_t)pool->channels;
  const size_t bytes = elements * gp_dtype_size(dtype);
  const struct {
    void **array, **gradient;
    float low, high;
  } parameters[] = {{&op->mu, &op->grad_mu, -0.5F, 0.5F},
                    {&op->sigma, &op->grad_sigma, 0.25F, 0.75F},
                    {&op->weight, &op->grad_weight, 0.25F, 0.75F}};
  for (size_t i = 0; i < sizeof parameters / sizeof *parameters; ++i) {
    GP_TRY(device->ops->alloc(device, parameters[i].array, bytes));
    GP_TRY(device->ops->alloc(device, parameters[i].gradient, bytes));
    GP_TRY(bench_fill(device, &(bench_filling){.array = *parameters[i].array,
                                               .dtype = dtype,
                                               .elements = elements,
                                               .key = 3 + i,
                                               .low = parameters[i].low,
                                               .high = parameters[i].high}));
  }
cleanup:
  return status;
}

/* One for all passes. */
static gp_status make_workspace(our_operator *op) {
  gp_status status = GP_OK;
  bench_device *device = op->tensors->device;
  size_t bytes[BENCH_PASSES] = {0}, most = 0;
  GP_TRY(device->ops->forward_workspace(&op->pool, &bytes[BENCH_FORWARD]));
  GP_TRY(device->ops->backward_workspace(&op->pool, &bytes[BENCH_BACKWARD]));
  GP_TRY(device->ops->forward_workspace(&op->inference, &bytes[BENCH_INFERENCE]));
  for (int i = 0; i < BENCH_PASSES; ++i) most = bytes[i] > most ? bytes[i] : most;
  GP_TRY(device->ops->alloc(device, &op->workspace, most));
cleanup:
  return status;
}

static gp_status run(bench_operator *base, bench_pass pass, int64_t turn) {
  our_operator *op = (our_operator *)base;
  bench_device *device = op->tensors->device;
  const bench_set set = bench_tensors_at(op->tensors, turn);
  if (pass == BENCH_BACKWARD)
    return device->ops->backward(device, &op->pool,
                                 &(gp_pool_backward_args){.x = set.x,
                                                          .mu = op->mu,
                                                          .sigma = op->sigma,
                                                          .weight = op->weight,
                                                          .grad_y = set.grad_y,
                                                          .grad_x = set.grad_x,
                                                          .grad_mu = op->grad_mu,
                                                          .grad_sigma = op->grad_sigma,
                                                          .grad_weight = op->grad_weight,
                                                          .workspace = op->workspace});
  return device->ops->forward(
      device, pass == BENCH_FORWARD ? &op->pool : &op->inference,
      &(gp_pool_forward_args){
          .x = set.x, .mu = op->mu, .sigma = op->sigma, .weight = op->weight, .y = set.y, .workspace = op->workspace});
}

static void destroy(bench_operator *base) {
  our_operator *op = (our_operator *)base;
  void *const owned[] = {op->mu, op->sigma, op->weight, op->grad_mu, op->grad_sigma, op->grad_weight, op->workspace};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; ++i)
    op->tensors->device->ops->release(op->tensors->device, owned[i]);
  gp_free(op);
}

gp_status bench_operator_create(bench_operator **out, const bench_operator_desc *desc) {
  gp_status status = GP_OK;
  our_operator *op = NULL;
  *out = NULL;
  GP_TRY(GP_ALLOC(&op, 1));
  op->base = (bench_operator){.run = run, .destroy = destroy};
  op->tensors = desc->tensors;
  op->pool = op->inference = desc->pool;
  op->inference.stochasticity = GP_STOCHASTIC_NONE;
  GP_TRY(make_parameters(op));
  GP_TRY(make_workspace(op));
  *out = &op->base;
  op = NULL;
cleanup:
  if (op != NULL) destroy(&op->base);
  return status;
}

void bench_operator_destroy(bench_operator **op) {
  if (*op != NULL) (*op)->destroy(*op);
  *op = NULL;
}
