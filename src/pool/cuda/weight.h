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

/* a/b to a unit or two in the last place, for normal b; 0 for |b| beyond 2^126, on the host as on the device. */
GP_HD inline float quotient_near(float a, float b) {
#if defined(__CUDA_ARCH__)
  float quotient;
  asm("div.approx.ftz.f32 %0, %1, %2;" : "=f"(quotient) : "f"(a), "f"(b));
  return quotient;
#else
  return fabsf(b) > 0x1p126f ? 0 : a / b;
#endif
}
GP_HD inline double quotient_near(double a, double b) { return a / b; }

/* e^-a for a at least 0. In float to 4·2^-24 + a·2^-24 of it, which is no more than what rounding a is worth, and 0 where it
 * is subnormal. */
GP_HD inline float decay(float a) {
#if defined(__CUDA_ARCH__)
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(a * -0x1.715476p+0f));
  return power;
#else
  return expf(-a);
#endif
}
GP_HD inline double decay(double a) { return exp(-a); }

/* log(1 + e) for e from 0 to 1. In float to 3·2^-24 of it: a polynomial through Chebyshev's points, the same bits everywhere. */
GP_HD inline float logarithm_beyond(float e) {
  float p = 0x1.4ff1bap-8f;
  p = fmaf(p, e, -0x1.dc5978p-6f);
  p = fmaf(p, e, 0x1.3d8182p-4f);
  p = fmaf(p, e, -0x1.1692f4p-3f);
  p = fmaf(p, e, 0x1.86b1ccp-3f);
  p = fmaf(p, e, -0x1.fca104p-3f);
  p = fmaf(p, e, 0x1.552d74p-2f);
  p = fmaf(p, e, -0x1.fffe8cp-2f);
  p = fmaf(p, e, 1);
  return p * e;
}
GP_HD inline double logarithm_beyond(double e) { return log1p(e); }

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
  Real e = decay(a < 0 ? -a : a), slope = quotient_near(a < 0 ? e : 1, 1 + e);
  return {(a > 0 ? a : 0) + logarithm_beyond(e), slope, slope * draw};
}

GP_HD inline uint64_t seed_of(const gp_cuda_plan &plan) {
  if (plan.seed == NULL) return plan.desc.seed;
#if defined(__CUDA_ARCH__)
  return __ldg((const unsigned long long *)plan.seed);
#else
  return *plan.seed;
#endif
}

/* The random words of columns 4·group … 4·group + 3 of a row of sample n and channel c. */
GP_HD inline gp_philox_block words_at(const gp_cuda_plan &plan, int64_t n, int64_t c, int64_t row, int64_t group) {
  gp_draw_plane plane = gp_draw_plane_at(&plan.desc, n, c);
  return gp_philox(seed_of(plan), plane.low, plane.high ^ (uint32_t)row, (uint32_t)group, plan.desc.call_offset);
}

/* The draws of those columns. */
GP_HD inline void draw4(const gp_cuda_plan &plan, int64_t n, int64_t c, int64_t row, int64_t group, float (&out)[4]) {
  gp_philox_block block = words_at(plan, n, c, row, group);
  if (plan.draws == GP_DRAWS_NORMAL) {
    gp_normal4(block, out);
  } else {
    GP_UNROLL
    for (int i = 0; i < 4; ++i) out[i] = gp_unit_float(block.word[i]);
  }
}

/* The normal draws of N columns of a row from `first` on: 2 or 3 from an even one, or 4 or 5 from a multiple of 4. */
template <int N>
GP_HD inline void draw_columns(const gp_cuda_plan &plan, int64_t n, int64_t c, int row, int first, float (&out)[N]) {
  float beyond;
  gp_philox_block block = words_at(plan, n, c, row, first / 4);
  if constexpr (N >= 4) {
    gp_normal2(block.word[0], block.word[1], &out[0], &out[1]);
    gp_normal2(block.word[2], block.word[3], &out[2], &out[3]);
    if constexpr (N == 5) {
      block = words_at(plan, n, c, row, first / 4 + 1);
      gp_normal2(block.word[0], block.word[1], &out[4], &beyond);
    }
  } else {
    bool later = first % 4 != 0;
    gp_normal2(later ? block.word[2] : block.word[0], later ? block.word[3] : block.word[1], &out[0], &out[1]);
    if constexpr (N == 3) {
      uint32_t radius = block.word[2], angle = block.word[3];
      if (later) {
        block = words_at(plan, n, c, row, first / 4 + 1);
        radius = block.word[0];
        angle = block.word[1];
      }
      gp_normal2(radius, angle, &out[2], &beyond);
    }
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
