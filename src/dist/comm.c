#include "dist/comm.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "dist/comm_impl.h"
#include "dist/launcher.h"

#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_SIZE = 1024 };

/* ---- Opening and closing ---- */

static gp_status open_library(dist_comm **out, const dist_launcher *launcher) {
#if defined(DIST_HAVE_MPI)
  gp_status status = dist_comm_open_mpi(out);
  if (status != GP_OK) return status;
  const int32_t size = (*out)->size;
  if (launcher->processes <= 1 || launcher->processes == size) return GP_OK;
  dist_comm_close(out);
  return gp_fail(GP_ERROR_LIBRARY,
                 "%s %" PRId64 " has started this, but MPI sees %" PRId32
                 " of its processes: use the mpirun of the MPI that gausspool is built with, or srun --mpi=pmix",
                 launcher->command, launcher->processes, size);
#else
  if (launcher->processes == 1) return dist_comm_open_single(out);
  return gp_fail(GP_ERROR_UNSUPPORTED,
                 "started by %s, but this build of gausspool has no MPI, and each process would train alone: install "
                 "libopenmpi-dev and openmpi-bin, and build again",
                 launcher->command);
#endif
}

gp_status dist_comm_open(dist_comm **out) {
  *out = NULL;
  const dist_launcher launcher = dist_launcher_find();
  return launcher.command == NULL ? dist_comm_open_single(out) : open_library(out, &launcher);
}

gp_status dist_comm_describe(dist_comm *comm, int32_t rank, int32_t size) {
  char host[DIST_HOST_SIZE] = "?";
  (void)!gethostname(host, sizeof host - 1);
  host[sizeof host - 1] = '\0';
  comm->rank = rank;
  comm->size = size;
  comm->timeout = 45;
  snprintf(comm->name, sizeof comm->name, "rank %" PRId32 " of %" PRId32 " on %s", rank, size, host);
  return GP_ALLOC(&comm->statuses, (size_t)size);
}

void dist_comm_close(dist_comm **pointer) {
  if (*pointer == NULL) return;
  dist_comm *comm = *pointer;
  *pointer = NULL;
  if (comm->ops != NULL) comm->ops->close(comm);
  gp_free(comm->statuses);
  gp_free(comm);
}

void dist_abort(dist_comm *comm, int exit_status) {
  fflush(NULL);
  if (comm->ops != NULL) comm->ops->abort(comm, exit_status);
  _exit(exit_status);
}

int32_t dist_rank(const dist_comm *comm) { return comm->rank; }

int32_t dist_size(const dist_comm *comm) { return comm->size; }

const char *dist_name(const dist_comm *comm) { return comm->name; }

void dist_set_timeout(dist_comm *comm, double seconds) { comm->timeout = seconds; }

bool dist_agreed(const dist_comm *comm) { return comm->size == 1 || comm->agreed; }

size_t dist_type_bytes(dist_type type) {
  static const size_t bytes[] = {[DIST_FLOAT32] = 4, [DIST_FLOAT64] = 8, [DIST_INT64] = 8, [DIST_BFLOAT16] = 2};
  return bytes[type];
}

/* ---- Waiting ---- */

static const double spin_seconds = 0.02, most_counted = 0.5;

/* At first the core is only offered to others; who waits for long sleeps in between. */
static void pause_after(double waited) {
  const struct timespec nap = {.tv_nsec = 200000};
  if (waited < spin_seconds)
    sched_yield();
  else
    nanosleep(&nap, NULL);
}

static gp_status poll(dist_comm *comm, dist_request *request, double timeout) {
  bool done = false;
  double before = gp_seconds(), waited = 0;
  for (;;) {
    gp_status status = comm->ops->test(comm, request, &done);
    if (status != GP_OK || done) return status;
    pause_after(waited);
    const double now = gp_seconds(), passed = now - before;
    before = now;
    waited += passed < most_counted ? passed : most_counted; /* more than that: the process was stopped */
    if (timeout > 0 && waited > timeout)
      return gp_fail(GP_ERROR_LIBRARY,
                     "%s has waited %.0f s for the other ranks: one of them, or the network between, is gone "
                     "(or slower than --rank-timeout allows)",
                     comm->name, timeout);
  }
}

static gp_status await(dist_comm *comm, dist_request *request, double timeout) {
  atomic_store(&comm->waiting_since, gp_seconds());
  gp_status status = poll(comm, request, timeout);
  atomic_store(&comm->waiting_since, 0);
  return status;
}

double dist_waiting_since(dist_comm *comm) { return atomic_load(&comm->waiting_since); }

