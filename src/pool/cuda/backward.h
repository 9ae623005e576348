/* Backward of the straight-line windows: x and grad_y are read once, grad_x is written once, gathered by the thread that owns
 * it. A thread owns tiles of 2×2 elements of x, Q in a row, and the sums of the windows of the same number.
 *
 *     2×2 windows: a tile is its window
 *     3×3 windows: row i of windows holds rows 2i - 1, 2i and 2i + 1 of x. The thread goes down its strip window row after
 *                  window row: then rows 2i - 1 and 2i of grad_x are whole, and what it has of row 2i + 1 is kept for the next
 *
 * grad_x takes x's place in registers, channel after channel, and the gradient of a map of weights grad_y's. */
#ifndef GP_POOL_CUDA_BACKWARD_H
#define GP_POOL_CUDA_BACKWARD_H

#include "pool/cuda/forward.h"

namespace gausspool {

/* What an output's gradient gives to the elements of its window: share + slope·(x - mean); or share to the one at `place`. */
struct Shares {
  float share, slope, mean;
  int place;
};

template <Formula FORMULA>
GP_HD inline float given(const Shares &s, float x, int place) {
  if (FORMULA == MAXIMUM) return place == s.place ? s.share : 0;
  float value = fmaf(s.slope, x - s.mean, s.share);
  return s.slope == 0 ? s.share : value;
}

template <typename T, Order ORDER, int K, int V, Formula FORMULA>
struct Backward {
  static constexpr bool OVERLAP = K == 3;
  static constexpr int Q =
      gp_cuda_at_once(true, ORDER == COLUMNS, OVERLAP ? GP_CUDA_STEM : GP_CUDA_HALVES, FORMULA == DRAWN);
  static constexpr int WINDOWS = OVERLAP ? Q + 1 : Q; /* columns of windows that Q tiles lie in */
  static constexpr int N = 2 * (WINDOWS - 1) + K;     /* columns of x that these cover */
  static constexpr int LEAD = padding_of<K>();        /* of them, those before the first tile */
  static constexpr int OWN = 2 * Q;                   /* those of the tiles */
  /* Whether it can have the companions that are left to the kernels along rows (plan.c). */
  static constexpr bool COMPANIONS = ORDER == COLUMNS;
  using X = Rows<T, ORDER, V, K, N, LEAD, OWN>;
  using Y = Rows<T, ORDER, V, 1, WINDOWS, 0, Q>;

  /* The thread's view of the call. */
  struct View {
    const gp_cuda_plan &plan;
    const Strip &strip;
    Planes<const T> x, grad_y;
    Planes<T> grad_x;
    Lanes<V> weights, to_weight, to_sigma; /* plane weights; sums over the thread's windows */
    Lanes<V> partial[OVERLAP ? OWN : 1];   /* of the row of grad_x that is not whole yet */
  };

  /* What a turn of the loop over channels is about: row `row` of windows, from `first` on. */
  struct Place {
    int row, first;
    bool edge, own; /* its sums are this thread's */
  };

  /* ---- One window ---- */

  template <bool EDGE>
  static GP_HD Shares shares_of(View &view, const Tile<K> &tile, const Weight<float> &weight, float grad, bool counts,
                                const Channel &channel, float &deviation) {
    const gp_cuda_plan &plan = view.plan;
    bool mean_only = FORMULA == GAUSSIAN && plan.body == GP_BODY_MEAN;
    if (!tile.exists) grad = 0;
    deviation = 0;
    if constexpr (FORMULA == MAXIMUM) {
      return {grad, 0, 0, tile.exists ? maximum_of<EDGE>(tile).place : -1};
    } else {
      Moments m = moments_of<EDGE>(tile, least_variance(plan), mean_only);
      /* Quarters, since s may be as large as a float. */
      float share = grad * tile.reciprocal, slope = share * quotient_near(weight.value * 0.25f, m.deviation * 0.25f);
      if (tile.exists) deviation = m.deviation;
      if (counts) {
        float to_weight = grad * deviation;
        view.to_weight.of[channel.place] += FORMULA == DRAWN ? to_weight * weight.to_mu : to_weight;
        if (FORMULA == DRAWN) view.to_sigma.of[channel.place] += to_weight * weight.to_sigma;
      }
      return {share, m.clamped || !tile.exists ? 0 : slope, m.mean, 0};
    }
  }

