/* The small kernels around the large ones: weights of planes ahead of them, sums over parts, samples and channels after them.
 * All sums run in a fixed order. */
#ifndef GP_POOL_CUDA_SUMS_H
#define GP_POOL_CUDA_SUMS_H

#include "pool/cuda/strip.h"
#include "pool/cuda/weight.h"

namespace gausspool {

/* W of each plane, where outputs do not draw their own. Item: channel. */
template <typename Real>
struct PlaneWeights {
  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    bool drawn = plan.desc.stochasticity != GP_STOCHASTIC_NONE;
    float draw = drawn ? draw_at(plan, n, item, 0, 0) : 0;
    ((Real *)plan.weights)[n * plan.desc.channels + item] = drawn_weight<Real>(plan, n, item, draw, drawn).value;
  }
};

/* A plane's parts, added up in sums side by side, so that as many loads are under way: there may be a thousand parts, and each
 * load alone is most of a microsecond. */
template <typename Real>
GP_HD inline double sum_of_parts(const gp_cuda_plan &plan, const gp_cuda_grid &grid, int64_t n, int64_t c, int sum) {
  constexpr uint32_t SIDES = 16;
  const Real *parts = (const Real *)plan.parts;
  double total[SIDES] = {0};
  uint32_t part = 0;
  GP_NO_UNROLL
  for (; part + SIDES <= grid.parts; part += SIDES) {
    GP_UNROLL
    for (uint32_t i = 0; i < SIDES; ++i) total[i] += (double)parts[part_at(plan, grid, n, c, sum, part + i)];
  }
  GP_NO_UNROLL
  for (; part < grid.parts; ++part) total[0] += (double)parts[part_at(plan, grid, n, c, sum, part)];
  GP_UNROLL
  for (uint32_t half = SIDES / 2; half > 0; half /= 2) {
    GP_UNROLL
    for (uint32_t i = 0; i < half; ++i) total[i] += total[i + half];
  }
  return total[0];
}

/* average_y. Item: channel. */
template <typename Real>
struct Averages {
  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    double total = sum_of_parts<Real>(plan, plan.grid, n, item, GP_CUDA_SUM_WEIGHT);
    ((Real *)plan.average_y)[n * plan.desc.channels + item] =
        (Real)(total / ((double)plan.out_height * (double)plan.out_width));
  }
};

/* The planes' gradients by mu (or by a given weight) and sigma. Where all outputs of a plane share a weight, the parts hold those by it, and the link's slope comes in here. Item: channel. */
template <typename Real>
struct ParamSums {
  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    int64_t at = n * plan.desc.channels + item;
    double mu = sum_of_parts<Real>(plan, plan.grid, n, item, GP_CUDA_SUM_WEIGHT), sigma = 0;
    if (plan.draws == GP_DRAWS_NORMAL && plan.desc.stochasticity == GP_STOCHASTIC_HWCN) {
      sigma = sum_of_parts<Real>(plan, plan.grid, n, item, GP_CUDA_SUM_SIGMA);
    } else if (plan.draws == GP_DRAWS_NORMAL) {
      bool drawn = plan.desc.stochasticity != GP_STOCHASTIC_NONE;
      float draw = drawn ? draw_at(plan, n, item, 0, 0) : 0;
      Weight<Real> weight = drawn_weight<Real>(plan, n, item, draw, drawn);
      sigma = mu * (double)weight.to_sigma;
      mu *= (double)weight.to_mu;
    }
    gp_cuda_plane_sums(&plan, GP_CUDA_SUM_WEIGHT)[at] = mu;
    gp_cuda_plane_sums(&plan, GP_CUDA_SUM_SIGMA)[at] = sigma;
  }
};

/* The planes' gradients by scale and shift. Item: channel. */
template <typename Real, bool GATHER>
struct ScaleSums {
  static GP_HD void run(const gp_cuda_plan &plan, int64_t n, uint32_t item) {
    const gp_cuda_grid &grid = GATHER ? plan.gather : plan.grid;
    int64_t at = n * plan.desc.channels + item;
    for (int sum = GP_CUDA_SUM_SCALE; sum <= GP_CUDA_SUM_SHIFT; ++sum)
      gp_cuda_plane_sums(&plan, sum)[at] = sum_of_parts<Real>(plan, grid, n, item, sum);
  }
};

/* Terms that a thread adds up. */
enum { SUM_CHUNK = 64 };

/* A step of a long sum: total[chunk][o] = Σ from[o·out_step + i·in_step] over the chunk's i, or with one chunk the gradient
 * itself. */
template <typename Real>
struct ChunkSums {
  const double *from;
  int64_t out_step, in_step, terms, outputs;
  double *total;
  Real *gradient; /* in place of `total`, where it is the last step */

  GP_HD void run(int64_t chunk, int64_t o) const {
    int64_t begin = chunk * SUM_CHUNK, end = begin + SUM_CHUNK < terms ? begin + SUM_CHUNK : terms;
    double sum = 0;
    for (int64_t i = begin; i < end; ++i) sum += from[o * out_step + i * in_step];
    if (gradient != NULL)
      gradient[o] = (Real)sum;
    else
      total[chunk * outputs + o] = sum;
  }
};

}  // namespace gausspool

#endif
