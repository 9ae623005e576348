/* Forward: x is read once, y written once. */
#ifndef GP_POOL_CUDA_FORWARD_H
#define GP_POOL_CUDA_FORWARD_H

#include "pool/cuda/tile.h"

namespace gausspool {

/* ---- Weights ------------------------------------------------------------------------------- */

/* Whether W is a map. */
GP_HD inline bool has_map(const gp_cuda_plan &plan) {
  return plan.link == GP_LINK_GIVEN && plan.desc.param_shape == GP_SHAPE_NCHW;
}

/* W of planes whose outputs share one; 0 where there is none. */
template <int V>
GP_HD inline void load_plane_weights(Lanes<V> &weights, const gp_cuda_plan &plan, const Strip &strip) {
  GP_UNROLL
  for (int v = 0; v < V; ++v) {
    bool has = plan.plane_weight != NULL && v < strip.channels;
    int64_t at = strip.n * plan.plane_n + (strip.c + v) * plan.plane_c;
    weights.of[v] = has ? ((const float *)plan.plane_weight)[at] : 0;
  }
}

/* A channel in a turn of the loop over a thread's. */
struct Channel {
  int64_t n, c;
  int place; /* among those at hand */
  bool real; /* not a block's padding */
};

/* W of N outputs of a row that draw their own. */
template <int N>
GP_HD inline void draw_weights(Weight<float> (&weights)[N], const gp_cuda_plan &plan, const Channel &channel, int row,
                               int first) {
  float draws[N];
  draw_columns(plan, channel.n, channel.c, row, first, draws);
  float mu = channel.real ? param_at<float>(plan, plan.mu, channel.n, channel.c) : 0;
  float sigma = channel.real ? param_at<float>(plan, plan.sigma, channel.n, channel.c) : 0;
  GP_UNROLL
  for (int q = 0; q < N; ++q) weights[q] = linked_weight<float>(plan.link, mu, sigma, draws[q], true);
}

/* Those of a map, one by one: it is seldom given, and would take registers of all. */
template <typename T, int N>
GP_HD inline void map_weights(Weight<float> (&weights)[N], const gp_cuda_plan &plan, const Channel &channel, int row,
                              int first) {
  gp_pool_plane plane = gp_pool_plane_at(plan.desc.layout, &plan.map_stride, anew(channel.n), channel.c);
  const T *line = (const T *)plan.weight + plane.base + clamped(row, (int)plan.out_height) * plane.row;
  GP_UNROLL
  for (int q = 0; q < N; ++q) weights[q].value = real_of(line[clamped(first + q, (int)plan.out_width) * plane.pixel]);
}

/* f(channel) for each of a thread's, `turn` after each step. With LOOP the code is not repeated for each: what is long, and would
 * have the channels' numbers in registers side by side. */
template <int STEPS, int EACH, bool LOOP, typename F, typename Turn>
GP_HD inline void each_channel(const Strip &strip, F f, Turn turn) {
  auto take = [&](int step) {
    GP_UNROLL
    for (int place = 0; place < EACH; ++place) {
      int v = step * EACH + place;
      f(Channel{strip.n, strip.c + v, place, v < strip.channels});
    }
    turn();
  };
  if constexpr (LOOP) {
    GP_NO_UNROLL
    for (int step = 0; step < STEPS; ++step) take(step);
  } else {
    GP_UNROLL
    for (int step = 0; step < STEPS; ++step) take(step);
  }
}

/* ---- The straight-line windows ------------------------------------------------------------- */

/* A thread takes V channels, Q columns of outputs and the strip's rows. */
template <typename T, Order ORDER, int K, int V, Formula FORMULA>
struct Forward {
  static constexpr int Q =
      gp_cuda_at_once(false, ORDER == COLUMNS, K == 2 ? GP_CUDA_HALVES : GP_CUDA_STEM, FORMULA == DRAWN);
  static constexpr int LEAD = padding_of<K>();
  static constexpr int N = 2 * (Q - 1) + K; /* columns of x for Q outputs */
  /* Whether it can have the companions that are left to the kernels along rows (plan.c). */
  static constexpr bool COMPANIONS = ORDER == COLUMNS;
  using X = Rows<T, ORDER, V, K, N, LEAD, ORDER == COLUMNS ? 2 * Q : N - LEAD>;
  using Y = Rows<T, ORDER, V, 1, Q, 0, Q>;

