/* The parallel loop. Work is cut into tasks by the caller, never by the number of threads, so that sums made per
 * task and added in task order do not depend on it. */
#ifndef GP_BASE_PARALLEL_H
#define GP_BASE_PARALLEL_H

#include <stdint.h>

typedef void (*gp_task_fn)(void *context, int64_t task);

/* Calls fn(context, 0 … tasks-1), each once, on at most `threads` threads (0: gp_max_threads()). Returns when all are done.
 * Which thread does a task is not fixed; neighbouring tasks mostly go to one. */
void gp_parallel_for(int64_t tasks, int32_t threads, gp_task_fn fn, void *context);

/* Threads a loop uses unless told otherwise: OMP_NUM_THREADS or the processors this process may run on. */
int32_t gp_max_threads(void);

/* Sets what gp_max_threads() returns, for the libraries that share the OpenMP runtime too. At least 1. */
void gp_set_max_threads(int32_t threads);

#endif
