#include "bench/measure.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "pool/kinds.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Where calls are queued, so many of them are timed as one, that much traffic if it can be. */
enum { COPIES = 5, WARM_UP = 1, LEAST_CALLS = 8, MOST_CALLS = 64 };
static const double TIMED_BYTES = 16e9;
static const double WAKE_SECONDS = 0.1;

const char *const bench_layout_names[] = {"nchw", "nhwc", "nchw8c", "nchw16c", NULL};
const char *const bench_dtype_names[] = {"float32", "float64", "bfloat16", "float16", NULL};
const char *const bench_stochasticity_names[] = {"none", "CN", "HWCN", NULL};

/* ---- What to measure ---- */

bench_subject bench_subject_of(gp_pool_kind kind, gp_stochasticity stochasticity) {
  const bool draws = gp_pool_kind_find(kind)->draws != GP_DRAWS_NOTHING;
  return (bench_subject){
      .name = gp_pool_kind_name(kind), .kind = kind, .stochasticity = draws ? stochasticity : GP_STOCHASTIC_NONE};
}

gp_status bench_subjects_make(bench_subject **out, int64_t *count, const char *kind, gp_stochasticity stochasticity,
                              int64_t extra) {
  gp_status status = GP_OK;
  const bool all = strcmp(kind, "all") == 0;
  int kinds = 0;
  *count = 0;
  while (gp_pool_kind_name((gp_pool_kind)kinds) != NULL) ++kinds;
  GP_TRY(GP_ALLOC(out, (size_t)(kinds + extra)));
  for (int k = 0; k < kinds; ++k)
    if (all || strcmp(kind, gp_pool_kind_name((gp_pool_kind)k)) == 0)
      (*out)[(*count)++] = bench_subject_of((gp_pool_kind)k, stochasticity);
cleanup:
  return status;
}

gp_pool_desc bench_describe(const bench_desc *desc, const bench_place *place, const bench_subject *subject) {
  gp_pool_desc pool = bench_place_desc(place);
  pool.kind = subject->kind;
  pool.stochasticity = subject->stochasticity;
  pool.batch = desc->batch;
  pool.layout = desc->layout;
  pool.dtype = desc->dtype;
  pool.seed = 1;
  if (pool.kind == GP_POOL_GATED) pool.param_shape = GP_SHAPE_ONE; /* it has no GP_SHAPE_NC */
  return pool;
}

/* ---- Measuring ---- */

typedef struct bench {
  bench_results *results;
  double *seconds;    /* [subject][pass][repeat] of the place at hand */
  double *copies;     /* [pass][repeat] of the place at hand, or bytes a second of each copy made */
  int64_t copy_count; /* of the latter */
  int64_t calls;      /* timed as one at the place at hand */
  bench_tensors tensors;
} bench;

static double *seconds_of(const bench *b, int64_t subject, int pass) {
  return b->seconds + (subject * BENCH_PASSES + pass) * b->results->desc.repeat;
}

static size_t bytes_of(const bench *b, int pass) {
  return (pass == BENCH_BACKWARD ? 2 : 1) * b->tensors.x_bytes + b->tensors.y_bytes;
}

/* Copies of one size, where the device has them. */
static gp_status measure_copies(bench *b, int count) {
  gp_status status = GP_OK;
  bench_device *device = b->results->desc.device;
  for (int i = 0; device->ops->copy_speed != NULL && i < count; ++i)
    GP_TRY(device->ops->copy_speed(device, &b->copies[b->copy_count++]));
cleanup:
  return status;
}

/* A pass's bytes moved by a copy: half of them read, half written. */
typedef struct copy_call {
  const bench *bench;
  size_t bytes;
} copy_call;

static gp_status copy_once(void *context, int64_t turn) {
  const copy_call *copy = context;
  const bench_tensors *tensors = &copy->bench->tensors;
  const bench_set set = bench_tensors_at(tensors, turn);
  return tensors->device->ops->copy(tensors->device, set.y, set.x, copy->bytes / 2);
}

