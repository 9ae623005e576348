#include "export/onnx_windows.h"

#include <math.h>

#include "base/status.h"

/* ---- Geometry ---- */

static void look_along(onnx_geometry *g, int axis) {
  const gp_pool_desc *d = &g->plan.desc;
  const int64_t kernel = d->kernel[axis];
  const int64_t reach = (g->out[axis] - 1) * d->stride[axis] + kernel - d->padding[axis] - g->size[axis];
  g->after[axis] = reach > 0 ? reach : 0;
  g->padded = g->padded || d->padding[axis] > 0 || reach > 0;
  for (int64_t o = 0; o < g->out[axis]; ++o) g->uneven = g->uneven || gp_pool_span_at(d, axis, o).divisor != kernel;
}

gp_status onnx_geometry_make(onnx_geometry *out, const gp_pool_desc *operation) {
  *out = (onnx_geometry){.size = {operation->height, operation->width}};
  gp_status status = gp_pool_plan_make(&out->plan, operation);
  if (status != GP_OK) return status;
  if (operation->adaptive[0] > 0)
    return gp_fail(GP_ERROR_UNSUPPORTED, "expected windows of one size, found an adaptive pooling");
  out->out[0] = out->plan.out_height;
  out->out[1] = out->plan.out_width;
  for (int axis = 0; axis < 2; ++axis) look_along(out, axis);
  return GP_OK;
}

/* ---- Laying out ---- */

/* Windows side by side: x is only seen in another shape, without rows and columns left over. */
static onnx_windows tile(onnx_model *m, onnx_value x, const onnx_geometry *g) {
  const gp_pool_desc *d = &g->plan.desc;
  const int64_t kernel[2] = {d->kernel[0], d->kernel[1]};
  const int64_t used[2] = {g->out[0] * kernel[0], g->out[1] * kernel[1]};
  if (used[0] != g->size[0] || used[1] != g->size[1])
    x = onnx_node(m, &(onnx_node_desc){.op = "Slice",
                                       .in = {x, onnx_int64s(m, (int64_t[]){0, 0}, 2), onnx_int64s(m, used, 2),
                                              onnx_int64s(m, (int64_t[]){2, 3}, 2)}});
  const int64_t shape[6] = {-1, d->channels, g->out[0], kernel[0], g->out[1], kernel[1]};
  return (onnx_windows){.geometry = g,
                        .values = onnx_op2(m, "Reshape", x, onnx_int64s(m, shape, 6)),
                        .axes = {3, 5},
                        .mask_dims = {1, kernel[0], 1, kernel[1]}};
}

/* [kernel][out]: which element of the padded axis stands at each place of each window. */
static onnx_value places(onnx_model *m, const onnx_geometry *g, int axis) {
  const int64_t kernel = g->plan.desc.kernel[axis], out = g->out[axis], stride = g->plan.desc.stride[axis];
  const char *name = axis == 0 ? "rows" : "columns";
  onnx_value found = onnx_find_constant(m, name, true);
  if (found != NULL) return found;
  int64_t *index = onnx_integers(m, kernel * out);
  if (index == NULL) return NULL;
  for (int64_t i = 0; i < kernel; ++i)
    for (int64_t o = 0; o < out; ++o) index[i * out + o] = o * stride + i;
  return onnx_int64_tensor(m, name, true, (int64_t[]){kernel, out}, 2, index);
}

static onnx_value gather(onnx_model *m, onnx_value x, onnx_value index, int64_t axis) {
  return onnx_node(m, &(onnx_node_desc){.op = "Gather", .in = {x, index}, .attributes = {ONNX_INT("axis", axis)}});
}

/* Windows that overlap, or reach beyond x: elements are copied to every place that they have. */
static onnx_windows spread(onnx_model *m, onnx_value x, const onnx_geometry *g) {
  const gp_pool_desc *d = &g->plan.desc;
  const int64_t pads[8] = {0, 0, d->padding[0], d->padding[1], 0, 0, g->after[0], g->after[1]};
  if (g->padded) x = onnx_op2(m, "Pad", x, onnx_int64s(m, pads, 8));
  x = gather(m, x, places(m, g, 0), 2);
  return (onnx_windows){.geometry = g,
                        .values = gather(m, x, places(m, g, 1), 4),
                        .axes = {2, 4},
                        .mask_dims = {d->kernel[0], 1, d->kernel[1], 1}};
}

onnx_windows onnx_windows_of(onnx_model *m, onnx_value x, const onnx_geometry *g) {
  const gp_pool_desc *d = &g->plan.desc;
  const bool beside = d->stride[0] == d->kernel[0] && d->stride[1] == d->kernel[1];
  return beside && !g->padded ? tile(m, x, g) : spread(m, x, g);
}

/* ---- Reductions ---- */

onnx_value onnx_window_sum(onnx_model *m, const onnx_windows *w, onnx_value values) {
  return onnx_op2(m, "ReduceSum", values, onnx_int64s(m, w->axes, 2));
}

