/* Commands that a launcher (mpirun, srun) runs as several processes which work as one. */
#ifndef GP_CLI_RANKS_H
#define GP_CLI_RANKS_H

#include "dist/comm.h"
#include "train/option.h"

#include <stdio.h>

/* As dist_comm_open(); ranks other than 0 leave it to that to tell of failures that all have (cli_fail()). */
GP_NODISCARD gp_status cli_ranks_open(dist_comm **out);

/* Every rank gets rank 0's configuration, initialised by the table on all of them. */
GP_NODISCARD gp_status cli_ranks_share_config(dist_comm *comm, const option_table *table, void *config);

/* Sets how many threads compute: so many, or for 0 this rank's share of the machine's processors, unless OMP_NUM_THREADS says so.
 * Rank 0 tells on `stream`, NULL for nowhere, how ranks share its machine, and what is amiss there. */
GP_NODISCARD gp_status cli_ranks_set_threads(dist_comm *comm, int64_t threads, FILE *stream);

/* The launcher's part of a command line for as many ranks: "mpirun -np 4"; "" alone. */
const char *cli_ranks_launcher(const dist_comm *comm, char text[64]);

/* Ends all ranks at once where a failure is this one's alone, after telling it and `hint` (a line, or ""). */
void cli_ranks_end_if_alone(dist_comm *comm, gp_status status, const char *hint);

/* ---- When launchers end a run ---- */

/* On ranks 0 and 1 of several: a launcher that ends a run for a lost rank asks by SIGTERM and kills soon after, while these may wait
 * for the lost one. So somebody watches, and tells by `hint` what to do where a rank is gone, or does not answer: rank 0, or rank 1 where that was the lost one. Every rank calls it. */
typedef struct cli_watch cli_watch;
GP_NODISCARD gp_status cli_watch_start(cli_watch **out, dist_comm *comm, void (*hint)(void *context), void *context);
void cli_watch_stop(cli_watch **watch);

#endif
