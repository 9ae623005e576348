/* How the ranks of one machine share its processors. */
#ifndef GP_DIST_MACHINE_H
#define GP_DIST_MACHINE_H

#include "dist/comm.h"

enum { DIST_PROCESSORS = 1024, DIST_MASK_WORDS = DIST_PROCESSORS / 64 };

/* A process's place: its machine, and the processors that it may run on, one a bit. */
typedef struct dist_place {
  uint64_t machine; /* equal for processes of one running kernel */
  uint64_t mask[DIST_MASK_WORDS];
  int64_t online;  /* processors of the machine */
  int64_t process; /* its number there */
} dist_place;

typedef struct dist_machine {
  int32_t ranks;      /* on this machine */
  int32_t processors; /* that they may run on, all together */
  int32_t online;     /* that the machine has */
  int32_t threads;    /* a fair share of one's own, at least 1 */
} dist_machine;

/* Asks all ranks for their places; every rank calls it. */
GP_NODISCARD gp_status dist_machine_find(dist_comm *comm, dist_machine *out);

/* processes[rank] ← the process number of each rank on this machine, 0 for others; every rank calls it. */
GP_NODISCARD gp_status dist_machine_processes(dist_comm *comm, int64_t *processes);

/* The arithmetic of it: rank `own` of `count` places. */
dist_machine dist_machine_share(const dist_place *places, int32_t count, int32_t own);

#endif
