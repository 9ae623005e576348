#include "bench/copy.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"

#include <stdint.h>

enum { TASKS = 256, TASK_BYTES = BENCH_COPY_BYTES / TASKS };

/* What every machine of ours moves at once. */
typedef uint32_t vector __attribute__((vector_size(16), may_alias));

static void copy_task(void *context, int64_t task) {
  const bench_copy *copy = context;
  const vector *from = (const vector *)(copy->from + task * TASK_BYTES);
  vector *to = (vector *)(copy->to + task * TASK_BYTES);
  for (size_t i = 0; i < TASK_BYTES / sizeof *to; i += 4) {
    const vector a = from[i], b = from[i + 1], c = from[i + 2], d = from[i + 3];
    to[i] = a;
    to[i + 1] = b;
    to[i + 2] = c;
    to[i + 3] = d;
    /* Keeps the compiler from calling memcpy, which would use streaming stores. */
    __asm__ volatile("" ::: "memory");
  }
}

double bench_copy_run(bench_copy *copy) {
  const double started = gp_seconds();
  gp_parallel_for(TASKS, 0, copy_task, copy);
  return 2.0 * BENCH_COPY_BYTES / (gp_seconds() - started);
}

gp_status bench_copy_create(bench_copy *copy) {
  gp_status status = GP_OK;
  GP_TRY(GP_ALLOC(&copy->from, BENCH_COPY_BYTES));
  GP_TRY(GP_ALLOC(&copy->to, BENCH_COPY_BYTES));
  (void)bench_copy_run(copy);
cleanup:
  if (status != GP_OK) {
    status = gp_fail_in(status, "measuring the copy bandwidth");
    bench_copy_clear(copy);
  }
  return status;
}

void bench_copy_clear(bench_copy *copy) {
  gp_free(copy->from);
  gp_free(copy->to);
  *copy = (bench_copy){0};
}
