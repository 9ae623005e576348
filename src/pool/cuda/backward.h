/* Backward of the straight-line windows: x and grad_y are read once, grad_x is written once, gathered by the thread that owns
 * it. A thread owns tiles of 2×2 elements of x, and the sums of the windows of the same number.
 *
 *     2×2 windows: a tile is its window
 *     3×3 windows: tile (i, j) lies in the windows i and i + 1, j and j + 1. The thread goes down its strip and keeps
 *                  what it knows of the last row of windows. */
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
  return s.slope == 0 ? s.share : s.share + s.slope * (x - s.mean);
}

/* Sums over the thread's windows and elements. */
template <int V>
struct Sums {
  float weight[V], sigma[V], scale[V], shift[V];
};

template <typename T, Order ORDER, int K, int V, Formula FORMULA>
struct Backward {
  static constexpr bool OVERLAP = K == 3;
  static constexpr int TILE = gp_cuda_at_once(ORDER == COLUMNS, GP_CUDA_HALVES, FORMULA == DRAWN); /* of the strip */
  static constexpr int Q = ORDER == COLUMNS || OVERLAP ? TILE : 1;                                 /* taken at once */
  static constexpr int WINDOWS = OVERLAP ? Q + 1 : Q; /* columns of windows that Q tiles lie in */
  static constexpr int N = 2 * (WINDOWS - 1) + K;     /* columns of x that these cover */
  static constexpr int LEAD = padding_of<K>();        /* of them, those before the first tile */

  /* The thread's view of the call. */
  struct View {
    const gp_cuda_plan &plan;
    const Strip &strip;
    Input<T, V> input;
    Planes<const T> grad_y;
    float weights[V];
    float average_y[V], average_x[V]; /* what the averages' gradients add */
  };

  static GP_HD void load_averages(View &view) {
    const gp_cuda_plan &plan = view.plan;
    float outputs = (float)plan.out_height * (float)plan.out_width;
    float elements = (float)view.input.height * (float)view.input.width;
    GP_UNROLL
    for (int v = 0; v < V; ++v) {
      bool real = v < view.strip.channels;
      int64_t n = view.strip.n, c = view.strip.c + v;
      view.average_y[v] =
          real && plan.grad_average_y != NULL ? plane_value<float>(plan, plan.grad_average_y, n, c) / outputs : 0;
      view.average_x[v] =
          real && plan.grad_average_x != NULL ? plane_value<float>(plan, plan.grad_average_x, n, c) / elements : 0;
    }
  }

  /* Of a tensor of the output's size, columns first … first + WINDOWS - 1 of a row. */
  static GP_HD void load_windows(float (&out)[WINDOWS][V], const Planes<const T> &planes, const View &view, int row,
                                 int first, bool whole) {
    int width = (int)view.plan.out_width;
    float own[Q][V], next[1][V];
    load_columns<ORDER, READ_ONLY>(own, planes, row, first, width, whole);
    if (OVERLAP) load_columns<ORDER, READ_ONLY>(next, planes, row, first + Q, width, false);
    GP_UNROLL
    for (int q = 0; q < WINDOWS; ++q) GP_UNROLL
    for (int v = 0; v < V; ++v) out[q][v] = q < Q ? own[q < Q ? q : 0][v] : next[0][v];
  }

  /* A row of windows: where it lies, what is known of it. */
  struct Row {
    int row, first;
    bool own; /* its sums are this thread's */
    float grad[WINDOWS][V];
    Weight<float> weights[WINDOWS][V];
  };

  static GP_HD void load_weights(const View &view, Row &r, const Draws<V> &draws, const Draws<V> &next) {
    const gp_cuda_plan &plan = view.plan;
    float map[WINDOWS][V];
    bool mapped = FORMULA == GAUSSIAN && has_map(plan);
    if (mapped)
      load_windows(map, planes_at<const T>(plan, plan.weight, plan.map_stride, view.strip), view, r.row, r.first,
                   plan.map_whole);
    GP_UNROLL
    for (int q = 0; q < WINDOWS; ++q) GP_UNROLL
    for (int v = 0; v < V; ++v)
      if (FORMULA == DRAWN)
        r.weights[q][v] = weight_of_draw(q < Q ? draws : next, plan, view.strip, v, (r.first + q) % 4);
      else
        r.weights[q][v] = {mapped ? map[q][v] : view.weights[v], 0, 0};
  }

