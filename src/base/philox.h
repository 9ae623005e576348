/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
 * SC 2011). The same key and counter give the same words on every machine, thread and device. */
#ifndef GP_BASE_PHILOX_H
#define GP_BASE_PHILOX_H

#include "base/device.h"

#include <stdint.h>

typedef struct gp_philox_block {
  uint32_t word[4];
} gp_philox_block;

GP_HD static inline gp_philox_block gp_philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t product0 = (uint64_t)0xD2511F53u * c0;
    uint64_t product1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)product1;
    c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)product0;
    k0 += 0x9E3779B9u; /* golden ratio */
    k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
  }
  gp_philox_block block = {{c0, c1, c2, c3}};
  return block;
}

/* A key of its own for each (seed, stream): the finaliser of SplitMix64 over both. */
static inline uint64_t gp_mix_seed(uint64_t seed, uint64_t stream) {
  uint64_t z = seed + 0x9E3779B97F4A7C15u * (stream + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/* The unit interval, 24 bits: [0, 1). */
GP_HD static inline float gp_unit_float(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

/* [0, bound), bound ≥ 1, without a division's bias being noticeable (bound ≪ 2^32). */
static inline uint32_t gp_bounded(uint32_t word, uint32_t bound) { return (uint32_t)(((uint64_t)word * bound) >> 32); }

#endif
