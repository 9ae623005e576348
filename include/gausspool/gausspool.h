/* gausspool: Gaussian-based pooling for convolutional neural networks.
 *
 * T. Kobayashi, "Gaussian-Based Pooling for Convolutional Neural Networks", NeurIPS 2019.
 *
 * Compute calls work on the caller's buffers: they never allocate, print or exit. Every call
 * returns a gp_status; gp_last_error() then tells what was expected and what was found.
 * All functions may be called from several threads at once. Compute calls take up to 512 KiB of the calling thread's stack.
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

/* How a call ended. */
typedef enum gp_status {
  GP_OK = 0,                 /* all that was asked for is done */
  GP_ERROR_INVALID_ARGUMENT, /* an argument, option or descriptor field is out of its range */
  GP_ERROR_OUT_OF_MEMORY,    /* memory could not be had */
  GP_ERROR_UNSUPPORTED,      /* valid, but this build or machine cannot do it */
  GP_ERROR_NOT_FOUND,        /* a named thing (file, net, tensor) does not exist */
  GP_ERROR_IO,               /* the operating system refused a read or a write */
  GP_ERROR_CORRUPT,          /* a file's content breaks its format */
  GP_ERROR_LIBRARY,          /* a library underneath reported a failure */
  GP_ERROR_INTERRUPTED,      /* stopped by a signal, in good order */
} gp_status;

/* Short name of a status ("ok", "invalid argument", …). Never NULL. */
GP_API const char *gp_status_name(gp_status status);

/* Message of this thread's most recent failure, one line without a newline; "" if there was none.
 * Owned by the library, valid until the thread's next failing call. */
GP_API const char *gp_last_error(void);

/* Version of the library linked, "MAJOR.MINOR.PATCH". */
GP_API const char *gp_version(void);

/* ---- Tensors ------------------------------------------------------------------------------- */

/* Storage of tensors. The 16-bit types are converted to float32 on load, computed in it, and rounded to nearest even
 * on store. */
typedef enum gp_dtype {
  GP_FLOAT32 = 0, /* IEEE binary32 */
  GP_FLOAT64,     /* IEEE binary64 */
  GP_BFLOAT16,    /* the upper half of a float32 */
  GP_FLOAT16,     /* IEEE binary16 */
} gp_dtype;

/* Memory order of a four-dimensional tensor with logical shape [n][c][h][w].
 * The blocked layouts hold ceil(channels/b) blocks of b channels, b = 8 or 16: [n][c/b][h][w][b]. The
 * lanes past the last channel are padding: outputs are written with zeros there, inputs are not used. */
typedef enum gp_layout {
  GP_NCHW = 0, /* [n][c][h][w] */
  GP_NHWC,     /* [n][h][w][c] */
  GP_NCHW8C,   /* blocks of 8 channels */
  GP_NCHW16C,  /* blocks of 16 channels */
} gp_layout;

/* Bytes of an element. */
GP_API size_t gp_dtype_size(gp_dtype dtype);

/* Type of the small arrays that go with tensors of `dtype` (mu, sigma, weight, averages, scale, shift and their
 * gradients): GP_FLOAT64 for GP_FLOAT64, GP_FLOAT32 for the others. */
GP_API gp_dtype gp_dtype_of_params(gp_dtype dtype);

/* Number of elements, padding lanes included, of a tensor in the given layout: 0 when a size is not positive, SIZE_MAX
 * when the number does not fit. */
GP_API size_t gp_layout_elements(gp_layout layout, int64_t batch, int64_t channels, int64_t height, int64_t width);

/* ---- Pooling: what to compute -------------------------------------------------------------- */

/* What is computed over a window of elements x_i, with the window's mean m, variance v (padding zeros take part in both
 * where the divisor R counts them), standard deviation s = sqrt(max(v, eps)) and draw e ~ N(0, 1).
 *
 * Special values: a NaN in a window makes its output NaN. An infinity makes the mean infinite (NaN with both
 * signs), as it does the average and mixed kinds' output; the deviation, thus the Gaussian kinds' output, and the
 * maximum-entropy kinds' output are NaN then; GP_POOL_MAX gives +infinity, and takes any larger element than
 * -infinity; GP_POOL_STOCHASTIC gives NaN for +infinity and takes -infinity for not positive; GP_POOL_GATED gives
 * an infinity or NaN, as its gate goes wholly to one side; GP_POOL_LP gives infinity. Where a window holds an
 * infinity only y is defined: its gradients may be NaN. Everything else is finite unless the exact result is beyond
 * the dtype: a constant window has v = 0 exactly, and squares or sums beyond the dtype's range are computed in a
 * wider one (gradients: while differences within a window fit the dtype).
 * GP_POOL_MAX takes the first of equal maxima, and as PyTorch the last of several NaN; its gradient goes to that one
 * element. */
