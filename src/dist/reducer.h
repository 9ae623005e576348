/* Sums an array over the ranks in buckets, each of which starts as soon as its values are final: so the sum of the last
 * layers' gradients is under way while those of the first are still computed. Values become final from the end on.
 *
 *   dist_reducer_begin(reducer);
 *   GP_TRY(dist_reducer_ready(reducer, first));    values[first …] are final; often, since it moves the sums along
 *   GP_TRY(dist_reducer_finish(reducer));          all are; waits for the sums */
#ifndef GP_DIST_REDUCER_H
#define GP_DIST_REDUCER_H

#include "dist/comm.h"

typedef struct dist_reducer dist_reducer;

typedef struct dist_reducer_desc {
  float *values; /* [count], the caller's */
  size_t count;
  size_t bucket_bytes; /* of values; 0: 4 MiB, or a fourth of them if that is less */
  bool bfloat16;       /* goes between the ranks as bfloat16: half the bytes, 8 bits of precision */
} dist_reducer_desc;

/* The communicator must outlive it. GP_ERROR_OUT_OF_MEMORY. */
GP_NODISCARD gp_status dist_reducer_create(dist_reducer **out, dist_comm *comm, const dist_reducer_desc *desc);
void dist_reducer_destroy(dist_reducer **reducer);

void dist_reducer_begin(dist_reducer *reducer);
GP_NODISCARD gp_status dist_reducer_ready(dist_reducer *reducer, size_t first);
GP_NODISCARD gp_status dist_reducer_finish(dist_reducer *reducer);

/* ---- How long it took: means over the rounds since it was created, without the first two once there are more ---- */

typedef struct dist_bucket_times {
  size_t first, count;      /* values */
  double started, finished; /* seconds after dist_reducer_begin(), as far as was looked */
} dist_bucket_times;

int64_t dist_reducer_rounds(const dist_reducer *reducer);
int32_t dist_reducer_buckets(const dist_reducer *reducer);
dist_bucket_times dist_reducer_bucket(const dist_reducer *reducer, int32_t index); /* in the order they start */
double dist_reducer_final_seconds(const dist_reducer *reducer); /* when all values were final, after begin */
double dist_reducer_wait_seconds(const dist_reducer *reducer);  /* in dist_reducer_finish(), all rounds together */

#endif
