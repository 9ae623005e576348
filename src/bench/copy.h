/* The machine's own speed of copying memory, which any pooling is measured by. */
#ifndef GP_BENCH_COPY_H
#define GP_BENCH_COPY_H

#include <gausspool/gausspool.h>

enum { BENCH_COPY_BYTES = 256 << 20 }; /* far beyond the caches */

/* Zero-initialise. */
typedef struct bench_copy {
  char *from, *to;
} bench_copy;

/* Allocates the arrays and copies once to warm up. */
GP_NODISCARD gp_status bench_copy_create(bench_copy *copy);

/* Copies once, with plain stores, on gp_max_threads() threads; gives bytes read and written in a second. */
double bench_copy_run(bench_copy *copy);

void bench_copy_clear(bench_copy *copy);

#endif