typedef enum gp_pool_kind {
  /* y = m + softplus(mu + sigma·e)·s; at inference softplus(mu). Kobayashi, NeurIPS 2019: the paper's proposal. */
  GP_POOL_ISP_GAUSSIAN = 0,
  /* y = m + weight·s, weight given by the caller. */
  GP_POOL_WEIGHTED,
  /* y = m. */
  GP_POOL_AVERAGE,
  /* y = max x_i; padding never wins. */
  GP_POOL_MAX,
  /* y = m + (mu + sigma·e)·s; at inference mu. Kobayashi, NeurIPS 2019. */
  GP_POOL_GAUSSIAN,
  /* y = m + |sigma·e|·s; at inference sigma·sqrt(2/π). Has no mu. Kobayashi, NeurIPS 2019. */
  GP_POOL_HALF_GAUSSIAN,
  /* y = Σ p_i·x_i, p_i = exp(λx_i) / Σ exp(λx_j) over the real elements; λ is `weight`. Kobayashi, ICCV 2019. */
  GP_POOL_MAX_ENTROPY,
  /* Maximum entropy with λ = 1. Stergiou, Poppe and Kalliatakis, ICCV 2021. */
  GP_POOL_SOFTPOOL,
  /* p_i = max(x_i, 0) / Σ max(x_j, 0) over the real elements, or all equal where none is positive. y = x_l with l drawn
   * from p, and grad_y goes to x_l; at inference y = Σ p_i·x_i. l is the first, along rows, with p_0 + … + p_l > u,
   * u uniform on [0, 1): the draw's word of gp_pool_desc's counter, its upper 24 bits. Zeiler and Fergus, ICLR 2013. */
  GP_POOL_STOCHASTIC,
  /* y = weight·max x_i + (1 - weight)·m. Lee, Gallagher and Tu, AISTATS 2016. */
  GP_POOL_MIXED,
  /* As mixed, with the window's own weight sigmoid(Σ ω_i·x_i): `weight` is the gating mask ω, [kernel height][kernel
   * width] for GP_SHAPE_ONE, [channels][kernel height][kernel width] for GP_SHAPE_C. Lee, Gallagher and Tu, AISTATS 2016. */
  GP_POOL_GATED,
  /* y = (K/R·Σ |x_i|^norm)^(1/norm), K the kernel's (with `adaptive` the window's) number of elements: where R = K, as
   * everywhere without padding and ceil_mode, the window's norm. torch.nn.LPPool2d for an even norm or x ≥ 0.
   * The gradient at y = 0 is zero. */
  GP_POOL_LP,
} gp_pool_kind;

/* Name of a kind as an option would spell it ("isp_gaussian", "max_entropy", …), or NULL when there is no such kind: the
 * kinds count from 0 without gaps. */
GP_API const char *gp_pool_kind_name(gp_pool_kind kind);

/* One draw for each output element, for each sample and channel, or none (the form used at inference). */
typedef enum gp_stochasticity {
  GP_STOCHASTIC_NONE = 0, /* no draw */
  GP_STOCHASTIC_CN,       /* a draw for each sample and channel */
  GP_STOCHASTIC_HWCN,     /* a draw for each output element */
} gp_stochasticity;

/* Shape of mu and sigma, or of weight, broadcast against the output. Memory is dense and in the order written, of
 * gp_dtype_of_params(); except GP_SHAPE_NCHW, which lies in the layout of y, dense, and is of y's dtype. */
typedef enum gp_param_shape {
  GP_SHAPE_NC = 0, /* [batch][channels] */
  GP_SHAPE_C,      /* [channels] */
  GP_SHAPE_N,      /* [batch] */
  GP_SHAPE_ONE,    /* one value */
  GP_SHAPE_NCHW,   /* the output's shape; weight only, and not for GP_POOL_GATED */
} gp_param_shape;

