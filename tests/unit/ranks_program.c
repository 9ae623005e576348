/* Sums, agreement and buckets between the ranks that a launcher starts; each checks its own copy. Prints nothing when all is well. */
#include "base/status.h"
#include "dist/reducer.h"
#include "ranks_expect.h"

#include <inttypes.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sizes of all ways to add up: fewer values than ranks, less than 64 KiB, more, and not divisible by anything. */
static const size_t counts[] = {1, 2, 3, 7, 1000, 16384, 100003, 262144};

enum { MOST = 262144 };

/* Each rank has r + 1 + i % 5 there, small whole numbers in every type. */
static double term(int32_t rank, size_t i) { return rank + 1 + (double)(i % 5); }

static double expected(int32_t size, size_t i) { return size * (size + 1) / 2.0 + size * (double)(i % 5); }

static uint16_t bfloat16_of(double value) {
  const float single = (float)value;
  uint32_t bits;
  memcpy(&bits, &single, sizeof bits);
  return (uint16_t)(bits >> 16);
}

static void put(void *values, dist_type type, size_t i, double value) {
  switch (type) {
    case DIST_FLOAT32: ((float *)values)[i] = (float)value; break;
    case DIST_FLOAT64: ((double *)values)[i] = value; break;
    case DIST_INT64: ((int64_t *)values)[i] = (int64_t)value; break;
    case DIST_BFLOAT16: ((uint16_t *)values)[i] = bfloat16_of(value); break;
  }
}

static const dist_type types[] = {DIST_FLOAT32, DIST_FLOAT64, DIST_INT64, DIST_BFLOAT16};
static const size_t type_bytes[] = {4, 8, 8, 2};

static void sums_are_right(dist_comm *comm, void *values, void *wanted) {
  for (int t = 0; t < 4; ++t) {
    for (size_t c = 0; c < sizeof counts / sizeof *counts; ++c) {
      for (size_t i = 0; i < counts[c]; ++i) put(values, types[t], i, term(dist_rank(comm), i));
      for (size_t i = 0; i < counts[c]; ++i) put(wanted, types[t], i, expected(dist_size(comm), i));
      EXPECT(dist_sum(comm, values, counts[c], types[t]) == GP_OK);
      EXPECT(memcmp(values, wanted, counts[c] * type_bytes[t]) == 0);
    }
  }
}

/* How the last sum has been done, by Open MPI's variable; -1 where that is not known, or not ours to choose. */
static int algorithm_of_last(void) {
  int provided = 0, index = -1, count = 0, value = -1;
  MPI_T_cvar_handle variable;
  if (getenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm") != NULL) return -1;
  if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS) return -1;
  if (MPI_T_cvar_get_index("coll_libnbc_iallreduce_algorithm", &index) == MPI_SUCCESS &&
      MPI_T_cvar_handle_alloc(index, NULL, &variable, &count) == MPI_SUCCESS) {
    if (MPI_T_cvar_read(variable, &value) != MPI_SUCCESS) value = -2;
    MPI_T_cvar_handle_free(&variable);
  }
  MPI_T_finalize();
  return value;
}

/* Rabenseifner's algorithm from 64 KiB on, recursive doubling below: both are asked for before each sum. */
static void algorithms_are_ours(dist_comm *comm, float *values) {
  enum { RABENSEIFNER = 3, RECURSIVE_DOUBLING = 4 };
  static const size_t sizes[] = {16384, 16383, 262144, 1};
  if (algorithm_of_last() == -1) return;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    EXPECT(dist_sum(comm, values, sizes[i], DIST_FLOAT32) == GP_OK);
    EXPECT(algorithm_of_last() == (sizes[i] >= 16384 ? RABENSEIFNER : RECURSIVE_DOUBLING));
  }
}

/* Of numbers whose sums are rounded, all ranks have the same bits. */
static void sums_are_the_same(dist_comm *comm, float *values, float *first) {
  for (size_t c = 0; c < sizeof counts / sizeof *counts; ++c) {
    for (size_t i = 0; i < counts[c]; ++i) values[i] = 1.0f / (float)((size_t)(dist_rank(comm) + 1) * (i + 3));
    EXPECT(dist_sum(comm, values, counts[c], DIST_FLOAT32) == GP_OK);
    memcpy(first, values, counts[c] * sizeof *first);
    EXPECT(dist_broadcast(comm, first, counts[c] * sizeof *first) == GP_OK);
    EXPECT(memcmp(values, first, counts[c] * sizeof *first) == 0);
  }
}

static void failures_are_shared(dist_comm *comm) {
  EXPECT(dist_agree(comm, GP_OK) == GP_OK);
  for (int32_t failing = 0; failing < dist_size(comm); ++failing) {
    char name[32];
    snprintf(name, sizeof name, "rank %" PRId32 " of", failing);
    const bool own = failing == dist_rank(comm);
    const gp_status status = dist_agree(comm, own ? gp_fail(GP_ERROR_IO, "no such thing") : GP_OK);
    EXPECT(status == GP_ERROR_IO && dist_agreed(comm));
    EXPECT(strstr(gp_last_error(), "no such thing") != NULL);
    EXPECT((strstr(gp_last_error(), name) != NULL) == (failing > 0));
  }
}

/* Values become final bit by bit, and are looked at only then. */
static void buckets_are_summed(dist_comm *comm, float *values, size_t bucket_bytes, bool bfloat16) {
  enum { COUNT = 100003, PIECE = 9000 };
  dist_reducer *reducer = NULL;
  EXPECT(dist_reducer_create(
             &reducer, comm,
             &(dist_reducer_desc){
                 .values = values, .count = COUNT, .bucket_bytes = bucket_bytes, .bfloat16 = bfloat16}) == GP_OK);
  for (int round = 0; round < 2; ++round) {
    dist_reducer_begin(reducer);
    for (size_t end = COUNT; end > 0;) {
      const size_t first = end > PIECE ? end - PIECE : 0;
      for (size_t i = first; i < end; ++i) values[i] = (float)term(dist_rank(comm), i);
      EXPECT(dist_reducer_ready(reducer, first) == GP_OK);
      end = first;
    }
    EXPECT(dist_reducer_finish(reducer) == GP_OK);
    for (size_t i = 0; i < COUNT; ++i) EXPECT(values[i] == (float)expected(dist_size(comm), i));
  }
  dist_reducer_destroy(&reducer);
}

int main(int argc, char *argv[]) {
  dist_comm *comm = NULL;
  if (dist_comm_open(&comm) != GP_OK) {
    fprintf(stderr, "%s\n", gp_last_error());
    return 1;
  }
  void *values = malloc(MOST * sizeof(double)), *others = malloc(MOST * sizeof(double));
  EXPECT(values != NULL && others != NULL);
  EXPECT(argc == 2 && strtol(argv[1], NULL, 10) == dist_size(comm));
  sums_are_right(comm, values, others);
  sums_are_the_same(comm, values, others);
  algorithms_are_ours(comm, values);
  failures_are_shared(comm);
  buckets_are_summed(comm, values, 0, false);
  buckets_are_summed(comm, values, 10000, false);
  buckets_are_summed(comm, values, 0, true);
  free(values);
  free(others);
  dist_comm_close(&comm);
  return 0;
}
