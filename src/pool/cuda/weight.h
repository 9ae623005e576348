/* The weight W of an output: an array's, a map's, or made of a draw; and the draws. */
#ifndef GP_POOL_CUDA_WEIGHT_H
#define GP_POOL_CUDA_WEIGHT_H

#include "pool/cuda/plan.h"
#include "pool/cuda/storage.h"
#include "pool/draws.h"

namespace gausspool {

/* W and its derivatives. */
template <typename Real>
struct Weight {
  Real value, to_mu, to_sigma;
};

GP_HD inline float exponential(float a) { return expf(a); }
GP_HD inline double exponential(double a) { return exp(a); }
GP_HD inline float logarithm1p(float a) { return log1pf(a); }
GP_HD inline double logarithm1p(double a) { return log1p(a); }

/* 1/(1 + e^-a), without overflow. */
template <typename Real>
GP_HD inline Real sigmoid(Real a) {
  Real e = exponential(a < 0 ? a : -a);
  return (a < 0 ? e : 1) / (1 + e);
}

/* W = link(mu + sigma·draw); without a draw it is 0, but for the half-Gaussian's mean of |draw|. */
template <typename Real>
GP_HD inline Weight<Real> linked_weight(gp_pool_link link, Real mu, Real sigma, Real draw, bool drawn) {
  if (link == GP_LINK_ABSOLUTE) {
    const Real mean_of_absolute_normal = (Real)0.79788456080286535588; /* sqrt(2/π) */
    Real a = sigma * draw, slope = a > 0 ? draw : a < 0 ? -draw : 0;
    if (!drawn) return {sigma * mean_of_absolute_normal, 0, mean_of_absolute_normal};
    return {a < 0 ? -a : a, 0, slope};
  }
  Real a = drawn ? mu + sigma * draw : mu;
  if (link == GP_LINK_IDENTITY) return {a, 1, draw};
  /* softplus(a) = max(a, 0) + log(1 + e^-|a|), and its slope from the same e. */
  Real e = exponential(a < 0 ? a : -a), slope = (a < 0 ? e : 1) / (1 + e);
  return {(a > 0 ? a : 0) + logarithm1p(e), slope, slope * draw};
}

/* The draws of columns 4·group … 4·group + 3 of a row of sample n and channel c. */
GP_HD inline void draw4(const gp_cuda_plan &plan, int64_t n, int64_t c, int64_t row, int64_t group, float (&out)[4]) {
  gp_draw_plane plane = gp_draw_plane_at(&plan.desc, n, c);
  uint64_t seed = plan.seed != NULL ? *plan.seed : plan.desc.seed;
  gp_philox_block block =
      gp_philox(seed, plane.low, plane.high ^ (uint32_t)row, (uint32_t)group, plan.desc.call_offset);
  if (plan.draws == GP_DRAWS_NORMAL) {
    gp_normal4(block, out);
  } else {
    GP_UNROLL
    for (int i = 0; i < 4; ++i) out[i] = gp_unit_float(block.word[i]);
  }
}

/* The draw of one output; the stochasticity is not NONE. */
GP_HD inline float draw_at(const gp_cuda_plan &plan, int64_t n, int64_t c, int64_t row, int64_t column) {
  bool each = plan.desc.stochasticity == GP_STOCHASTIC_HWCN;
  float draws[4];
  draw4(plan, n, c, each ? row : 0, each ? column / 4 : 0, draws);
  int64_t place = each ? column % 4 : 0;
  return place == 0 ? draws[0] : place == 1 ? draws[1] : place == 2 ? draws[2] : draws[3];
}

/* The parameter of sample n and channel c, or 0 where there is none. */
template <typename Real>
GP_HD inline Real param_at(const gp_cuda_plan &plan, const void *array, int64_t n, int64_t c) {
  return array != NULL ? ((const Real *)array)[n * plan.param_n + c * plan.param_c] : (Real)0;
}

/* Of mu and sigma with a draw, or, with `drawn` false, without. */
template <typename Real>
GP_HD inline Weight<Real> drawn_weight(const gp_cuda_plan &plan, int64_t n, int64_t c, float draw, bool drawn) {
  return linked_weight<Real>(plan.link, param_at<Real>(plan, plan.mu, n, c), param_at<Real>(plan, plan.sigma, n, c),
                             (Real)draw, drawn);
}

/* The weight of one output, whatever it comes from; a gate's is not known here. The derivatives are those of weights that the
 * output draws. */
template <typename T, typename Real>
GP_HD inline Weight<Real> weight_at(const gp_cuda_plan &plan, int64_t n, int64_t c, int64_t row, int64_t column) {
  using Param = typename Computing<T>::Real;
  switch (plan.link) {
    case GP_LINK_ONE: return {1, 0, 0};
    case GP_LINK_GIVEN: {
      if (plan.desc.param_shape != GP_SHAPE_NCHW) return {(Real)param_at<Param>(plan, plan.weight, n, c), 0, 0};
      gp_pool_plane map = gp_pool_plane_at(plan.desc.layout, &plan.map_stride, n, c);
      return {(Real)real_of(((const T *)plan.weight)[map.base + row * map.row + column * map.pixel]), 0, 0};
    }
    case GP_LINK_SOFTPLUS:
    case GP_LINK_IDENTITY:
    case GP_LINK_ABSOLUTE:
      if (plan.desc.stochasticity != GP_STOCHASTIC_HWCN)
        return {(Real)((const Param *)plan.weights)[n * plan.desc.channels + c], 0, 0};
      return linked_weight<Real>(plan.link, (Real)param_at<Param>(plan, plan.mu, n, c),
                                 (Real)param_at<Param>(plan, plan.sigma, n, c), (Real)draw_at(plan, n, c, row, column),
                                 true);
    default: return {0, 0, 0};
  }
}

}  // namespace gausspool

#endif
