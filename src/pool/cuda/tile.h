/* The straight-line windows, whole or cut at an edge, of K×K elements that step by 2: what a thread holds of x, and what a window
 * of it gives. Floats throughout. */
#ifndef GP_POOL_CUDA_TILE_H
#define GP_POOL_CUDA_TILE_H

#include "pool/cuda/strip.h"
#include "pool/cuda/window.h"

namespace gausspool {

/* Padding of the windows: K = 2 has none, K = 3 has 1. */
template <int K>
GP_HD constexpr int padding_of() {
  return (K - 1) / 2;
}

/* What is computed over the windows: m + W·s with the weight of the plane or a map (or m alone), with a weight that each output
 * draws, or the maximum. */
enum Formula { GAUSSIAN, DRAWN, MAXIMUM };

/* x as a thread reads it: relu(scale·x + shift) where the plan has them. */
template <typename T, int V>
struct Input {
  Planes<const T> planes;
  int height, width, channels;
  bool whole, rectify;
  const float *scale, *shift; /* of the first channel; read anew for each row, since registers are dearer */
};

template <typename T, int V>
GP_HD inline Input<T, V> input_of(const gp_cuda_plan &plan, const Strip &strip) {
  Input<T, V> x;
  x.planes = planes_at<const T>(plan, plan.x, plan.desc.x_stride, strip);
  x.height = (int)plan.desc.height;
  x.width = (int)plan.desc.width;
  x.channels = strip.channels;
  x.whole = plan.x_whole;
  x.rectify = plan.scale != NULL;
  x.scale = x.rectify ? (const float *)plan.scale + strip.c : NULL;
  x.shift = x.rectify ? (const float *)plan.shift + strip.c : NULL;
  return x;
}

/* One row of columns first … first + N - 1, zeros where x has none. Along rows (V = 1) those from `aligned` on, a multiple of 8,
 * are read in one go where they can be. */
template <Order ORDER, int LEAD, int N, int V, typename T>
GP_HD inline void load_row(float (&out)[N][V], const Input<T, V> &x, int row, int first) {
  if (row < 0 || row >= x.height) {
    GP_UNROLL
    for (int s = 0; s < N; ++s) GP_UNROLL
    for (int v = 0; v < V; ++v) out[s][v] = 0;
    return;
  }
  const T *line = x.planes.first + (int64_t)row * x.planes.row;
  if constexpr (ORDER == CHANNELS) {
    GP_UNROLL
    for (int s = 0; s < N; ++s) {
      int column = first + s;
      bool inside = column >= 0 && column < x.width;
      load_run(out[s], line + (inside ? column : 0) * x.planes.pixel, x.planes.channel, inside ? x.channels : 0,
               x.whole);
    }
  } else {
    constexpr int RUN = N >= 8 ? 8 : N;
    float run[RUN];
    int aligned = first + LEAD;
    load_run(run, line + aligned * x.planes.pixel, x.planes.pixel, x.width - aligned, x.whole && RUN == 8);
    GP_UNROLL
    for (int s = 0; s < N; ++s) {
      int column = first + s;
      if (s >= LEAD && s < LEAD + RUN)
        out[s][0] = run[s >= LEAD && s < LEAD + RUN ? s - LEAD : 0];
      else
        out[s][0] = column >= 0 && column < x.width ? real_of(line[column * x.planes.pixel]) : 0.0f;
    }
  }
  if (!x.rectify) return;
  GP_UNROLL
  for (int v = 0; v < V; ++v) {
    float scale = v < x.channels ? x.scale[v] : 0, shift = v < x.channels ? x.shift[v] : 0;
    GP_UNROLL
    for (int s = 0; s < N; ++s)
      if (first + s >= 0 && first + s < x.width) out[s][v] = rectified(out[s][v], scale, shift);
  }
}

/* A window's span along one axis. */
template <int K>
struct Side {
  bool inside[K]; /* its elements that are x's */
  float count, divisor;
};

template <int K>
GP_HD inline Side<K> side_at(int out, int size, bool exclude_pad) {
  int begin = out * 2 - padding_of<K>(), count = 0;
  Side<K> side;
  GP_UNROLL
  for (int i = 0; i < K; ++i) {
    side.inside[i] = begin + i >= 0 && begin + i < size;
    count += side.inside[i] ? 1 : 0;
  }
  int padded = size + padding_of<K>() - begin;
  side.count = (float)count;
  side.divisor = (float)(exclude_pad ? count : padded < K ? padded : K);
  return side;
}

struct Moments {
  float mean, deviation, reciprocal; /* m, s, 1/R */
  bool clamped;
};

/* m and s of the window's elements; others are 0 in x. From the first element on, so that a constant window has v = 0. Where
 * sums or squares leave the range of float, again in units of 2^70. */
template <int K>
GP_HD inline Moments moments_of(const float (&x)[K * K], const Side<K> &rows, const Side<K> &columns, float eps,
                                bool mean_only) {
  float divisor = rows.divisor * columns.divisor, zeros = divisor - rows.count * columns.count;
  Moments m;
  m.reciprocal = divisor == K * K ? 1.0f / (K * K) : 1.0f / divisor;
  GP_NO_UNROLL
  for (float unit = 1;; unit = 0x1p-70f) {
    /* The first element or the second is x's along either axis. */
    float top = columns.inside[0] ? x[0] : x[1], below = columns.inside[0] ? x[K] : x[K + 1];
    float first = (rows.inside[0] ? top : below) * unit;
    float d[K * K], sum = 0, squares = 0;
    GP_UNROLL
    for (int i = 0; i < K * K; ++i) {
      d[i] = rows.inside[i / K] && columns.inside[i % K] ? fmaf(x[i], unit, -first) : 0;
      sum += d[i];
    }
    float offset = (sum - zeros * first) * m.reciprocal, mean = first + offset;
    GP_UNROLL
    for (int i = 0; i < K * K; ++i) {
      float t = rows.inside[i / K] && columns.inside[i % K] ? d[i] - offset : 0;
      squares = fmaf(t, t, squares);
    }
    float variance = fmaf(zeros * mean, mean, squares) * m.reciprocal;
    m.mean = mean / unit;
    m.clamped = mean_only || (unit == 1 && variance < eps);
    m.deviation = mean_only ? 0 : sqrtf(m.clamped ? eps : variance) / unit;
    if (unit < 1 || is_finite(mean_only ? m.mean : m.deviation)) return m;
  }
}

/* The least variance as float has it: never 0, so that a constant window is below it. */
GP_HD inline float least_variance(const gp_cuda_plan &plan) {
  float eps = (float)plan.desc.eps;
  return eps < 0x1p-126f ? 0x1p-126f : eps;
}

struct Maximum {
  float value;
  int place; /* i·K + j */
};

template <int K>
GP_HD inline Maximum maximum_of(const float (&x)[K * K], const Side<K> &rows, const Side<K> &columns) {
  Maximum best = {0, -1};
  GP_UNROLL
  for (int i = 0; i < K; ++i) GP_UNROLL
  for (int j = 0; j < K; ++j) {
    float value = x[i * K + j];
    bool better = best.place < 0 || value > best.value || is_nan(value);
    if (!(rows.inside[i] && columns.inside[j] && better)) continue;
    best.value = value;
    best.place = i * K + j;
  }
  return best;
}

/* The window of a thread's rows that begins at column `at`. */
template <int K, int N, int V>
GP_HD inline void window_from(float (&window)[K * K], const float (&x)[K][N][V], int at, int v) {
  GP_UNROLL
  for (int i = 0; i < K; ++i) GP_UNROLL
  for (int j = 0; j < K; ++j) window[i * K + j] = x[i][at + j][v];
}

}  // namespace gausspool

#endif
