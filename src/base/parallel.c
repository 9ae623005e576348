#include "base/parallel.h"

/* Threads of a loop at most, whatever is asked for: starting tens of thousands fails, and with OpenMP ends the process. */
enum { MAX_THREADS = 1024 };

#if defined(_OPENMP)

#include <omp.h>

int32_t gp_max_threads(void) { return omp_get_max_threads(); }

void gp_set_max_threads(int32_t threads) { omp_set_num_threads(threads < 1 ? 1 : threads); }

void gp_parallel_for(int64_t tasks, int32_t threads, gp_task_fn fn, void *context) {
  if (threads <= 0) threads = gp_max_threads();
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  if ((int64_t)threads > tasks) threads = (int32_t)tasks;
  if (threads <= 1) {
    for (int64_t task = 0; task < tasks; ++task) fn(context, task);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t task = 0; task < tasks; ++task) fn(context, task);
}

#else

/* Without OpenMP: plain threads, made for each loop. Slower to start, but visible to ThreadSanitizer, which does not
 * see through GCC's OpenMP runtime; the tsan preset builds this way. */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MAX_PLAIN_THREADS = 64 };

static _Atomic int32_t max_threads;

int32_t gp_max_threads(void) {
  int32_t threads = max_threads;
  if (threads > 0) return threads;
  const char *wanted = getenv("OMP_NUM_THREADS");
  if (wanted != NULL) threads = (int32_t)strtol(wanted, NULL, 10);
  cpu_set_t set;
  if (threads <= 0) threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  gp_set_max_threads(threads);
  return max_threads;
}

void gp_set_max_threads(int32_t threads) {
  max_threads = threads < 1 ? 1 : threads > MAX_PLAIN_THREADS ? MAX_PLAIN_THREADS : threads;
}

struct loop {
  gp_task_fn fn;
  void *context;
  int64_t tasks, threads;
};

struct worker {
  const struct loop *loop;
  int64_t index;
};

static void *run_share(void *argument) {
  const struct worker *worker = argument;
  const struct loop *loop = worker->loop;
  for (int64_t task = worker->index; task < loop->tasks; task += loop->threads) loop->fn(loop->context, task);
  return NULL;
}

void gp_parallel_for(int64_t tasks, int32_t threads, gp_task_fn fn, void *context) {
  if (threads <= 0) threads = gp_max_threads();
  if (threads > MAX_PLAIN_THREADS) threads = MAX_PLAIN_THREADS;
  if ((int64_t)threads > tasks) threads = (int32_t)tasks;
  struct loop loop = {fn, context, tasks, threads < 1 ? 1 : threads};
  pthread_t handles[MAX_PLAIN_THREADS];
  struct worker workers[MAX_PLAIN_THREADS];
  int64_t started = 1; /* share 0 is this thread's */
  for (; started < loop.threads; ++started) {
    workers[started] = (struct worker){&loop, started};
    if (pthread_create(&handles[started], NULL, run_share, &workers[started]) != 0) break;
  }
  run_share(&(struct worker){&loop, 0});
  /* Shares whose thread could not be made are done here. */
  for (int64_t i = started; i < loop.threads; ++i) run_share(&(struct worker){&loop, i});
  for (int64_t i = 1; i < started; ++i) pthread_join(handles[i], NULL);
}

#endif
