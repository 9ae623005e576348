/* Processes that train as one, as far as one process can tell: launchers, shares of a machine, buckets. What several do is
 * tested by running them (tests/cli/test_distributed.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/status.h"
#include "dist/launcher.h"
#include "dist/machine.h"
#include "dist/reducer.h"

static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "PMI_SIZE", "MPI_LOCALNRANKS",
                                        "PMIX_RANK"};

static dist_launcher find_with(const char *name, const char *value) {
  for (size_t i = 0; i < sizeof variables / sizeof *variables; ++i) unsetenv(variables[i]);
  if (name != NULL) setenv(name, value, 1);
  dist_launcher found = dist_launcher_find();
  if (name != NULL) unsetenv(name);
  return found;
}

static void expect_mpiexec_of(int processes) {
  char text[16];
  snprintf(text, sizeof text, "%d", processes);
  setenv("PMI_SIZE", text, 1);
  const dist_launcher found = dist_launcher_find();
  assert_string_equal(found.command, "mpirun -np");
  assert_int_equal(found.processes, processes);
}

static void launchers_are_known(void **state) {
  (void)state;
  assert_null(find_with(NULL, NULL).command);
  for (int i = 0; i < 4; ++i) {
    const dist_launcher found = find_with(variables[i], "4");
    assert_non_null(found.command);
    assert_int_equal(found.processes, 4);
    assert_non_null(strstr(found.command, i == 1 ? "srun" : "mpirun"));
  }
  setenv("SLURM_MPI_TYPE", "pmix_v4", 1);
  assert_string_equal(find_with("SLURM_STEP_NUM_TASKS", "2").command, "srun --mpi=pmix -n");
  setenv("SLURM_MPI_TYPE", "pmi2", 1);
  assert_string_equal(find_with("SLURM_STEP_NUM_TASKS", "2").command, "srun --mpi=pmi2 -n");
  unsetenv("SLURM_MPI_TYPE");
  assert_string_equal(find_with("SLURM_STEP_NUM_TASKS", "2").command, "srun -n");
  assert_non_null(find_with("PMIX_RANK", "0").command);
  /* MPICH's mpiexec within Slurm: the step is of its own helpers. By srun both are the tasks. */
  setenv("SLURM_STEP_NUM_TASKS", "2", 1);
  expect_mpiexec_of(4);
  expect_mpiexec_of(1);
  setenv("PMI_SIZE", "2", 1);
  assert_string_equal(dist_launcher_find().command, "srun -n");
  unsetenv("PMI_SIZE");
  unsetenv("SLURM_STEP_NUM_TASKS");
  /* A step of one task is what a batch script runs in, too. */
  assert_null(find_with("SLURM_STEP_NUM_TASKS", "1").command);
}

static void one_process_is_alone(void **state) {
  (void)state;
  dist_comm *comm = NULL;
  double values[] = {1, 2}, all[2] = {0};
  (void)find_with(NULL, NULL);
  assert_int_equal(dist_comm_open(&comm), GP_OK);
  assert_int_equal(dist_rank(comm), 0);
  assert_int_equal(dist_size(comm), 1);
  assert_int_equal(dist_sum(comm, values, 2, DIST_FLOAT64), GP_OK);
  assert_int_equal(dist_gather(comm, values, sizeof values, all), GP_OK);
  assert_true(values[0] == 1 && all[1] == 2);
  assert_int_equal(dist_agree(comm, GP_OK), GP_OK);
  assert_int_equal(dist_agree(comm, gp_fail(GP_ERROR_IO, "as it was")), GP_ERROR_IO);
  assert_string_equal(gp_last_error(), "as it was");
  assert_true(dist_agreed(comm));
  dist_comm_close(&comm);
  assert_null(comm);
  dist_comm_close(&comm);
}

/* ---- Machines ---- */

static dist_place place(uint64_t machine, int32_t first, int32_t count) {
  dist_place p = {.machine = machine, .online = 8};
  for (int32_t i = first; i < first + count; ++i) p.mask[i / 64] |= UINT64_C(1) << i % 64;
  return p;
}

typedef struct share {
  int32_t ranks, processors, threads;
} share;

static void expect_share(const dist_place *places, int32_t count, int32_t own, share expected) {
  const dist_machine found = dist_machine_share(places, count, own);
  assert_int_equal(found.ranks, expected.ranks);
  assert_int_equal(found.processors, expected.processors);
  assert_int_equal(found.threads, expected.threads);
  assert_int_equal(found.online, 8);
}

