#include "dist/machine.h"

#include "base/memory.h"
#include "base/status.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Containers and namespaces of one kernel share its processors, whatever they call their host. */
static uint64_t machine_id(void) {
  char text[128] = "";
  FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
  if (file == NULL || fgets(text, sizeof text, file) == NULL) (void)!gethostname(text, sizeof text - 1);
  if (file != NULL) fclose(file);
  uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a */
  for (const char *at = text; *at != '\0'; ++at) hash = (hash ^ (unsigned char)*at) * 0x100000001B3u;
  return hash;
}

static dist_place own_place(void) {
  dist_place place = {.machine = machine_id(), .online = sysconf(_SC_NPROCESSORS_ONLN), .process = getpid()};
  cpu_set_t set;
  /* It fails where there are more processors than the set holds: then all that are online are taken to be ours. */
  const bool known = sched_getaffinity(0, sizeof set, &set) == 0;
  for (int p = 0; p < DIST_PROCESSORS && p < CPU_SETSIZE; ++p)
    if (known ? CPU_ISSET(p, &set) : p < place.online) place.mask[p / 64] |= UINT64_C(1) << p % 64;
  return place;
}

static bool may_use(const dist_place *place, int32_t processor) {
  return place->mask[processor / 64] >> processor % 64 & 1;
}

dist_machine dist_machine_share(const dist_place *places, int32_t count, int32_t own) {
  dist_machine machine = {.online = (int32_t)places[own].online};
  double share = 0;
  for (int32_t r = 0; r < count; ++r) machine.ranks += places[r].machine == places[own].machine;
  for (int32_t p = 0; p < DIST_PROCESSORS; ++p) {
    int32_t users = 0;
    for (int32_t r = 0; r < count; ++r) users += places[r].machine == places[own].machine && may_use(&places[r], p);
    machine.processors += users > 0;
    if (may_use(&places[own], p)) share += 1.0 / users;
  }
  machine.threads = share < 1 ? 1 : (int32_t)(share + 1e-6); /* three thirds are one */
  return machine;
}

/* The caller frees them. */
static gp_status gather_places(dist_comm *comm, dist_place **places) {
  const dist_place mine = own_place();
  gp_status status = GP_ALLOC(places, (size_t)dist_size(comm));
  return status == GP_OK ? dist_gather(comm, &mine, sizeof mine, *places) : status;
}

gp_status dist_machine_find(dist_comm *comm, dist_machine *out) {
  dist_place *places = NULL;
  gp_status status = gather_places(comm, &places);
  if (status == GP_OK) *out = dist_machine_share(places, dist_size(comm), dist_rank(comm));
  gp_free(places);
  return status;
}

gp_status dist_machine_processes(dist_comm *comm, int64_t *processes) {
  dist_place *places = NULL;
  const int32_t own = dist_rank(comm);
  gp_status status = gather_places(comm, &places);
  for (int32_t r = 0; status == GP_OK && r < dist_size(comm); ++r)
    processes[r] = places[r].machine == places[own].machine ? places[r].process : 0;
  gp_free(places);
  return status;
}
