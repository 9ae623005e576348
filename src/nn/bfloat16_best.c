#include "base/cpu.h"
#include "nn/bfloat16.h"

extern const nn_bfloat16 nn_bfloat16_baseline;
#if defined(NN_X86)
extern const nn_bfloat16 nn_bfloat16_avx2, nn_bfloat16_avx512;
#endif

const nn_bfloat16 *nn_bfloat16_best(void) {
#if defined(NN_X86)
  gp_isa isa = gp_isa_current();
  if (isa >= GP_ISA_AVX512) return &nn_bfloat16_avx512;
  if (isa >= GP_ISA_AVX2) return &nn_bfloat16_avx2;
#endif
  return &nn_bfloat16_baseline;
}
