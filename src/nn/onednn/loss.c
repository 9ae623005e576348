/* Softmax cross-entropy with label smoothing e over K classes:
 *   loss_n = -(1 - e)·log p[label] - e/K·Σ_k log p[k],  gradient = (p - target)/N,  target = (1 - e)·onehot + e/K
 * with N the samples whose mean loss is meant: the batch's, or those of a larger one that it is a part of. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "nn/onednn/primitive.h"

typedef struct cross_entropy {
  nn_kernel base;
  int64_t batch, classes;
  double smoothing;
} cross_entropy;

/* Losses of the samples, in double, then p [n][k]. */
static double *losses(const cross_entropy *op) { return op->base.at.saved; }
static float *probabilities(const cross_entropy *op) { return (float *)(losses(op) + op->batch); }

static void forward_sample(void *context, int64_t n) {
  const cross_entropy *op = context;
  const int32_t label = (*op->base.at.labels)[n];
  const float *logits = (const float *)op->base.at.in[0] + n * op->classes;
  float *p = probabilities(op) + n * op->classes;
  double largest = logits[0], sum = 0, logit_sum = 0;
  for (int64_t k = 1; k < op->classes; ++k)
    if (!(logits[k] <= largest)) largest = logits[k];
  for (int64_t k = 0; k < op->classes; ++k) {
    sum += exp(logits[k] - largest);
    logit_sum += logits[k];
  }
  double log_sum = largest + log(sum);
  for (int64_t k = 0; k < op->classes; ++k) p[k] = (float)exp(logits[k] - log_sum);
  losses(op)[n] = log_sum - (1 - op->smoothing) * logits[label] - op->smoothing / (double)op->classes * logit_sum;
}

static gp_status forward(nn_kernel *k) {
  cross_entropy *op = (cross_entropy *)k;
  if (*k->at.labels == NULL) return GP_OK;
  gp_parallel_for(op->batch, 0, forward_sample, op);
  double sum = 0;
  for (int64_t n = 0; n < op->batch; ++n) sum += losses(op)[n];
  *k->at.loss += sum / (double)op->batch; /* starts at 0, or NaN where a layer has seen the net diverge */
  return GP_OK;
}

static void backward_sample(void *context, int64_t n) {
  const cross_entropy *op = context;
  const int32_t label = (*op->base.at.labels)[n];
  const float *p = probabilities(op) + n * op->classes;
  float *gradient = (float *)op->base.at.grad_in[0] + n * op->classes;
  const nn_step_desc *step = op->base.at.step;
  const double samples = (double)(step->whole > 0 ? step->whole : op->batch);
  double everywhere = op->smoothing / (double)op->classes;
  if (step->absent) {
    memset(gradient, 0, (size_t)op->classes * sizeof *gradient);
    return;
  }
  for (int64_t k = 0; k < op->classes; ++k) {
    double target = everywhere + (k == label ? 1 - op->smoothing : 0);
    gradient[k] = (float)((p[k] - target) / samples);
  }
}

static gp_status backward(nn_kernel *k) {
  cross_entropy *op = (cross_entropy *)k;
  gp_parallel_for(op->batch, 0, backward_sample, op);
  return GP_OK;
}

static void destroy(nn_kernel *k) { gp_free(k); }

gp_status od_make_cross_entropy(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc) {
  (void)device;
  cross_entropy *op = NULL;
  gp_status status = GP_ALLOC(&op, 1);
  if (status != GP_OK) return status;
  op->base = (nn_kernel){.forward = forward, .backward = backward, .destroy = destroy, .implementation = "gausspool"};
  op->batch = desc->in[0].batch;
  op->classes = desc->in[0].shape.channels;
  op->smoothing = desc->node->as.cross_entropy.label_smoothing;
  op->base.saved_bytes = (size_t)op->batch * sizeof(double) + (size_t)(op->batch * op->classes) * sizeof(float);
  *out = &op->base;
  return GP_OK;
}
