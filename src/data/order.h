/* The order of an epoch's samples. */
#ifndef GP_DATA_ORDER_H
#define GP_DATA_ORDER_H

#include <stdint.h>

/* Streams that are derived from one seed by gp_mix_seed(seed, stream), so that they are independent. */
enum { DATA_STREAM_ORDER = 0x6f726472, DATA_STREAM_AUGMENT = 0x6175676d };

/* Writes a random permutation of 0 … count-1, the same for the same (seed, epoch): Fisher–Yates on Philox.
 * count must be below 2^32. */
void data_order(int64_t *order, int64_t count, uint64_t seed, int64_t epoch);

#endif
