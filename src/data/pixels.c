#include "data/pixels.h"

#include "base/cpu.h"

extern const data_pixels data_pixels_baseline;
#ifdef DATA_PIXELS_X86
extern const data_pixels data_pixels_avx2;
#endif

const data_pixels *data_pixels_get(void) {
#ifdef DATA_PIXELS_X86
  if (gp_isa_current() >= GP_ISA_AVX2) return &data_pixels_avx2;
#endif
  return &data_pixels_baseline;
}
