#include "bench/times.h"

#include <stdlib.h>

static int compare_doubles(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

bench_times bench_summarise(double *values, int64_t count) {
  qsort(values, (size_t)count, sizeof *values, compare_doubles);
  return (bench_times){
      .median = 0.5 * (values[(count - 1) / 2] + values[count / 2]), .min = values[0], .max = values[count - 1]};
}