/* Divisor R of the mean: as AvgPool2d(count_include_pad=True), the default there and here, or =False. */
typedef enum gp_pad_count {
  GP_COUNT_INCLUDE_PAD = 0, /* elements of the window, those in the padding too */
  GP_COUNT_EXCLUDE_PAD,     /* elements of the window that are x's */
} gp_pad_count;

/* Distances in elements from one sample, channel, row and column to the next, as torch.Tensor.stride(): a slice of a
 * larger tensor needs no copy. All zero: dense in the layout. In the blocked layouts the second is from a block of
 * channels to the next, and the last counts whole blocks: 8 or 16. */
typedef struct gp_strides {
  int64_t n, c, h, w; /* to the next sample, channel (block of channels), row, column */
} gp_strides;

/* A pooling, complete. Zero-initialise and fill with designated initialisers: every zero is the usual default.
 * Windows, ceil_mode and divisor follow torch.nn.AvgPool2d (torch.nn.MaxPool2d for GP_POOL_MAX), or with `adaptive`
 * torch.nn.AdaptiveAvgPool2d. A row of numbers (1-D) is an image of height 1 with kernel {1, k}, stride {1, s} and
 * padding {0, p}.
 * Vectorised, but for what runs on the scalar reference: float64; strides that are not 1 along the layout's innermost axis;
 * gating masks of more than 256 elements; and windows of more than a few hundred elements where they are staged: in NCHW,
 * with scale and shift, or going backward where windows overlap or grad_x is added to. */
typedef struct gp_pool_desc {
  gp_pool_kind kind;                      /* what is computed over a window */
  gp_dtype dtype;                         /* of x, y and their gradients */
  gp_layout layout;                       /* of x, y and their gradients */
  int64_t batch, channels, height, width; /* of x; batch may be 0, the others are at least 1 */
  int32_t kernel[2];                      /* height, width; at least 1 */
  int32_t stride[2];                      /* height, width; 0 means: as kernel */
  int32_t padding[2];                     /* height, width; at most half the kernel */
  int32_t adaptive[2];    /* output height, width, both or none: {1, 1} pools all. Kernel, stride, padding then are 0 */
  bool ceil_mode;         /* the last window may reach beyond the padding: the output's size is rounded up */
  gp_pad_count pad_count; /* what the mean's divisor counts */
  double eps;             /* least variance; 0 means 1e-6. Where v < eps the gradient through s is zero */
  double norm;            /* GP_POOL_LP: at least 1; 0 means 2 */
  gp_param_shape param_shape;     /* of mu and sigma, or of weight */
  gp_stochasticity stochasticity; /* what is drawn */
  uint64_t seed;        /* key of the draws: Philox4x32-10 counted by sample and channel, row, column / 4, call */
  uint32_t call_offset; /* distinguishes calls under one seed, e.g. the training step */
  int64_t first_sample; /* logical index of sample 0, for batches that are part of a larger one; at least 0 */
  gp_strides x_stride, y_stride, grad_x_stride, grad_y_stride; /* of the tensor of that name; zeros: dense */
  int32_t threads; /* at most this many; 0 means: as the machine has. Results do not depend on it */
} gp_pool_desc;

/* Checks the descriptor and gives the output's height and width. Either pointer may be NULL. */
GP_API GP_NODISCARD gp_status gp_pool_output_size(const gp_pool_desc *desc, int64_t *height, int64_t *width);

/* ---- Pooling: doing it --------------------------------------------------------------------- */

/* All pointers are the caller's, aligned to their elements; none may overlap an output. Ones that the kind has no use for
 * are ignored: `mu` serves the iSP-Gaussian and Gaussian kinds, `sigma` those (NULL without stochasticity) and the
 * half-Gaussian, `weight` the weighted, maximum-entropy, mixed and gated kinds.
 *
 * With `scale` and `shift`, both or neither, everything is said of relu(scale_c·x + shift_c) in place of x: a batch norm
 * and ReLU applied as x is read. */
typedef struct gp_pool_forward_args {
  const void *x;             /* [n][c][h][w] in desc->layout */
  const void *mu, *sigma;    /* shaped as param_shape */
  const void *weight;        /* shaped as param_shape */
  const void *scale, *shift; /* [channels] */
  const uint64_t *seed; /* one number, the key of the draws in place of desc->seed; or NULL. It is read when the call
                              * is executed: on a GPU in the stream's order, so that a captured call's may change */
  void *y;              /* [n][c][h'][w'] in desc->layout, overwritten */
  void *average_y;      /* [n][c] means of y over its rows and columns, before y is rounded to its dtype; or NULL */
  void *workspace;      /* gp_pool_forward_workspace() bytes, aligned to 64; needed only for average_y */
} gp_pool_forward_args;

