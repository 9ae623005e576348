#include "train/ranks.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/pass.h"
#include "train/stop.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What a rank tells of its part of a step. */
struct train_rank_report {
  train_meter meter;
  int64_t stop;
};

/* ---- Life ---- */

static gp_status sum(void *context, double *values, int64_t count) {
  return dist_sum(context, values, (size_t)count, DIST_FLOAT64);
}

gp_status train_ranks_open(train_ranks *ranks, dist_comm *comm, bool synchronised) {
  const int32_t rank = dist_rank(comm), size = dist_size(comm);
  *ranks = (train_ranks){.comm = comm, .sync = {sum, comm}, .synchronised = synchronised && size > 1};
  if (size > 1) {
    ranks->samples = (data_share){DATA_SHARE_SAMPLES, rank, size};
    ranks->batches = (data_share){DATA_SHARE_BATCHES, rank, size};
  }
  return dist_machine_find(comm, &ranks->machine);
}

void train_ranks_close(train_ranks *ranks) {
  dist_reducer_destroy(&ranks->reducer);
  gp_free(ranks->reports);
  ranks->reports = NULL;
}

const nn_sync *train_ranks_sync(const train_ranks *ranks) { return ranks->synchronised ? &ranks->sync : NULL; }

gp_status train_ranks_prepare(train_ranks *ranks, const nn_net *net, size_t bucket_bytes, bool bfloat16) {
  const nn_arenas arenas = nn_net_arenas(net);
  if (train_ranks_alone(ranks)) return GP_OK;
  gp_status status = GP_ALLOC(&ranks->reports, (size_t)dist_size(ranks->comm));
  if (status != GP_OK) return status;
  return dist_reducer_create(
      &ranks->reducer, ranks->comm,
      &(dist_reducer_desc){
          .values = arenas.gradient, .count = arenas.count, .bucket_bytes = bucket_bytes, .bfloat16 = bfloat16});
}

/* ---- Alike ---- */

gp_status train_ranks_broadcast_net(train_ranks *ranks, const nn_net *net) {
  gp_status status = GP_OK;
  const nn_arenas a = nn_net_arenas(net);
  float *const parameters[] = {a.value, a.momentum, a.average};
  float *const statistics[] = {a.statistics, a.statistics_average};
  for (int i = 0; i < 3; ++i)
    if (parameters[i] != NULL) GP_TRY(dist_broadcast(ranks->comm, parameters[i], a.count * sizeof(float)));
  for (int i = 0; i < 2; ++i)
    if (statistics[i] != NULL) GP_TRY(dist_broadcast(ranks->comm, statistics[i], a.statistics_count * sizeof(float)));
cleanup:
  return status;
}

/* FNV-1a, a word of 64 bits at a time. */
static uint64_t hash_floats(uint64_t hash, const float *values, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, &values[i], sizeof bits);
    hash = (hash ^ bits) * 0x100000001B3u;
  }
  return hash;
}

gp_status train_ranks_check_replicas(train_ranks *ranks, const nn_net *net) {
  gp_status status = GP_OK;
  uint64_t *all = NULL;
  const nn_arenas arenas = nn_net_arenas(net);
  const int32_t size = dist_size(ranks->comm);
  if (size == 1) return GP_OK;
  uint64_t own = hash_floats(0xCBF29CE484222325u, arenas.value, arenas.count);
  own = hash_floats(own, arenas.statistics, arenas.statistics_count);
  GP_TRY(GP_ALLOC(&all, (size_t)size));
  GP_TRY(dist_gather(ranks->comm, &own, sizeof own, all));
  for (int32_t r = 1; r < size && status == GP_OK; ++r)
    if (all[r] != all[0])
      status = gp_fail(GP_ERROR_LIBRARY,
                       "the parameters of rank %" PRId32
                       " are not those of rank 0 any more: expected the same bits on all "
                       "ranks, as from machines and libraries of one kind",
                       r);
  status = dist_agree(ranks->comm, status);
cleanup:
  gp_free(all);
  return status;
}

enum { TEXT_SIZE = 160 };

