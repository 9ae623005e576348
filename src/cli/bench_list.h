/* Which implementation computes a pooling, and why. */
#ifndef GP_CLI_BENCH_LIST_H
#define GP_CLI_BENCH_LIST_H

#include "bench/places.h"

/* Prints the instruction set in use. */
void bench_list_isa(void);

/* Prints the implementations for each of the poolings (a place's, completed by the caller) under their names; of
 * neighbours that go alike the first only. GP_ERROR_INVALID_ARGUMENT for a bad descriptor. */
GP_NODISCARD gp_status bench_list_print(const gp_pool_desc *pools, const bench_place *places, int64_t count);

#endif