/* Scratch memory, in bytes, that gp_pool_forward needs for average_y. */
GP_API GP_NODISCARD gp_status gp_pool_forward_workspace(const gp_pool_desc *desc, size_t *bytes);

/* Pools x into y.
 * Errors: GP_ERROR_INVALID_ARGUMENT for a bad descriptor, a missing pointer or one not aligned to its elements. Nothing
 * is written then. An empty batch needs no pointers. */
GP_API GP_NODISCARD gp_status gp_pool_forward(const gp_pool_desc *desc, const gp_pool_forward_args *args);

/* Pointers as in gp_pool_forward_args, and the gradients; no gradient may overlap an input. */
typedef struct gp_pool_backward_args {
  const void *x;              /* as given to the forward call; nothing else of it needs to be kept. May be NULL for
                               * GP_POOL_AVERAGE without scale, whose gradient does not depend on it */
  const void *mu, *sigma;     /* as given to the forward call */
  const void *weight;         /* as given to the forward call */
  const void *scale, *shift;  /* as given to the forward call */
  const uint64_t *seed;       /* as given to the forward call: the same number */
  const void *grad_y;         /* gradient of y, in desc->layout */
  const void *grad_average_y; /* [n][c] gradient of average_y, which adds to grad_y; or NULL */
  const void *grad_average_x; /* [n][c] gradient of the mean of x (of relu(scale·x + shift)) over its rows and columns,
                               * which another branch took of it: adds to grad_x; or NULL */
  void *grad_x;               /* overwritten, or added to if `accumulate`; may be NULL if not wanted */
  void *grad_mu, *grad_sigma; /* shaped as param_shape, overwritten; NULL if not wanted */
  void *grad_weight;          /* as weight, overwritten; NULL if not wanted */
  void *grad_scale, *grad_shift; /* [channels], overwritten; NULL if not wanted */
  bool accumulate;               /* grad_x += instead of grad_x = */
  void *workspace;               /* gp_pool_backward_workspace() bytes, aligned to 64; may be NULL when that is 0 */
} gp_pool_backward_args;

/* Scratch memory, in bytes, that gp_pool_backward needs for this descriptor; it need not be cleared. The same for any
 * number of threads; it may differ between instruction sets. */
GP_API GP_NODISCARD gp_status gp_pool_backward_workspace(const gp_pool_desc *desc, size_t *bytes);

/* Gradients of the forward call with the same descriptor. The draws are made again from the seed and call_offset.
 * Where v < eps the gradient through s is zero; where scale·x + shift ≤ 0 that through ReLU is. Of several maxima the
 * first takes the gradient. grad_sigma is zero without stochasticity, except the half-Gaussian's. Sums over positions
 * run in a fixed order: results do not depend on the number of threads. A call with grad_x NULL gives the parameters'
 * gradients alone: global-feature-guided nets call it first, turn grad_mu and grad_sigma into grad_average_x, and let a
 * second call write grad_x whole. Errors: as gp_pool_forward, and for the workspace. */
GP_API GP_NODISCARD gp_status gp_pool_backward(const gp_pool_desc *desc, const gp_pool_backward_args *args);

/* Writes the draws of the descriptor, standard normal ones (GP_POOL_STOCHASTIC: uniform on [0, 1)): batch·channels values
 * [n][c] for GP_STOCHASTIC_CN, [n][c][h'][w'] dense in desc->layout for GP_STOCHASTIC_HWCN, of
 * gp_dtype_of_params(desc->dtype). For tests and for feeding other frameworks.
 * Errors: GP_ERROR_INVALID_ARGUMENT, also when the descriptor draws nothing. */
GP_API GP_NODISCARD gp_status gp_pool_draws(const gp_pool_desc *desc, void *draws);

/* Name of the instruction set the CPU kernels may use: "baseline", "avx2" or "avx512", on ARM "neon", or "reference" for
 * the scalar double-precision code. The best the machine has, unless the environment variable GAUSSPOOL_ISA, read once, names
 * another that it has; other values are ignored. The vectorised kernels agree bit for bit on all of them. */
GP_API const char *gp_cpu_isa(void);

#ifdef __cplusplus
}
#endif

#endif
