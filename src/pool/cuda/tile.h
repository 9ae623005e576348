/* The straight-line windows, whole or cut at an edge, of K×K elements that step by 2: what a thread holds of x, and what a window
 * of it gives. Floats throughout.
 *
 * A thread computes channel after channel, but reads and writes all of them at once: rows stay packed in registers as they
 * came. What lies beside a tensor is read as its nearest element, and replaced in the windows that hold it. */
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

GP_HD inline int clamped(int at, int size) { return at < 0 ? 0 : at < size ? at : size - 1; }

template <typename T>
GP_HD inline T *line_of(const Planes<T> &planes, int row, int height) {
  return planes.first + (int64_t)clamped(row, height) * planes.row;
}

/* ---- Rows in registers --------------------------------------------------------------------- */

/* R rows of N neighbouring columns of V channels: R·N packs of V channels (CHANNELS), or of one channel R packs of RUN columns, the
 * first of which is number LEAD, and single ones on either side (COLUMNS). Channels are taken EACH at a time, in STEPS steps; in
 * each step those at hand are in place 0 … EACH - 1, and turn() brings the next ones there. */
template <typename T, Order ORDER, int V, int R, int N, int LEAD, int RUN>
struct Rows;

template <typename T, int V, int R, int N, int LEAD, int RUN>
struct Rows<T, CHANNELS, V, R, N, LEAD, RUN> {
  static constexpr int EACH = Pack<T, V>::EACH, STEPS = Pack<T, V>::WORDS;
  Pack<T, V> pack[R][N];
  float held[R][N][EACH]; /* what set() puts, until a word is full */

  /* Row i from columns first … of a line. */
  GP_HD void load(int i, const T *line, int64_t pixel, int first, int width, bool) {
    first = anew(first);
    GP_UNROLL
    for (int n = 0; n < N; ++n) load_pack(pack[i][n], line + clamped(first + n, width) * pixel);
  }

  GP_HD float get(int i, int n, int place) const { return element(T{}, pack[i][n].word[0], place); }

  /* In ascending order of places, all of them. */
  GP_HD void set(int i, int n, int place, float value) {
    held[i][n][place] = value;
    if (place == EACH - 1) pack[i][n].word[0] = word_of(T{}, held[i][n]);
  }

  /* Zeros beyond the first `channels`. */
  GP_HD void blank(int channels) {
    GP_UNROLL
    for (int i = 0; i < R * N * STEPS; ++i) {
      uint32_t &word = pack[i / STEPS / N][i / STEPS % N].word[i % STEPS];
      int left = channels - i % STEPS * EACH;
      word = left >= EACH ? word : left > 0 ? word & 0xFFFFu : 0;
    }
  }

  GP_HD void turn() {
    GP_UNROLL
    for (int i = 0; i < R * N; ++i) {
      Pack<T, V> &p = pack[i / N][i % N];
      uint32_t first = p.word[0];
      GP_UNROLL
      for (int w = 1; w < STEPS; ++w) p.word[w - 1] = p.word[w];
      p.word[STEPS - 1] = first;
    }
  }

  /* Row `to` becomes what row `from` is. */
  GP_HD void move(int to, int from) {
    GP_UNROLL
    for (int n = 0; n < N; ++n) pack[to][n] = pack[from][n];
  }

  /* The RUN columns from LEAD on of row i, to those from `column` on. */
  GP_HD void store(int i, T *line, int64_t pixel, int column, int width, bool) const {
    GP_UNROLL
    for (int n = 0; n < RUN; ++n)
      if (column + n < width) store_pack(line + (column + n) * pixel, pack[i][LEAD + n]);
  }
};

template <typename T, int R, int N, int LEAD, int RUN>
struct Rows<T, COLUMNS, 1, R, N, LEAD, RUN> {
  static constexpr int EACH = 1, STEPS = 1, ASIDE = N > RUN ? N - RUN : 1;
  static constexpr int PER_WORD = Pack<T, RUN>::EACH;
  Pack<T, RUN> pack[R];
  uint32_t aside[R][ASIDE];
  float held[PER_WORD]; /* what set() puts, until a word is full */

  GP_HD void load(int i, const T *line, int64_t pixel, int first, int width, bool whole) {
    first = anew(first);
    int begin = first + LEAD;
    if (whole && begin + RUN <= width) {
      load_pack(pack[i], line + begin);
    } else {
      GP_UNROLL
      for (int n = 0; n < RUN; ++n) {
        uint32_t bits = load_bits(line + clamped(begin + n, width) * pixel);
        pack[i].word[n / PER_WORD] = n % PER_WORD == 0 ? bits : pack[i].word[n / PER_WORD] | bits << 16;
      }
    }
    GP_UNROLL
    for (int n = 0; n < N - RUN; ++n)
      aside[i][n] = load_bits(line + clamped(first + (n < LEAD ? n : n + RUN), width) * pixel);
  }

