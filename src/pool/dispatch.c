#include "base/cpu.h"
#include "pool/kernels.h"

/* The kernels of an instruction set by dtype; there are none for float64. */
#define KERNELS(isa)                                                                            \
  {                                                                                             \
    [GP_FLOAT32] = &gp_pool_cpu_##isa##_float32, [GP_BFLOAT16] = &gp_pool_cpu_##isa##_bfloat16, \
    [GP_FLOAT16] = &gp_pool_cpu_##isa##_float16,                                                \
  }

/* Best first; each with the instruction set it needs. */
static const struct {
  gp_isa isa;
  const gp_pool_kernels *of[GP_FLOAT16 + 1];
} implementations[] = {
#if defined(GP_POOL_X86)
    {GP_ISA_AVX512, KERNELS(avx512)},
    {GP_ISA_AVX2, KERNELS(avx2)},
#endif
#if defined(GP_POOL_ARM)
    {GP_ISA_BASELINE, KERNELS(neon)},
#else
    {GP_ISA_BASELINE, KERNELS(baseline)},
#endif
    {GP_ISA_REFERENCE, {&gp_pool_reference, &gp_pool_reference, &gp_pool_reference, &gp_pool_reference}},
};

const gp_pool_kernels *gp_pool_kernels_at(size_t i, const gp_pool_plan *plan, const char **reason) {
  if (i >= sizeof implementations / sizeof implementations[0]) return NULL;
  const gp_pool_kernels *kernels = implementations[i].of[plan->desc.dtype];
  if (implementations[i].isa > gp_isa_best())
    *reason = "the machine does not have it";
  else if (implementations[i].isa > gp_isa_current())
    *reason = "GAUSSPOOL_ISA rules it out";
  else if (kernels == NULL)
    *reason = "float64 is the reference's alone";
  else
    *reason = kernels->declines(plan);
  return kernels != NULL ? kernels : implementations[i].of[GP_FLOAT32];
}

const gp_pool_kernels *gp_pool_kernels_for(const gp_pool_plan *plan) {
  const gp_pool_kernels *kernels = NULL;
  const char *reason = "";
  for (size_t i = 0; reason != NULL; ++i) kernels = gp_pool_kernels_at(i, plan, &reason);
  return kernels;
}
