/* Forward: x is read once, y written once. */
#ifndef GP_POOL_CUDA_FORWARD_H
#define GP_POOL_CUDA_FORWARD_H

#include "pool/cuda/tile.h"

namespace gausspool {

/* The random numbers of four neighbouring outputs of V channels, where each output draws. */
template <int V>
struct Draws {
  float of[V][4];
};

/* Of columns 4·group … of a row. */
template <int V>
GP_HD inline void load_draws(Draws<V> &draws, const gp_cuda_plan &plan, const Strip &strip, int row, int group) {
  GP_UNROLL
  for (int v = 0; v < V; ++v) draw4(plan, strip.n, strip.c + v, row, group, draws.of[v]);
}

template <int V>
GP_HD inline Weight<float> weight_of_draw(const Draws<V> &draws, const gp_cuda_plan &plan, const Strip &strip, int v,
                                          int place) {
  if (v >= strip.channels) return {0, 0, 0}; /* a padding lane has no mu and sigma */
  const float(&of)[4] = draws.of[v];
  float draw = place == 0 ? of[0] : place == 1 ? of[1] : place == 2 ? of[2] : of[3];
  return drawn_weight<float>(plan, strip.n, strip.c + v, draw, true);
}

/* W of planes whose outputs share one; 0 where there is none. */
template <int V>
GP_HD inline void load_plane_weights(float (&weights)[V], const gp_cuda_plan &plan, const Strip &strip) {
  GP_UNROLL
  for (int v = 0; v < V; ++v) {
    bool has = plan.plane_weight != NULL && v < strip.channels;
    int64_t at = strip.n * plan.plane_n + (strip.c + v) * plan.plane_c;
    weights[v] = has ? ((const float *)plan.plane_weight)[at] : 0;
  }
}

/* Whether W is a map. */
GP_HD inline bool has_map(const gp_cuda_plan &plan) {
  return plan.link == GP_LINK_GIVEN && plan.desc.param_shape == GP_SHAPE_NCHW;
}

/* N columns of V channels from `column` on, of tensors as wide as `width`: along channels one access for each column, along rows
 * one for all where they lie `whole`. Columns past the last are zeros, and are not stored. */
template <Order ORDER, Reading HOW, int N, int V, typename T>
GP_HD inline void load_columns(float (&out)[N][V], const Planes<const T> &planes, int row, int column, int width,
                               bool whole) {
  const T *line = planes.first + (int64_t)row * planes.row + column * planes.pixel;
  if constexpr (ORDER == CHANNELS) {
    GP_UNROLL
    for (int s = 0; s < N; ++s) load_channels<HOW>(out[s], line + s * planes.pixel, column + s < width);
  } else {
    float run[N];
    load_run<HOW>(run, line, planes.pixel, width - column, whole);
    GP_UNROLL
    for (int s = 0; s < N; ++s) out[s][0] = run[s];
  }
}

template <Order ORDER, int N, int V, typename T>
GP_HD inline void store_columns(const Planes<T> &planes, const float (&values)[N][V], int row, int column, int width,
                                bool whole) {
  T *line = planes.first + (int64_t)row * planes.row + column * planes.pixel;
  if constexpr (ORDER == CHANNELS) {
    GP_UNROLL
    for (int s = 0; s < N; ++s)
      if (column + s < width) store_channels(line + s * planes.pixel, values[s]);
  } else {
    float run[N];
    GP_UNROLL
    for (int s = 0; s < N; ++s) run[s] = values[s][0];
    store_run(line, run, planes.pixel, width - column, whole);
  }
}

/* The straight-line windows. A thread takes V channels and the strip's rows; along rows (NCHW) of Q = 4 columns of outputs at
 * once, along channels of one after the other. */
template <typename T, Order ORDER, int K, int V, Formula FORMULA>
struct Forward {
  static constexpr int Q = ORDER == COLUMNS ? 4 : 1;
  static constexpr int TILE = gp_cuda_at_once(ORDER == COLUMNS, GP_CUDA_HALVES, FORMULA == DRAWN);
  static constexpr int N = 2 * (Q - 1) + K; /* columns of x for Q outputs */

  /* The thread's view of the call. */
  struct View {
    const gp_cuda_plan &plan;
    const Strip &strip;
    Input<T, V> input;
    Planes<T> y;
    float weights[V];
    Draws<V> draws;
  };

