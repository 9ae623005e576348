/* Global and adaptive average pooling: cell i of `cells` covers positions floor(i·size/cells) to
 * ceil((i+1)·size/cells) of an axis, as torch.nn.AdaptiveAvgPool2d. One task is a block of channels of one sample. */
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "nn/element.h"
#include "nn/onednn/primitive.h"

enum {
  LANES = 16, /* channels at a time; NHWC's blocks are cut into runs of these */
  PIECE = 64, /* columns at a time, where positions follow each other without a gap */
};

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

/* `lanes` channels of a sample of the input: element [h][w][lane] is at start + (h·width + w)·step + lane. */
typedef struct view {
  gp_dtype type;
  int64_t start, width, lanes, step;
} view;

/* A run of columns that are floats in one piece. */
typedef struct piece {
  int64_t at, columns;
  size_t count;
} piece;

static piece piece_at(const view *v, int64_t h, int64_t w, int64_t end) {
  int64_t most = v->step == v->lanes ? PIECE : 1, columns = end - w < most ? end - w : most;
  return (piece){v->start + (h * v->width + w) * v->step, columns, (size_t)(columns * v->lanes)};
}

/* mean[lane] over the window. Rows are summed on their own first, which keeps the rounding error small. */
static void average_cell(const view *v, const void *in, range rows, range columns, float *mean) {
  float sum[LANES] = {0}, buffer[PIECE * LANES];
  for (int64_t h = rows.begin; h < rows.end; ++h) {
    float row[LANES] = {0};
    for (int64_t w = columns.begin; w < columns.end;) {
      piece p = piece_at(v, h, w, columns.end);
      const float *x = nn_floats(v->type, nn_at_const(v->type, in, p.at), p.count, buffer);
      for (int64_t i = 0; i < p.columns; ++i)
        for (int64_t l = 0; l < v->lanes; ++l) row[l] += x[i * v->lanes + l];
      w += p.columns;
    }
    for (int64_t l = 0; l < v->lanes; ++l) sum[l] += row[l];
  }
  float count = (float)((rows.end - rows.begin) * (columns.end - columns.begin));
  for (int64_t l = 0; l < v->lanes; ++l) mean[l] = sum[l] / count;
}

static void spread_cell(const view *v, void *grad_in, range rows, range columns, const float *gradient) {
  float share[LANES], buffer[PIECE * LANES];
  float count = (float)((rows.end - rows.begin) * (columns.end - columns.begin));
  for (int64_t l = 0; l < v->lanes; ++l) share[l] = gradient[l] / count;
  for (int64_t h = rows.begin; h < rows.end; ++h)
    for (int64_t w = columns.begin; w < columns.end;) {
      piece p = piece_at(v, h, w, columns.end);
      void *to = nn_at(v->type, grad_in, p.at);
      float *x = v->type == GP_FLOAT32 ? to : buffer;
      nn_floats(v->type, to, p.count, x);
      for (int64_t i = 0; i < p.columns; ++i)
        for (int64_t l = 0; l < v->lanes; ++l) x[i * v->lanes + l] += share[l];
      nn_put_floats(v->type, to, x, p.count);
      w += p.columns;
    }
}

/* Channels [first, first + lanes) of sample n: contiguous in the input at every position. */
static void run_channels(const average *op, bool backward, int64_t n, int64_t first, int64_t lanes) {
  const nn_shape in = op->in.shape, out = op->out.shape;
  const nn_bindings *at = &op->base.at;
  nn_blocking ib = nn_blocking_of(&op->in), ob = nn_blocking_of(&op->out);
  view v = {op->in.type, nn_offset(&ib, n, first, 0), in.width, lanes, ib.block};
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      float values[LANES];
      range rows = cell(y, out.height, in.height), columns = cell(x, out.width, in.width);
      if (!backward) average_cell(&v, at->in[0], rows, columns, values);
      for (int64_t l = 0; l < lanes; ++l) {
        int64_t to = nn_offset(&ob, n, first + l, y * out.width + x);
        if (backward)
          values[l] = nn_load(op->out.type, at->grad_out, to);
        else
          nn_store(op->out.type, at->out, to, values[l]);
      }
      if (backward) spread_cell(&v, at->grad_in[0], rows, columns, values);
    }
}

static void run_block(const average *op, bool backward, int64_t task) {
  nn_blocking b = nn_blocking_of(&op->in);
  int64_t n = task / b.blocks, first = task % b.blocks * b.block, end = first + b.block;
  int64_t elements = b.positions * b.block;
  if (backward && !op->base.at.accumulate[0])
    memset(nn_at(op->in.type, op->base.at.grad_in[0], task * elements), 0,
           (size_t)elements * gp_dtype_size(op->in.type));
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
  if (op->out.shape.channels % b.block != 0) memset(k->at.out, 0, nn_tensor_bytes(&op->out));
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
