#include "data/order.h"

#include "base/philox.h"

/* [0, bound) from 64 random bits, bound < 2^32: the high word of the 96-bit product. */
static uint64_t bounded64(uint32_t high, uint32_t low, uint64_t bound) {
  return (high * bound + ((low * bound) >> 32)) >> 32;
}

void data_order(int64_t *order, int64_t count, uint64_t seed, int64_t epoch) {
  for (int64_t i = 0; i < count; ++i) order[i] = i;
  uint64_t key = gp_mix_seed(seed, DATA_STREAM_ORDER);
  gp_philox_block block = {{0}};
  for (int64_t i = count - 1; i > 0; --i) {
    /* Two swaps a block of four words. */
    uint64_t swap = (uint64_t)(count - 1 - i);
    if (swap % 2 == 0)
      block = gp_philox(key, (uint32_t)(swap / 2), 0, (uint32_t)epoch, (uint32_t)((uint64_t)epoch >> 32));
    const uint32_t *word = block.word + 2 * (swap % 2);
    int64_t j = (int64_t)bounded64(word[0], word[1], (uint64_t)i + 1);
    int64_t kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
}