  /* The weights of a row of windows. */
  static GP_HD void take_weights(Weight<float> (&weights)[WINDOWS], const View &view, const Channel &channel,
                                 const Place &at) {
    if constexpr (FORMULA == DRAWN) {
      draw_weights(weights, view.plan, channel, at.row, at.first);
    } else if constexpr (FORMULA == GAUSSIAN) {
      GP_UNROLL
      for (int q = 0; q < WINDOWS; ++q) weights[q] = {view.weights.of[channel.place], 0, 0};
      if (COMPANIONS && has_map(view.plan)) map_weights<T>(weights, view.plan, channel, at.row, at.first);
    } else {
      GP_UNROLL
      for (int q = 0; q < WINDOWS; ++q) weights[q] = {0, 0, 0};
    }
  }

  /* grad_y of an output, and of its part of the average. */
  static GP_HD float grad_of(const View &view, const Y &y, const Channel &channel, int q) {
    float grad = y.get(0, q, channel.place);
    const gp_cuda_plan &plan = view.plan;
    if (plan.grad_average_y != NULL && channel.real)
      grad += plane_value<float>(plan, plan.grad_average_y, anew(channel.n), channel.c) * plan.per_output;
    return grad;
  }

  /* ---- From the windows' gradients to x's ---- */

  /* Adds to a sum of the strip in memory. */
  static GP_HD void add_to_part(const View &view, const Channel &channel, int sum, float value) {
    int64_t at = part_at(view.plan, view.plan.grid, anew(channel.n), channel.c, sum, view.strip.part);
    ((float *)view.plan.parts)[at] += value;
  }

  /* One row of a channel's elements: adds what else their gradient has, passes the rectifier (`in` is behind it), and puts it in
   * the place of x. */
  static GP_HD void finish(View &view, X &x, int i, const float (&in)[K][N], float (&grad)[OWN], const Channel &channel,
                           int row, int first) {
    const gp_cuda_plan &plan = view.plan;
    int column = first * 2, width = (int)plan.desc.width;
    if (plan.grad_average_x != NULL && channel.real) {
      float part = plane_value<float>(plan, plan.grad_average_x, anew(channel.n), channel.c) * plan.per_element;
      GP_UNROLL
      for (int s = 0; s < OWN; ++s) grad[s] += part;
    }
    if (COMPANIONS && plan.scale != NULL && channel.real) {
      /* x itself, read again: what is seldom asked for takes no registers. */
      const T *raw = line_of(view.x, anew(row), (int)plan.desc.height);
      float scale = ((const float *)plan.scale)[anew(channel.c)], to_scale = 0, to_shift = 0;
      GP_UNROLL
      for (int s = 0; s < OWN; ++s) {
        bool flows = in[i][LEAD + s] != 0 && column + s < width;
        grad[s] = flows ? grad[s] : 0;
        if (grad[s] != 0) to_scale += grad[s] * real_of(raw[(column + s) * view.x.pixel]);
        to_shift += grad[s];
        grad[s] = grad[s] != 0 ? grad[s] * scale : 0;
      }
      if (plan.parts != NULL) {
        add_to_part(view, channel, GP_CUDA_SUM_SCALE, to_scale);
        add_to_part(view, channel, GP_CUDA_SUM_SHIFT, to_shift);
      }
    }
    if (COMPANIONS && plan.accumulate && plan.grad_x != NULL && channel.real) {
      const T *before = line_of(view.grad_x, anew(row), (int)plan.desc.height) + (channel.c - view.strip.c);
      GP_UNROLL
      for (int s = 0; s < OWN; ++s) grad[s] += real_of(before[clamped(anew(column) + s, width) * view.grad_x.pixel]);
    }
    GP_UNROLL
    for (int s = 0; s < OWN; ++s) x.set(i, LEAD + s, channel.place, grad[s]);
  }

