#include "pool/params.h"

#include <string.h>

size_t gp_param_elements(const gp_pool_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  switch (desc->param_shape) {
    case GP_SHAPE_NC: return (size_t)(desc->batch * desc->channels);
    case GP_SHAPE_C: return (size_t)desc->channels;
    case GP_SHAPE_N: return (size_t)desc->batch;
    case GP_SHAPE_ONE: return 1;
    case GP_SHAPE_NCHW: break;
  }
  return gp_layout_elements(desc->layout, desc->batch, desc->channels, plan->out_height, plan->out_width);
}

/* Channels summed in one go: a chunk's totals stay in the nearest cache while the batch goes by. */
enum { CHUNK = 512 };

static void reduce_over_batch(const gp_pool_plan *plan, const double *sums, void *gradient) {
  int64_t batch = plan->desc.batch, channels = plan->desc.channels;
  for (int64_t first = 0; first < channels; first += CHUNK) {
    double total[CHUNK] = {0};
    int64_t count = channels - first < CHUNK ? channels - first : CHUNK;
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t c = 0; c < count; ++c) total[c] += sums[n * channels + first + c];
    for (int64_t c = 0; c < count; ++c) gp_store(gradient, plan->desc.dtype, first + c, total[c]);
  }
}

static double sum_of(const double *values, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += values[i];
  return total;
}

void gp_param_reduce(const gp_pool_plan *plan, const double *sums, void *gradient) {
  if (gradient == NULL) return;
  int64_t batch = plan->desc.batch, channels = plan->desc.channels;
  gp_dtype dtype = plan->desc.dtype;
  switch (plan->desc.param_shape) {
    case GP_SHAPE_NC:
      for (int64_t i = 0; i < batch * channels; ++i) gp_store(gradient, dtype, i, sums[i]);
      break;
    case GP_SHAPE_C: reduce_over_batch(plan, sums, gradient); break;
    case GP_SHAPE_N:
      for (int64_t n = 0; n < batch; ++n) gp_store(gradient, dtype, n, sum_of(sums + n * channels, channels));
      break;
    case GP_SHAPE_ONE: gp_store(gradient, dtype, 0, sum_of(sums, batch * channels)); break;
    case GP_SHAPE_NCHW: break;
  }
}
