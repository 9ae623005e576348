/* Seconds for measuring how long something takes. */
#ifndef GP_BASE_CLOCK_H
#define GP_BASE_CLOCK_H

#include <time.h>

/* Seconds since some point in the past, which no setting of the clock moves. Needs _GNU_SOURCE. */
static inline double gp_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
