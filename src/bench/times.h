/* Times measured several times. */
#ifndef GP_BENCH_TIMES_H
#define GP_BENCH_TIMES_H

#include <stdint.h>

/* Median, least and most of some times. */
typedef struct bench_times {
  double median, min, max;
} bench_times;

/* Sorts the values; count ≥ 1. */
bench_times bench_summarise(double *values, int64_t count);

#endif