  static GP_HD void add_to_sums(Sums<V> &sums, const Weight<float> &weight, float grad_weight, int v) {
    sums.weight[v] += FORMULA == DRAWN ? grad_weight * weight.to_mu : grad_weight;
    if (FORMULA == DRAWN) sums.sigma[v] += grad_weight * weight.to_sigma;
  }

  /* Shares of a row of windows from the K rows of x below them, and sums of those that are the thread's own. */
  static GP_HD void take_windows(const View &view, Shares (&shares)[WINDOWS][V], const float (&x)[K][N][V], Row &r,
                                 Sums<V> &sums) {
    const gp_cuda_plan &plan = view.plan;
    bool exclude = plan.desc.pad_count == GP_COUNT_EXCLUDE_PAD;
    bool mean_only = FORMULA == GAUSSIAN && plan.body == GP_BODY_MEAN;
    Side<K> rows = side_at<K>(r.row, view.input.height, exclude);
    float deviations[WINDOWS][V];
    float eps = least_variance(plan);
    GP_UNROLL
    for (int q = 0; q < WINDOWS; ++q) {
      Side<K> columns = side_at<K>(r.first + q, view.input.width, exclude);
      bool exists = r.row < (int)plan.out_height && r.first + q < (int)plan.out_width;
      GP_UNROLL
      for (int v = 0; v < V; ++v) {
        float window[K * K];
        window_from<K>(window, x, q * 2, v);
        bool real = exists && v < view.strip.channels;
        float grad = real ? r.grad[q][v] + view.average_y[v] : 0;
        r.grad[q][v] = grad;
        deviations[q][v] = 0;
        shares[q][v] = {0, 0, 0, -1};
        if (FORMULA == MAXIMUM) {
          shares[q][v] = {grad, 0, 0, real ? maximum_of<K>(window, rows, columns).place : -1};
          continue;
        }
        Moments m = moments_of<K>(window, rows, columns, eps, mean_only);
        float share = grad * m.reciprocal, slope = m.clamped ? 0 : share * (r.weights[q][v].value / m.deviation);
        if (!real) continue;
        shares[q][v] = {share, slope, m.mean, 0};
        deviations[q][v] = m.deviation;
      }
    }
    if constexpr (FORMULA != MAXIMUM)
      if (r.own) take_own(view, r, deviations, sums);
  }

  /* What the thread's own windows give to sums and maps. */
  static GP_HD void take_own(const View &view, const Row &r, const float (&deviations)[WINDOWS][V], Sums<V> &sums) {
    const gp_cuda_plan &plan = view.plan;
    GP_UNROLL
    for (int k = 0; k < Q * V; ++k)
      add_to_sums(sums, r.weights[k / V][k % V], r.grad[k / V][k % V] * deviations[k / V][k % V], k % V);
    if (FORMULA == GAUSSIAN && has_map(plan) && plan.grad_weight != NULL && r.row < (int)plan.out_height)
      store_map(view, r, deviations);
  }

  static GP_HD void store_map(const View &view, const Row &r, const float (&deviations)[WINDOWS][V]) {
    const gp_cuda_plan &plan = view.plan;
    float grad[Q][V];
    GP_UNROLL
    for (int q = 0; q < Q; ++q) GP_UNROLL
    for (int v = 0; v < V; ++v) grad[q][v] = r.grad[q][v] * deviations[q][v];
    Planes<T> map = planes_at<T>(plan, plan.grad_weight, plan.map_stride, view.strip);
    store_columns<ORDER>(map, grad, r.row, r.first, (int)plan.out_width, plan.map_whole);
  }

