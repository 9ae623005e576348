#include "cli/bench_list.h"

#include "base/cpu.h"
#include "base/status.h"
#include "pool/kernels.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 32 };

/* The implementations by name, best first, and why each declines; NULL: it does not. */
typedef struct choices {
  const char *names[MOST], *reasons[MOST];
  size_t count;
} choices;

void bench_list_isa(void) {
  printf("instruction set: %s (of the machine: %s)\n", gp_isa_name(gp_isa_current()), gp_isa_name(gp_isa_best()));
}

/* An instruction set has an implementation for each dtype, and all but one decline because they are of another: the
 * rarest reason tells why that one does. */
static const char *rarest(const char *const *reasons, size_t count) {
  const char *found = reasons[0];
  size_t least = count + 1;
  for (size_t i = 0; i < count; ++i) {
    size_t same = 0;
    if (reasons[i] == NULL) return NULL;
    for (size_t k = 0; k < count; ++k) same += reasons[k] != NULL && strcmp(reasons[k], reasons[i]) == 0;
    if (same >= least) continue;
    least = same;
    found = reasons[i];
  }
  return found;
}

/* One line for each name. */
static gp_status find(choices *found, const gp_pool_desc *pool) {
  gp_pool_plan plan;
  gp_status status = gp_pool_plan_make(&plan, pool);
  if (status != GP_OK) return status;
  *found = (choices){0};
  const char *reasons[MOST] = {0};
  size_t i = 0, first = 0; /* first: of this name */
  for (const gp_pool_kernels *kernels = NULL; i < MOST; ++i) {
    kernels = gp_pool_kernels_at(i, &plan, &reasons[i]);
    if (kernels == NULL) break;
    if (found->count == 0 || strcmp(found->names[found->count - 1], kernels->name) != 0) {
      found->names[found->count++] = kernels->name;
      first = i;
    }
    found->reasons[found->count - 1] = rarest(reasons + first, i + 1 - first);
  }
  return GP_OK;
}

static bool alike(const choices *a, const choices *b) {
  if (a->count != b->count) return false;
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
    printf("  %-10s %s\n", found->names[i], reason != NULL ? reason : picked ? "takes it too" : "picked");
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
