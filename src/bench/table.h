/* What bench_measure() found, for people and for programs; on stdout. */
#ifndef GP_BENCH_TABLE_H
#define GP_BENCH_TABLE_H

#include "bench/measure.h"

/* A line for each place, subject and pass, and sums over the places. Where copies are measured of each size there are two columns
 * more: the copy's GB/s, and the share of them that was reached. */
void bench_print_table(const bench_results *results);

/* A JSON object a line for each place and subject. Peers that could not do it are told on stderr. */
void bench_print_json(const bench_results *results);

#endif
