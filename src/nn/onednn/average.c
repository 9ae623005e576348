/* Global and adaptive average pooling: cell i of `cells` covers positions floor(i·size/cells) to
 * ceil((i+1)·size/cells) of an axis, as torch.nn.AdaptiveAvgPool2d. One task is a block of channels of one sample. */
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "nn/onednn/primitive.h"

enum { LANES = 16 }; /* channels at a time; NHWC's blocks are cut into runs of these */

typedef struct average {
  nn_kernel base;
  nn_tensor in, out;
} average;

/* The cell's rows or columns. */
typedef struct range {
  int64_t begin, end;
} range;

static range cell(int64_t index, int64_t cells, int64_t size) {
  return (range){index * size / cells, ((index + 1) * size + cells - 1) / cells};
}

/* mean[lane] over the window. Rows are summed on their own first, which keeps the rounding error small. */
static void average_cell(const float *in, range rows, range columns, int64_t width, int64_t lanes, int64_t step,
                         float *mean) {
  float sum[LANES] = {0};
  for (int64_t h = rows.begin; h < rows.end; ++h) {
    float row[LANES] = {0};
    for (int64_t w = columns.begin; w < columns.end; ++w)
      for (int64_t l = 0; l < lanes; ++l) row[l] += in[(h * width + w) * step + l];
    for (int64_t l = 0; l < lanes; ++l) sum[l] += row[l];
  }
  float count = (float)((rows.end - rows.begin) * (columns.end - columns.begin));
  for (int64_t l = 0; l < lanes; ++l) mean[l] = sum[l] / count;
}

static void spread_cell(float *grad_in, range rows, range columns, int64_t width, int64_t lanes, int64_t step,
                        const float *gradient) {
  float share[LANES];
  float count = (float)((rows.end - rows.begin) * (columns.end - columns.begin));
  for (int64_t l = 0; l < lanes; ++l) share[l] = gradient[l] / count;
  for (int64_t h = rows.begin; h < rows.end; ++h)
    for (int64_t w = columns.begin; w < columns.end; ++w)
      for (int64_t l = 0; l < lanes; ++l) grad_in[(h * width + w) * step + l] += share[l];
}

/* Channels [first, first + lanes) of sample n: contiguous in the input at every position. */
static void run_channels(const average *op, bool backward, int64_t n, int64_t first, int64_t lanes) {
  const nn_shape in = op->in.shape, out = op->out.shape;
  const nn_bindings *at = &op->base.at;
  nn_blocking ib = nn_blocking_of(&op->in), ob = nn_blocking_of(&op->out);
  int64_t start = nn_offset(&ib, n, first, 0);
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      float values[LANES];
      range rows = cell(y, out.height, in.height), columns = cell(x, out.width, in.width);
      if (!backward) average_cell(at->in[0] + start, rows, columns, in.width, lanes, ib.block, values);
      for (int64_t l = 0; l < lanes; ++l) {
        int64_t to = nn_offset(&ob, n, first + l, y * out.width + x);
        if (backward)
          values[l] = at->grad_out[to];
        else
          at->out[to] = values[l];
      }
      if (backward) spread_cell(at->grad_in[0] + start, rows, columns, in.width, lanes, ib.block, values);
    }
}

static void run_block(const average *op, bool backward, int64_t task) {
  nn_blocking b = nn_blocking_of(&op->in);
  int64_t n = task / b.blocks, first = task % b.blocks * b.block, end = first + b.block;
  size_t floats = (size_t)(b.positions * b.block);
  if (backward && !op->base.at.accumulate[0])
    memset(op->base.at.grad_in[0] + (size_t)task * floats, 0, floats * sizeof(float));
  if (end > op->in.shape.channels) end = op->in.shape.channels;
  for (; first < end; first += LANES) run_channels(op, backward, n, first, end - first < LANES ? end - first : LANES);
}

static void forward_block(void *context, int64_t task) { run_block(context, false, task); }

static void backward_block(void *context, int64_t task) { run_block(context, true, task); }

static int64_t tasks(const average *op) { return op->in.batch * nn_blocking_of(&op->in).blocks; }

static gp_status forward(nn_kernel *k) {
  average *op = (average *)k;
  nn_blocking b = nn_blocking_of(&op->out);
  /* Padding lanes of the output. */
  if (op->out.shape.channels % b.block != 0) memset(k->at.out, 0, nn_tensor_elements(&op->out) * sizeof(float));
  gp_parallel_for(tasks(op), 0, forward_block, op);
  return GP_OK;
}

static gp_status backward(nn_kernel *k) {
  average *op = (average *)k;
  gp_parallel_for(tasks(op), 0, backward_block, op);
  return GP_OK;
}

static void destroy(nn_kernel *k) { gp_free(k); }

gp_status od_make_average(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  if (desc->reads_affine) return od_make_affine_average(out, device, desc);
  average *op = NULL;
  gp_status status = GP_ALLOC(&op, 1);
  if (status != GP_OK) return status;
  op->base = (nn_kernel){
      .forward = forward, .backward = backward, .destroy = destroy, .implementation = "gausspool", .accumulates = true};
  op->in = desc->in[0];
  op->out = desc->out;
  *out = &op->base;
  return GP_OK;
}