  /* The windows' gradients, given to their elements. */
  template <bool EDGE>
  static GP_HD void give_halves(View &view, Y &y, const float (&in)[K][N], const Weight<float> (&weights)[WINDOWS],
                                float (&grad)[2][OWN], const Channel &channel, const Place &at) {
    GP_UNROLL
    for (int q = 0; q < Q; ++q) {
      Tile<K> tile = tile_from<EDGE>(in, q * 2, view.plan, at.row, at.first + q, FORMULA == MAXIMUM);
      float grad_y = grad_of(view, y, channel, q), deviation;
      Shares s = shares_of<EDGE>(view, tile, weights[q], grad_y, true, channel, deviation);
      if (COMPANIONS && FORMULA == GAUSSIAN) y.set(0, q, channel.place, tile.exists ? grad_y * deviation : 0);
      GP_UNROLL
      for (int k = 0; k < 4; ++k) grad[k / 2][q * 2 + k % 2] = given<FORMULA>(s, in[k / 2][q * 2 + k % 2], k);
    }
  }

  /* 2×2 windows, which are the tiles. */
  static GP_HD void take_halves(View &view, X &x, Y &y, const Channel &channel, const Place &at) {
    float in[K][N], grad[2][OWN];
    Weight<float> weights[WINDOWS];
    GP_UNROLL
    for (int i = 0; i < K * N; ++i) in[i / N][i % N] = x.get(i / N, i % N, channel.place);
    if (COMPANIONS && channel.real) rectify(in, view.plan, channel.c);
    take_weights(weights, view, channel, at);
    if (at.edge)
      give_halves<true>(view, y, in, weights, grad, channel, at);
    else
      give_halves<false>(view, y, in, weights, grad, channel, at);
    GP_UNROLL
    for (int i = 0; i < 2; ++i)
      if (at.row * 2 + i < (int)view.plan.desc.height)
        finish(view, x, i, in, grad[i], channel, at.row * 2 + i, at.first);
  }

  template <bool EDGE>
  static GP_HD void give_stem(View &view, Y &y, const float (&in)[K][N], const Weight<float> (&weights)[WINDOWS],
                              float (&grad)[3][OWN], const Channel &channel, const Place &at) {
    GP_UNROLL
    for (int q = 0; q < WINDOWS; ++q) {
      Tile<K> tile = tile_from<EDGE>(in, q * 2, view.plan, at.row, at.first + q, FORMULA == MAXIMUM);
      float grad_y = grad_of(view, y, channel, q), deviation;
      Shares s = shares_of<EDGE>(view, tile, weights[q], grad_y, at.own && q < Q, channel, deviation);
      if (COMPANIONS && FORMULA == GAUSSIAN && q < Q) y.set(0, q, channel.place, tile.exists ? grad_y * deviation : 0);
      /* Its first column is the last one of the tile before. */
      GP_UNROLL
      for (int k = 0; k < K * K; ++k) {
        int own = q * 2 + k % K - 1;
        if (own >= 0 && own < OWN) grad[k / K][own] += given<FORMULA>(s, in[k / K][q * 2 + k % K], k);
      }
    }
  }

  /* 3×3 windows: row `at.row` of them. */
  static GP_HD void take_stem(View &view, X &x, Y &y, const Channel &channel, const Place &at) {
    float in[K][N], grad[3][OWN];
    Weight<float> weights[WINDOWS];
    const Strip &strip = view.strip;
    GP_UNROLL
    for (int i = 0; i < K * N; ++i) in[i / N][i % N] = x.get(i / N, i % N, channel.place);
    if (COMPANIONS && channel.real) rectify(in, view.plan, channel.c);
    take_weights(weights, view, channel, at);
    GP_UNROLL
    for (int s = 0; s < OWN; ++s) {
      grad[0][s] = view.partial[OVERLAP ? s : 0].of[channel.place];
      grad[1][s] = grad[2][s] = 0;
    }
    if (at.edge)
      give_stem<true>(view, y, in, weights, grad, channel, at);
    else
      give_stem<false>(view, y, in, weights, grad, channel, at);
    GP_UNROLL
    for (int s = 0; s < OWN; ++s) view.partial[OVERLAP ? s : 0].of[channel.place] = grad[2][s];
    int row = at.row * 2, height = (int)view.plan.desc.height;
    if (at.row > strip.row && row - 1 < height) finish(view, x, 0, in, grad[0], channel, row - 1, at.first);
    if (at.own && row < height) finish(view, x, 1, in, grad[1], channel, row, at.first);
  }

  /* ---- A row of windows ---- */

  static GP_HD void load_row(const View &view, X &x, int i, int row, int first) {
    const gp_pool_desc &desc = view.plan.desc;
    x.load(i, line_of(view.x, row, (int)desc.height), view.x.pixel, first * 2 - LEAD, (int)desc.width,
           view.plan.x_whole);
  }

