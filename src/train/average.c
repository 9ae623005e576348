#include "train/average.h"

#include "base/parallel.h"

#include <string.h>

enum { CHUNK = 1 << 14 }; /* floats per task */

typedef struct average_job {
  float *value, *average;
  size_t count;
  float share; /* of the new value */
} average_job;

static size_t chunk_of(const average_job *job, int64_t task, size_t *first) {
  *first = (size_t)task * CHUNK;
  return job->count - *first < CHUNK ? job->count - *first : CHUNK;
}

static void update_chunk(void *context, int64_t task) {
  const average_job *job = context;
  size_t first;
  const size_t count = chunk_of(job, task, &first);
  const float *restrict value = job->value + first;
  float *restrict average = job->average + first;
  for (size_t i = 0; i < count; ++i) average[i] += job->share * (value[i] - average[i]);
}

static void swap_chunk(void *context, int64_t task) {
  const average_job *job = context;
  size_t first;
  const size_t count = chunk_of(job, task, &first);
  float *restrict value = job->value + first, *restrict average = job->average + first;
  for (size_t i = 0; i < count; ++i) {
    const float x = value[i];
    value[i] = average[i];
    average[i] = x;
  }
}

static void over_all(const nn_arenas *a, gp_task_fn chunk, float share) {
  average_job jobs[] = {{a->value, a->average, a->count, share},
                        {a->statistics, a->statistics_average, a->statistics_count, share}};
  for (int i = 0; i < 2; ++i) gp_parallel_for((int64_t)((jobs[i].count + CHUNK - 1) / CHUNK), 0, chunk, &jobs[i]);
}

void weight_average_start(const nn_arenas *arenas) {
  memcpy(arenas->average, arenas->value, arenas->count * sizeof(float));
  memcpy(arenas->statistics_average, arenas->statistics, arenas->statistics_count * sizeof(float));
}

void weight_average_update(const nn_arenas *arenas, double decay) {
  over_all(arenas, update_chunk, (float)(1 - decay));
}

void weight_average_swap(const nn_arenas *arenas) { over_all(arenas, swap_chunk, 0); }
