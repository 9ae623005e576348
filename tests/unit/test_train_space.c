/* What memory there is by files of the kernel made here, and what a run needs beside it. */
#include "test_train_util.h"

#include "train/space.h"

static const uint64_t MiB = 1 << 20, GiB = 1 << 30;

/* A file below the scratch folder, with the folders above it. */
static void put(const char *path, const char *text) {
  char full[TEST_PATH_SIZE];
  snprintf(full, sizeof full, "%s%s", test_folder, path);
  for (char *slash = full + strlen(test_folder) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
    *slash = '\0';
    (void)mkdir(full, 0777);
  }
  put_text(full, text);
}

static int remove_tree(void **state) {
  char command[TEST_PATH_SIZE];
  (void)state;
  snprintf(command, sizeof command, "rm -rf '%s'", test_folder);
  return system(command);
}

static void reads_what_the_machine_has(void **state) {
  (void)state;
  assert_true(space_free_memory(test_folder) == SPACE_UNKNOWN);
  put("/proc/meminfo", "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:    8388608 kB\n");
  assert_int_equal(space_free_memory(test_folder), 8 * GiB);
  put("/proc/meminfo", "MemTotal:       16000000 kB\nMemAvailable:\n");
  assert_true(space_free_memory(test_folder) == SPACE_UNKNOWN);
  assert_true(space_free_memory("") > 0);
}

/* A group's limit, less what is used, but for file pages; the tightest of the groups around it. */
static void reads_unified_groups(void **state) {
  (void)state;
  put("/proc/meminfo", "MemAvailable: 8388608 kB\n");
  put("/proc/self/cgroup", "0::/batch/job7/step\n");
  put("/sys/fs/cgroup/batch/job7/step/memory.max", "max\n");
  put("/sys/fs/cgroup/batch/job7/step/memory.current", "900000\n");
  assert_int_equal(space_free_memory(test_folder), 8 * GiB);
  put("/sys/fs/cgroup/batch/job7/memory.max", "2147483648\n");
  put("/sys/fs/cgroup/batch/job7/memory.current", "1610612736\n");
  assert_int_equal(space_free_memory(test_folder), GiB / 2);
  put("/sys/fs/cgroup/batch/job7/memory.stat", "anon 5\nfile 7\ninactive_file 536870912\nactive_file 1\n");
  assert_int_equal(space_free_memory(test_folder), GiB);
  put("/sys/fs/cgroup/memory.max", "1048576\n"); /* a container's, at the mount */
  put("/sys/fs/cgroup/memory.current", "1048577\n");
  assert_int_equal(space_free_memory(test_folder), 0);
}

static void reads_older_groups(void **state) {
  (void)state;
  put("/proc/meminfo", "MemAvailable: 8388608 kB\n");
  put("/proc/self/cgroup", "11:cpu,cpuacct:/docker/x\n5:memory:/docker/x\n0::/\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "536870912\n");
  put("/sys/fs/cgroup/memory/memory.stat", "cache 9\ninactive_file 1\ntotal_inactive_file 268435456\n");
  assert_int_equal(space_free_memory(test_folder), 3 * GiB / 4);
}

static void reads_the_disk(void **state) {
  (void)state;
  assert_in_range(space_free_disk(test_folder), 1, SPACE_UNKNOWN - 1);
  assert_true(space_free_disk(in_folder("none")) == SPACE_UNKNOWN);
}

static void writes_sizes(void **state) {
  (void)state;
  static const struct {
    uint64_t bytes;
    const char *text;
  } cases[] = {{0, "0 KiB"},
               {7 << 10, "7 KiB"},
               {312 << 20, "312 MiB"},
               {3 << 19, "1.5 MiB"},
               {1020 << 10, "1.0 MiB"},
               {UINT64_C(3) << 29, "1.5 GiB"},
               {UINT64_C(12) << 40, "12 TiB"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    char text[SPACE_TEXT_SIZE];
    assert_string_equal(space_text(cases[i].bytes, text), cases[i].text);
  }
}

static train_needs make_needs(void) {
  return (train_needs){.weights = 400 * MiB,
                       .activations = 900 * MiB,
                       .batches = 50 * MiB,
                       .copy = 200 * MiB,
                       .to_come = 1100 * MiB,
                       .checkpoint = 200 * MiB,
                       .checkpoints = 121,
                       .others = 100 * MiB};
}

static void refuses_what_does_not_fit(void **state) {
  (void)state;
  const train_needs needs = make_needs();
  const uint64_t disk = 121 * 200 * MiB + 100 * MiB;
  assert_int_equal(train_needs_memory(&needs), 1550 * MiB);
  assert_int_equal(train_needs_disk(&needs), disk);
  assert_ok(train_needs_check(&needs, 1100 * MiB, disk, "here"));
  assert_ok(train_needs_check(&needs, SPACE_UNKNOWN, SPACE_UNKNOWN, "here"));
  assert_fails(train_needs_check(&needs, 1100 * MiB - 1, disk, "here"), GP_ERROR_OUT_OF_MEMORY,
               "needs 1.5 GiB of memory, 1.1 GiB more than there is now (activations 900 MiB), but only 1.1 GiB");
  assert_non_null(strstr(gp_last_error(), "--accumulate"));
  assert_fails(train_needs_check(&needs, 1100 * MiB, disk - 1, "here"), GP_ERROR_IO,
               "not enough disk space in here: the run needs 24 GiB (121 checkpoints of 200 MiB), 24 GiB are free");
  assert_non_null(strstr(gp_last_error(), "--save-last-checkpoint"));
}

static void tells_what_is_needed(void **state) {
  (void)state;
  const train_needs needs = make_needs();
  char text[512];
  train_needs_tell(&needs, 3 * GiB, SPACE_UNKNOWN, text, sizeof text);
  assert_string_equal(
      text,
      "needs 1.5 GiB of memory (weights and optimizer 400 MiB, activations 900 MiB, batches 50 MiB), 3.0 "
      "GiB more can be had; and 24 GiB of disk (121 x 200 MiB of checkpoints), unknown are free");
  train_needs_tell(&needs, SPACE_UNKNOWN, GiB, text, 40);
  assert_int_equal(strlen(text), 39);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(reads_what_the_machine_has, make_test_folder, remove_tree),
      cmocka_unit_test_setup_teardown(reads_unified_groups, make_test_folder, remove_tree),
      cmocka_unit_test_setup_teardown(reads_older_groups, make_test_folder, remove_tree),
      test_in_folder(reads_the_disk),
      cmocka_unit_test(writes_sizes),
      cmocka_unit_test(refuses_what_does_not_fit),
      cmocka_unit_test(tells_what_is_needed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
