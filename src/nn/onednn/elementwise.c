/* ReLU, sigmoid and sums but those of residual.c, on all lanes of whatever layout: our own loops, bound by memory. */
#include <math.h>

#include "base/memory.h"
#include "base/vectorize.h"
#include "nn/element.h"
#include "nn/layout.h"
#include "nn/onednn/primitive.h"

typedef struct elementwise {
  nn_kernel base;
  nn_tensor tensor;
  size_t elements;  /* of the tensor, padding lanes included */
  nn_loop forward;  /* dst = f(a, b) */
  nn_loop backward; /* dst = g(grad_out = a, y = b) */
} elementwise;

/* NaN stays NaN, as in PyTorch: it fails the comparison. */
static void relu(float *restrict dst, const float *a, const float *b, size_t count) {
  (void)b;
  for (size_t i = 0; i < count; ++i) dst[i] = a[i] < 0 ? 0 : a[i];
}

static void sigmoid(float *restrict dst, const float *a, const float *b, size_t count) {
  (void)b;
  for (size_t i = 0; i < count; ++i) dst[i] = 1 / (1 + expf(-a[i]));
}

static void add(float *restrict dst, const float *a, const float *b, size_t count) {
  for (size_t i = 0; i < count; ++i) dst[i] = a[i] + b[i];
}

static void add_relu(float *restrict dst, const float *a, const float *b, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    float sum = a[i] + b[i];
    dst[i] = sum < 0 ? 0 : sum;
  }
}

/* In place when dst is the gradient itself, so without restrict. */
static void relu_gradient(float *dst, const float *gradient, const float *y, size_t count) {
  GP_INDEPENDENT
  for (size_t i = 0; i < count; ++i) {
    float g = gradient[i]; /* read in any case: a choice of values, not of loads, is vectorised */
    dst[i] = y[i] > 0 ? g : 0;
  }
}

static void sigmoid_gradient(float *dst, const float *gradient, const float *y, size_t count) {
  GP_INDEPENDENT
  for (size_t i = 0; i < count; ++i) dst[i] = gradient[i] * y[i] * (1 - y[i]);
}

static gp_status forward(nn_kernel *k) {
  elementwise *e = (elementwise *)k;
  nn_run_loop(e->forward, e->tensor.type, k->at.out, k->at.in[0], k->at.in[1], e->elements);
  if (e->forward == sigmoid) nn_clear_padding(&e->tensor, k->at.out); /* sigmoid(0) is 1/2 */
  return GP_OK;
}

static gp_status backward(nn_kernel *k) {
  elementwise *e = (elementwise *)k;
  nn_run_loop(e->backward, e->tensor.type, k->at.grad_in[0], k->at.grad_out, k->at.out, e->elements);
  return GP_OK;
}

static void destroy(nn_kernel *k) { gp_free(k); }

gp_status od_make_elementwise(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  (void)device;
  elementwise *e = NULL;
  gp_status status = GP_ALLOC(&e, 1);
  if (status != GP_OK) return status;
  e->base = (nn_kernel){.forward = forward,
                        .backward = backward,
                        .destroy = destroy,
                        .implementation = "gausspool",
                        .pass_through = true};
  e->tensor = desc->out;
  e->elements = nn_tensor_elements(&desc->out);
  switch (desc->node->op) {
    case NN_OP_RELU: e->forward = relu; break;
    case NN_OP_SIGMOID: e->forward = sigmoid; break;
    default: e->forward = desc->fuse_relu ? add_relu : add; break;
  }
  if (e->forward != add) e->backward = e->forward == sigmoid ? sigmoid_gradient : relu_gradient;
  e->base.changes_grad = e->base.needs_output = e->backward != NULL;
  *out = &e->base;
  return GP_OK;
}
