/* What a way for ranks to talk provides. Private to dist. */
#ifndef GP_DIST_COMM_IMPL_H
#define GP_DIST_COMM_IMPL_H

#include "dist/comm.h"

/* Elements of one call: what a library counts in an int. */
enum { DIST_MOST = 1 << 28, DIST_HOST_SIZE = 64 };

/* All begin something that dist_ops.test ends; of one rank they are never called. */
typedef struct dist_ops {
  gp_status (*sum)(dist_comm *comm, void *values, size_t count, dist_type type, dist_request *request);
  gp_status (*broadcast)(dist_comm *comm, void *bytes, size_t count, dist_request *request);
  gp_status (*gather)(dist_comm *comm, const void *mine, size_t bytes, void *all, dist_request *request);
  gp_status (*test)(dist_comm *comm, dist_request *request, bool *done);
  void (*abort)(dist_comm *comm, int exit_status); /* may return where nobody can be told */
  void (*close)(dist_comm *comm);
} dist_ops;

struct dist_comm {
  const dist_ops *ops;
  int32_t rank, size;
  double timeout;
  bool agreed;
  int32_t *statuses;            /* [size], of dist_agree() */
  _Atomic double waiting_since; /* gp_seconds(); 0: not waiting */
  char name[DIST_HOST_SIZE + 48];
  void *library; /* the implementation's own */
};

/* Fills rank, size, name and the defaults. `comm` is to be zeroed before; after a failure, too, dist_comm_close() releases it. */
GP_NODISCARD gp_status dist_comm_describe(dist_comm *comm, int32_t rank, int32_t size);

size_t dist_type_bytes(dist_type type);

/* Over MPI; size 1 where it has started one process only. mpi.c, where MPI was found. */
GP_NODISCARD gp_status dist_comm_open_mpi(dist_comm **out);

#endif
