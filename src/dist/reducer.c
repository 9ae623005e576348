#include "dist/reducer.h"

#include "base/clock.h"
#include "base/half.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"

enum { DEFAULT_BYTES = 4 << 20, CHUNK = 1 << 14 /* floats per task */, WARM_UP = 2 /* rounds */ };

typedef struct bucket {
  size_t first, count;
  dist_request request;
  double started, finished; /* sums over the rounds */
} bucket;

struct dist_reducer {
  dist_comm *comm;
  float *values;
  uint16_t *halves; /* [count of values]; NULL: values go as they are */
  bucket *buckets;  /* from the end of the values on */
  int32_t count, begun, done;
  double began, final, waited; /* the last two: sums over the rounds */
  int64_t rounds;
  bool warm;
};

/* ---- bfloat16 ---- */

typedef struct conversion {
  float *values;
  uint16_t *halves;
  size_t count;
} conversion;

static void to_halves(void *context, int64_t task) {
  const conversion *c = context;
  const size_t first = (size_t)task * CHUNK, end = c->count - first < CHUNK ? c->count : first + CHUNK;
  for (size_t i = first; i < end; ++i) c->halves[i] = gp_bfloat16_of_float(c->values[i]);
}

static void from_halves(void *context, int64_t task) {
  const conversion *c = context;
  const size_t first = (size_t)task * CHUNK, end = c->count - first < CHUNK ? c->count : first + CHUNK;
  for (size_t i = first; i < end; ++i) c->values[i] = gp_float_of_bfloat16(c->halves[i]);
}

static void convert(const dist_reducer *r, const bucket *b, gp_task_fn fn) {
  conversion c = {r->values + b->first, r->halves + b->first, b->count};
  gp_parallel_for((int64_t)((b->count + CHUNK - 1) / CHUNK), 0, fn, &c);
}

/* ---- Buckets ---- */

static gp_status begin_bucket(dist_reducer *r) {
  bucket *b = &r->buckets[r->begun++];
  b->started += gp_seconds() - r->began;
  if (r->halves == NULL) return dist_sum_start(r->comm, r->values + b->first, b->count, DIST_FLOAT32, &b->request);
  convert(r, b, to_halves);
  return dist_sum_start(r->comm, r->halves + b->first, b->count, DIST_BFLOAT16, &b->request);
}

static void end_bucket(dist_reducer *r) {
  bucket *b = &r->buckets[r->done++];
  b->finished += gp_seconds() - r->began;
  if (r->halves != NULL) convert(r, b, from_halves);
}

/* The first rounds touch new memory and make connections: their times say nothing of the others'. */
static void forget_warm_up(dist_reducer *r) {
  if (r->warm || r->rounds < WARM_UP) return;
  for (int32_t i = 0; i < r->count; ++i) r->buckets[i].started = r->buckets[i].finished = 0;
  r->final = r->waited = 0;
  r->rounds = 0;
  r->warm = true;
}

void dist_reducer_begin(dist_reducer *r) {
  forget_warm_up(r);
  r->begun = r->done = 0;
  r->began = gp_seconds();
}

gp_status dist_reducer_ready(dist_reducer *r, size_t first) {
  gp_status status = GP_OK;
  while (r->begun < r->count && r->buckets[r->begun].first >= first) GP_TRY(begin_bucket(r));
  while (r->done < r->begun) {
    bool done = false;
    GP_TRY(dist_test(r->comm, &r->buckets[r->done].request, &done));
    if (!done) break;
    end_bucket(r);
  }
cleanup:
  return status;
}

gp_status dist_reducer_finish(dist_reducer *r) {
  gp_status status = GP_OK;
  const double before = gp_seconds();
  GP_TRY(dist_reducer_ready(r, 0));
  while (r->done < r->count) {
    GP_TRY(dist_wait(r->comm, &r->buckets[r->done].request));
    end_bucket(r);
  }
  r->final += before - r->began;
  r->waited += gp_seconds() - before;
  r->rounds += 1;
cleanup:
  return status;
}

/* ---- Life ---- */

gp_status dist_reducer_create(dist_reducer **out, dist_comm *comm, const dist_reducer_desc *desc) {
  gp_status status = GP_OK;
  dist_reducer *r = NULL;
  const size_t fourth = (desc->count + 3) / 4, usual = DEFAULT_BYTES / sizeof(float);
  size_t size = desc->bucket_bytes / sizeof(float);
  if (desc->bucket_bytes == 0) size = fourth < usual ? fourth : usual;
  if (size == 0) size = 1;
  *out = NULL;
  GP_TRY(GP_ALLOC(&r, 1));
  r->comm = comm;
  r->values = desc->values;
  r->count = (int32_t)((desc->count + size - 1) / size);
  GP_TRY(GP_ALLOC(&r->buckets, (size_t)r->count));
  if (desc->bfloat16) GP_TRY(GP_ALLOC(&r->halves, desc->count));
  for (int32_t i = 0; i < r->count; ++i) {
    const size_t end = desc->count - (size_t)i * size;
    r->buckets[i].first = end > size ? end - size : 0;
    r->buckets[i].count = end - r->buckets[i].first;
  }
  *out = r;
  r = NULL;
cleanup:
  dist_reducer_destroy(&r);
  return status;
}

void dist_reducer_destroy(dist_reducer **reducer) {
  if (*reducer == NULL) return;
  gp_free((*reducer)->halves);
  gp_free((*reducer)->buckets);
  gp_free(*reducer);
  *reducer = NULL;
}

/* ---- Times ---- */

static double mean(const dist_reducer *r, double sum) { return r->rounds > 0 ? sum / (double)r->rounds : 0; }

int64_t dist_reducer_rounds(const dist_reducer *r) { return r->rounds; }

int32_t dist_reducer_buckets(const dist_reducer *r) { return r->count; }

dist_bucket_times dist_reducer_bucket(const dist_reducer *r, int32_t index) {
  const bucket *b = &r->buckets[index];
  return (dist_bucket_times){b->first, b->count, mean(r, b->started), mean(r, b->finished)};
}

double dist_reducer_final_seconds(const dist_reducer *r) { return mean(r, r->final); }

double dist_reducer_wait_seconds(const dist_reducer *r) { return r->waited; }
