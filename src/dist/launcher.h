/* Who has started this process, and with how many others, by what launchers leave in the environment. */
#ifndef GP_DIST_LAUNCHER_H
#define GP_DIST_LAUNCHER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct dist_launcher {
  const char *command; /* how its user calls it: "mpirun -np", "srun -n"; NULL: no launcher */
  int64_t processes;   /* 0: not known before MPI tells */
} dist_launcher;

dist_launcher dist_launcher_find(void);

#endif
