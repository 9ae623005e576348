/* For programs that a launcher starts as several ranks: one whose check fails tells it and ends them all. */
#ifndef GP_RANKS_EXPECT_H
#define GP_RANKS_EXPECT_H

#include "dist/comm.h"

#include <stdio.h>

#define EXPECT(condition)                                                                         \
  do {                                                                                            \
    if (!(condition)) {                                                                           \
      fprintf(stderr, "%s:%d: %s: %s\n", dist_name(comm), __LINE__, #condition, gp_last_error()); \
      dist_abort(comm, 1);                                                                        \
    }                                                                                             \
  } while (0)

#endif