onnx_value onnx_window_max(onnx_model *m, const onnx_windows *w, onnx_value values) {
  return onnx_node(
      m,
      &(onnx_node_desc){.op = "ReduceMax", .in = {values}, .attributes = {ONNX_INTS2("axes", w->axes[0], w->axes[1])}});
}

/* ---- What counts ---- */

/* A number for each window, the product of one of its rows and one of its columns: [1][h'][1][w'], for spread windows. */
typedef int64_t (*span_number)(const gp_pool_span *span);
static int64_t divisor_of(const gp_pool_span *span) { return span->divisor; }
static int64_t real_of(const gp_pool_span *span) { return span->end - span->begin; }

static onnx_value window_numbers(onnx_model *m, const onnx_geometry *g, const char *name, span_number number) {
  onnx_value found = onnx_find_constant(m, name, true);
  if (found != NULL) return found;
  float *values = onnx_floats(m, g->out[0] * g->out[1]);
  if (values == NULL) return NULL;
  for (int64_t i = 0; i < g->out[0]; ++i)
    for (int64_t j = 0; j < g->out[1]; ++j) {
      const gp_pool_span row = gp_pool_span_at(&g->plan.desc, 0, i), column = gp_pool_span_at(&g->plan.desc, 1, j);
      values[i * g->out[1] + j] = (float)(number(&row) * number(&column));
    }
  return onnx_float_tensor(m, name, true, (int64_t[]){1, g->out[0], 1, g->out[1]}, 4, values);
}

static onnx_value whole_kernel(onnx_model *m, const onnx_geometry *g) {
  return onnx_number(m, (double)g->plan.desc.kernel[0] * g->plan.desc.kernel[1]);
}

onnx_value onnx_window_divide(onnx_model *m, const onnx_windows *w, onnx_value values) {
  const onnx_geometry *g = w->geometry;
  return onnx_op2(m, "Div", values, g->uneven ? window_numbers(m, g, "divisor", divisor_of) : whole_kernel(m, g));
}

onnx_value onnx_window_divide_by_real(onnx_model *m, const onnx_windows *w, onnx_value values) {
  const onnx_geometry *g = w->geometry;
  return onnx_op2(m, "Div", values, g->padded ? window_numbers(m, g, "elements", real_of) : whole_kernel(m, g));
}

/* Whether an element counts for the mean; a real one always does. */
static bool is_counted(const gp_pool_desc *d, int axis, int64_t size, int64_t at) {
  if (at >= 0 && at < size) return true;
  return d->pad_count == GP_COUNT_INCLUDE_PAD && at < size + d->padding[axis];
}

static bool is_real(const gp_pool_desc *d, int axis, int64_t size, int64_t at) {
  (void)d;
  (void)axis;
  return at >= 0 && at < size;
}

typedef bool (*element_test)(const gp_pool_desc *d, int axis, int64_t size, int64_t at);

/* `yes` or `no` for each place of each window along an axis, [kernel][out], of spread windows. */
static onnx_value axis_numbers(onnx_model *m, const onnx_geometry *g, int axis, const char *name, element_test test,
                               float yes, float no) {
  const gp_pool_desc *d = &g->plan.desc;
  const int64_t kernel = d->kernel[axis], out = g->out[axis];
  onnx_value found = onnx_find_constant(m, name, true);
  if (found != NULL) return found;
  float *values = onnx_floats(m, kernel * out);
  if (values == NULL) return NULL;
  for (int64_t i = 0; i < kernel; ++i)
    for (int64_t o = 0; o < out; ++o)
      values[i * out + o] = test(d, axis, g->size[axis], o * d->stride[axis] - d->padding[axis] + i) ? yes : no;
  const int64_t of_rows[4] = {kernel, out, 1, 1}, of_columns[2] = {kernel, out};
  return onnx_float_tensor(m, name, true, axis == 0 ? of_rows : of_columns, axis == 0 ? 4 : 2, values);
}

onnx_value onnx_window_counted(onnx_model *m, const onnx_windows *w, onnx_value values) {
  const onnx_geometry *g = w->geometry;
  if (!g->uneven) return values;
  values = onnx_op2(m, "Mul", values, axis_numbers(m, g, 0, "counted_rows", is_counted, 1, 0));
  return onnx_op2(m, "Mul", values, axis_numbers(m, g, 1, "counted_columns", is_counted, 1, 0));
}

onnx_value onnx_window_real_or_least(onnx_model *m, const onnx_windows *w, onnx_value values) {
  const onnx_geometry *g = w->geometry;
  if (!g->padded) return values;
  values = onnx_op2(m, "Add", values, axis_numbers(m, g, 0, "least_rows", is_real, 0, -INFINITY));
  return onnx_op2(m, "Add", values, axis_numbers(m, g, 1, "least_columns", is_real, 0, -INFINITY));
}

/* ---- In and out ---- */

onnx_value onnx_window_guide(onnx_model *m, onnx_value guide) {
  return onnx_op2(m, "Unsqueeze", guide, onnx_int64s(m, (int64_t[]){4, 5}, 2));
}

onnx_value onnx_window_results(onnx_model *m, const onnx_windows *w, onnx_value y) {
  return onnx_op2(m, "Squeeze", y, onnx_int64s(m, w->axes, 2));
}