  static GP_HD void store_row(const View &view, const X &x, int i, int row, int first) {
    const gp_cuda_plan &plan = view.plan;
    if (plan.grad_x == NULL || row >= (int)plan.desc.height) return;
    x.store(i, view.grad_x.first + (int64_t)row * view.grad_x.row, view.grad_x.pixel, first * 2, (int)plan.desc.width,
            plan.grad_x_whole);
  }

  static GP_HD void take_row(View &view, X &x, const Place &at) {
    const gp_cuda_plan &plan = view.plan;
    int height = (int)plan.out_height, width = (int)plan.out_width;
    Y y = {};
    y.load(0, line_of(view.grad_y, at.row, height), view.grad_y.pixel, at.first, width, plan.grad_y_whole);
    each_channel<X::STEPS, X::EACH, FORMULA == DRAWN>(
        view.strip,
        [&](const Channel &channel) {
          if constexpr (OVERLAP)
            take_stem(view, x, y, channel, at);
          else
            take_halves(view, x, y, channel, at);
        },
        [&] {
          x.turn();
          y.turn();
          view.weights.template turn<X::EACH>();
          view.to_weight.template turn<X::EACH>();
          view.to_sigma.template turn<X::EACH>();
          GP_UNROLL
          for (int s = 0; s < (OVERLAP ? OWN : 1); ++s) view.partial[s].template turn<X::EACH>();
        });
    if (view.strip.channels < V) {
      x.blank(view.strip.channels);
      y.blank(view.strip.channels);
    }
    if (COMPANIONS && FORMULA == GAUSSIAN && has_map(plan) && plan.grad_weight != NULL && at.own && at.row < height) {
      Planes<T> maps = planes_at<T>(plan, plan.grad_weight, plan.map_stride, view.strip);
      y.store(0, line_of(maps, at.row, height), maps.pixel, at.first, width, plan.map_whole);
    }
  }

  static GP_HD void take_strip(View &view) {
    const Strip &strip = view.strip;
    X x = {};
    int first = strip.tile * Q, end = OVERLAP ? strip.end + 1 : strip.end;
    if (OVERLAP) load_row(view, x, 0, strip.row * 2 - 1, first);
    GP_NO_UNROLL
    for (int row = strip.row; row < end; ++row) {
      GP_UNROLL
      for (int i = LEAD; i < K; ++i) load_row(view, x, i, row * 2 - LEAD + i, first);
      take_row(view, x, {row, first, at_edge<K>(view.plan, row, first, WINDOWS), row < strip.end});
      if constexpr (OVERLAP) {
        if (row > strip.row) store_row(view, x, 0, row * 2 - 1, first);
        if (row < strip.end) store_row(view, x, 1, row * 2, first);
        x.move(0, K - 1);
      } else {
        store_row(view, x, 0, row * 2, first);
        store_row(view, x, 1, row * 2 + 1, first);
      }
    }
  }

  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    Strip strip = strip_at<V>(plan, plan.grid, n, item);
    View view = {plan,
                 strip,
                 planes_at<const T>(plan, plan.x, plan.desc.x_stride, strip),
                 planes_at<const T>(plan, plan.grad_y, plan.desc.grad_y_stride, strip),
                 planes_at<T>(plan, plan.grad_x, plan.desc.grad_x_stride, strip),
                 {},
                 {},
                 {},
                 {}};
    if (FORMULA == GAUSSIAN) load_plane_weights(view.weights, plan, strip);
    if (COMPANIONS && plan.parts != NULL && plan.scale != NULL) {
      store_sums(plan, plan.grid, strip, GP_CUDA_SUM_SCALE, view.to_weight.of);
      store_sums(plan, plan.grid, strip, GP_CUDA_SUM_SHIFT, view.to_weight.of);
    }
    take_strip(view);
    if (plan.parts == NULL) return;
    if (FORMULA != MAXIMUM) store_sums(plan, plan.grid, strip, GP_CUDA_SUM_WEIGHT, view.to_weight.of);
    if (FORMULA == DRAWN) store_sums(plan, plan.grid, strip, GP_CUDA_SUM_SIGMA, view.to_sigma.of);
  }
};

}  // namespace gausspool

#endif