  /* From the gradient by relu(scale·x + shift) to that by x, and the sums of scale's and shift's. */
  static GP_HD void pass_rectifier(const View &view, float (&grad)[2 * Q][V], int row, int column, Sums<V> &sums) {
    float x[2 * Q][V];
    load_columns<ORDER, READ_ONLY>(x, view.input.planes, row, column, view.input.width, false);
    GP_UNROLL
    for (int v = 0; v < V; ++v) {
      bool real = v < view.strip.channels;
      float scale = real ? view.input.scale[v] : 0, shift = real ? view.input.shift[v] : 0;
      GP_UNROLL
      for (int s = 0; s < 2 * Q; ++s) {
        if (scale * x[s][v] + shift <= 0) grad[s][v] = 0;
        bool flows = grad[s][v] != 0;
        if (flows) sums.scale[v] += grad[s][v] * x[s][v];
        sums.shift[v] += grad[s][v];
        grad[s][v] = flows ? grad[s][v] * scale : 0;
      }
    }
  }

  /* A row of tiles' elements, 2·Q columns from 2·first on. */
  static GP_HD void store_row(const View &view, float (&grad)[2 * Q][V], int row, int first, Sums<V> &sums) {
    const gp_cuda_plan &plan = view.plan;
    int column = first * 2, width = view.input.width;
    if (row >= view.input.height || column >= width) return;
    GP_UNROLL
    for (int s = 0; s < 2 * Q; ++s) GP_UNROLL
    for (int v = 0; v < V; ++v) {
      bool real = column + s < width && v < view.strip.channels;
      grad[s][v] = real ? grad[s][v] + view.average_x[v] : 0;
    }
    if (view.input.rectify) pass_rectifier(view, grad, row, column, sums);
    if (plan.grad_x == NULL) return;
    Planes<T> out = planes_at<T>(plan, plan.grad_x, plan.desc.grad_x_stride, view.strip);
    if (plan.accumulate) {
      Planes<const T> in = {out.first, out.channel, out.row, out.pixel};
      float before[2 * Q][V];
      load_columns<ORDER, READ_PLAIN>(before, in, row, column, width, plan.grad_x_whole);
      GP_UNROLL
      for (int s = 0; s < 2 * Q; ++s) GP_UNROLL
      for (int v = 0; v < V; ++v) grad[s][v] = v < view.strip.channels ? grad[s][v] + before[s][v] : 0;
    }
    store_columns<ORDER>(out, grad, row, column, width, plan.grad_x_whole);
  }

  static GP_HD void load_rows(const View &view, float (&x)[K][N][V], int from, int row, int first) {
    GP_UNROLL
    for (int i = 0; i < K; ++i)
      if (i >= from) load_row<ORDER, LEAD>(x[i], view.input, row + i, first * 2 - LEAD);
  }

  static GP_HD void load_grad(const View &view, Row &r) {
    if (r.row < (int)view.plan.out_height)
      load_windows(r.grad, view.grad_y, view, r.row, r.first, view.plan.grad_y_whole);
  }

  /* 2×2: tile and window are one. */
  static GP_HD void take_tiles(const View &view, int row, int first, const Draws<V> &draws, Sums<V> &sums) {
    float x[K][N][V], grad[2 * Q][V];
    Shares shares[WINDOWS][V];
    Row r = {row, first, true, {}, {}};
    load_rows(view, x, 0, row * 2, first);
    load_grad(view, r);
    if (row < (int)view.plan.out_height) load_weights(view, r, draws, draws);
    take_windows(view, shares, x, r, sums);
    GP_UNROLL
    for (int i = 0; i < 2; ++i) {
      GP_UNROLL
      for (int s = 0; s < 2 * Q; ++s) GP_UNROLL
      for (int v = 0; v < V; ++v) grad[s][v] = given<FORMULA>(shares[s / 2][v], x[i][s][v], i * 2 + s % 2);
      store_row(view, grad, row * 2 + i, first, sums);
    }
  }

  /* 3×3: the gradient of elements in row i of a tile, of which the upper windows' and, in its second row, the lower ones'
   * are known. `x` is that row. */
  static GP_HD void gather_row(float (&grad)[2 * Q][V], const float (&x)[N][V], const Shares (&upper)[WINDOWS][V],
                               const Shares (&lower)[WINDOWS][V], int i) {
    GP_UNROLL
    for (int s = 0; s < 2 * Q; ++s) GP_UNROLL
    for (int v = 0; v < V; ++v) {
      /* An even column is the middle one of its window; an odd one is the last of it, and the first of the next. */
      int q = s / 2, j = s % 2 == 0 ? 1 : 2, next = s % 2 == 0 ? s / 2 : s / 2 + 1;
      float value = x[LEAD + s][v];
      float total = given<FORMULA>(upper[q][v], value, (i + 1) * 3 + j);
      if (s % 2 == 1) total += given<FORMULA>(upper[next][v], value, (i + 1) * 3);
      if (i == 1) total += given<FORMULA>(lower[q][v], value, j);
      if (i == 1 && s % 2 == 1) total += given<FORMULA>(lower[next][v], value, 0);
      grad[s][v] = total;
    }
  }

