/* How Open MPI adds up over ranks. Buffers are summed in place, and for these its libnbc by itself takes a binomial tree, which
 * hands whole buffers on to rank 0 and back; asked to, it takes better ways that need no more memory. It is asked through MPI's
 * tool interface, before each sum; other MPIs, which do not know that variable, choose for themselves. */
#ifndef GP_DIST_MPI_ALGORITHM_H
#define GP_DIST_MPI_ALGORITHM_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mpi_algorithm {
  MPI_T_cvar_handle variable;
  bool opened; /* the tool interface is */
  bool ours;   /* there is such a variable on all ranks, and nobody else has set it */
} mpi_algorithm;

/* On all ranks, after MPI_Init(); whatever fails here leaves the choice to the library. */
void mpi_algorithm_open(mpi_algorithm *algorithm, MPI_Comm comm);

/* Before MPI_Iallreduce() of `count` elements, `bytes` in all. Depends on nothing else, as all ranks must choose alike. */
void mpi_algorithm_choose(mpi_algorithm *algorithm, size_t count, size_t bytes, int32_t ranks);

void mpi_algorithm_close(mpi_algorithm *algorithm);

#endif
