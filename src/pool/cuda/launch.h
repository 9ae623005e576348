/* Running kernels: on the device, or, where no CUDA compiler compiles this, thread after thread on the host. The launchers of a
 * dtype are made of this by launch.cu: GP_CUDA_LAUNCHERS_OF(dtype, type). */
#ifndef GP_POOL_CUDA_LAUNCH_H
#define GP_POOL_CUDA_LAUNCH_H

#include "pool/cuda/backward.h"
#include "pool/cuda/general.h"
#include "pool/cuda/mean.h"
#include "pool/cuda/sums.h"

extern "C" {
#include "base/status.h"
}

namespace gausspool {

/* Blocks that a multiprocessor's registers shall have room for, which limits a thread's: to 255 with 2, 168 with 3, 128 with 4, 96 with 5, 80
 * with 6. As many as the straight-line kernels can do with without spilling: the compiler warns (CMakeLists.txt). */
template <typename Body>
struct BlocksOf {
  static constexpr int value = 1;
};
template <typename T, Order ORDER, int K, int V, Formula FORMULA>
struct BlocksOf<Forward<T, ORDER, K, V, FORMULA>> {
  static constexpr int value = ORDER == COLUMNS || (K == 2 && FORMULA != DRAWN) ? 6
                               : K == 3 && FORMULA == DRAWN                     ? 3
                                                                                : 4;
};
template <typename T, Order ORDER, int K, int V, Formula FORMULA>
struct BlocksOf<Backward<T, ORDER, K, V, FORMULA>> {
  static constexpr bool large = sizeof(T) == sizeof(float);
  static constexpr bool few = FORMULA == GAUSSIAN || (large && FORMULA == DRAWN);
  static constexpr int stem = ORDER == COLUMNS ? (few ? 3 : 4) : !large && FORMULA == DRAWN ? 2 : 3;
  static constexpr int halves = ORDER == COLUMNS   ? (large && FORMULA == GAUSSIAN ? 4 : 5)
                                : FORMULA != DRAWN ? 5
                                : large            ? 4
                                                   : 3;
  static constexpr int value = K == 3 ? stem : halves;
};
template <typename T, Order ORDER, int K, int V>
struct BlocksOf<BackwardMean<T, ORDER, K, V>> {
  static constexpr int value = K == 3 ? 4 : 5;
};

#if defined(__CUDACC__)

/* Body::run for each sample and item. */
template <typename Body>
__global__ void __launch_bounds__(GP_CUDA_BLOCK, BlocksOf<Body>::value)
    over_items(const __grid_constant__ gp_cuda_plan plan, uint32_t items) {
  uint32_t item = blockIdx.x * GP_CUDA_BLOCK + threadIdx.x;
  if (item >= items) return;
  for (int64_t n = blockIdx.y; n < plan.desc.batch; n += gridDim.y) Body::run(plan, n, item);
}

template <typename Real>
__global__ void __launch_bounds__(GP_CUDA_BLOCK) over_chunks(ChunkSums<Real> sums) {
  int64_t output = (int64_t)blockIdx.x * GP_CUDA_BLOCK + threadIdx.x;
  int64_t chunks = (sums.terms + SUM_CHUNK - 1) / SUM_CHUNK;
  if (output >= sums.outputs) return;
  for (int64_t chunk = blockIdx.y; chunk < chunks; chunk += gridDim.y) sums.run(chunk, output);
}

inline dim3 grid_of(int64_t items, int64_t rows) {
  gp_cuda_blocks blocks = gp_cuda_blocks_of(items, rows);
  return dim3(blocks.x, blocks.y);
}

/* What the launch itself returns is asked, not the last error, which may be of a call before it. */
template <typename Kernel>
gp_status queue(Kernel *kernel, dim3 grid, void **arguments, void *stream) {
  cudaError_t error =
      cudaLaunchKernel((const void *)kernel, grid, dim3(GP_CUDA_BLOCK), arguments, 0, (cudaStream_t)stream);
  if (error == cudaSuccess) return GP_OK;
  (void)cudaGetLastError(); /* told here, and nobody else's */
  return gp_fail(GP_ERROR_LIBRARY, "CUDA could not launch a kernel: %s", cudaGetErrorString(error));
}

template <typename Body>
gp_status launch(const gp_cuda_plan &plan, uint32_t items, void *stream) {
  void *arguments[] = {(void *)&plan, &items};
  return queue(over_items<Body>, grid_of(items, plan.desc.batch), arguments, stream);
}

template <typename Real>
gp_status launch_sums(const ChunkSums<Real> &sums, void *stream) {
  int64_t chunks = (sums.terms + SUM_CHUNK - 1) / SUM_CHUNK;
  void *arguments[] = {(void *)&sums};
  return queue(over_chunks<Real>, grid_of(sums.outputs, chunks), arguments, stream);
}

#else

template <typename Body>
gp_status launch(const gp_cuda_plan &plan, uint32_t items, void *) {
  for (int64_t n = 0; n < plan.desc.batch; ++n) {
#if defined(_OPENMP)
#pragma omp parallel for if (items > 2048)
#endif
    for (uint32_t item = 0; item < items; ++item) Body::run(plan, n, item);
  }
  return GP_OK;
}

template <typename Real>
gp_status launch_sums(const ChunkSums<Real> &sums, void *) {
  for (int64_t chunk = 0; chunk * SUM_CHUNK < sums.terms; ++chunk)
    for (int64_t output = 0; output < sums.outputs; ++output) sums.run(chunk, output);
  return GP_OK;
}

#endif

/* ---- Picking the kernel -------------------------------------------------------------------- */

template <typename T, bool BACKWARD, Order ORDER, int K, Formula FORMULA>
gp_status launch_straight(const gp_cuda_plan &plan, void *stream) {
  constexpr gp_cuda_window window = K == 2 ? GP_CUDA_HALVES : GP_CUDA_STEM;
  constexpr int V = ORDER == COLUMNS ? 1 : gp_cuda_vector(BACKWARD, window, FORMULA == DRAWN, sizeof(T));
  if constexpr (BACKWARD)
    return launch<Backward<T, ORDER, K, V, FORMULA>>(plan, plan.grid.items, stream);
  else
    return launch<Forward<T, ORDER, K, V, FORMULA>>(plan, plan.grid.items, stream);
}

template <typename T, bool BACKWARD, Order ORDER, int K>
gp_status launch_formula(const gp_cuda_plan &plan, void *stream) {
  if (plan.body == GP_BODY_MAX) return launch_straight<T, BACKWARD, ORDER, K, MAXIMUM>(plan, stream);
  if (plan.draws == GP_DRAWS_NORMAL && plan.desc.stochasticity == GP_STOCHASTIC_HWCN)
    return launch_straight<T, BACKWARD, ORDER, K, DRAWN>(plan, stream);
  return launch_straight<T, BACKWARD, ORDER, K, GAUSSIAN>(plan, stream);
}

template <typename T, bool BACKWARD>
gp_status launch_window(const gp_cuda_plan &plan, void *stream) {
  if (plan.window == GP_CUDA_HALVES)
    return plan.channels ? launch_formula<T, BACKWARD, CHANNELS, 2>(plan, stream)
                         : launch_formula<T, BACKWARD, COLUMNS, 2>(plan, stream);
  return plan.channels ? launch_formula<T, BACKWARD, CHANNELS, 3>(plan, stream)
                       : launch_formula<T, BACKWARD, COLUMNS, 3>(plan, stream);
}

/* Backward of a mean that does not read x. */
template <typename T>
gp_status launch_mean(const gp_cuda_plan &plan, void *stream) {
  constexpr int halves = gp_cuda_vector(true, GP_CUDA_HALVES, false, sizeof(T));
  constexpr int stem = gp_cuda_vector(true, GP_CUDA_STEM, false, sizeof(T));
  uint32_t items = plan.grid.items;
  if (plan.window == GP_CUDA_HALVES)
    return plan.channels ? launch<BackwardMean<T, CHANNELS, 2, halves>>(plan, items, stream)
                         : launch<BackwardMean<T, COLUMNS, 2, 1>>(plan, items, stream);
  return plan.channels ? launch<BackwardMean<T, CHANNELS, 3, stem>>(plan, items, stream)
                       : launch<BackwardMean<T, COLUMNS, 3, 1>>(plan, items, stream);
}

/* ---- Forward ------------------------------------------------------------------------------- */

template <typename T>
gp_status launch_plane_weights(const gp_cuda_plan &plan, void *stream) {
  if (plan.weights == NULL) return GP_OK;
  return launch<PlaneWeights<typename Computing<T>::Real>>(plan, (uint32_t)plan.desc.channels, stream);
}

template <typename T>
gp_status run_forward(const gp_cuda_plan &plan, void *stream) {
  using Real = typename Computing<T>::Real;
  gp_status status = launch_plane_weights<T>(plan, stream);
  if (status != GP_OK) return status;
  if constexpr (sizeof(T) < sizeof(double)) {
    if (plan.window != GP_CUDA_GENERAL) status = launch_window<T, false>(plan, stream);
  }
  if (plan.window == GP_CUDA_GENERAL) status = launch<ForwardGeneral<T>>(plan, plan.grid.items, stream);
  if (status != GP_OK || plan.average_y == NULL) return status;
  return launch<Averages<Real>>(plan, (uint32_t)plan.desc.channels, stream);
}

/* ---- Backward ------------------------------------------------------------------------------ */

/* gradient[o] = Σ from[o·out_step + i·in_step] over `terms`, chunk by chunk until one is left. */
template <typename Real>
gp_status add_up(const gp_cuda_plan &plan, ChunkSums<Real> sums, void *gradient, void *stream) {
  gp_status status = GP_OK;
  if (gradient == NULL) return GP_OK;
  for (int turn = 0; status == GP_OK; turn ^= 1) {
    int64_t chunks = (sums.terms + SUM_CHUNK - 1) / SUM_CHUNK;
    sums.gradient = chunks == 1 ? (Real *)gradient : NULL;
    sums.total = plan.scratch[turn];
    status = launch_sums(sums, stream);
    if (chunks == 1) break;
    sums.from = sums.total;
    sums.out_step = 1;
    sums.in_step = sums.outputs;
    sums.terms = chunks;
  }
  return status;
}

/* A parameter's gradient from the planes' sums, over what its shape broadcasts over. */
template <typename Real>
gp_status add_up_planes(const gp_cuda_plan &plan, int sum, int64_t values, void *gradient, void *stream) {
  int64_t batch = plan.desc.batch, channels = plan.desc.channels;
  const double *from = gp_cuda_plane_sums(&plan, sum);
  ChunkSums<Real> nc = {from, 1, 0, 1, batch * channels * values, NULL, NULL};
  ChunkSums<Real> c = {from, 1, channels * values, batch, channels * values, NULL, NULL};
  ChunkSums<Real> n = {from, channels, 1, channels, batch, NULL, NULL};
  ChunkSums<Real> one = {from, 1, values, batch * channels, values, NULL, NULL};
  gp_param_shape shape = plan.desc.param_shape;
  if (sum == GP_CUDA_SUM_SCALE || sum == GP_CUDA_SUM_SHIFT) shape = GP_SHAPE_C;
  return add_up(plan,
                shape == GP_SHAPE_NC  ? nc
                : shape == GP_SHAPE_C ? c
                : shape == GP_SHAPE_N ? n
                                      : one,
                gradient, stream);
}

template <typename T>
gp_status add_up_params(const gp_cuda_plan &plan, void *stream) {
  using Real = typename Computing<T>::Real;
  uint32_t channels = (uint32_t)plan.desc.channels;
  int64_t values = 1;
  bool map = plan.desc.param_shape == GP_SHAPE_NCHW;
  gp_status status = GP_OK;
  if (map || (plan.grad_mu == NULL && plan.grad_sigma == NULL && plan.grad_weight == NULL)) return GP_OK;
  if (plan.link == GP_LINK_GATE) {
    values = (int64_t)plan.desc.kernel[0] * plan.desc.kernel[1];
    status = launch<MaskSums<T>>(plan, (uint32_t)(channels * values), stream);
  } else {
    status = launch<ParamSums<Real>>(plan, channels, stream);
  }
  if (status == GP_OK) status = add_up_planes<Real>(plan, GP_CUDA_SUM_WEIGHT, values, plan.grad_weight, stream);
  if (status == GP_OK) status = add_up_planes<Real>(plan, GP_CUDA_SUM_WEIGHT, 1, plan.grad_mu, stream);
  if (status == GP_OK) status = add_up_planes<Real>(plan, GP_CUDA_SUM_SIGMA, 1, plan.grad_sigma, stream);
  return status;
}

template <typename T, bool GATHER>
gp_status add_up_scales(const gp_cuda_plan &plan, void *stream) {
  using Real = typename Computing<T>::Real;
  if (plan.grad_scale == NULL && plan.grad_shift == NULL) return GP_OK;
  gp_status status = launch<ScaleSums<Real, GATHER>>(plan, (uint32_t)plan.desc.channels, stream);
  if (status == GP_OK) status = add_up_planes<Real>(plan, GP_CUDA_SUM_SCALE, 1, plan.grad_scale, stream);
  if (status == GP_OK) status = add_up_planes<Real>(plan, GP_CUDA_SUM_SHIFT, 1, plan.grad_shift, stream);
  return status;
}

/* The parts of the first pass are added up before the second one makes its own. */
template <typename T>
gp_status run_general_backward(const gp_cuda_plan &plan, void *stream) {
  gp_status status = launch<Records<T>>(plan, plan.grid.items, stream);
  if (status == GP_OK) status = add_up_params<T>(plan, stream);
  bool wanted = plan.grad_x != NULL || plan.grad_scale != NULL || plan.grad_shift != NULL;
  if (status == GP_OK && wanted) status = launch<Gather<T>>(plan, plan.gather.items, stream);
  if (status == GP_OK) status = add_up_scales<T, true>(plan, stream);
  return status;
}

template <typename T>
gp_status run_backward(const gp_cuda_plan &plan, void *stream) {
  gp_status status = launch_plane_weights<T>(plan, stream);
  if (status != GP_OK) return status;
  if (plan.window == GP_CUDA_GENERAL) return run_general_backward<T>(plan, stream);
  if constexpr (sizeof(T) < sizeof(double)) {
    if (plan.x == NULL) return launch_mean<T>(plan, stream);
    status = launch_window<T, true>(plan, stream);
    if (status == GP_OK) status = add_up_params<T>(plan, stream);
    if (status == GP_OK) status = add_up_scales<T, false>(plan, stream);
  }
  return status;
}

}  // namespace gausspool

#define GP_CUDA_LAUNCHERS_OF(dtype, type)                                      \
  gp_status gp_cuda_forward_##dtype(const gp_cuda_plan *plan, void *stream) {  \
    return gausspool::run_forward<type>(*plan, stream);                        \
  }                                                                            \
  gp_status gp_cuda_backward_##dtype(const gp_cuda_plan *plan, void *stream) { \
    return gausspool::run_backward<type>(*plan, stream);                       \
  }

#endif
