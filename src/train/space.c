#include "train/space.h"

#include "base/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PATH_SIZE = 1024, LINE_SIZE = 1024 };

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

/* ---- Files of the kernel ---- */

/* The number in a file of one; SPACE_UNKNOWN for "max", or if there is none. */
static uint64_t read_number(const char *path) {
  uint64_t number = SPACE_UNKNOWN;
  FILE *file = fopen(path, "re");
  if (file == NULL) return number;
  if (fscanf(file, "%" SCNu64, &number) != 1) number = SPACE_UNKNOWN;
  fclose(file);
  return number;
}

/* The number behind `key` in a file of keys and numbers. */
static uint64_t read_entry(const char *path, const char *key) {
  char line[LINE_SIZE];
  uint64_t number = SPACE_UNKNOWN;
  const size_t length = strlen(key);
  FILE *file = fopen(path, "re");
  if (file == NULL) return number;
  while (number == SPACE_UNKNOWN && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, key, length) == 0 && sscanf(line + length, "%" SCNu64, &number) != 1) number = SPACE_UNKNOWN;
  fclose(file);
  return number;
}

/* ---- Control groups ---- */

/* The names of the files that tell of a group. */
typedef struct group_version {
  const char *controller; /* as /proc/self/cgroup has it: ":memory:", or "::" of the unified hierarchy */
  const char *mount, *limit, *usage, *reclaimable;
} group_version;