  /* The thread's view of the call. */
  struct View {
    const gp_cuda_plan &plan;
    const Strip &strip;
    Planes<const T> x;
    Planes<T> y;
    Lanes<V> weights, totals;
  };

  /* Of a channel's numbers, outputs (row, first …). */
  template <bool EDGE>
  static GP_HD void take_windows(View &view, Y &y, const float (&in)[K][N], const Weight<float> (&weights)[Q],
                                 const Channel &channel, int row, int first) {
    const gp_cuda_plan &plan = view.plan;
    bool mean_only = FORMULA == GAUSSIAN && plan.body == GP_BODY_MEAN;
    float eps = least_variance(plan);
    GP_UNROLL
    for (int q = 0; q < Q; ++q) {
      Tile<K> tile = tile_from<EDGE>(in, q * 2, plan, row, first + q, FORMULA == MAXIMUM);
      float out;
      if constexpr (FORMULA == MAXIMUM) {
        out = maximum_of<EDGE>(tile).value;
      } else {
        Moments m = moments_of<EDGE>(tile, eps, mean_only);
        out = fmaf(weights[q].value, m.deviation, m.mean);
      }
      if (!tile.exists) out = 0;
      view.totals.of[channel.place] += out;
      y.set(0, q, channel.place, out);
    }
  }

  static GP_HD void take(View &view, const X &x, Y &y, const Channel &channel, int row, int first, bool edge) {
    const gp_cuda_plan &plan = view.plan;
    float in[K][N];
    GP_UNROLL
    for (int i = 0; i < K * N; ++i) in[i / N][i % N] = x.get(i / N, i % N, channel.place);
    if (COMPANIONS && channel.real) rectify(in, plan, channel.c);
    Weight<float> weights[Q];
    if constexpr (FORMULA == DRAWN) draw_weights(weights, plan, channel, row, first);
    if constexpr (FORMULA == GAUSSIAN) {
      GP_UNROLL
      for (int q = 0; q < Q; ++q) weights[q] = {view.weights.of[channel.place], 0, 0};
      if (COMPANIONS && has_map(plan)) map_weights<T>(weights, plan, channel, row, first);
    }
    if (edge)
      take_windows<true>(view, y, in, weights, channel, row, first);
    else
      take_windows<false>(view, y, in, weights, channel, row, first);
  }

  static GP_HD void take_row(View &view, int row, int first) {
    const gp_cuda_plan &plan = view.plan;
    int width = (int)plan.out_width;
    X x;
    Y y = {};
    GP_UNROLL
    for (int i = 0; i < K; ++i)
      x.load(i, line_of(view.x, row * 2 - LEAD + i, (int)plan.desc.height), view.x.pixel, first * 2 - LEAD,
             (int)plan.desc.width, plan.x_whole);
    bool edge = at_edge<K>(plan, row, first, Q);
    each_channel<X::STEPS, X::EACH, FORMULA == DRAWN>(
        view.strip, [&](const Channel &channel) { take(view, x, y, channel, row, first, edge); },
        [&] {
          x.turn();
          y.turn();
          view.weights.template turn<X::EACH>();
          view.totals.template turn<X::EACH>();
        });
    if (view.strip.channels < V) y.blank(view.strip.channels);
    y.store(0, line_of(view.y, row, (int)plan.out_height), view.y.pixel, first, width, plan.y_whole);
  }

  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    Strip strip = strip_at<V>(plan, plan.grid, n, item);
    View view = {plan,
                 strip,
                 planes_at<const T>(plan, plan.x, plan.desc.x_stride, strip),
                 planes_at<T>(plan, plan.y, plan.desc.y_stride, strip),
                 {},
                 {}};
    if (FORMULA == GAUSSIAN) load_plane_weights(view.weights, plan, strip);
    GP_NO_UNROLL
    for (int row = strip.row; row < strip.end; ++row) take_row(view, row, strip.tile * Q);
    if (plan.parts != NULL) store_sums(plan, plan.grid, strip, GP_CUDA_SUM_WEIGHT, view.totals.of);
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
