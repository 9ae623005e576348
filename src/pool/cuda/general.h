/* Backward of any window, in two passes: each output leaves a record of what its gradient gives (record_of), each element of
 * x gathers from the records of the windows that hold it. No window is computed twice, however many overlap. */
#ifndef GP_POOL_CUDA_GENERAL_H
#define GP_POOL_CUDA_GENERAL_H

#include "pool/cuda/tile.h"

namespace gausspool {

/* Records lie so that neighbouring threads' do. */
GP_HD inline int64_t record_at(const gp_cuda_plan &plan, int64_t n, int64_t lane, int64_t row, int64_t column) {
  if (plan.columns) return ((n * plan.lanes + lane) * plan.out_height + row) * plan.out_width + column;
  return ((n * plan.out_height + row) * plan.out_width + column) * plan.lanes + lane;
}

/* First pass: a thread takes one column of outputs of a channel. Sums dy/dW times grad_y over them. */
template <typename T>
struct Records {
  using Real = typename Computing<T>::Real;

  static GP_HD Real grad_y_at(const gp_cuda_plan &plan, const Planes<const T> &planes, const Strip &strip, int row) {
    Real grad = (Real)real_of(planes.first[(int64_t)row * planes.row + strip.tile * planes.pixel]);
    if (plan.grad_average_y == NULL) return grad;
    return grad + plane_value<Real>(plan, plan.grad_average_y, strip.n, strip.c) /
                      ((Real)plan.out_height * (Real)plan.out_width);
  }

  template <typename Wide>
  static GP_HD Record<Real> make(const gp_cuda_plan &plan, const Strip &strip, int row, Real grad, Real (&grads)[3],
                                 bool &finite) {
    Window<T, Wide> window = window_at<T, Wide>(plan, strip.n, strip.c, row, strip.tile);
    Solution<Wide> s = {};
    if (plan.x != NULL) s = solve(plan, window);
    Record<Wide> r = record_of(plan, window, s, (Wide)grad);
    finite = is_finite(s.y) && is_finite(r.a) && is_finite(r.b) && is_finite(r.c);
    Wide grad_weight = (Wide)grad * s.grad_weight;
    grads[0] = (Real)grad_weight;
    grads[1] = (Real)(grad_weight * window.weight.to_mu);
    grads[2] = (Real)(grad_weight * window.weight.to_sigma);
    return {(Real)r.a, (Real)r.b, (Real)r.c, r.place};
  }

  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    Strip strip = strip_at<1>(plan, plan.grid, n, item);
    Planes<const T> grad_y = planes_at<const T>(plan, plan.grad_y, plan.desc.grad_y_stride, strip);
    bool map = plan.desc.param_shape == GP_SHAPE_NCHW && plan.grad_weight != NULL;
    bool drawn = plan.draws == GP_DRAWS_NORMAL && plan.desc.stochasticity == GP_STOCHASTIC_HWCN;
    Real weight[1] = {0}, sigma[1] = {0};
    GP_NO_UNROLL
    for (int row = strip.row; row < strip.end; ++row) {
      Real grads[3] = {0, 0, 0};
      if (strip.channels > 0) {
        bool finite;
        Real grad = grad_y_at(plan, grad_y, strip, row);
        Record<Real> record = make<Real>(plan, strip, row, grad, grads, finite);
        if (sizeof(Real) < sizeof(double) && !finite) record = make<double>(plan, strip, row, grad, grads, finite);
        ((Record<Real> *)plan.records)[record_at(plan, n, strip.c, row, strip.tile)] = record;
      }
      weight[0] += drawn ? grads[1] : grads[0];
      sigma[0] += grads[2];
      if (!map) continue;
      gp_pool_plane plane = gp_pool_plane_at(plan.desc.layout, &plan.map_stride, n, strip.c);
      put(((T *)plan.grad_weight)[plane.base + row * plane.row + strip.tile * plane.pixel], grads[0]);
    }
    if (plan.parts == NULL) return;
    store_sums(plan, plan.grid, strip, GP_CUDA_SUM_WEIGHT, weight);
    store_sums(plan, plan.grid, strip, GP_CUDA_SUM_SIGMA, sigma);
  }
};

/* The outputs whose windows hold element `at` of an axis: first … last, none where last < first. */
struct Reach {
  int64_t first, last;
};

GP_HD inline Reach reach_at(const gp_cuda_plan &plan, int axis, int64_t at) {
  int64_t size = axis == 0 ? plan.desc.height : plan.desc.width, outputs = axis == 0 ? plan.out_height : plan.out_width;
  if (plan.desc.adaptive[axis] > 0) {
    Reach reach = {at * outputs / size, ((at + 1) * outputs + size - 1) / size - 1};
    return reach;
  }
  int64_t stride = plan.desc.stride[axis], end = at + plan.desc.padding[axis], begin = end - plan.desc.kernel[axis] + 1;
  Reach reach = {begin <= 0 ? 0 : (begin + stride - 1) / stride, end / stride};
  if (reach.last >= outputs) reach.last = outputs - 1;
  return reach;
}

/* Second pass: a thread takes one column of elements of a channel. */
template <typename T>
struct Gather {
  using Real = typename Computing<T>::Real;

