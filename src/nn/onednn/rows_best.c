#include "base/cpu.h"
#include "nn/onednn/rows.h"

extern const od_rows od_rows_baseline_float32, od_rows_baseline_bfloat16;
#if defined(NN_X86)
extern const od_rows od_rows_avx2_float32, od_rows_avx2_bfloat16, od_rows_avx512_float32, od_rows_avx512_bfloat16;
#endif

const od_rows *od_rows_best(gp_dtype type) {
  bool half = type == GP_BFLOAT16;
#if defined(NN_X86)
  gp_isa isa = gp_isa_current();
  if (isa >= GP_ISA_AVX512) return half ? &od_rows_avx512_bfloat16 : &od_rows_avx512_float32;
  if (isa >= GP_ISA_AVX2) return half ? &od_rows_avx2_bfloat16 : &od_rows_avx2_float32;
#endif
  return half ? &od_rows_baseline_bfloat16 : &od_rows_baseline_float32;
}
