/* Ranks over MPI. Every operation is a non-blocking one, which dist_ops.test moves along. */
#include "base/half.h"
#include "base/memory.h"
#include "base/status.h"
#include "dist/comm_impl.h"
#include "dist/mpi_algorithm.h"

#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct mpi_library {
  MPI_Comm comm;
  MPI_Op add_bfloat16;
  mpi_algorithm algorithm;
  bool initialised;
} mpi_library;

static gp_status check(int code, const char *doing) {
  if (code == MPI_SUCCESS) return GP_OK;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return gp_fail(GP_ERROR_LIBRARY, "MPI, %s: %s", doing, text);
}

static mpi_library *library_of(const dist_comm *comm) { return comm->library; }

/* A request is a pointer in one MPI, a number in another. */
_Static_assert(sizeof(MPI_Request) <= sizeof(void *), "a dist_request holds an MPI_Request");

static void keep(dist_request *request, MPI_Request handle) {
  request->handle = NULL;
  memcpy(&request->handle, &handle, sizeof handle);
}

static MPI_Request handle_of(const dist_request *request) {
  MPI_Request handle;
  memcpy(&handle, &request->handle, sizeof handle);
  return handle;
}

/* ---- Operations ---- */

static void add_bfloat16(void *in, void *in_out, int *count, MPI_Datatype *type) {
  (void)type;
  const uint16_t *a = in;
  uint16_t *b = in_out;
  for (int i = 0; i < *count; ++i) b[i] = gp_bfloat16_of_float(gp_float_of_bfloat16(a[i]) + gp_float_of_bfloat16(b[i]));
}

static gp_status sum(dist_comm *comm, void *values, size_t count, dist_type type, dist_request *request) {
  const MPI_Datatype types[] = {[DIST_FLOAT32] = MPI_FLOAT,
                                [DIST_FLOAT64] = MPI_DOUBLE,
                                [DIST_INT64] = MPI_INT64_T,
                                [DIST_BFLOAT16] = MPI_UINT16_T};
  const MPI_Op add = type == DIST_BFLOAT16 ? library_of(comm)->add_bfloat16 : MPI_SUM;
  MPI_Request handle = MPI_REQUEST_NULL;
  mpi_algorithm_choose(&library_of(comm)->algorithm, count, count * dist_type_bytes(type), comm->size);
  const int code = MPI_Iallreduce(MPI_IN_PLACE, values, (int)count, types[type], add, library_of(comm)->comm, &handle);
  keep(request, handle);
  return check(code, "summing over the ranks");
}

static gp_status broadcast(dist_comm *comm, void *bytes, size_t count, dist_request *request) {
  MPI_Request handle = MPI_REQUEST_NULL;
  const int code = MPI_Ibcast(bytes, (int)count, MPI_BYTE, 0, library_of(comm)->comm, &handle);
  keep(request, handle);
  return check(code, "sending to the ranks");
}

static gp_status gather(dist_comm *comm, const void *mine, size_t bytes, void *all, dist_request *request) {
  MPI_Request handle = MPI_REQUEST_NULL;
  const int code =
      MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, library_of(comm)->comm, &handle);
  keep(request, handle);
  return check(code, "collecting from the ranks");
}

static gp_status test(dist_comm *comm, dist_request *request, bool *done) {
  (void)comm;
  MPI_Request handle = handle_of(request);
  int flag = 0;
  const int code = MPI_Test(&handle, &flag, MPI_STATUS_IGNORE);
  keep(request, handle);
  *done = flag != 0;
  return check(code, "waiting for the ranks");
}

/* ---- Life ---- */

/* Where the launcher cannot be reached, MPI_Abort may wait for it for ever. */
static void abort_all(dist_comm *comm, int exit_status) {
  signal(SIGALRM, SIG_DFL);
  alarm(5);
  MPI_Abort(library_of(comm)->comm, exit_status);
}

static void release(mpi_library *library) {
  if (library->add_bfloat16 != MPI_OP_NULL) MPI_Op_free(&library->add_bfloat16);
  if (library->comm != MPI_COMM_NULL) MPI_Comm_free(&library->comm);
  mpi_algorithm_close(&library->algorithm);
  if (library->initialised) MPI_Finalize();
}

static void close_all(dist_comm *comm) {
  release(library_of(comm));
  gp_free(comm->library);
}

static const dist_ops ops = {
    .sum = sum, .broadcast = broadcast, .gather = gather, .test = test, .abort = abort_all, .close = close_all};

static gp_status start(mpi_library *library, int *rank, int *size) {
  gp_status status = GP_OK;
  int provided = MPI_THREAD_SINGLE;
  GP_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "starting"));
  library->initialised = true;
  if (provided < MPI_THREAD_FUNNELED)
    GP_TRY(gp_fail(GP_ERROR_UNSUPPORTED, "this MPI cannot be used by a program with threads (MPI_THREAD_FUNNELED)"));
  GP_TRY(check(MPI_Comm_dup(MPI_COMM_WORLD, &library->comm), "making a communicator"));
  GP_TRY(check(MPI_Comm_set_errhandler(library->comm, MPI_ERRORS_RETURN), "making a communicator"));
  GP_TRY(check(MPI_Op_create(add_bfloat16, 1, &library->add_bfloat16), "making an operation"));
  GP_TRY(check(MPI_Comm_rank(library->comm, rank), "asking for the rank"));
  GP_TRY(check(MPI_Comm_size(library->comm, size), "asking for the ranks"));
  mpi_algorithm_open(&library->algorithm, library->comm);
cleanup:
  return status;
}

gp_status dist_comm_open_mpi(dist_comm **out) {
  gp_status status = GP_OK;
  dist_comm *comm = NULL;
  mpi_library *library = NULL;
  int rank = 0, size = 1;
  *out = NULL;
  GP_TRY(GP_ALLOC(&comm, 1));
  GP_TRY(GP_ALLOC(&library, 1));
  *library = (mpi_library){.comm = MPI_COMM_NULL, .add_bfloat16 = MPI_OP_NULL};
  GP_TRY(start(library, &rank, &size));
  GP_TRY(dist_comm_describe(comm, rank, size));
  comm->ops = &ops;
  comm->library = library;
  *out = comm;
  return GP_OK;
cleanup:
  if (library != NULL) release(library);
  gp_free(library);
  gp_free(comm);
  return status;
}
