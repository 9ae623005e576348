#include "base/cpu.h"
#include "nn/onednn/rows.h"

extern const od_rows od_rows_baseline;
#if defined(OD_ROWS_X86)
extern const od_rows od_rows_avx2, od_rows_avx512;
#endif

const od_rows *od_rows_best(void) {
#if defined(OD_ROWS_X86)
  gp_isa isa = gp_isa_current();
  if (isa >= GP_ISA_AVX512) return &od_rows_avx512;
  if (isa >= GP_ISA_AVX2) return &od_rows_avx2;
#endif
  return &od_rows_baseline;
}
