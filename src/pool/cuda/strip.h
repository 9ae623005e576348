/* What one thread takes: a strip of rows of a tile, and where its numbers and sums lie. */
#ifndef GP_POOL_CUDA_STRIP_H
#define GP_POOL_CUDA_STRIP_H

#include "pool/cuda/plan.h"
#include "pool/cuda/storage.h"

namespace gausspool {

/* What lies side by side in the runs that a thread reads: channels (NHWC and the blocked layouts) or columns of one (NCHW; and
 * whatever else, element by element). */
enum Order { CHANNELS, COLUMNS };

struct Strip {
  int64_t n, c;  /* sample, first channel */
  int channels;  /* of V, those that are real: at least 0 */
  int tile;      /* its number in the row */
  int row, end;  /* rows from … to before … */
  uint32_t part; /* its number among the plane's strips */
};

/* The same number, of which the compiler does not know that it is: what follows from it is computed where it is needed, row
 * after row, in place of being kept in registers all along. */
template <typename Integer>
GP_HD inline Integer anew(Integer x) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(Integer) == 8)
    asm volatile("" : "+l"(x));
  else
    asm volatile("" : "+r"(x));
#endif
  return x;
}

GP_HD inline uint32_t quotient(uint32_t x, const gp_cuda_divider &by) {
#if defined(__CUDA_ARCH__)
  uint64_t high = __umulhi(x, by.magic);
#else
  uint64_t high = (uint64_t)x * by.magic >> 32;
#endif
  return (uint32_t)((high + x) >> by.shift);
}

template <int V>
GP_HD inline Strip strip_at(const gp_cuda_plan &plan, const gp_cuda_grid &grid, int64_t n, uint32_t item) {
  uint32_t group, tile, band;
  if (plan.columns) {
    uint32_t rest = quotient(item, grid.tiles);
    tile = item - rest * grid.tiles.divisor;
    group = quotient(rest, grid.bands);
    band = rest - group * grid.bands.divisor;
  } else {
    uint32_t rest = quotient(item, grid.groups);
    group = item - rest * grid.groups.divisor;
    band = quotient(rest, grid.tiles);
    tile = rest - band * grid.tiles.divisor;
  }
  Strip strip;
  strip.n = n;
  strip.c = (int64_t)group * V;
  int64_t channels = plan.desc.channels - strip.c;
  strip.channels = channels < 0 ? 0 : channels > V ? V : (int)channels;
  strip.tile = (int)tile;
  strip.row = (int)band * grid.rows;
  strip.end = strip.row + grid.rows < grid.total_rows ? strip.row + grid.rows : grid.total_rows;
  strip.part = band * grid.tiles.divisor + tile;
  return strip;
}

/* A strip's tensor: its channels' planes. Element (v, h, w) = first[v·channel + h·row + w·pixel]. */
template <typename T>
struct Planes {
  T *first;
  int64_t channel, row, pixel;
};

template <typename T, typename Pointer>
GP_HD inline Planes<T> planes_at(const gp_cuda_plan &plan, Pointer tensor, const gp_strides &strides,
                                 const Strip &strip) {
  gp_pool_plane plane = gp_pool_plane_at(plan.desc.layout, &strides, strip.n, strip.c);
  int64_t channel = gp_layout_block(plan.desc.layout) > 0 ? 1 : strides.c;
  return {(T *)tensor + plane.base, channel, plane.row, plane.pixel};
}

/* Place of a sum in `parts`: of plane (n, lane) and strip `part`. Neighbouring threads' lie side by side. */
GP_HD inline int64_t part_at(const gp_cuda_plan &plan, const gp_cuda_grid &grid, int64_t n, int64_t lane, int sum,
                             uint32_t part) {
  if (plan.columns) return ((n * plan.slots + sum) * plan.lanes + lane) * grid.parts + part;
  return ((n * grid.parts + part) * plan.slots + sum) * plan.lanes + lane;
}

template <int V, typename Real>
GP_HD inline void store_sums(const gp_cuda_plan &plan, const gp_cuda_grid &grid, const Strip &strip, int sum,
                             const Real (&totals)[V]) {
  GP_UNROLL
  for (int v = 0; v < V; ++v)
    if (v < strip.channels)
      ((Real *)plan.parts)[part_at(plan, grid, strip.n, strip.c + v, sum, strip.part)] = totals[v];
}

/* [n][c] of the small arrays. */
template <typename Real>
GP_HD inline Real plane_value(const gp_cuda_plan &plan, const void *array, int64_t n, int64_t c) {
  return ((const Real *)array)[n * plan.desc.channels + c];
}

}  // namespace gausspool

#endif