gp_status train_ranks_check_alike(train_ranks *ranks, const char *what, const char *text) {
  char first[TEXT_SIZE], own[TEXT_SIZE];
  snprintf(own, sizeof own, "%s", text);
  memcpy(first, own, sizeof first);
  gp_status status = dist_broadcast(ranks->comm, first, sizeof first);
  if (status != GP_OK) return status;
  if (strcmp(own, first) != 0)
    status = gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: expected as on rank 0, %s, found %s", what, first, own);
  return dist_agree(ranks->comm, status);
}

gp_status train_ranks_most(train_ranks *ranks, uint64_t *bytes) {
  gp_status status = GP_OK;
  uint64_t *all = NULL;
  GP_TRY(GP_ALLOC(&all, (size_t)dist_size(ranks->comm)));
  GP_TRY(dist_gather(ranks->comm, bytes, sizeof *bytes, all));
  for (int32_t r = 0; r < dist_size(ranks->comm); ++r)
    if (all[r] > *bytes) *bytes = all[r];
cleanup:
  gp_free(all);
  return status;
}

/* ---- A step ---- */

void train_ranks_begin(train_ranks *ranks) {
  if (ranks->reducer != NULL) dist_reducer_begin(ranks->reducer);
}

gp_status train_ranks_statistics(train_ranks *ranks, const nn_net *net, int64_t whole) {
  const nn_arenas arenas = nn_net_arenas(net);
  const data_share *own = &ranks->samples;
  if (train_ranks_alone(ranks) || ranks->synchronised) return GP_OK;
  const int64_t count =
      data_share_first(whole, own->index + 1, own->count) - data_share_first(whole, own->index, own->count);
  const float share = (float)((double)count / (double)whole);
  for (size_t i = 0; i < arenas.statistics_count; ++i) arenas.statistics[i] *= share;
  return dist_sum_start(ranks->comm, arenas.statistics, arenas.statistics_count, DIST_FLOAT32, &ranks->statistics);
}

gp_status train_ranks_gradients(train_ranks *ranks, size_t first) {
  return ranks->reducer == NULL ? GP_OK : dist_reducer_ready(ranks->reducer, first);
}

gp_status train_ranks_finish(train_ranks *ranks, train_meter *meter) {
  gp_status status = GP_OK;
  struct train_rank_report *all = ranks->reports;
  const struct train_rank_report own = {*meter, train_stop_requested()};
  const int32_t size = dist_size(ranks->comm);
  if (size == 1) return GP_OK;
  GP_TRY(dist_gather(ranks->comm, &own, sizeof own, all));
  *meter = (train_meter){0};
  ranks->stop = 0;
  for (int32_t r = 0; r < size; ++r) {
    train_meter_join(meter, &all[r].meter);
    if (all[r].stop != 0) ranks->stop = (int)all[r].stop;
  }
  if (!ranks->synchronised) GP_TRY(dist_wait(ranks->comm, &ranks->statistics));
  GP_TRY(dist_reducer_finish(ranks->reducer));
cleanup:
  return status;
}

/* ---- Times ---- */

void train_ranks_tell_times(const train_ranks *ranks, const train_observer *observer) {
  const dist_reducer *reducer = ranks->reducer;
  if (reducer == NULL || dist_reducer_rounds(reducer) == 0) return;
  const double rounds = (double)dist_reducer_rounds(reducer);
  const int32_t buckets = dist_reducer_buckets(reducer);
  train_message(observer,
                "gradients between ranks: %" PRId32
                " buckets; all final %.2f ms after the step began, all added up "
                "%.2f ms later (means of %.0f steps)",
                buckets, 1e3 * dist_reducer_final_seconds(reducer), 1e3 * dist_reducer_wait_seconds(reducer) / rounds,
                rounds);
  for (int32_t i = 0; i < buckets; ++i) {
    const dist_bucket_times bucket = dist_reducer_bucket(reducer, i);
    train_message(observer, "  bucket %2" PRId32 "  %8.1f KiB  begun %8.2f ms  done %8.2f ms", i + 1,
                  (double)bucket.count * sizeof(float) / 1024, 1e3 * bucket.started, 1e3 * bucket.finished);
  }
}
