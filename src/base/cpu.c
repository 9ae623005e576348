#include "base/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
    [GP_ISA_REFERENCE] = "reference",
#if defined(__aarch64__)
    [GP_ISA_BASELINE] = "neon",
#else
    [GP_ISA_BASELINE] = "baseline",
#endif
    [GP_ISA_AVX2] = "avx2",
    [GP_ISA_AVX512] = "avx512",
};

static _Atomic int current = -1; /* not yet decided */

const char *gp_isa_name(gp_isa isa) { return names[isa]; }

#if defined(__x86_64__)
/* GCC's and Clang's __builtin_cpu_supports know the name in recent versions only. AVX, asked for besides, is what the
 * operating system has to support for it. */
static bool has_f16c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

static gp_isa find_best(void) {
#if defined(__x86_64__)
  /* These ask the operating system, too, whether it saves the wider registers. */
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) return GP_ISA_BASELINE;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return GP_ISA_AVX512;
  return GP_ISA_AVX2;
#else
  return GP_ISA_BASELINE;
#endif
}

/* The instruction that asks the processor is a call of the host in a virtual machine: once is enough. */
gp_isa gp_isa_best(void) {
  static _Atomic int best = -1;
  int isa = atomic_load(&best);
  if (isa < 0) atomic_store(&best, isa = (int)find_best());
  return (gp_isa)isa;
}

void gp_isa_set(gp_isa isa) {
  gp_isa best = gp_isa_best();
  atomic_store(&current, (int)(isa < best ? isa : best));
}

gp_isa gp_isa_current(void) {
  int isa = atomic_load(&current);
  if (isa >= 0) return (gp_isa)isa;
  gp_isa best = gp_isa_best(), chosen = best;
  const char *wanted = getenv("GAUSSPOOL_ISA");
  for (size_t i = 0; wanted != NULL && i <= (size_t)best; ++i)
    if (strcmp(wanted, names[i]) == 0) chosen = (gp_isa)i;
  atomic_store(&current, (int)chosen);
  return chosen;
}

const char *gp_cpu_isa(void) { return gp_isa_name(gp_isa_current()); }
