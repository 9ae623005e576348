#include "dist/mpi_algorithm.h"

/* Values of the variable (ompi_info --param coll libnbc --level 5). */
enum { CHOOSE_ITSELF = 0, RABENSEIFNER = 3, RECURSIVE_DOUBLING = 4 };

enum { SMALL_BYTES = 1 << 16 }; /* below, rounds count more than bytes */

static bool find(mpi_algorithm *algorithm) {
  int index = -1, count = 0, now = -1;
  if (MPI_T_cvar_get_index("coll_libnbc_iallreduce_algorithm", &index) != MPI_SUCCESS) return false;
  if (MPI_T_cvar_handle_alloc(index, NULL, &algorithm->variable, &count) != MPI_SUCCESS) return false;
  if (count == 1 && MPI_T_cvar_read(algorithm->variable, &now) == MPI_SUCCESS && now == CHOOSE_ITSELF) return true;
  MPI_T_cvar_handle_free(&algorithm->variable);
  return false;
}

/* Whoever has set it on some of the machines only leaves the others as they are by themselves. */
static bool everywhere(bool found, MPI_Comm comm) {
  int all = found;
  return MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_LAND, comm) == MPI_SUCCESS && all != 0;
}

void mpi_algorithm_open(mpi_algorithm *algorithm, MPI_Comm comm) {
  int provided = 0;
  *algorithm = (mpi_algorithm){.opened = MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) == MPI_SUCCESS};
  const bool found = algorithm->opened && find(algorithm);
  algorithm->ours = everywhere(found, comm);
  if (found && !algorithm->ours) MPI_T_cvar_handle_free(&algorithm->variable);
}

static bool set(const mpi_algorithm *algorithm, int choice) {
  return MPI_T_cvar_write(algorithm->variable, &choice) == MPI_SUCCESS;
}

/* Rabenseifner's: each rank adds up a part, which then goes to all; what goes over its link is twice the buffer for any number of
 * ranks. Of fewer elements than ranks libnbc would make a ring of it. Recursive doubling: everybody has the whole in
 * log₂(ranks) rounds, half of what a tree takes. With both all ranks get the same bits, as IEEE addition commutes. */
void mpi_algorithm_choose(mpi_algorithm *algorithm, size_t count, size_t bytes, int32_t ranks) {
  if (!algorithm->ours) return;
  const int choice = bytes >= SMALL_BYTES && count >= (size_t)ranks ? RABENSEIFNER : RECURSIVE_DOUBLING;
  if (!set(algorithm, choice)) (void)set(algorithm, CHOOSE_ITSELF); /* and not the choice of another sum */
}

void mpi_algorithm_close(mpi_algorithm *algorithm) {
  if (algorithm->ours) MPI_T_cvar_handle_free(&algorithm->variable);
  if (algorithm->opened) MPI_T_finalize();
  *algorithm = (mpi_algorithm){0};
}