  GP_HD float get(int i, int n, int) const {
    if (n < LEAD || n >= LEAD + RUN) return element(T{}, aside[i][n < LEAD ? n : n - RUN], 0);
    return element(T{}, pack[i].word[(n - LEAD) / PER_WORD], (n - LEAD) % PER_WORD);
  }

  /* In ascending order of columns, all of the run. */
  GP_HD void set(int i, int n, int, float value) {
    held[(n - LEAD) % PER_WORD] = value;
    if ((n - LEAD) % PER_WORD == PER_WORD - 1) pack[i].word[(n - LEAD) / PER_WORD] = word_of(T{}, held);
  }

  GP_HD void blank(int channels) {
    constexpr int words = Pack<T, RUN>::WORDS;
    GP_UNROLL
    for (int i = 0; i < R * words; ++i)
      pack[i / words].word[i % words] = channels > 0 ? pack[i / words].word[i % words] : 0;
  }

  GP_HD void turn() {}

  GP_HD void move(int to, int from) {
    pack[to] = pack[from];
    GP_UNROLL
    for (int n = 0; n < ASIDE; ++n) aside[to][n] = aside[from][n];
  }

  GP_HD void store(int i, T *line, int64_t pixel, int column, int width, bool whole) const {
    if (whole && column + RUN <= width) {
      store_pack(line + column, pack[i]);
      return;
    }
    GP_UNROLL
    for (int n = 0; n < RUN; ++n)
      if (column + n < width) store_bits(line + (column + n) * pixel, pack[i].word[n / PER_WORD] >> n % PER_WORD * 16);
  }
};

/* A number for each of V channels, which turns with the rows. */
template <int V>
struct Lanes {
  float of[V];

  template <int EACH>
  GP_HD void turn() {
    float first[EACH];
    GP_UNROLL
    for (int v = 0; v < EACH; ++v) first[v] = of[v];
    GP_UNROLL
    for (int v = 0; v < V - EACH; ++v) of[v] = of[v + EACH];
    GP_UNROLL
    for (int v = 0; v < EACH; ++v) of[V - EACH + v] = first[v];
  }
};

/* relu(scale·x + shift) of a channel's elements, where the plan has them. */
template <int R, int N>
GP_HD inline void rectify(float (&x)[R][N], const gp_cuda_plan &plan, int64_t c) {
  if (plan.scale == NULL) return;
  c = anew(c);
  float scale = ((const float *)plan.scale)[c], shift = ((const float *)plan.shift)[c];
  GP_UNROLL
  for (int i = 0; i < R * N; ++i) x[i / N][i % N] = rectified(x[i / N][i % N], scale, shift);
}

/* ---- Windows ------------------------------------------------------------------------------- */

/* sqrt(a), to a unit or two in the last place, of a normal number or 0. */
GP_HD inline float root_near(float a) {
#if defined(__CUDA_ARCH__)
  float root;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(a));
  return root;
#else
  return sqrtf(a);
#endif
}

/* Whether windows (row, first) … (row, first + count - 1) may hold elements beside x or not exist. */
template <int K>
GP_HD inline bool at_edge(const gp_cuda_plan &plan, int row, int first, int count) {
  constexpr int P = padding_of<K>();
  return row * 2 < P || row * 2 - P + K > (int)plan.desc.height || row >= (int)plan.out_height || first * 2 < P ||
         (first + count - 1) * 2 - P + K > (int)plan.desc.width || first + count > (int)plan.out_width;
}

/* A window's elements, and how many there are; those beside x are the nearest ones of x. */
template <int K>
struct Tile {
  float x[K * K];
  float reciprocal;  /* 1/R */
  float zeros, outs; /* how many zeros count, how many elements are not x's */
  int place;         /* its first real element */
  bool exists;
};

/* A window's span along one axis: the first of its elements that is x's, how many are, and what the divisor counts. */
struct Side {
  int first, count, divisor;
};

template <int K>
GP_HD inline Side side_at(int out, int size, bool exclude_pad) {
  int begin = out * 2 - padding_of<K>(), end = begin + K, padded = size + padding_of<K>();
  Side side;
  side.first = begin < 0 ? -begin : 0;
  side.count = (end < size ? end : size) - begin - side.first;
  side.divisor = exclude_pad ? side.count : (end < padded ? end : padded) - begin;
  return side;
}

/* Takes x's own elements out of those of a window at an edge. Where elements are replaced by the first real one their
 * differences to it are 0; a maximum must not see them. */
