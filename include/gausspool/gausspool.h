/* gausspool: Gaussian-based pooling for convolutional neural networks.
 *
 * T. Kobayashi, "Gaussian-Based Pooling for Convolutional Neural Networks", NeurIPS 2019.
 *
 * Compute calls work on the caller's buffers: they never allocate, print or exit. Every call
 * returns a gp_status; gp_last_error() then tells what was expected and what was found.
 * All functions may be called from several threads at once.
 */
#ifndef GAUSSPOOL_GAUSSPOOL_H
#define GAUSSPOOL_GAUSSPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GP_API       __attribute__((visibility("default")))
#define GP_NODISCARD __attribute__((warn_unused_result))
#else
#define GP_API
#define GP_NODISCARD
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status -------------------------------------------------------------------------------- */

typedef enum gp_status {
  GP_OK = 0,
  GP_ERROR_INVALID_ARGUMENT, /* an argument, option or descriptor field is out of its range */
  GP_ERROR_OUT_OF_MEMORY,
  GP_ERROR_UNSUPPORTED, /* valid, but this build or machine cannot do it */
  GP_ERROR_NOT_FOUND,   /* a named thing (file, net, tensor) does not exist */
  GP_ERROR_IO,          /* the operating system refused a read or a write */
  GP_ERROR_CORRUPT,     /* a file's content breaks its format */
  GP_ERROR_LIBRARY,     /* a library underneath reported a failure */
  GP_ERROR_INTERRUPTED, /* stopped by a signal, in good order */
} gp_status;

/* Short name of a status ("ok", "invalid argument", …). Never NULL. */
GP_API const char *gp_status_name(gp_status status);

/* Message of this thread's most recent failure, one line without a newline; "" if there was none.
 * Owned by the library, valid until the thread's next failing call. */
GP_API const char *gp_last_error(void);

/* Version of the library linked, "MAJOR.MINOR.PATCH". */
GP_API const char *gp_version(void);

/* ---- Tensors ------------------------------------------------------------------------------- */

typedef enum gp_dtype {
  GP_FLOAT32 = 0,
  GP_FLOAT64,
} gp_dtype;

/* Memory order of a four-dimensional tensor with logical shape [n][c][h][w].
 * The blocked layouts hold ceil(channels/b) blocks of b channels, b = 8 or 16: [n][c/b][h][w][b]. The
 * lanes past the last channel are padding: outputs are written with zeros there, inputs are not used. */
typedef enum gp_layout {
  GP_NCHW = 0,
  GP_NHWC,
  GP_NCHW8C,
  GP_NCHW16C,
} gp_layout;

GP_API size_t gp_dtype_size(gp_dtype dtype);

/* Number of elements, padding lanes included, of a tensor in the given layout: 0 when a size is not positive, SIZE_MAX
 * when the number does not fit. */
GP_API size_t gp_layout_elements(gp_layout layout, int64_t batch, int64_t channels, int64_t height, int64_t width);

/* ---- Pooling: what to compute -------------------------------------------------------------- */

/* With window mean m, variance v (padding zeros take part in both where the divisor counts them), standard deviation
 * s = sqrt(max(v, eps)) and draw e ~ N(0, 1).
 *
 * Special values: a NaN in a window makes its output NaN. An infinity makes the mean infinite and the deviation, thus the
 * Gaussian kinds' output, NaN. Everything else is finite: a constant window has v = 0 exactly, and squares or sums beyond
 * the dtype's range are computed in a wider one (gradients: while differences within a window fit the dtype).
 * GP_POOL_MAX takes the first of equal maxima, and as PyTorch the last of several NaN; its gradient goes to that one
 * element. */
typedef enum gp_pool_kind {
  GP_POOL_ISP_GAUSSIAN = 0, /* y = m + softplus(mu + sigma·e)·s, or softplus(mu)·s without stochasticity */
  GP_POOL_WEIGHTED,         /* y = m + weight·s, weight given by the caller */
  GP_POOL_AVERAGE,          /* y = m */
  GP_POOL_MAX,              /* y = max x_i; padding never wins */
} gp_pool_kind;

/* One draw for each output element, for each sample and channel, or none (the form used at inference). */
typedef enum gp_stochasticity {
  GP_STOCHASTIC_NONE = 0,
  GP_STOCHASTIC_CN,
  GP_STOCHASTIC_HWCN,
} gp_stochasticity;

/* Shape of mu and sigma, or of weight, broadcast against the output. Memory is dense and in the order written,
 * except GP_SHAPE_NCHW, which lies in the layout of y. */
typedef enum gp_param_shape {
  GP_SHAPE_NC = 0, /* [batch][channels] */
  GP_SHAPE_C,      /* [channels] */
  GP_SHAPE_N,      /* [batch] */
  GP_SHAPE_ONE,    /* one value */
  GP_SHAPE_NCHW,   /* the output's shape; GP_POOL_WEIGHTED only */
} gp_param_shape;

/* Divisor of the mean: as AvgPool2d(count_include_pad=True), the default there and here, or =False. */
typedef enum gp_pad_count {
  GP_COUNT_INCLUDE_PAD = 0,
  GP_COUNT_EXCLUDE_PAD,
} gp_pad_count;

