#include "train/sgd.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"

enum { CHUNK = 1 << 14 }; /* floats per task: small enough to share out, large enough to stream */

typedef struct sgd_job {
  nn_arenas arenas;
  float lr, momentum;
  const sgd_desc *desc;
} sgd_job;

static void update(float *restrict value, const float *restrict gradient, float *restrict momentum, size_t count,
                   float decay, const sgd_job *job) {
  const float lr = job->lr, keep = job->momentum;
  for (size_t i = 0; i < count; ++i) {
    const float g = gradient[i] + decay * value[i];
    const float b = keep * momentum[i] + g;
    momentum[i] = b;
    value[i] -= lr * b;
  }
}

static void update_nesterov(float *restrict value, const float *restrict gradient, float *restrict momentum,
                            size_t count, float decay, const sgd_job *job) {
  const float lr = job->lr, keep = job->momentum;
  for (size_t i = 0; i < count; ++i) {
    const float g = gradient[i] + decay * value[i];
    const float b = keep * momentum[i] + g;
    momentum[i] = b;
    value[i] -= lr * (g + keep * b);
  }
}

static void update_stretch(const sgd_job *job, size_t first, size_t end, bool decayed) {
  const nn_arenas *arenas = &job->arenas;
  const float decay = decayed ? (float)job->desc->weight_decay : 0;
  (job->desc->nesterov ? update_nesterov : update)(arenas->value + first, arenas->gradient + first,
                                                   arenas->momentum + first, end - first, decay, job);
}

/* The chunk, cut where weight decay begins and ends to act. */
static void run_chunk(void *context, int64_t task) {
  const sgd_job *job = context;
  const sgd_range *range = job->desc->undecayed, *past = range + job->desc->undecayed_count;
  const size_t first = (size_t)task * CHUNK;
  const size_t end = job->arenas.count - first < CHUNK ? job->arenas.count : first + CHUNK;
  while (range < past && range->first + range->count <= first) ++range;
  for (size_t at = first, next; at < end; at = next) {
    const bool decayed = range == past || at < range->first;
    next = decayed ? (range == past ? end : range->first) : range->first + range->count;
    if (next > end) next = end;
    update_stretch(job, at, next, decayed);
    range += !decayed;
  }
}

void sgd_step(const nn_arenas *arenas, const sgd_desc *desc) {
  sgd_job job = {.arenas = *arenas, .lr = (float)desc->lr, .momentum = (float)desc->momentum, .desc = desc};
  gp_parallel_for((int64_t)((arenas->count + CHUNK - 1) / CHUNK), 0, run_chunk, &job);
}

gp_status sgd_find_vectors(const nn_net *net, sgd_range **out, size_t *count) {
  const int32_t states = nn_net_state_count(net);
  *count = 0;
  gp_status status = GP_ALLOC(out, (size_t)states + 1);
  if (status != GP_OK) return status;
  for (int32_t i = 0; i < states; ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (!state.is_parameter || state.rank > 1) continue;
    (*out)[*count] = (sgd_range){state.arena_offset, state.arena_count};
    *count += 1;
  }
  return GP_OK;
}