template <int K>
GP_HD inline void cut(Tile<K> &tile, const gp_cuda_plan &plan, int row, int column, bool maximum) {
  bool exclude = plan.desc.pad_count == GP_COUNT_EXCLUDE_PAD;
  row = anew(row);
  column = anew(column);
  Side rows = side_at<K>(row, (int)plan.desc.height, exclude);
  Side columns = side_at<K>(column, (int)plan.desc.width, exclude);
  tile.exists = row < (int)plan.out_height && column < (int)plan.out_width;
  if (!tile.exists) return;
  float top = columns.first == 0 ? tile.x[0] : tile.x[1], below = columns.first == 0 ? tile.x[K] : tile.x[K + 1];
  float first = rows.first == 0 ? top : below;
  GP_UNROLL
  for (int i = 0; i < K * K; ++i) {
    bool inside = (unsigned)(i / K - rows.first) < (unsigned)rows.count &&
                  (unsigned)(i % K - columns.first) < (unsigned)columns.count;
    if (!inside) tile.x[i] = maximum ? -INFINITY : first;
  }
  int divisor = rows.divisor * columns.divisor, count = rows.count * columns.count;
  tile.reciprocal = quotient_near(1, (float)divisor);
  tile.zeros = (float)(divisor - count);
  tile.outs = (float)(K * K - count);
  tile.place = rows.first * K + columns.first;
}

/* The window that begins at column `at` of a channel's rows; EDGE as at_edge() has it. */
template <bool EDGE, int K, int N>
GP_HD inline Tile<K> tile_from(const float (&x)[K][N], int at, const gp_cuda_plan &plan, int row, int column,
                               bool maximum) {
  Tile<K> tile;
  GP_UNROLL
  for (int i = 0; i < K * K; ++i) tile.x[i] = x[i / K][at + i % K];
  tile.reciprocal = 1.0f / (K * K);
  tile.zeros = tile.outs = 0;
  tile.place = 0;
  tile.exists = true;
  if (EDGE) cut(tile, plan, row, column, maximum);
  return tile;
}

struct Moments {
  float mean, deviation; /* m, s */
  bool clamped;
};

/* m and s of a window at an edge, or where sums or squares leave the range of float: then again in units of 2^70. */
template <bool EDGE, int K>
GP_HD inline Moments moments_at_length(const Tile<K> &tile, float eps, bool mean_only) {
  Moments m;
  float unit = 1, back = 1;
  GP_NO_UNROLL
  while (true) {
    /* Where the first element is not x's, it is a copy of the one that is. */
    float first = tile.x[0] * unit, sum = 0, squares = 0;
    GP_UNROLL
    for (int i = 1; i < K * K; ++i) sum += fmaf(tile.x[i], unit, -first);
    if (EDGE) sum -= tile.zeros * first;
    float offset = sum * tile.reciprocal, mean = first + offset;
    GP_UNROLL
    for (int i = 0; i < K * K; ++i) {
      float t = fmaf(tile.x[i], unit, -first) - offset;
      squares = fmaf(t, t, squares);
    }
    /* The copies' squares are offset² each, and so is the first element's: no digits are lost. */
    if (EDGE) squares += tile.zeros * mean * mean - tile.outs * offset * offset;
    float variance = squares * tile.reciprocal;
    if (unit < 1 && !is_finite(mean)) {
      /* There are infinities or NaN: they make the mean, not their differences. */
      mean = 0;
      GP_UNROLL
      for (int i = 0; i < K * K; ++i) mean += tile.x[i];
    }
    m.mean = mean * back;
    m.clamped = mean_only || (unit == 1 && variance < eps);
    m.deviation = mean_only ? 0 : root_near(m.clamped ? eps : variance) * back;
    if (unit < 1 || is_finite(mean_only ? m.mean : m.deviation)) return m;
    unit = 0x1p-70f;
    back = 0x1p70f;
  }
}

/* m and s, from differences to the first element, so that a constant window has v = 0. All but a few windows are inside x and
 * within range, and take the shortest way; the other one gives them the same numbers. */
template <bool EDGE, int K>
GP_HD inline Moments moments_of(const Tile<K> &tile, float eps, bool mean_only) {
  if constexpr (!EDGE) {
    float t[K * K];
    GP_UNROLL
    for (int i = 1; i < K * K; ++i) t[i] = tile.x[i] - tile.x[0];
    float sum = t[1];
    GP_UNROLL
    for (int i = 2; i < K * K; ++i) sum += t[i];
    float offset = sum * tile.reciprocal, squares = offset * offset;
    GP_UNROLL
    for (int i = 1; i < K * K; ++i) squares = fmaf(t[i] - offset, t[i] - offset, squares);
    float variance = squares * tile.reciprocal, deviation = root_near(variance < eps ? eps : variance);
    if (variance < INFINITY) return {tile.x[0] + offset, mean_only ? 0 : deviation, mean_only || variance < eps};
  }
  return moments_at_length<EDGE>(tile, eps, mean_only);
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

/* The first maximum; a NaN beats all before it. */
template <bool EDGE, int K>
GP_HD inline Maximum maximum_of(const Tile<K> &tile) {
  Maximum best = {tile.x[0], 0};
  if (EDGE) {
    GP_UNROLL
    for (int i = 1; i < K * K; ++i) best.value = tile.place == i ? tile.x[i] : best.value;
    best.place = tile.place;
  }
  GP_UNROLL
  for (int i = 1; i < K * K; ++i) {
    float value = tile.x[i];
    bool better = value > best.value || is_nan(value);
    best.value = better ? value : best.value;
    best.place = better ? i : best.place;
  }
  return best;
}

}  // namespace gausspool

#endif
