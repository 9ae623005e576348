#include "train/sgd.h"

#include "base/parallel.h"

enum { CHUNK = 1 << 14 }; /* floats per task: small enough to share out, large enough to stream */

typedef struct sgd_job {
  nn_arenas arenas;
  float lr, momentum, weight_decay;
  bool nesterov;
} sgd_job;

static void update(float *restrict value, const float *restrict gradient, float *restrict momentum, size_t count,
                   const sgd_job *job) {
  const float lr = job->lr, decay = job->weight_decay, keep = job->momentum;
  for (size_t i = 0; i < count; ++i) {
    const float g = gradient[i] + decay * value[i];
    const float b = keep * momentum[i] + g;
    momentum[i] = b;
    value[i] -= lr * b;
  }
}

static void update_nesterov(float *restrict value, const float *restrict gradient, float *restrict momentum,
                            size_t count, const sgd_job *job) {
  const float lr = job->lr, decay = job->weight_decay, keep = job->momentum;
  for (size_t i = 0; i < count; ++i) {
    const float g = gradient[i] + decay * value[i];
    const float b = keep * momentum[i] + g;
    momentum[i] = b;
    value[i] -= lr * (g + keep * b);
  }
}

static void run_chunk(void *context, int64_t task) {
  const sgd_job *job = context;
  const nn_arenas *arenas = &job->arenas;
  const size_t first = (size_t)task * CHUNK;
  const size_t count = arenas->count - first < CHUNK ? arenas->count - first : CHUNK;
  (job->nesterov ? update_nesterov : update)(arenas->value + first, arenas->gradient + first, arenas->momentum + first,
                                             count, job);
}

void sgd_step(const nn_arenas *arenas, const sgd_desc *desc) {
  sgd_job job = {
      .arenas = *arenas,
      .lr = (float)desc->lr,
      .momentum = (float)desc->momentum,
      .weight_decay = (float)desc->weight_decay,
      .nesterov = desc->nesterov,
  };
  gp_parallel_for((int64_t)((arenas->count + CHUNK - 1) / CHUNK), 0, run_chunk, &job);
}
