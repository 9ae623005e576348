/* What a device provides to the engine: layouts, storage of weights, and kernels. One table per device. */
#ifndef GP_NN_DEVICE_H
#define GP_NN_DEVICE_H

#include "nn/graph.h"

/* An activation as it lies in memory. */
typedef struct nn_tensor {
  int64_t batch;
  nn_shape shape;
  gp_layout layout;
  gp_dtype type; /* GP_FLOAT32 or GP_BFLOAT16 */
} nn_tensor;

/* All layouts are one: blocks of `b` channels (NCHW 1, NHWC all, nChwBc B), memory [n][channel / b][h·w][channel % b]. */
typedef struct nn_blocking {
  int64_t block, blocks, positions; /* positions: height·width */
} nn_blocking;

static inline nn_blocking nn_blocking_of(const nn_tensor *t) {
  int64_t channels = t->shape.channels;
  int64_t block = t->layout == GP_NCHW ? 1 : t->layout == GP_NHWC ? channels : t->layout == GP_NCHW8C ? 8 : 16;
  return (nn_blocking){block, (channels + block - 1) / block, t->shape.height * t->shape.width};
}

static inline int64_t nn_offset(const nn_blocking *b, int64_t n, int64_t channel, int64_t position) {
  return ((n * b->blocks + channel / b->block) * b->positions + position) * b->block + channel % b->block;
}

static inline size_t nn_tensor_elements(const nn_tensor *t) {
  return gp_layout_elements(t->layout, t->batch, t->shape.channels, t->shape.height, t->shape.width);
}

/* Plans check that it fits before they use it. */
static inline size_t nn_tensor_bytes(const nn_tensor *t) { return nn_tensor_elements(t) * gp_dtype_size(t->type); }

/* What a kernel is made for. Pointers are valid during creation only, node and weight_layout for the kernel's life. */
typedef struct nn_kernel_desc {
  const nn_node *node;
  int32_t index; /* of the node: the stream of its random draws */
  nn_mode mode;
  bool fuse_relu;        /* y = max(0, op(x)); offered to batch norm, add, and at inference convolution */
  const nn_node *folded; /* at inference, for a convolution: the batch norm that it applies to its output; or NULL */
  bool unstored;     /* a batch norm with its ReLU whose readers apply it (nn/affine.h): nothing is written to `out` */
  bool reads_affine; /* pooling, average: the first input is such a batch norm's, not stored; in[0] is its own input */
  bool wants_grad[NN_MAX_INPUTS];
  const nn_tensor *in;
  nn_tensor out;
  const nn_sync *sync;       /* batch norms: of processes whose statistics are taken together; NULL: alone */
  int64_t whole_batch;       /* with it, samples of all of them */
  const void *weight_layout; /* as the device chose for this node's weight; NULL: plain */
} nn_kernel_desc;

/* Where everything lies, set by bind before the first run and whenever the arena moves. Activations and their gradients are of
 * their tensors' types. */
typedef struct nn_bindings {
  const void *in[NN_MAX_INPUTS];
  const void *in_backward[NN_MAX_INPUTS]; /* where the backward pass finds them: as `in`, or made again (`repeat`) */
  void *out;
  void *again; /* where `repeat` writes */
  void *grad_out;
  void *grad_out_addend;        /* for `takes_addend`: another part of the gradient, to be added to it; or NULL */
  void *grad_in[NN_MAX_INPUTS]; /* NULL where no gradient is wanted; may equal grad_out for pass_through kernels */
  bool accumulate[NN_MAX_INPUTS];
  void *saved, *scratch_forward, *scratch_backward, *scratch_repeat;
  void *affine;                   /* for `reads_affine`: the batch norm's saved memory, as nn_affine_at() reads it */
  float *value[NN_MAX_PARAMS];    /* state tensors in storage layout */
  float *gradient[NN_MAX_PARAMS]; /* of the parameters among them, overwritten by backward */
  float *folded_value[NN_MAX_PARAMS]; /* of the batch norm that is folded in */
  int64_t *batches_tracked;
  const nn_step_desc *step;
  const int32_t *const *labels; /* the current call's, or a pointer to NULL */
  double *loss;                 /* 0 before each forward pass; the loss is added, a layer that meets NaN sets NaN */
} nn_bindings;

typedef struct nn_kernel nn_kernel;

/* A kernel says at creation what memory it needs; the plan lays it out. */
struct nn_kernel {
  gp_status (*bind)(nn_kernel *k); /* k->at has changed; may be NULL */
  gp_status (*forward)(nn_kernel *k);
  gp_status (*backward)(nn_kernel *k);
  /* After the forward pass: makes the same output, bit for bit, once more, in `again`, and nothing else. Reads the inputs and
   * what was saved. NULL where that is not worth the time. */
  gp_status (*repeat)(nn_kernel *k);
  void (*destroy)(nn_kernel *k); /* releases k too */
  char implementation[48];       /* the library's name for it, for reports */
  size_t saved_bytes;            /* kept from forward to backward */
  size_t scratch_forward_bytes, scratch_backward_bytes, scratch_repeat_bytes;
  bool needs_input; /* backward reads the inputs */
  bool takes_again; /* backward reads them from in_backward */
  bool needs_output;
  bool accumulates;  /* backward can add to the gradient of its first input */
  bool spreads;      /* backward leaves the gradient of its first input in `affine`, and grad_in[0] alone */
  bool takes_addend; /* backward takes its gradient in two parts, of which it may overwrite the first */
  /* Backward hands grad_out on to all inputs: as it is, or changed in the same way for all (`changes_grad`), which it
   * does from grad_out to grad_in[0], maybe in place. The plan shares or adds the result. */
  bool pass_through, changes_grad;
  nn_bindings at;
};

typedef struct nn_device nn_device;

typedef struct nn_device_class {
  /* `maps`: the type of activations, GP_FLOAT32 or GP_BFLOAT16; but maps of one position are float32 in any case.
   * GP_ERROR_UNSUPPORTED where the machine cannot compute with it. */
  gp_status (*create)(nn_device **out, gp_dtype maps);
  void (*destroy)(nn_device **device);
  /* How an activation of this shape lies in memory: layout and type. */
  nn_tensor (*tensor)(const nn_device *device, nn_shape shape, int64_t batch);
  /* Storage of a convolution's weight: NULL layout for plain. The caller frees it with free_layout. */
  gp_status (*weight_layout)(nn_device *device, const nn_node *node, const nn_tensor *in, const nn_tensor *out,
                             void **layout, size_t *floats);
  void (*free_layout)(void *layout);
  gp_status (*weight_read)(nn_device *device, const nn_node *node, const void *layout, const float *stored,
                           float *plain);
  gp_status (*weight_write)(nn_device *device, const nn_node *node, const void *layout, const float *plain,
                            float *stored);
  gp_status (*kernel)(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc);
  /* Whether there is a kernel for a convolution, its weight in this layout, with a batch norm `folded` in. */
  bool (*folds_batch_norm)(const nn_node *node, const void *weight_layout);
  bool applies_affine; /* has kernels for `unstored` and `reads_affine` */
} nn_device_class;

extern const nn_device_class nn_device_onednn;

#endif