static gp_status time_copies(bench *b, int64_t turn) {
  gp_status status = GP_OK;
  bench_device *device = b->tensors.device;
  for (int pass = 0; device->ops->copy != NULL && pass < BENCH_INFERENCE; ++pass) {
    copy_call copy = {b, bytes_of(b, pass)};
    double seconds = 0;
    GP_TRY(device->ops->time(device, copy_once, &copy, b->calls, &seconds));
    if (turn >= 0) b->copies[pass * b->results->desc.repeat + turn] = seconds;
  }
cleanup:
  return status;
}

/* An idle GPU runs at a low clock, and takes a while to leave it. */
static gp_status wake(bench *b) {
  gp_status status = GP_OK;
  bench_device *device = b->tensors.device;
  copy_call copy = {b, bytes_of(b, BENCH_FORWARD)};
  double seconds = 0;
  if (device->ops->copy == NULL) return GP_OK;
  for (const double until = gp_seconds() + WAKE_SECONDS; gp_seconds() < until;)
    GP_TRY(device->ops->time(device, copy_once, &copy, b->calls, &seconds));
cleanup:
  return status;
}

typedef struct pass_call {
  bench_operator *op;
  bench_pass pass;
} pass_call;

static gp_status pass_once(void *context, int64_t turn) {
  const pass_call *call = context;
  return call->op->run(call->op, call->pass, turn);
}

static gp_status run_passes(bench *b, bench_operator *op, int64_t subject, int64_t turn) {
  gp_status status = GP_OK;
  bench_device *device = b->tensors.device;
  for (int pass = 0; pass < BENCH_PASSES; ++pass) {
    pass_call call = {op, (bench_pass)pass};
    double seconds = 0;
    GP_TRY(device->ops->time(device, pass_once, &call, b->calls, &seconds));
    if (turn >= 0) seconds_of(b, subject, pass)[turn] = seconds;
  }
cleanup:
  return status;
}

/* A peer that cannot do it is no failure. */
static gp_status prepare(const bench *b, bench_operator **op, const bench_place *place, const bench_subject *subject,
                         bench_row *row) {
  const bench_operator_desc desc = {.pool = bench_describe(&b->results->desc, place, subject), .tensors = &b->tensors};
  if (subject->create == NULL) return bench_operator_create(op, &desc);
  gp_status status = subject->create(op, &desc);
  if (status != GP_ERROR_UNSUPPORTED) return status;
  snprintf(row->reason, sizeof row->reason, "%s", gp_last_error());
  return GP_OK;
}

/* copy_seconds is filled in later where copies of one size are measured. */
static void note(const bench *b, bench_row *row, int64_t subject, const double copy_seconds[BENCH_PASSES]) {
  for (int pass = 0; pass < BENCH_PASSES; ++pass) {
    row->seconds[pass] = bench_summarise(seconds_of(b, subject, pass), b->results->desc.repeat);
    row->bytes[pass] = bytes_of(b, pass);
    row->copy_seconds[pass] = copy_seconds[pass];
  }
}

static void note_all(const bench *b, bench_operator *const *ops, bench_row *rows) {
  const bench_desc *desc = &b->results->desc;
  double copy_seconds[BENCH_PASSES] = {0};
  for (int pass = 0; desc->device->ops->copy != NULL && pass < BENCH_INFERENCE; ++pass)
    copy_seconds[pass] = bench_summarise(b->copies + pass * desc->repeat, desc->repeat).median;
  copy_seconds[BENCH_INFERENCE] = copy_seconds[BENCH_FORWARD];
  for (int64_t s = 0; s < desc->subject_count; ++s)
    if (ops[s] != NULL) note(b, &rows[s], s, copy_seconds);
}

/* One where calls return when they are done. All sets are gone round equally often. */
static int64_t calls_at_once(const bench *b) {
  if (b->tensors.device->ops->copy == NULL) return 1;
  const double wanted = TIMED_BYTES / (double)bytes_of(b, BENCH_FORWARD);
  const int64_t calls = wanted > MOST_CALLS ? MOST_CALLS : wanted < LEAST_CALLS ? LEAST_CALLS : (int64_t)wanted;
  return (calls + b->tensors.sets - 1) / b->tensors.sets * b->tensors.sets;
}

