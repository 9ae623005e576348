/* What bench_measure() found, for people and for programs; on stdout, flushed, so that it is there if the time runs out at a later
 * place. Both are a bench_listener. GP_ERROR_IO if it cannot be written. */
#ifndef GP_BENCH_TABLE_H
#define GP_BENCH_TABLE_H

#include "bench/measure.h"

/* The place's lines, one for each subject and pass; a head before the first place, sums over the places after the last. Where copies
 * are measured of each size there are two columns more: the copy's GB/s, and the share of them that was reached; and at the end a
 * note if calls were so short that they may have waited for the host. */
GP_NODISCARD gp_status bench_print_table(const bench_results *results, int64_t place);

/* A JSON object a line for each subject. Peers that could not do it, and short calls as above, are told on stderr. */
GP_NODISCARD gp_status bench_print_json(const bench_results *results, int64_t place);

#endif
