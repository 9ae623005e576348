#include "dist/launcher.h"

#include <stdlib.h>

static int64_t number_of(const char *name) {
  const char *text = getenv(name);
  return text == NULL ? -1 : strtoll(text, NULL, 10);
}

dist_launcher dist_launcher_find(void) {
  /* In a batch script, too, Slurm tells how many tasks a job has; only srun tells how many its step has. */
  static const struct {
    const char *variable, *command;
  } known[] = {{"OMPI_COMM_WORLD_SIZE", "mpirun -np"},
               {"SLURM_STEP_NUM_TASKS", "srun -n"},
               {"PMI_SIZE", "mpirun -np"},
               {"MPI_LOCALNRANKS", "mpirun -np"}};
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
    const int64_t processes = number_of(known[i].variable);
    if (processes > 1 || (processes == 1 && i != 1)) return (dist_launcher){known[i].command, processes};
  }
  if (getenv("PMIX_RANK") != NULL) return (dist_launcher){"mpirun -np", 0};
  return (dist_launcher){0};
}
