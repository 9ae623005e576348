#include "base/cpu.h"
#include "pool/kernels.h"

const gp_pool_kernels *gp_pool_kernels_for(const gp_pool_plan *plan) {
  (void)plan;
  return &gp_pool_reference;
}