  static GP_HD Real from_window(const gp_cuda_plan &plan, const Strip &strip, int64_t row, int64_t column,
                                int64_t out_row, int64_t out_column, Real x) {
    const gp_pool_desc &desc = plan.desc;
    gp_pool_span rows = gp_pool_span_at(&desc, 0, out_row), columns = gp_pool_span_at(&desc, 1, out_column);
    Record<Real> record = ((const Record<Real> *)plan.records)[record_at(plan, strip.n, strip.c, out_row, out_column)];
    int32_t place = (int32_t)((row - rows.begin) * (columns.end - columns.begin) + column - columns.begin);
    Real weight = 0, omega = 0;
    if (plan.body == GP_BODY_SOFTMAX) weight = weight_at<T, Real>(plan, strip.n, strip.c, out_row, out_column).value;
    if (plan.link == GP_LINK_GATE) {
      int64_t i = row - (out_row * desc.stride[0] - desc.padding[0]),
              j = column - (out_column * desc.stride[1] - desc.padding[1]);
      int64_t mask = (desc.param_shape == GP_SHAPE_C ? strip.c : 0) * desc.kernel[0] * desc.kernel[1];
      omega = ((const Real *)plan.weight)[mask + i * desc.kernel[1] + j];
    }
    return contribution(plan, record, x, place, weight, omega);
  }

  static GP_HD Real gathered(const gp_cuda_plan &plan, const Strip &strip, int64_t row, Real x) {
    Reach rows = reach_at(plan, 0, row), columns = reach_at(plan, 1, strip.tile);
    Real grad = 0;
    for (int64_t i = rows.first; i <= rows.last; ++i)
      for (int64_t j = columns.first; j <= columns.last; ++j)
        grad += from_window(plan, strip, row, strip.tile, i, j, x);
    if (plan.grad_average_x != NULL)
      grad += plane_value<Real>(plan, plan.grad_average_x, strip.n, strip.c) /
              ((Real)plan.desc.height * (Real)plan.desc.width);
    return grad;
  }

  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    Strip strip = strip_at<1>(plan, plan.gather, n, item);
    Planes<const T> in = planes_at<const T>(plan, plan.x, plan.desc.x_stride, strip);
    Planes<T> out = planes_at<T>(plan, plan.grad_x, plan.desc.grad_x_stride, strip);
    bool rectify = plan.scale != NULL && strip.channels > 0;
    Real scale = rectify ? ((const Real *)plan.scale)[strip.c] : 1,
         shift = rectify ? ((const Real *)plan.shift)[strip.c] : 0;
    Real to_scale[1] = {0}, to_shift[1] = {0};
    GP_NO_UNROLL
    for (int row = strip.row; row < strip.end; ++row) {
      Real grad = 0;
      if (strip.channels > 0) {
        Real x = 0;
        if (plan.x != NULL) x = (Real)real_of(in.first[(int64_t)row * in.row + strip.tile * in.pixel]);
        grad = gathered(plan, strip, row, rectify ? rectified(x, scale, shift) : x);
        if (rectify && scale * x + shift <= 0) grad = 0;
        if (rectify && grad != 0) {
          to_scale[0] += grad * x;
          to_shift[0] += grad;
          grad *= scale;
        }
      }
      if (plan.grad_x == NULL) continue;
      T &place = out.first[(int64_t)row * out.row + strip.tile * out.pixel];
      if (plan.accumulate && strip.channels > 0) grad += (Real)real_of(place);
      put(place, grad);
    }
    if (!rectify || plan.parts == NULL) return;
    store_sums(plan, plan.gather, strip, GP_CUDA_SUM_SCALE, to_scale);
    store_sums(plan, plan.gather, strip, GP_CUDA_SUM_SHIFT, to_shift);
  }
};

/* dω_ij = Σ (grad_y·dy/dΣωx)·x_ij over a plane's windows: a thread takes one element of one plane's mask. Item: lane innermost,
 * or for NCHW the mask's element. */
template <typename T>
struct MaskSums {
  using Real = typename Computing<T>::Real;

  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    const gp_pool_desc &desc = plan.desc;
    int64_t values = (int64_t)desc.kernel[0] * desc.kernel[1], channels = desc.channels;
    int64_t c = plan.columns ? item / values : item % channels, value = plan.columns ? item % values : item / channels;
    gp_pool_plane plane = gp_pool_plane_at(desc.layout, &desc.x_stride, n, c);
    bool rectify = plan.scale != NULL;
    Real scale = rectify ? ((const Real *)plan.scale)[c] : 1, shift = rectify ? ((const Real *)plan.shift)[c] : 0;
    double sum = 0;
    for (int64_t row = 0; row < plan.out_height; ++row)
      for (int64_t column = 0; column < plan.out_width; ++column) {
        int64_t h = row * desc.stride[0] - desc.padding[0] + value / desc.kernel[1];
        int64_t w = column * desc.stride[1] - desc.padding[1] + value % desc.kernel[1];
        if (h < 0 || h >= desc.height || w < 0 || w >= desc.width) continue;
        Real x = (Real)real_of(((const T *)plan.x)[plane.base + h * plane.row + w * plane.pixel]);
        if (rectify) x = rectified(x, scale, shift);
        sum += (double)((const Record<Real> *)plan.records)[record_at(plan, n, c, row, column)].c * (double)x;
      }
    gp_cuda_plane_sums(&plan, GP_CUDA_SUM_WEIGHT)[(n * channels + c) * values + value] = sum;
  }
};

}  // namespace gausspool

#endif
