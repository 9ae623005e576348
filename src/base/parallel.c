#include "base/parallel.h"

#include <stdatomic.h>

/* A thread begins with a share of neighbouring tasks, the same in every loop of as many tasks, so that its caches still
 * hold what an earlier loop left there; then it takes what is left of the others'. So a thread that starts late, or has a
 * slower core, does less, and the rest wait for one task of it at most. */
enum { MAX_SHARES = 64, CACHE_LINE = 64 };

struct share {
  _Alignas(CACHE_LINE) _Atomic int64_t next; /* the first task that nobody has taken; end and more: none is left */
  int64_t end;
};

struct loop {
  gp_task_fn fn;
  void *context;
  int32_t count;
  struct share shares[MAX_SHARES];
};

static void make_shares(struct loop *loop, int64_t tasks, int32_t threads) {
  loop->count = threads < MAX_SHARES ? threads : MAX_SHARES;
  int64_t size = tasks / loop->count, larger = tasks % loop->count, begin = 0;
  for (int32_t i = 0; i < loop->count; ++i) {
    struct share *share = &loop->shares[i];
    share->end = begin + size + (i < larger ? 1 : 0);
    atomic_init(&share->next, begin);
    begin = share->end;
  }
}

/* What a thread does. What it reads and writes in tasks is ordered by the threads' start and end. */
static void run_shares(struct loop *loop, int32_t thread) {
  for (int32_t i = 0; i < loop->count; ++i) {
    struct share *share = &loop->shares[(thread + i) % loop->count];
    int64_t task;
    while ((task = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed)) < share->end)
      loop->fn(loop->context, task);
  }
}

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
  struct loop loop = {.fn = fn, .context = context};
  make_shares(&loop, tasks, threads);
#pragma omp parallel num_threads(threads)
  run_shares(&loop, omp_get_thread_num());
}

#else

/* Without OpenMP: plain threads, made for each loop. Slower to start, but visible to ThreadSanitizer, which does not
 * see through GCC's OpenMP runtime; the tsan preset builds this way. */

#include <pthread.h>
#include <sched.h>
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

struct worker {
  struct loop *loop;
  int32_t index;
};

static void *run_worker(void *argument) {
  const struct worker *worker = argument;
  run_shares(worker->loop, worker->index);
  return NULL;
}

void gp_parallel_for(int64_t tasks, int32_t threads, gp_task_fn fn, void *context) {
  if (threads <= 0) threads = gp_max_threads();
  if (threads > MAX_PLAIN_THREADS) threads = MAX_PLAIN_THREADS;
  if ((int64_t)threads > tasks) threads = (int32_t)tasks;
  struct loop loop = {.fn = fn, .context = context};
  make_shares(&loop, tasks, threads < 1 ? 1 : threads);
  pthread_t handles[MAX_PLAIN_THREADS];
  struct worker workers[MAX_PLAIN_THREADS];
  int32_t started = 1; /* thread 0 is this one */
  for (; started < threads; ++started) {
    workers[started] = (struct worker){&loop, started};
    /* Without it the others do its share. */
    if (pthread_create(&handles[started], NULL, run_worker, &workers[started]) != 0) break;
  }
  run_shares(&loop, 0);
  for (int32_t i = 1; i < started; ++i) pthread_join(handles[i], NULL);
}

#endif
