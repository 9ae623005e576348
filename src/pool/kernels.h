/* What computes a pooling: one record for each implementation, tried best first (dispatch.c). */
#ifndef GP_POOL_KERNELS_H
#define GP_POOL_KERNELS_H

#include "pool/shape.h"

typedef struct gp_pool_kernels {
  const char *name; /* as in GAUSSPOOL_ISA */
  /* NULL when it can do this plan, otherwise why not. */
  const char *(*declines)(const gp_pool_plan *plan);
  /* Bytes of scratch memory for `forward` with average_y and for `backward`, functions of the plan alone. */
  size_t (*forward_workspace)(const gp_pool_plan *plan);
  size_t (*backward_workspace)(const gp_pool_plan *plan);
  /* The arguments are complete and the batch is not empty. */
  void (*forward)(const gp_pool_plan *plan, const gp_pool_forward_args *args);
  void (*backward)(const gp_pool_plan *plan, const gp_pool_backward_args *args);
} gp_pool_kernels;

/* Every layout and dtype, in double precision (reference.c). */
extern const gp_pool_kernels gp_pool_reference;

/* The fast kernels (cpu/kernels.c), one record for each instruction set and dtype. */
#define GP_KERNELS_OF(isa) \
  extern const gp_pool_kernels gp_pool_cpu_##isa##_float32, gp_pool_cpu_##isa##_bfloat16, gp_pool_cpu_##isa##_float16;
GP_KERNELS_OF(baseline) /* not built for ARM */
GP_KERNELS_OF(neon)     /* built for ARM only */
GP_KERNELS_OF(avx2)     /* built for x86-64 only */
GP_KERNELS_OF(avx512)   /* as avx2 */
#undef GP_KERNELS_OF

/* The best implementation that the machine and GAUSSPOOL_ISA allow and that takes the plan. Never NULL. */
const gp_pool_kernels *gp_pool_kernels_for(const gp_pool_plan *plan);

/* The i-th implementation of this build, one for each instruction set, best first, and in *reason NULL when it would take
 * the plan here, otherwise why not. NULL past the last one. */
const gp_pool_kernels *gp_pool_kernels_at(size_t i, const gp_pool_plan *plan, const char **reason);

#endif