gp_status dist_wait(dist_comm *comm, dist_request *request) {
  return comm->size == 1 ? GP_OK : await(comm, request, comm->timeout);
}

gp_status dist_test(dist_comm *comm, dist_request *request, bool *done) {
  *done = true;
  return comm->size == 1 ? GP_OK : comm->ops->test(comm, request, done);
}

/* ---- All at once ---- */

gp_status dist_sum_start(dist_comm *comm, void *values, size_t count, dist_type type, dist_request *request) {
  request->handle = NULL;
  if (comm->size == 1) return GP_OK;
  if (count > DIST_MOST) return gp_fail(GP_ERROR_UNSUPPORTED, "a sum over ranks of %zu values at once", count);
  comm->agreed = false;
  return comm->ops->sum(comm, values, count, type, request);
}

gp_status dist_sum(dist_comm *comm, void *values, size_t count, dist_type type) {
  gp_status status = GP_OK;
  const size_t bytes = dist_type_bytes(type);
  for (size_t at = 0; comm->size > 1 && at < count; at += DIST_MOST) {
    dist_request request;
    const size_t part = count - at < DIST_MOST ? count - at : DIST_MOST;
    GP_TRY(dist_sum_start(comm, (char *)values + at * bytes, part, type, &request));
    GP_TRY(dist_wait(comm, &request));
  }
cleanup:
  return status;
}

static gp_status broadcast(dist_comm *comm, void *bytes, size_t count, double timeout) {
  gp_status status = GP_OK;
  comm->agreed = false;
  for (size_t at = 0; comm->size > 1 && at < count; at += DIST_MOST) {
    dist_request request;
    const size_t part = count - at < DIST_MOST ? count - at : DIST_MOST;
    GP_TRY(comm->ops->broadcast(comm, (char *)bytes + at, part, &request));
    GP_TRY(await(comm, &request, timeout));
  }
cleanup:
  return status;
}

gp_status dist_broadcast(dist_comm *comm, void *bytes, size_t count) {
  return broadcast(comm, bytes, count, comm->timeout);
}

static gp_status gather(dist_comm *comm, const void *mine, size_t bytes, void *all, double timeout) {
  dist_request request;
  comm->agreed = false;
  if (comm->size == 1) {
    memcpy(all, mine, bytes);
    return GP_OK;
  }
  if (bytes > DIST_MOST) return gp_fail(GP_ERROR_UNSUPPORTED, "%zu bytes of each rank at once", bytes);
  gp_status status = comm->ops->gather(comm, mine, bytes, all, &request);
  return status == GP_OK ? await(comm, &request, timeout) : status;
}

gp_status dist_gather(dist_comm *comm, const void *mine, size_t bytes, void *all) {
  return gather(comm, mine, bytes, all, comm->timeout);
}

/* ---- Agreement ---- */

typedef struct outcome {
  int32_t status;
  char message[MESSAGE_SIZE];
} outcome;

/* Failures are rare: their messages go round only when there are some. */
static gp_status share_message(dist_comm *comm, int32_t failed, gp_status status) {
  outcome *all = NULL, mine = {.status = status};
  gp_status shared = GP_ALLOC(&all, (size_t)comm->size);
  if (shared != GP_OK) return shared;
  snprintf(mine.message, sizeof mine.message, "%s%s%s", failed > 0 ? comm->name : "", failed > 0 ? ": " : "",
           gp_last_error());
  shared = gather(comm, &mine, sizeof mine, all, comm->timeout);
  if (shared == GP_OK) {
    shared = gp_fail((gp_status)all[failed].status, "%s", all[failed].message);
    comm->agreed = true;
  }
  gp_free(all);
  return shared;
}

static gp_status agree(dist_comm *comm, gp_status status, double timeout) {
  if (comm->size == 1) return status;
  const int32_t mine = status;
  const int32_t *all = comm->statuses;
  int32_t failed = 0;
  char message[MESSAGE_SIZE]; /* the failure's, which waiting must not replace */
  snprintf(message, sizeof message, "%s", gp_last_error());
  gp_status shared = gather(comm, &mine, sizeof mine, comm->statuses, timeout);
  if (shared != GP_OK) return shared;
  while (failed < comm->size && all[failed] == GP_OK) ++failed;
  if (failed == comm->size) return GP_OK;
  (void)!gp_fail(status, "%s", message);
  return share_message(comm, failed, status);
}

gp_status dist_agree(dist_comm *comm, gp_status status) { return agree(comm, status, comm->timeout); }

gp_status dist_agree_later(dist_comm *comm, gp_status status) {
  return agree(comm, status, DIST_PATIENCE * comm->timeout);
}
