#include "cli/bench_list.h"

#include "base/cpu.h"
#include "base/status.h"
#include "pool/cpu/tiles.h"
#include "pool/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 8 };

/* The implementations by name, best first, and why each declines; NULL: it does not. */
typedef struct choices {
  const char *names[MOST], *reasons[MOST];
  size_t count;
  const char *fallback; /* passes that the one picked hands to the reference, all the same; NULL: none */
} choices;

void bench_list_isa(void) {
  const char *wanted = getenv("GAUSSPOOL_ISA"), *current = gp_isa_name(gp_isa_current());
  printf("instruction set: %s (of the machine: %s)", current, gp_isa_name(gp_isa_best()));
  if (wanted != NULL && strcmp(wanted, current) != 0)
    printf("; GAUSSPOOL_ISA=%s is ignored: there is no such set, or the machine does not have it", wanted);
  putchar('\n');
}

/* What the fast kernels find only in a call, here one without scale, shift and `accumulate`: whether a block of staged
 * copies would be too large. */
static const char *fallback_of(const gp_pool_plan *plan) {
  gp_tiles tiles;
  const bool forward = gp_tiles_make(&tiles, plan, gp_staging_of(plan, false, false, false, true));
  const bool backward = gp_tiles_make(&tiles, plan, gp_staging_of(plan, true, false, false, true));
  if (!forward) return backward ? "forward goes" : "forward and backward go";
  return backward ? NULL : "backward goes";
}

static gp_status find(choices *found, const gp_pool_desc *pool) {
  gp_pool_plan plan;
  gp_status status = gp_pool_plan_make(&plan, pool);
  if (status != GP_OK) return status;
  *found = (choices){0};
  for (size_t i = 0; i < MOST; ++i) {
    const gp_pool_kernels *kernels = gp_pool_kernels_at(i, &plan, &found->reasons[i]);
    if (kernels == NULL) break;
    found->names[found->count++] = kernels->name;
  }
  if (gp_pool_kernels_for(&plan) != &gp_pool_reference) found->fallback = fallback_of(&plan);
  return GP_OK;
}

static bool alike(const choices *a, const choices *b) {
  if (a->count != b->count || a->fallback != b->fallback) return false;
  for (size_t i = 0; i < a->count; ++i) {
    const char *x = a->reasons[i], *y = b->reasons[i];
    if ((x == NULL) != (y == NULL) || (x != NULL && strcmp(x, y) != 0)) return false;
  }
  return true;
}

static void print(const choices *found, const gp_pool_desc *pool, const char *place) {
  bool picked = false;
  printf("\n%s at %s:\n", gp_pool_kind_name(pool->kind), place);
  for (size_t i = 0; i < found->count; ++i) {
    const char *reason = found->reasons[i];
    printf("  %-10s %s", found->names[i], reason != NULL ? reason : picked ? "takes it too" : "picked");
    if (reason == NULL && !picked && found->fallback != NULL)
      printf("; %s to the reference: the window is too large", found->fallback);
    putchar('\n');
    picked = picked || reason == NULL;
  }
}

gp_status bench_list_print(const gp_pool_desc *pools, const bench_place *places, int64_t count) {
  gp_status status = GP_OK;
  choices last = {0}, found;
  for (int64_t i = 0; i < count; ++i) {
    GP_TRY(find(&found, &pools[i]));
    if (i == 0 || !alike(&found, &last)) print(&found, &pools[i], places[i].name);
    last = found;
  }
cleanup:
  return status;
}
