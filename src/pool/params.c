#include "pool/params.h"

size_t gp_param_elements(const gp_pool_plan *plan) {
  const gp_pool_desc *desc = &plan->desc;
  size_t values = (size_t)gp_param_values(plan);
  switch (desc->param_shape) {
    case GP_SHAPE_NC: return (size_t)(desc->batch * desc->channels) * values;
    case GP_SHAPE_C: return (size_t)desc->channels * values;
    case GP_SHAPE_N: return (size_t)desc->batch * values;
    case GP_SHAPE_ONE: return values;
    case GP_SHAPE_NCHW: break;
  }
  return gp_layout_elements(desc->layout, desc->batch, desc->channels, plan->out_height, plan->out_width);
}

/* Columns summed in one go: a chunk's totals stay in the nearest cache while the rows go by. */
enum { CHUNK = 512 };

/* gradient[column] = Σ sums[row][column] */
static void sum_rows(const double *sums, int64_t rows, int64_t columns, gp_dtype dtype, void *gradient) {
  for (int64_t first = 0; first < columns; first += CHUNK) {
    double total[CHUNK] = {0};
    int64_t count = columns - first < CHUNK ? columns - first : CHUNK;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < count; ++i) total[i] += sums[row * columns + first + i];
    for (int64_t i = 0; i < count; ++i) gp_store(gradient, dtype, first + i, total[i]);
  }
}

void gp_param_reduce(const gp_pool_plan *plan, const double *sums, void *gradient) {
  if (gradient == NULL) return;
  int64_t batch = plan->desc.batch, channels = plan->desc.channels, values = gp_param_values(plan);
  gp_dtype dtype = gp_dtype_of_params(plan->desc.dtype);
  switch (plan->desc.param_shape) {
    case GP_SHAPE_NC: sum_rows(sums, 1, batch * channels * values, dtype, gradient); break;
    case GP_SHAPE_C: sum_rows(sums, batch, channels * values, dtype, gradient); break;
    case GP_SHAPE_N:
      for (int64_t n = 0; n < batch; ++n)
        sum_rows(sums + n * channels, channels, 1, dtype, (char *)gradient + (size_t)n * gp_dtype_size(dtype));
      break;
    case GP_SHAPE_ONE: sum_rows(sums, batch * channels, values, dtype, gradient); break;
    case GP_SHAPE_NCHW: break;
  }
}

void gp_channel_reduce(const gp_pool_plan *plan, const double *sums, void *gradient) {
  if (gradient == NULL) return;
  sum_rows(sums, plan->desc.batch, plan->desc.channels, gp_dtype_of_params(plan->desc.dtype), gradient);
}
