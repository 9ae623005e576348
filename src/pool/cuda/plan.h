/* What a kernel is given: a call with everything worked out on the host, passed to the device by value. plan.c fills it in;
 * the launchers (launch_<dtype>.cu) run it. C and CUDA. */
#ifndef GP_POOL_CUDA_PLAN_H
#define GP_POOL_CUDA_PLAN_H

#include "pool/shape.h"

#ifdef __cplusplus
#define GP_CONSTEXPR constexpr
extern "C" {
#else
#define GP_CONSTEXPR
#endif

/* Division of 32-bit numbers by one that is known beforehand: x / divisor = (hi32(x·magic) + x) >> shift. */
typedef struct gp_cuda_divider {
  uint32_t divisor, magic, shift;
} gp_cuda_divider;

/* How a sample is cut into threads. A thread takes a strip: `rows` rows of a tile, and a tile is V channels of some columns.
 * Neighbouring threads are neighbours in memory: channels innermost, tiles, bands of rows; or for NCHW tiles, bands, channels. */
typedef struct gp_cuda_grid {
  gp_cuda_divider groups; /* of V channels */
  gp_cuda_divider tiles;  /* in a row */
  gp_cuda_divider bands;  /* of `rows` rows */
  int32_t rows, total_rows;
  uint32_t items; /* threads of a sample: groups · tiles · bands */
  uint32_t parts; /* tiles · bands: of how many sums a plane's is made */
} gp_cuda_grid;

/* The windows with straight-line kernels, and all others. */
typedef enum gp_cuda_window {
  GP_CUDA_HALVES,  /* 2×2, stride 2, no padding */
  GP_CUDA_STEM,    /* 3×3, stride 2, padding 1 */
  GP_CUDA_GENERAL, /* whatever; and float64, and the bodies beyond the Gaussian, the mean and the maximum */
} gp_cuda_window;

/* Sums over a plane that a pass makes, by place in `parts`. */
enum { GP_CUDA_SUM_WEIGHT = 0, GP_CUDA_SUM_SIGMA = 1, GP_CUDA_SUM_SCALE = 2, GP_CUDA_SUM_SHIFT = 3, GP_CUDA_SUMS = 4 };

typedef struct gp_cuda_plan {
  gp_pool_desc desc; /* as in gp_pool_plan */
  gp_strides map_stride;
  gp_pool_body body;
  gp_pool_link link;
  gp_pool_draw_kind draws;
  int64_t out_height, out_width;
  int64_t lanes; /* channels, rounded up to whole blocks */
  gp_cuda_window window;
  bool columns;        /* threads side by side lie along rows (NCHW), not along channels */
  bool channels;       /* the kernels along channels, which take `vector` of them; others take one */
  int32_t vector;      /* V: channels of a thread */
  int32_t at_once;     /* columns of outputs of a thread */
  gp_cuda_grid grid;   /* over outputs; backward of the straight-line windows: over tiles of 2×2 inputs */
  gp_cuda_grid gather; /* over inputs; backward of the general windows */
  int32_t slots;       /* sums in a part: GP_CUDA_SUMS backward, 1 forward */
  /* NCHW: runs of a row lie so that they may be accessed 16 bytes (or four elements) at a time. */
  bool x_whole, y_whole, grad_x_whole, grad_y_whole, map_whole;

  const void *x, *mu, *sigma, *weight, *scale, *shift; /* as the caller's; x is NULL where it is not read */
  const uint64_t *seed;                                /* on the device, in place of desc.seed; or NULL */
  int64_t param_n, param_c;                            /* distances in mu, sigma and weight */
  const void *plane_weight; /* W of (n, c) at n·plane_n + c·plane_c, of the straight-line Gaussian; NULL: W is a map */
  int64_t plane_n, plane_c;
  const void *grad_y, *grad_average_y, *grad_average_x;
  void *y, *average_y, *grad_x, *grad_mu, *grad_sigma, *grad_weight, *grad_scale, *grad_shift;
  bool accumulate;
  float per_output, per_element; /* what an average's gradient gives to each output or element: 1 over their number */

  /* Workspace; NULL where the pass does not need it. */
  void *weights; /* [n][c]: W made of mu and sigma where no output draws its own, of the type that is computed in */
  void *parts;   /* what threads summed, see sums.h */
  void *records; /* one for each output, see window.h */
  double *sums;  /* of planes, see gp_cuda_plane_sums */
  double *scratch[2]; /* for adding up `sums`, `scratch_size` doubles each */
  size_t scratch_size;
} gp_cuda_plan;

/* The planes' sums in plan.sums: [n][c], and for GP_CUDA_SUM_WEIGHT, which lies last, [n][c][values] with the values of a
 * gate's mask. */
GP_HD static inline double *gp_cuda_plane_sums(const gp_cuda_plan *plan, int sum) {
  int64_t planes = plan->desc.batch * plan->desc.channels;
  return plan->sums + (sum == GP_CUDA_SUM_WEIGHT ? GP_CUDA_SUMS - 1 : sum - 1) * planes;
}

/* V of the straight-line kernels along channels, of elements of `size` bytes: 16 bytes at a time, or 8 where registers would run
 * out. Tensors that do not lie so that they can be accessed this way go through the kernels along rows. */
GP_HD static GP_CONSTEXPR inline int32_t gp_cuda_vector(bool backward, gp_cuda_window window, bool drawn, size_t size) {
  return (int32_t)((drawn || (backward && window == GP_CUDA_STEM) ? 8 : 16) / size);
}
/* Columns of outputs of a strip: four along rows, and where each output draws, since as many draws come of a block of random
 * words; two where windows overlap, since those at the ends are computed by both neighbours. */
GP_HD static GP_CONSTEXPR inline int32_t gp_cuda_at_once(bool backward, bool columns, gp_cuda_window window,
                                                         bool drawn) {
  return columns ? 4 : backward && window == GP_CUDA_STEM ? 2 : drawn ? 4 : 1;
}

/* Threads of a block. Nothing is shared within one. */
enum { GP_CUDA_BLOCK = 128 };

/* Blocks of a launch of `items` threads for each of `rows` samples or chunks. CUDA allows 65,535 in the second place; a thread
 * goes on to further rows. */
typedef struct gp_cuda_blocks {
  uint32_t x, y;
} gp_cuda_blocks;
static inline gp_cuda_blocks gp_cuda_blocks_of(int64_t items, int64_t rows) {
  gp_cuda_blocks blocks = {(uint32_t)((items + GP_CUDA_BLOCK - 1) / GP_CUDA_BLOCK),
                           (uint32_t)(rows < 65535 ? rows : 65535)};
  return blocks;
}

/* Fills in the plan of a call, whose arguments have passed their checks and whose batch is not empty; `args` and with it the
 * workspace may be NULL to learn the bytes alone. Errors: GP_ERROR_UNSUPPORTED for tensors beyond the kernels' grids. */
GP_NODISCARD gp_status gp_cuda_plan_forward(gp_cuda_plan *out, size_t *bytes, const gp_pool_plan *plan,
                                            const gp_pool_forward_args *args);
GP_NODISCARD gp_status gp_cuda_plan_backward(gp_cuda_plan *out, size_t *bytes, const gp_pool_plan *plan,
                                             const gp_pool_backward_args *args);

/* Queues the kernels of a call on the stream (a cudaStream_t). GP_ERROR_LIBRARY when one could not be launched. */
#define GP_CUDA_LAUNCHERS(dtype)                                                          \
  GP_NODISCARD gp_status gp_cuda_forward_##dtype(const gp_cuda_plan *plan, void *stream); \
  GP_NODISCARD gp_status gp_cuda_backward_##dtype(const gp_cuda_plan *plan, void *stream);
GP_CUDA_LAUNCHERS(float32)
GP_CUDA_LAUNCHERS(float64)
GP_CUDA_LAUNCHERS(bfloat16)
GP_CUDA_LAUNCHERS(float16)
#undef GP_CUDA_LAUNCHERS

#ifdef __cplusplus
}
#endif

#endif
