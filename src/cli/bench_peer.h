/* oneDNN's poolings as peers of the operator. */
#ifndef GP_CLI_BENCH_PEER_H
#define GP_CLI_BENCH_PEER_H

#include "bench/measure.h"

enum { BENCH_PEERS = 2 };

/* Its average and its maximum, in the host's memory. */
extern const bench_subject bench_peers[BENCH_PEERS];

#endif