static gp_status measure_place(bench *b, const bench_place *place, bench_row *rows) {
  gp_status status = GP_OK;
  const bench_desc *desc = &b->results->desc;
  bench_operator **ops = NULL;
  const gp_pool_desc pool = bench_describe(desc, place, &desc->subjects[0]);
  GP_TRY(GP_ALLOC(&ops, (size_t)desc->subject_count));
  GP_TRY(bench_tensors_create(&b->tensors, desc->device, &pool));
  b->calls = calls_at_once(b);
  for (int64_t s = 0; s < desc->subject_count; ++s) GP_TRY(prepare(b, &ops[s], place, &desc->subjects[s], &rows[s]));
  GP_TRY(wake(b));
  for (int64_t turn = -WARM_UP; turn < desc->repeat; ++turn) {
    GP_TRY(time_copies(b, turn));
    for (int64_t s = 0; s < desc->subject_count; ++s)
      if (ops[s] != NULL) GP_TRY(run_passes(b, ops[s], s, turn));
  }
  note_all(b, ops, rows);
cleanup:
  for (int64_t s = 0; ops != NULL && s < desc->subject_count; ++s) bench_operator_destroy(&ops[s]);
  gp_free(ops);
  bench_tensors_clear(&b->tensors);
  return status == GP_OK ? GP_OK
                         : gp_fail_in(status, "%s, batch %" PRId64 "%s", place->name, desc->batch,
                                      status == GP_ERROR_OUT_OF_MEMORY ? " (a smaller --batch needs less memory)" : "");
}

/* ---- All of it ---- */

/* Where copies of one size were measured, once for all. */
static void apply_copy_speed(bench *b) {
  bench_results *results = b->results;
  if (b->copy_count == 0) return;
  results->copy_speed = bench_summarise(b->copies, b->copy_count);
  const int64_t rows = results->desc.places->count * results->desc.subject_count;
  for (int64_t i = 0; i < rows; ++i)
    for (int pass = 0; pass < BENCH_PASSES; ++pass)
      results->rows[i].copy_seconds[pass] = (double)results->rows[i].bytes[pass] / results->copy_speed.median;
}

static gp_status tell(const bench *b, int64_t place) {
  const bench_listener place_done = b->results->desc.place_done;
  return place_done != NULL ? place_done(b->results, place) : GP_OK;
}

static gp_status measure_places(bench *b) {
  gp_status status = GP_OK;
  const bench_desc *desc = &b->results->desc;
  const int64_t places = desc->places->count;
  const bool whole_at_once = desc->device->ops->copy != NULL;
  GP_TRY(measure_copies(b, COPIES));
  for (int64_t p = 0; p < places; ++p) {
    const bench_place *place = &desc->places->places[p];
    if (isatty(STDERR_FILENO)) fprintf(stderr, "%s (%" PRId64 " of %" PRId64 ")\n", place->name, p + 1, places);
    GP_TRY(measure_place(b, place, b->results->rows + p * desc->subject_count));
    GP_TRY(measure_copies(b, 1));
    if (whole_at_once) GP_TRY(tell(b, p));
  }
  GP_TRY(measure_copies(b, COPIES));
  apply_copy_speed(b);
  for (int64_t p = 0; !whole_at_once && p < places; ++p) GP_TRY(tell(b, p));
cleanup:
  return status;
}

gp_status bench_measure(bench_results *out, const bench_desc *desc) {
  gp_status status = GP_OK;
  bench b = {.results = out};
  const int64_t places = desc->places->count, one_size = 2 * COPIES + places, each = BENCH_INFERENCE * desc->repeat;
  *out = (bench_results){.desc = *desc};
  GP_TRY(GP_ALLOC(&out->rows, (size_t)(places * desc->subject_count)));
  GP_TRY(GP_ALLOC(&b.seconds, (size_t)(desc->subject_count * BENCH_PASSES * desc->repeat)));
  GP_TRY(GP_ALLOC(&b.copies, (size_t)(one_size > each ? one_size : each)));
  GP_TRY(measure_places(&b));
cleanup:
  gp_free(b.seconds);
  gp_free(b.copies);
  if (status != GP_OK) bench_results_clear(out);
  return status;
}

void bench_results_clear(bench_results *results) {
  gp_free(results->rows);
  *results = (bench_results){0};
}
