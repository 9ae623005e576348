#include "dist/launcher.h"

#include <stdlib.h>
#include <string.h>

static int64_t number_of(const char *name) {
  const char *text = getenv(name);
  return text == NULL ? -1 : strtoll(text, NULL, 10);
}

/* As the step was started: without the right --mpi the tasks would not find each other. */
static const char *srun_command(void) {
  const char *type = getenv("SLURM_MPI_TYPE");
  if (type != NULL && strncmp(type, "pmix", 4) == 0) return "srun --mpi=pmix -n";
  return type != NULL && strcmp(type, "pmi2") == 0 ? "srun --mpi=pmi2 -n" : "srun -n";
}

dist_launcher dist_launcher_find(void) {
  /* In a batch script, too, Slurm tells how many tasks a job has; only srun tells how many its step has. */
  enum { SRUN = 1 };
  static const char *const known[] = {"OMPI_COMM_WORLD_SIZE", [SRUN] = "SLURM_STEP_NUM_TASKS", "PMI_SIZE",
                                      "MPI_LOCALNRANKS"};
  /* MPICH's mpiexec starts its own helpers by srun, one on each machine, and these the processes, which inherit their step's number. */
  const int64_t of_pmi = number_of("PMI_SIZE");
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
    const int64_t processes = number_of(known[i]);
    if (i == SRUN && of_pmi > 0 && of_pmi != processes) continue;
    if (processes > 1 || (processes == 1 && i != SRUN))
      return (dist_launcher){i == SRUN ? srun_command() : "mpirun -np", processes};
  }
  if (getenv("PMIX_RANK") != NULL) return (dist_launcher){"mpirun -np", 0};
  return (dist_launcher){0};
}
