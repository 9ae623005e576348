/* Which instruction set the kernels may use. */
#ifndef GP_BASE_CPU_H
#define GP_BASE_CPU_H

#include <gausspool/gausspool.h>

/* An ascending ladder: each includes the ones before it. */
typedef enum gp_isa {
  GP_ISA_REFERENCE = 0, /* the scalar double-precision code */
  GP_ISA_BASELINE,      /* what every machine of the architecture has: on ARM, NEON */
  GP_ISA_AVX2,          /* AVX2, FMA, F16C */
  GP_ISA_AVX512,        /* AVX-512 F, BW, DQ, VL */
} gp_isa;

/* The best this machine and its operating system run. */
gp_isa gp_isa_best(void);

/* What is in use: GAUSSPOOL_ISA as found by the first call, where it names a set the machine has, otherwise the best. */
gp_isa gp_isa_current(void);

/* "reference", "baseline" (on ARM "neon"), "avx2" or "avx512". */
const char *gp_isa_name(gp_isa isa);

/* For tests: from now on `isa`, or the best one below it that the machine has. Not while kernels run. */
void gp_isa_set(gp_isa isa);

#endif