  static GP_HD void take_strip(const View &view, Sums<V> &sums) {
    constexpr int LAST = K - 1;
    const Strip &strip = view.strip;
    float x[K][N][V] = {}, middle[N][V], grad[2 * Q][V];
    Shares upper[WINDOWS][V] = {}, lower[WINDOWS][V];
    int first = strip.tile * TILE;
    load_rows(view, x, LAST, strip.row * 2 - 1 - LAST, first);
    /* The turn ahead of the first row makes the windows above it alone. */
    GP_NO_UNROLL
    for (int row = strip.row - 1; row < strip.end; ++row) {
      /* Of x, rows 2·row and 2·row + 1 are at hand: the windows of the next row begin in the latter. */
      GP_UNROLL
      for (int s = 0; s < N; ++s) GP_UNROLL
      for (int v = 0; v < V; ++v) {
        middle[s][v] = x[1][s][v];
        x[0][s][v] = x[LAST][s][v];
      }
      load_rows(view, x, 1, row * 2 + 1, first);
      Row r = {row + 1, first, row + 1 < strip.end, {}, {}};
      if (r.row < (int)view.plan.out_height) {
        Draws<V> draws = {}, next = {};
        if (FORMULA == DRAWN) load_draws(draws, view.plan, strip, r.row, strip.tile);
        if (FORMULA == DRAWN) load_draws(next, view.plan, strip, r.row, strip.tile + 1);
        load_grad(view, r);
        load_weights(view, r, draws, next);
      }
      take_windows(view, lower, x, r, sums);
      if (row >= strip.row) {
        gather_row(grad, middle, upper, lower, 0);
        store_row(view, grad, row * 2, first, sums);
        gather_row(grad, x[0], upper, lower, 1);
        store_row(view, grad, row * 2 + 1, first, sums);
      }
      GP_UNROLL
      for (int q = 0; q < WINDOWS; ++q) GP_UNROLL
      for (int v = 0; v < V; ++v) upper[q][v] = lower[q][v];
    }
  }

  static GP_HD void store_all_sums(const View &view, const Sums<V> &sums) {
    const gp_cuda_plan &plan = view.plan;
    if (plan.parts == NULL) return;
    if (FORMULA != MAXIMUM) store_sums(plan, plan.grid, view.strip, GP_CUDA_SUM_WEIGHT, sums.weight);
    if (FORMULA == DRAWN) store_sums(plan, plan.grid, view.strip, GP_CUDA_SUM_SIGMA, sums.sigma);
    if (!view.input.rectify) return;
    store_sums(plan, plan.grid, view.strip, GP_CUDA_SUM_SCALE, sums.scale);
    store_sums(plan, plan.grid, view.strip, GP_CUDA_SUM_SHIFT, sums.shift);
  }

  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    Strip strip = strip_at<V>(plan, plan.grid, n, item);
    View view = {plan,
                 strip,
                 input_of<T, V>(plan, strip),
                 planes_at<const T>(plan, plan.grad_y, plan.desc.grad_y_stride, strip),
                 {},
                 {},
                 {}};
    load_averages(view);
    if (FORMULA == GAUSSIAN) load_plane_weights(view.weights, plan, strip);
    Sums<V> sums = {};
    if constexpr (OVERLAP) {
      take_strip(view, sums);
    } else {
      Draws<V> draws = {};
      int end = (strip.tile + 1) * TILE;
      GP_NO_UNROLL
      for (int row = strip.row; row < strip.end; ++row) {
        if (FORMULA == DRAWN) load_draws(draws, plan, strip, row, strip.tile);
        GP_NO_UNROLL
        for (int first = strip.tile * TILE; first < end; first += Q) take_tiles(view, row, first, draws, sums);
      }
    }
    store_all_sums(view, sums);
  }
};

}  // namespace gausspool

#endif