static const group_version versions[] = {
    {"::", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "},
    {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
};

/* What a group's own limit leaves. File pages that nobody uses are given back before anything is refused. */
static uint64_t free_in_group(const group_version *version, const char *folder) {
  char path[PATH_SIZE + 64];
  snprintf(path, sizeof path, "%s/%s", folder, version->limit);
  const uint64_t limit = read_number(path);
  if (limit == SPACE_UNKNOWN) return SPACE_UNKNOWN;
  snprintf(path, sizeof path, "%s/%s", folder, version->usage);
  const uint64_t usage = read_number(path);
  snprintf(path, sizeof path, "%s/memory.stat", folder);
  const uint64_t reclaimable = read_entry(path, version->reclaimable);
  if (usage == SPACE_UNKNOWN) return limit;
  return minus(limit, reclaimable == SPACE_UNKNOWN ? usage : minus(usage, reclaimable));
}

/* Of the group and those it is in. Inside a container the outer part of the path may not be there, which does not
 * matter: its own group is at the mount then. */
static uint64_t free_in_groups(const char *root, const group_version *version, const char *group) {
  char folder[PATH_SIZE];
  uint64_t free_bytes = SPACE_UNKNOWN;
  const int mount = snprintf(folder, sizeof folder, "%s%s", root, version->mount);
  if (mount < 0 || snprintf(folder, sizeof folder, "%s%s%s", root, version->mount, group) >= (int)sizeof folder)
    return free_bytes;
  for (;;) {
    free_bytes = least(free_bytes, free_in_group(version, folder));
    char *slash = strrchr(folder, '/');
    if ((int)strlen(folder) <= mount || slash == NULL) return free_bytes;
    *slash = '\0';
  }
}

static uint64_t free_by_groups(const char *root) {
  char path[PATH_SIZE], line[LINE_SIZE];
  uint64_t free_bytes = SPACE_UNKNOWN;
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *file = fopen(path, "re");
  if (file == NULL) return free_bytes;
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    for (size_t v = 0; v < sizeof versions / sizeof *versions; ++v) {
      const char *found = strstr(line, versions[v].controller);
      if (found == NULL) continue;
      free_bytes = least(free_bytes, free_in_groups(root, &versions[v], found + strlen(versions[v].controller)));
    }
  }
  fclose(file);
  return free_bytes;
}

/* ---- What is free ---- */

static uint64_t free_addresses(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SPACE_UNKNOWN;
  const uint64_t pages = read_number("/proc/self/statm");
  const long page = sysconf(_SC_PAGESIZE);
  return pages == SPACE_UNKNOWN || page < 0 ? SPACE_UNKNOWN : minus(limit.rlim_cur, pages * (uint64_t)page);
}

uint64_t space_free_memory(const char *root) {
  char path[PATH_SIZE];
  snprintf(path, sizeof path, "%s/proc/meminfo", root);
  const uint64_t kibibytes = read_entry(path, "MemAvailable:");
  uint64_t free_bytes = kibibytes == SPACE_UNKNOWN ? SPACE_UNKNOWN : kibibytes * 1024;
  free_bytes = least(free_bytes, free_by_groups(root));
  return root[0] == '\0' ? least(free_bytes, free_addresses()) : free_bytes;
}

uint64_t space_free_disk(const char *folder) {
  struct statvfs disk;
  if (statvfs(folder, &disk) != 0) return SPACE_UNKNOWN;
  if (disk.f_blocks == 0) return SPACE_UNKNOWN; /* some network and user-space file systems */
  return (uint64_t)disk.f_bavail * disk.f_frsize;
}

const char *space_text(uint64_t bytes, char buffer[SPACE_TEXT_SIZE]) {
  static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = (double)bytes / 1024;
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < sizeof units / sizeof *units; ++unit) value /= 1024;
  snprintf(buffer, SPACE_TEXT_SIZE, value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return buffer;
}

/* ---- What is needed ---- */

uint64_t train_needs_memory(const train_needs *needs) {
  return needs->weights + needs->activations + needs->batches + needs->copy;
}

uint64_t train_needs_disk(const train_needs *needs) {
  return (uint64_t)needs->checkpoints * needs->checkpoint + needs->others;
}

void train_needs_tell(const train_needs *needs, uint64_t free_memory, uint64_t free_disk, char *text, size_t size) {
  char b[8][SPACE_TEXT_SIZE];
  snprintf(
      text, size,
      "needs %s of memory (weights and optimizer %s, activations %s, batches %s), %s more can be had; and %s of disk "
      "(%" PRId64 " x %s of checkpoints), %s are free",
      space_text(train_needs_memory(needs), b[0]), space_text(needs->weights, b[1]),
      space_text(needs->activations, b[2]), space_text(needs->batches, b[3]),
      free_memory == SPACE_UNKNOWN ? "unknown" : space_text(free_memory, b[4]),
      space_text(train_needs_disk(needs), b[5]), needs->checkpoints, space_text(needs->checkpoint, b[6]),
      free_disk == SPACE_UNKNOWN ? "unknown" : space_text(free_disk, b[7]));
}

gp_status train_needs_check(const train_needs *needs, uint64_t free_memory, uint64_t free_disk, const char *folder) {
  char b[5][SPACE_TEXT_SIZE];
  if (free_memory != SPACE_UNKNOWN && needs->to_come > free_memory)
    return gp_fail(
        GP_ERROR_OUT_OF_MEMORY,
        "the run needs %s of memory, %s more than there is now (activations %s), but only %s can be had: use a "
        "smaller --batch-size or a larger --accumulate (or --no-space-check)",
        space_text(train_needs_memory(needs), b[0]), space_text(needs->to_come, b[1]),
        space_text(needs->activations, b[2]), space_text(free_memory, b[3]));
  if (free_disk != SPACE_UNKNOWN && train_needs_disk(needs) > free_disk)
    return gp_fail(GP_ERROR_IO,
                   "not enough disk space in %s: the run needs %s (%" PRId64
                   " checkpoints of %s), %s are free: make room, choose another --out-dir, or keep fewer by "
                   "--save-last-checkpoint (or --no-space-check)",
                   folder, space_text(train_needs_disk(needs), b[0]), needs->checkpoints,
                   space_text(needs->checkpoint, b[1]), space_text(free_disk, b[2]));
  return GP_OK;
}
