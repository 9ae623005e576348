#include "base/cpu.h"
#include "pool/kernels.h"

/* Best first; each with the instruction set it needs. */
static const struct {
  gp_isa isa;
  const gp_pool_kernels *kernels;
} implementations[] = {
#if defined(GP_POOL_X86)
    {GP_ISA_AVX512, &gp_pool_cpu_avx512},
    {GP_ISA_AVX2, &gp_pool_cpu_avx2},
#endif
    {GP_ISA_BASELINE, &gp_pool_cpu_baseline},
    {GP_ISA_REFERENCE, &gp_pool_reference},
};

const gp_pool_kernels *gp_pool_kernels_for(const gp_pool_plan *plan) {
  gp_isa isa = gp_isa_current();
  for (size_t i = 0; i < sizeof implementations / sizeof implementations[0]; ++i)
    if (implementations[i].isa <= isa && implementations[i].kernels->declines(plan) == NULL)
      return implementations[i].kernels;
  return &gp_pool_reference;
}
