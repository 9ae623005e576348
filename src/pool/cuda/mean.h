/* Backward of the straight-line windows' mean, which needs no x: grad_y is read once, grad_x written once. A thread owns tiles of
 * 2×2 elements of x, Q in a row, as in backward.h. Elements of an even row and column lie in one window, that of the tile's own
 * number; of 3×3 windows the one below and the one to the right hold those of an odd row or column, too. */
#ifndef GP_POOL_CUDA_MEAN_H
#define GP_POOL_CUDA_MEAN_H

#include "pool/cuda/forward.h"

namespace gausspool {

template <typename T, Order ORDER, int K, int V>
struct BackwardMean {
  static constexpr bool OVERLAP = K == 3;
  static constexpr int Q = gp_cuda_at_once(true, ORDER == COLUMNS, OVERLAP ? GP_CUDA_STEM : GP_CUDA_HALVES, false);
  static constexpr int ROWS = OVERLAP ? 2 : 1, WINDOWS = OVERLAP ? Q + 1 : Q; /* of windows that Q tiles lie in */
  static constexpr int OWN = 2 * Q;                                           /* columns of the tiles */
  using X = Rows<T, ORDER, V, 2, OWN, 0, OWN>;
  using Y = Rows<T, ORDER, V, ROWS, WINDOWS, 0, Q>;

  /* The thread's view of the call, and the row of windows that it is at, from `first` on. */
  struct View {
    const gp_cuda_plan &plan;
    const Strip &strip;
    Planes<const T> grad_y;
    Planes<T> grad_x;
  };
  struct Place {
    int row, first;
    bool edge;
  };

  /* 1/R of a window; 0 where there is none. */
  static GP_HD float reciprocal_of(const gp_cuda_plan &plan, int row, int column, bool edge) {
    if (!edge) return 1.0f / (K * K);
    if (row >= (int)plan.out_height || column >= (int)plan.out_width) return 0;
    bool exclude = plan.desc.pad_count == GP_COUNT_EXCLUDE_PAD;
    Side rows = side_at<K>(row, (int)plan.desc.height, exclude),
         columns = side_at<K>(column, (int)plan.desc.width, exclude);
    return quotient_near(1, (float)(rows.divisor * columns.divisor));
  }

  /* What a channel's windows give to each of their elements. */
  static GP_HD void take_shares(float (&shares)[ROWS][WINDOWS], const View &view, const Y &y, const Channel &channel,
                                const Place &at) {
    const gp_cuda_plan &plan = view.plan;
    float average = 0;
    if (plan.grad_average_y != NULL && channel.real)
      average = plane_value<float>(plan, plan.grad_average_y, anew(channel.n), channel.c) * plan.per_output;
    GP_UNROLL
    for (int i = 0; i < ROWS * WINDOWS; ++i) {
      float reciprocal = reciprocal_of(plan, at.row + i / WINDOWS, at.first + i % WINDOWS, at.edge);
      float grad = y.get(i / WINDOWS, i % WINDOWS, channel.place) + average;
      shares[i / WINDOWS][i % WINDOWS] = reciprocal > 0 ? grad * reciprocal : 0;
    }
  }

  /* What else the gradients of a row of elements have. */
  static GP_HD void add_rest(float (&grad)[OWN], const View &view, const Channel &channel, int row, int column) {
    const gp_cuda_plan &plan = view.plan;
    if (plan.grad_average_x != NULL) {
      float part = plane_value<float>(plan, plan.grad_average_x, anew(channel.n), channel.c) * plan.per_element;
      GP_UNROLL
      for (int s = 0; s < OWN; ++s) grad[s] += part;
    }
    if (ORDER == COLUMNS && plan.accumulate) {
      const T *before = line_of(view.grad_x, row, (int)plan.desc.height);
      GP_UNROLL
      for (int s = 0; s < OWN; ++s)
        grad[s] += real_of(before[clamped(column + s, (int)plan.desc.width) * view.grad_x.pixel]);
    }
  }

  static GP_HD void take(const View &view, X &x, const Y &y, const Channel &channel, const Place &at) {
    float shares[ROWS][WINDOWS];
    take_shares(shares, view, y, channel, at);
    GP_UNROLL
    for (int i = 0; i < 2; ++i) {
      float grad[OWN];
      GP_UNROLL
      for (int s = 0; s < OWN; ++s) {
        grad[s] = shares[0][s / 2];
        if (OVERLAP && s % 2 == 1) grad[s] += shares[0][(s + 1) / 2 % WINDOWS];
        if (OVERLAP && i == 1) grad[s] += shares[ROWS - 1][s / 2];
        if (OVERLAP && i == 1 && s % 2 == 1) grad[s] += shares[ROWS - 1][(s + 1) / 2 % WINDOWS];
      }
      if (channel.real) add_rest(grad, view, channel, at.row * 2 + i, at.first * 2);
      GP_UNROLL
      for (int s = 0; s < OWN; ++s) x.set(i, s, channel.place, channel.real ? grad[s] : 0);
    }
  }

  static GP_HD void load_row(const View &view, Y &y, int i, int row, int first) {
    const gp_cuda_plan &plan = view.plan;
    y.load(i, line_of(view.grad_y, row, (int)plan.out_height), view.grad_y.pixel, first, (int)plan.out_width,
           plan.grad_y_whole);
  }

  static GP_HD void take_row(const View &view, Y &y, const Place &at) {
    const gp_cuda_plan &plan = view.plan;
    X x = {};
    each_channel<X::STEPS, X::EACH, false>(
        view.strip, [&](const Channel &channel) { take(view, x, y, channel, at); },
        [&] {
          x.turn();
          y.turn();
        });
    GP_UNROLL
    for (int i = 0; i < 2; ++i) {
      int row = at.row * 2 + i;
      if (row < (int)plan.desc.height)
        x.store(i, view.grad_x.first + (int64_t)row * view.grad_x.row, view.grad_x.pixel, at.first * 2,
                (int)plan.desc.width, plan.grad_x_whole);
    }
  }

  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    Strip strip = strip_at<V>(plan, plan.grid, n, item);
    View view = {plan, strip, planes_at<const T>(plan, plan.grad_y, plan.desc.grad_y_stride, strip),
                 planes_at<T>(plan, plan.grad_x, plan.desc.grad_x_stride, strip)};
    Y y = {};
    int first = strip.tile * Q;
    load_row(view, y, 0, strip.row, first);
    GP_NO_UNROLL
    for (int row = strip.row; row < strip.end; ++row) {
      if (OVERLAP) load_row(view, y, ROWS - 1, row + 1, first);
      bool edge = at_edge<K>(plan, row, first, WINDOWS) || (OVERLAP && at_edge<K>(plan, row + 1, first, WINDOWS));
      take_row(view, y, {row, first, edge});
      if (OVERLAP)
        y.move(0, ROWS - 1);
      else if (row + 1 < strip.end)
        load_row(view, y, 0, row + 1, first);
    }
  }
};

}  // namespace gausspool

#endif