static void ranks_share_processors(void **state) {
  (void)state;
  const dist_place unbound[] = {place(1, 0, 8), place(1, 0, 8), place(2, 0, 8), place(1, 0, 8)};
  expect_share(unbound, 1, 0, (share){1, 8, 8});
  expect_share(unbound, 2, 1, (share){2, 8, 4});
  expect_share(unbound, 4, 3, (share){3, 8, 2}); /* 8/3 */
  expect_share(unbound, 4, 2, (share){1, 8, 8}); /* a machine of its own */
  const dist_place bound[] = {place(1, 0, 1), place(1, 1, 1), place(1, 130, 4), place(1, 130, 4)};
  expect_share(bound, 2, 0, (share){2, 2, 1});
  expect_share(bound, 4, 2, (share){4, 6, 2});
  const dist_place crowd[] = {place(1, 0, 2), place(1, 0, 2), place(1, 0, 2)};
  expect_share(crowd, 3, 1, (share){3, 2, 1}); /* more ranks than processors */
  const dist_place thirds[] = {place(1, 0, 3), place(1, 0, 3), place(1, 0, 3)};
  expect_share(thirds, 3, 0, (share){3, 3, 1});
}

/* ---- Buckets ---- */

enum { VALUES = 1000 };

static void expect_buckets(size_t bytes, int32_t count) {
  static float values[VALUES];
  dist_comm *comm = NULL;
  dist_reducer *reducer = NULL;
  assert_int_equal(dist_comm_open_single(&comm), GP_OK);
  assert_int_equal(dist_reducer_create(&reducer, comm,
                                       &(dist_reducer_desc){.values = values, .count = VALUES, .bucket_bytes = bytes}),
                   GP_OK);
  assert_int_equal(dist_reducer_buckets(reducer), count);
  size_t end = VALUES;
  for (int32_t i = 0; i < count; ++i) {
    const dist_bucket_times bucket = dist_reducer_bucket(reducer, i);
    assert_int_equal(bucket.first + bucket.count, end);
    assert_true(bucket.count > 0);
    end = bucket.first;
  }
  assert_int_equal(end, 0);
  for (int round = 0; round < 4; ++round) {
    dist_reducer_begin(reducer);
    assert_int_equal(dist_reducer_ready(reducer, 700), GP_OK);
    assert_int_equal(dist_reducer_finish(reducer), GP_OK);
    assert_int_equal(dist_reducer_rounds(reducer), round < 2 ? round + 1 : round - 1); /* the first two are forgotten */
  }
  dist_reducer_destroy(&reducer);
  dist_reducer_destroy(&reducer);
  dist_comm_close(&comm);
}

/* Two slow rounds leave nothing in the times of the third, which cannot be longer than the third itself took. */
static void warm_up_is_forgotten(void **state) {
  (void)state;
  static float values[VALUES];
  const struct timespec nap = {.tv_nsec = 20000000};
  dist_comm *comm = NULL;
  dist_reducer *reducer = NULL;
  double began = 0;
  assert_int_equal(dist_comm_open_single(&comm), GP_OK);
  assert_int_equal(dist_reducer_create(&reducer, comm, &(dist_reducer_desc){.values = values, .count = VALUES}), GP_OK);
  for (int round = 0; round < 3; ++round) {
    began = gp_seconds();
    dist_reducer_begin(reducer);
    assert_true((dist_reducer_wait_seconds(reducer) > 0) == (round == 1));
    if (round < 2) nanosleep(&nap, NULL);
    assert_int_equal(dist_reducer_finish(reducer), GP_OK);
    if (round < 2)
      assert_true(dist_reducer_final_seconds(reducer) >= 0.02 && dist_reducer_bucket(reducer, 0).started >= 0.02);
  }
  const double passed = gp_seconds() - began;
  assert_true(dist_reducer_final_seconds(reducer) <= passed);
  for (int32_t i = 0; i < dist_reducer_buckets(reducer); ++i) {
    const dist_bucket_times bucket = dist_reducer_bucket(reducer, i);
    assert_true(bucket.started <= bucket.finished && bucket.finished <= passed);
  }
  dist_reducer_destroy(&reducer);
  dist_comm_close(&comm);
}

static void buckets_cover_the_values(void **state) {
  (void)state;
  expect_buckets(0, 4); /* fourths */
  expect_buckets(4, VALUES);
  expect_buckets(300 * 4, 4); /* 300, 300, 300, 100 */
  expect_buckets(1 << 20, 1);
  expect_buckets(1, VALUES); /* no less than a value */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(launchers_are_known),    cmocka_unit_test(one_process_is_alone),
      cmocka_unit_test(ranks_share_processors), cmocka_unit_test(buckets_cover_the_values),
      cmocka_unit_test(warm_up_is_forgotten),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