/* A pooling, complete. Zero-initialise and fill with designated initialisers: every zero is the usual default.
 * float32 in NHWC and the blocked layouts is vectorised; float64 and NCHW run on the scalar reference.
 * Windows, ceil_mode and divisor follow torch.nn.AvgPool2d (torch.nn.MaxPool2d for GP_POOL_MAX). */
typedef struct gp_pool_desc {
  gp_pool_kind kind;
  gp_dtype dtype;                         /* of x, y, mu, sigma, weight and all gradients */
  gp_layout layout;                       /* of x, y and their gradients */
  int64_t batch, channels, height, width; /* of x; batch may be 0, the others are at least 1 */
  int32_t kernel[2];                      /* height, width; at least 1 */
  int32_t stride[2];                      /* height, width; 0 means: as kernel */
  int32_t padding[2];                     /* height, width; at most half the kernel */
  bool ceil_mode;
  gp_pad_count pad_count;
  double eps; /* least variance; 0 means 1e-6. Where v < eps the gradient through s is zero */
  gp_param_shape param_shape;
  gp_stochasticity stochasticity;
  uint64_t seed;        /* key of the draws: Philox4x32-10 counted by sample and channel, row, column / 4, call */
  uint32_t call_offset; /* distinguishes calls under one seed, e.g. the training step */
  int64_t first_sample; /* logical index of sample 0, for batches that are part of a larger one; at least 0 */
  int32_t threads;      /* at most this many; 0 means: as the machine has. Results do not depend on it */
} gp_pool_desc;

/* Checks the descriptor and gives the output's height and width. Either pointer may be NULL. */
GP_API GP_NODISCARD gp_status gp_pool_output_size(const gp_pool_desc *desc, int64_t *height, int64_t *width);

/* ---- Pooling: doing it --------------------------------------------------------------------- */

/* All pointers are the caller's, aligned to their elements; none may overlap an output. `mu` and `sigma` serve
 * GP_POOL_ISP_GAUSSIAN (sigma may be NULL without stochasticity); `weight` serves GP_POOL_WEIGHTED. Unused ones are
 * ignored. */
typedef struct gp_pool_forward_args {
  const void *x; /* [n][c][h][w] in desc->layout */
  const void *mu, *sigma;
  const void *weight;
  void *y; /* [n][c][h'][w'] in desc->layout, overwritten */
} gp_pool_forward_args;

/* Errors: GP_ERROR_INVALID_ARGUMENT for a bad descriptor, a missing pointer or one not aligned to its elements. Nothing
 * is written then. An empty batch needs no pointers. */
GP_API GP_NODISCARD gp_status gp_pool_forward(const gp_pool_desc *desc, const gp_pool_forward_args *args);

typedef struct gp_pool_backward_args {
  const void *x; /* as given to the forward call; nothing else of it needs to be kept */
  const void *mu, *sigma;
  const void *weight;
  const void *grad_y;
  void *grad_x;               /* overwritten, or added to if `accumulate`; may be NULL if not wanted */
  void *grad_mu, *grad_sigma; /* shaped as param_shape, overwritten; NULL if not wanted */
  void *grad_weight;          /* as param_shape, overwritten; NULL if not wanted */
  bool accumulate;            /* grad_x += instead of grad_x = */
  void *workspace;            /* gp_pool_backward_workspace() bytes, aligned to 64; may be NULL when that is 0 */
} gp_pool_backward_args;

/* Scratch memory, in bytes, that gp_pool_backward needs for this descriptor; it need not be cleared. The same for any
 * number of threads. */
GP_API GP_NODISCARD gp_status gp_pool_backward_workspace(const gp_pool_desc *desc, size_t *bytes);

/* Gradients of the forward call with the same descriptor. The draws are made again from seed and call_offset.
 * Where v < eps the gradient through s is zero. grad_sigma is zero without stochasticity. Sums over positions run in a
 * fixed order: results do not depend on the number of threads. Errors: as gp_pool_forward, and for the workspace. */
GP_API GP_NODISCARD gp_status gp_pool_backward(const gp_pool_desc *desc, const gp_pool_backward_args *args);

/* Writes the standard normal draws of the descriptor: batch·channels values [n][c] for GP_STOCHASTIC_CN,
 * [n][c][h'][w'] in desc->layout for GP_STOCHASTIC_HWCN, of desc->dtype. For tests and for feeding other frameworks.
 * Errors: GP_ERROR_INVALID_ARGUMENT, also when the descriptor draws nothing. */
GP_API GP_NODISCARD gp_status gp_pool_draws(const gp_pool_desc *desc, void *draws);

/* Name of the instruction set the CPU kernels may use: "baseline", "avx2", "avx512", or "reference" for the scalar
 * double-precision code. The best the machine has, unless the environment variable GAUSSPOOL_ISA, read once, names
 * another that it has; other values are ignored. The vectorised kernels agree bit for bit on all of them. */
GP_API const char *gp_cpu_isa(void);

#ifdef __cplusplus
}
#endif

#endif
