/* Processes that train as one: who they are, and what they do together. A process is a rank, 0 … size-1; every rank makes
 * the same calls in the same order.
 *
 *   GP_TRY(dist_comm_open(&comm));                      as the launcher has started us, alone or with others
 *   GP_TRY(dist_sum(comm, losses, 3, DIST_FLOAT64));
 *   status = dist_agree(comm, status);                  one's failure is everybody's
 *   dist_comm_close(&comm);
 *
 * How they talk to each other is behind dist_ops: single.c alone, mpi.c over MPI. All calls are to be made from the thread
 * that opened the communicator.
 *
 * A call that waits for the others fails with GP_ERROR_LIBRARY after `timeout` seconds without an answer. Time in which
 * this process was stopped does not count. */
#ifndef GP_DIST_COMM_H
#define GP_DIST_COMM_H

#include <gausspool/gausspool.h>

typedef struct dist_comm dist_comm;

/* DIST_BFLOAT16: sums are made in float32 and rounded to nearest, ties to even, wherever two ranks' values meet. */
typedef enum dist_type { DIST_FLOAT32 = 0, DIST_FLOAT64, DIST_INT64, DIST_BFLOAT16 } dist_type;

/* GP_ERROR_UNSUPPORTED where a launcher has started several processes and this build has no MPI; GP_ERROR_LIBRARY where MPI
 * fails, or does not see the others. */
GP_NODISCARD gp_status dist_comm_open(dist_comm **out);

/* A communicator of one, whatever has started the process. */
GP_NODISCARD gp_status dist_comm_open_single(dist_comm **out);

/* Waits for the others, who must close theirs too. Takes NULL, leaves NULL. */
void dist_comm_close(dist_comm **comm);

/* Ends all ranks at once, for a failure that the others have no part in. Does not return. */
_Noreturn void dist_abort(dist_comm *comm, int exit_status);

int32_t dist_rank(const dist_comm *comm);
int32_t dist_size(const dist_comm *comm);
const char *dist_name(const dist_comm *comm); /* "rank 1 of 4 on HOST" */

/* 0: wait for ever. At first 45. */
void dist_set_timeout(dist_comm *comm, double seconds);

/* When the wait for others began that this rank is in now, by gp_seconds(); 0: in none. For any thread. */
double dist_waiting_since(dist_comm *comm);

/* ---- All at once ---- */

/* values[i] ← its sum over the ranks, the same bits on all of them. */
GP_NODISCARD gp_status dist_sum(dist_comm *comm, void *values, size_t count, dist_type type);

/* Everybody gets rank 0's bytes. */
GP_NODISCARD gp_status dist_broadcast(dist_comm *comm, void *bytes, size_t count);

/* all[r·bytes …] ← what rank r has in `mine`. */
GP_NODISCARD gp_status dist_gather(dist_comm *comm, const void *mine, size_t bytes, void *all);

/* GP_OK if every rank has that; else the status of the first that has not, and its message, on all of them, the rank named
 * unless it is 0. */
GP_NODISCARD gp_status dist_agree(dist_comm *comm, gp_status status);

/* The same after what may take one rank much longer than others: waits DIST_PATIENCE times as long. */
enum { DIST_PATIENCE = 20 };
GP_NODISCARD gp_status dist_agree_later(dist_comm *comm, gp_status status);

/* Whether the last failure is known to all ranks, so that one of them tells it and all end in good order. */
bool dist_agreed(const dist_comm *comm);

/* ---- Sums that go on while the caller computes ---- */

typedef struct dist_request {
  void *handle;
} dist_request;

/* Begins dist_sum(); `values` is neither read nor written by the caller until it is done. */
GP_NODISCARD gp_status dist_sum_start(dist_comm *comm, void *values, size_t count, dist_type type,
                                      dist_request *request);

/* Moves everything that was begun along; *done: whether this one is. Once it is, the request is spent. */
GP_NODISCARD gp_status dist_test(dist_comm *comm, dist_request *request, bool *done);
GP_NODISCARD gp_status dist_wait(dist_comm *comm, dist_request *request);

#endif
