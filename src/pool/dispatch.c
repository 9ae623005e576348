#include "base/cpu.h"
#include "pool/kernels.h"

/* Best first; each with the instruction set it needs. */
static const struct {
  gp_isa isa;
  const gp_pool_kernels *kernels;
} implementations[] = {
#if defined(GP_POOL_X86)
    {GP_ISA_AVX512, &gp_pool_cpu_avx512_float32}, {GP_ISA_AVX512, &gp_pool_cpu_avx512_bfloat16},
    {GP_ISA_AVX512, &gp_pool_cpu_avx512_float16}, {GP_ISA_AVX2, &gp_pool_cpu_avx2_float32},
    {GP_ISA_AVX2, &gp_pool_cpu_avx2_bfloat16},    {GP_ISA_AVX2, &gp_pool_cpu_avx2_float16},
#endif
#if defined(GP_POOL_ARM)
    {GP_ISA_BASELINE, &gp_pool_cpu_neon_float32}, {GP_ISA_BASELINE, &gp_pool_cpu_neon_bfloat16},
    {GP_ISA_BASELINE, &gp_pool_cpu_neon_float16},
#else
    {GP_ISA_BASELINE, &gp_pool_cpu_baseline_float32},
    {GP_ISA_BASELINE, &gp_pool_cpu_baseline_bfloat16},
    {GP_ISA_BASELINE, &gp_pool_cpu_baseline_float16},
#endif
    {GP_ISA_REFERENCE, &gp_pool_reference},
};

const gp_pool_kernels *gp_pool_kernels_at(size_t i, const gp_pool_plan *plan, const char **reason) {
  if (i >= sizeof implementations / sizeof implementations[0]) return NULL;
  const gp_pool_kernels *kernels = implementations[i].kernels;
  if (implementations[i].isa > gp_isa_best())
    *reason = "the machine does not have it";
  else if (implementations[i].isa > gp_isa_current())
    *reason = "GAUSSPOOL_ISA rules it out";
  else
    *reason = kernels->declines(plan);
  return kernels;
}

const gp_pool_kernels *gp_pool_kernels_for(const gp_pool_plan *plan) {
  const gp_pool_kernels *kernels = NULL;
  const char *reason = "";
  for (size_t i = 0; reason != NULL; ++i) kernels = gp_pool_kernels_at(i, plan, &reason);
  return kernels;
}