  /* Outputs (row, first …), from windows that begin in x at column 2·first - padding; adds them to the totals. */
  static GP_HD void take(const View &view, int row, int first, float (&totals)[V]) {
    const gp_cuda_plan &plan = view.plan;
    float x[K][N][V], y[Q][V], map[Q][V];
    int width = (int)plan.out_width;
    bool mean_only = FORMULA == GAUSSIAN && plan.body == GP_BODY_MEAN,
         exclude = plan.desc.pad_count == GP_COUNT_EXCLUDE_PAD;
    GP_UNROLL
    for (int i = 0; i < K; ++i)
      load_row<ORDER, padding_of<K>()>(x[i], view.input, row * 2 - padding_of<K>() + i, first * 2 - padding_of<K>());
    bool mapped = FORMULA == GAUSSIAN && has_map(plan);
    if (mapped)
      load_columns<ORDER, READ_ONLY>(map, planes_at<const T>(plan, plan.weight, plan.map_stride, view.strip), row,
                                     first, width, plan.map_whole);
    Side<K> rows = side_at<K>(row, view.input.height, exclude);
    float eps = least_variance(plan);
    GP_UNROLL
    for (int q = 0; q < Q; ++q) {
      Side<K> columns = side_at<K>(first + q, view.input.width, exclude);
      GP_UNROLL
      for (int v = 0; v < V; ++v) {
        float window[K * K];
        window_from<K>(window, x, q * 2, v);
        if (FORMULA == MAXIMUM) {
          y[q][v] = maximum_of<K>(window, rows, columns).value;
        } else {
          float weight = mapped ? map[q][v] : view.weights[v];
          if (FORMULA == DRAWN) weight = weight_of_draw(view.draws, plan, view.strip, v, (first + q) % 4).value;
          Moments m = moments_of<K>(window, rows, columns, eps, mean_only);
          y[q][v] = fmaf(weight, m.deviation, m.mean);
        }
        bool real = first + q < width && v < view.strip.channels;
        if (!real) y[q][v] = 0;
      }
    }
    GP_UNROLL
    for (int q = 0; q < Q; ++q) GP_UNROLL
    for (int v = 0; v < V; ++v) totals[v] += y[q][v];
    store_columns<ORDER>(view.y, y, row, first, width, plan.y_whole);
  }

  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    Strip strip = strip_at<V>(plan, plan.grid, n, item);
    View view = {plan, strip, input_of<T, V>(plan, strip), planes_at<T>(plan, plan.y, plan.desc.y_stride, strip),
                 {},   {}};
    if (FORMULA == GAUSSIAN) load_plane_weights(view.weights, plan, strip);
    float totals[V] = {};
    GP_NO_UNROLL
    for (int row = strip.row; row < strip.end; ++row) {
      if (FORMULA == DRAWN) load_draws(view.draws, plan, strip, row, strip.tile);
      GP_NO_UNROLL
      for (int first = strip.tile * TILE; first < (strip.tile + 1) * TILE && first < (int)plan.out_width; first += Q)
        take(view, row, first, totals);
    }
    if (plan.parts != NULL) store_sums(plan, plan.grid, strip, GP_CUDA_SUM_WEIGHT, totals);
  }
};

/* An output again, in double: what left the range of float. Rare, and kept out of the way. */
template <typename T>
GP_NOINLINE GP_HD double output_again(const gp_cuda_plan &plan, int64_t n, int64_t c, int64_t row, int64_t column) {
  return solve(plan, window_at<T, double>(plan, n, c, row, column)).y;
}

/* Any window, kind and dtype: a thread takes one column and channel. */
template <typename T>
struct ForwardGeneral {
  using Real = typename Computing<T>::Real;

  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    Strip strip = strip_at<1>(plan, plan.grid, n, item);
    Planes<T> out = planes_at<T>(plan, plan.y, plan.desc.y_stride, strip);
    Real totals[1] = {0};
    GP_NO_UNROLL
    for (int row = strip.row; row < strip.end; ++row) {
      Real y = 0;
      if (strip.channels > 0) y = solve(plan, window_at<T, Real>(plan, n, strip.c, row, strip.tile)).y;
      if (sizeof(Real) < sizeof(double) && !is_finite(y)) y = (Real)output_again<T>(plan, n, strip.c, row, strip.tile);
      totals[0] += y;
      put(out.first[(int64_t)row * out.row + strip.tile * out.pixel], y);
    }
    if (plan.parts != NULL) store_sums(plan, plan.grid, strip, GP_CUDA_SUM_WEIGHT, totals);
  }
};

}  // namespace gausspool

#endif
