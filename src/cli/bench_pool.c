/* gausspool bench pool: the speed of the operator at the places of a network. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "cli/bench.h"
#include "cli/bench_copy.h"
#include "cli/bench_list.h"
#include "cli/bench_operator.h"
#include "cli/bench_places.h"
#include "cli/options.h"
#include "pool/kinds.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COPIES = 5, PEERS = 2, REASON_SIZE = 160, WARM_UP = 1 };

typedef struct pool_config {
  char *network, *kind;
  int64_t batch, threads, repeat;
  int layout, dtype, stochasticity; /* gp_layout, gp_dtype, gp_stochasticity */
  bool json, list, help;
} pool_config;

static const char *const layout_names[] = {"nchw", "nhwc", "nchw8c", "nchw16c"};
static const char *const dtype_names[] = {"float32", "float64", "bfloat16", "float16"};
static const char *const stochasticity_names[] = {"none", "CN", "HWCN"};
static const char *const pass_names[BENCH_PASSES] = {"forward", "backward", "inference"};

#define FIELD(name) .offset = offsetof(pool_config, name)
static const option_desc options[] = {
    {.name = "network",
     FIELD(network),
     .type = OPTION_PATH,
     .section = "pooling",
     .metavar = "NAME|FILE",
     .default_text = "resnet50",
     .help = "whose places: resnet50, vgg16, densenet169, or a file's"},
    {.name = "batch",
     FIELD(batch),
     .type = OPTION_INT64,
     .section = "pooling",
     .metavar = "N",
     .default_text = "16",
     .min = 1,
     .max = 1 << 20,
     .help = "images at once"},
    {.name = "layout",
     FIELD(layout),
     .type = OPTION_CHOICE,
     .section = "pooling",
     .choices = "nchw|nhwc|nchw8c|nchw16c",
     .default_text = "nhwc",
     .help = "order of the tensors in memory"},
    {.name = "dtype",
     FIELD(dtype),
     .type = OPTION_CHOICE,
     .section = "pooling",
     .choices = "float32|float64|bfloat16|float16",
     .default_text = "float32",
     .help = "type of the tensors"},
    {.name = "kind",
     FIELD(kind),
     .type = OPTION_STRING,
     .section = "pooling",
     .metavar = "NAME|all",
     .default_text = "isp_gaussian",
     .help = "what to compute, e.g. isp_gaussian, average, softpool; a wrong name lists them"},
    {.name = "stochasticity",
     FIELD(stochasticity),
     .type = OPTION_CHOICE,
     .section = "pooling",
     .choices = "none|CN|HWCN",
     .default_text = "CN",
     .help = "draws in training, of the kinds that have any: none, for each sample and channel, for each output"},
    CLI_OPTION_THREADS(pool_config),
    {.name = "repeat",
     FIELD(repeat),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "R",
     .default_text = "10",
     .min = 1,
     .max = 100000,
     .help = "calls measured, after one to warm up; the median counts"},
    {.name = "json",
     FIELD(json),
     .type = OPTION_BOOL,
     .section = "run",
     .help = "print JSON, one line for each place and pooling"},
    {.name = "list",
     FIELD(list),
     .type = OPTION_BOOL,
     .section = "run",
     .help = "print which implementation is picked, and why, instead of measuring"},
    CLI_OPTION_HELP(pool_config),
};
static const option_table table = {options, sizeof options / sizeof *options};

/* What is measured at every place: a kind of ours, or a peer's. */
typedef struct bench_subject {
  const char *name;
  gp_pool_kind kind;
  gp_stochasticity stochasticity;
  bool peer;
} bench_subject;

/* What came out of one at one place. */
typedef struct bench_row {
  bench_times seconds[BENCH_PASSES];
  size_t bytes[BENCH_PASSES]; /* that must move */
  char reason[REASON_SIZE];   /* why it could not be measured; "" otherwise */
} bench_row;

typedef struct bench {
  const pool_config *config;
  bench_places places;
  bench_subject *subjects;
  int64_t subject_count;
  bench_row *rows; /* [place][subject] */
  double *seconds; /* [subject][pass][repeat] of the place at hand */
  bench_copy copy;
  double *copies; /* bytes a second, of each copy made */
  int64_t copy_count;
  bench_times copy_speed;
} bench;

/* ---- What to measure ---- */

static const char *kind_name(int32_t index) { return gp_pool_kind_name((gp_pool_kind)index); }

static const char *kind_option(int32_t index) {
  return index == 0 ? "all" : kind_name(index - 1); /* the kinds count from 0 */
}

static gp_status make_subjects(bench *b) {
  gp_status status = GP_OK;
  const pool_config *config = b->config;
  const bool all = strcmp(config->kind, "all") == 0;
  int32_t kinds = 0;
  while (kind_name(kinds) != NULL) ++kinds;
  GP_TRY(GP_ALLOC(&b->subjects, (size_t)kinds + PEERS));
  for (int32_t k = 0; k < kinds; ++k) {
    const gp_pool_kind kind = (gp_pool_kind)k;
    const gp_stochasticity stochasticity = gp_pool_kind_find(kind)->draws == GP_DRAWS_NOTHING
                                               ? GP_STOCHASTIC_NONE
                                               : (gp_stochasticity)config->stochasticity;
    if (all || strcmp(config->kind, kind_name(k)) == 0)
      b->subjects[b->subject_count++] =
          (bench_subject){.name = kind_name(k), .kind = kind, .stochasticity = stochasticity};
  }
  b->subjects[b->subject_count++] = (bench_subject){.name = "onednn_average", .kind = GP_POOL_AVERAGE, .peer = true};
  b->subjects[b->subject_count++] = (bench_subject){.name = "onednn_max", .kind = GP_POOL_MAX, .peer = true};
cleanup:
  return status;
}

static gp_pool_desc describe(const bench *b, const bench_place *place, const bench_subject *subject) {
  gp_pool_desc pool = bench_place_desc(place);
  pool.kind = subject->kind;
  pool.stochasticity = subject->stochasticity;
  pool.batch = b->config->batch;
  pool.layout = (gp_layout)b->config->layout;
  pool.dtype = (gp_dtype)b->config->dtype;
  pool.seed = 1;
  if (pool.kind == GP_POOL_GATED) pool.param_shape = GP_SHAPE_ONE; /* it has no GP_SHAPE_NC */
  return pool;
}

/* ---- Measuring ---- */

static void measure_copy(bench *b) { b->copies[b->copy_count++] = bench_copy_run(&b->copy); }

static double *seconds_of(const bench *b, int64_t subject, int pass) {
  return b->seconds + (subject * BENCH_PASSES + pass) * b->config->repeat;
}

/* A peer that cannot do it is no failure. */
static gp_status prepare(const bench *b, bench_operator **op, const bench_operator_desc *desc, bench_row *row,
                         const char *place, const char *subject) {
  gp_status status = bench_operator_create(op, desc);
  if (status != GP_ERROR_UNSUPPORTED || !desc->peer) return status;
  snprintf(row->reason, sizeof row->reason, "%s", gp_last_error());
  if (b->config->json) fprintf(stderr, "gausspool: %s, %s: not supported: %s\n", place, subject, row->reason);
  return GP_OK;
}

static gp_status run_passes(const bench *b, bench_operator *op, int64_t subject, int64_t turn) {
  gp_status status = GP_OK;
  for (int pass = 0; pass < BENCH_PASSES; ++pass) {
    const double started = gp_seconds();
    GP_TRY(bench_operator_run(op, (bench_pass)pass));
    if (turn >= 0) seconds_of(b, subject, pass)[turn] = gp_seconds() - started;
  }
cleanup:
  return status;
}

static void note(const bench *b, bench_row *row, int64_t subject, const bench_tensors *tensors) {
  for (int pass = 0; pass < BENCH_PASSES; ++pass) {
    row->seconds[pass] = bench_summarise(seconds_of(b, subject, pass), b->config->repeat);
    row->bytes[pass] = (pass == BENCH_BACKWARD ? 2 : 1) * tensors->x_bytes + tensors->y_bytes;
  }
}

/* Everything at one place, call by call in turn. */
static gp_status measure_place(bench *b, const bench_place *place, bench_row *rows) {
  gp_status status = GP_OK;
  bench_tensors tensors = {0};
  bench_operator **ops = NULL;
  const gp_pool_desc pool = describe(b, place, &b->subjects[0]);
  GP_TRY(GP_ALLOC(&ops, (size_t)b->subject_count));
  GP_TRY(bench_tensors_create(&tensors, &pool));
  for (int64_t s = 0; s < b->subject_count; ++s) {
    const bench_operator_desc desc = {
        .pool = describe(b, place, &b->subjects[s]), .tensors = &tensors, .peer = b->subjects[s].peer};
    GP_TRY(prepare(b, &ops[s], &desc, &rows[s], place->name, b->subjects[s].name));
  }
  for (int64_t turn = -WARM_UP; turn < b->config->repeat; ++turn)
    for (int64_t s = 0; s < b->subject_count; ++s)
      if (ops[s] != NULL) GP_TRY(run_passes(b, ops[s], s, turn));
  for (int64_t s = 0; s < b->subject_count; ++s)
    if (ops[s] != NULL) note(b, &rows[s], s, &tensors);
cleanup:
  for (int64_t s = 0; ops != NULL && s < b->subject_count; ++s) bench_operator_destroy(&ops[s]);
  gp_free(ops);
  bench_tensors_clear(&tensors);
  return status == GP_OK ? GP_OK : gp_fail_in(status, "%s, batch %" PRId64, place->name, b->config->batch);
}

/* ---- Results ---- */

static double ratio_of(const bench *b, double seconds, double bytes) {
  return seconds / (bytes / b->copy_speed.median);
}

static int place_width(const bench *b) {
  int width = 5;
  for (int64_t p = 0; p < b->places.count; ++p) {
    const int length = (int)strlen(b->places.places[p].name);
    if (length > width) width = length;
  }
  return width;
}

static void print_row(const bench *b, const char *place, const bench_subject *subject, const bench_row *row) {
  const int width = place_width(b);
  const char *stochasticity = stochasticity_names[subject->stochasticity];
  if (row->reason[0] != '\0') {
    printf("%-*s  %-14s  %-4s  not supported: %s\n", width, place, subject->name, stochasticity, row->reason);
    return;
  }
  for (int pass = 0; pass < BENCH_PASSES; ++pass) {
    const bench_times *s = &row->seconds[pass];
    const double bytes = (double)row->bytes[pass];
    printf("%-*s  %-14s  %-4s  %-9s %10.4f %10.4f %10.4f %10.2f %8.2f %9.2f\n", width, place, subject->name,
           stochasticity, pass_names[pass], 1e3 * s->median, 1e3 * s->min, 1e3 * s->max, 1e-6 * bytes,
           1e-9 * bytes / s->median, ratio_of(b, s->median, bytes));
  }
}

/* Over the places. */
static bench_row sum_rows(const bench *b, int64_t subject) {
  bench_row sum = {0};
  for (int64_t p = 0; p < b->places.count; ++p) {
    const bench_row *r = &b->rows[p * b->subject_count + subject];
    if (r->reason[0] != '\0') return *r;
    for (int pass = 0; pass < BENCH_PASSES; ++pass) {
      sum.seconds[pass].median += r->seconds[pass].median;
      sum.seconds[pass].min += r->seconds[pass].min;
      sum.seconds[pass].max += r->seconds[pass].max;
      sum.bytes[pass] += r->bytes[pass];
    }
  }
  return sum;
}

static void print_table(const bench *b) {
  const pool_config *config = b->config;
  const int threads = (int)gp_max_threads();
  printf("%s, batch %" PRId64 ", %s, %s, %d %s, %s\n", config->network, config->batch, layout_names[config->layout],
         dtype_names[config->dtype], threads, threads == 1 ? "thread" : "threads", gp_cpu_isa());
  printf("copying %d MiB: %.2f GB/s (%.2f ... %.2f)\n\n", BENCH_COPY_BYTES >> 20, 1e-9 * b->copy_speed.median,
         1e-9 * b->copy_speed.min, 1e-9 * b->copy_speed.max);
  printf("%-*s  %-14s  %-4s  %-9s %10s %10s %10s %10s %8s %9s\n", place_width(b), "place", "kind", "draw", "pass",
         "median ms", "min ms", "max ms", "MB", "GB/s", "ratio");
  for (int64_t p = 0; p < b->places.count; ++p)
    for (int64_t s = 0; s < b->subject_count; ++s)
      print_row(b, b->places.places[p].name, &b->subjects[s], &b->rows[p * b->subject_count + s]);
  for (int64_t s = 0; s < b->subject_count; ++s) {
    const bench_row sum = sum_rows(b, s);
    print_row(b, "sum", &b->subjects[s], &sum);
  }
}

static gp_status print_object(const bench *b, const char *place, const bench_subject *subject, const bench_row *row) {
  if (row->reason[0] != '\0') return GP_OK;
  json_t *object = json_pack(
      "{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:f, s:f, s:f, s:I, s:I, s:f}", "place", place, "kind", subject->name,
      "stochasticity", stochasticity_names[subject->stochasticity], "layout", layout_names[b->config->layout], "dtype",
      dtype_names[b->config->dtype], "threads", (int)gp_max_threads(), "batch", (json_int_t)b->config->batch,
      "forward_ms", 1e3 * row->seconds[BENCH_FORWARD].median, "backward_ms", 1e3 * row->seconds[BENCH_BACKWARD].median,
      "inference_ms", 1e3 * row->seconds[BENCH_INFERENCE].median, "forward_bytes",
      (json_int_t)row->bytes[BENCH_FORWARD], "backward_bytes", (json_int_t)row->bytes[BENCH_BACKWARD], "copy_gb_per_s",
      1e-9 * b->copy_speed.median);
  if (object == NULL) return gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory for a line of JSON");
  json_dumpf(object, stdout, JSON_REAL_PRECISION(7)); /* a failure shows in the stream */
  putchar('\n');
  json_decref(object);
  return GP_OK;
}

static gp_status print_objects(const bench *b) {
  gp_status status = GP_OK;
  for (int64_t p = 0; p < b->places.count; ++p)
    for (int64_t s = 0; s < b->subject_count; ++s)
      GP_TRY(print_object(b, b->places.places[p].name, &b->subjects[s], &b->rows[p * b->subject_count + s]));
cleanup:
  return status;
}

/* ---- The command ---- */

static gp_status measure(bench *b) {
  gp_status status = GP_OK;
  const int64_t places = b->places.count;
  GP_TRY(GP_ALLOC(&b->rows, (size_t)(places * b->subject_count)));
  GP_TRY(GP_ALLOC(&b->seconds, (size_t)(b->subject_count * BENCH_PASSES * b->config->repeat)));
  GP_TRY(GP_ALLOC(&b->copies, (size_t)(2 * COPIES + places)));
  GP_TRY(bench_copy_create(&b->copy));
  for (int i = 0; i < COPIES; ++i) measure_copy(b);
  for (int64_t p = 0; p < places; ++p) {
    const bench_place *place = &b->places.places[p];
    if (isatty(STDERR_FILENO)) fprintf(stderr, "%s (%" PRId64 " of %" PRId64 ")\n", place->name, p + 1, places);
    GP_TRY(measure_place(b, place, b->rows + p * b->subject_count));
    measure_copy(b);
  }
  for (int i = 0; i < COPIES; ++i) measure_copy(b);
  b->copy_speed = bench_summarise(b->copies, b->copy_count);
  if (b->config->json)
    GP_TRY(print_objects(b));
  else
    print_table(b);
cleanup:
  return status;
}

static gp_status list(const bench *b) {
  gp_status status = GP_OK;
  gp_pool_desc *pools = NULL;
  GP_TRY(GP_ALLOC(&pools, (size_t)b->places.count));
  bench_list_isa();
  printf("%s, %s%s\n", layout_names[b->config->layout], dtype_names[b->config->dtype],
         b->places.count > 1 ? "; of neighbouring places that go alike, the first" : "");
  for (int64_t s = 0; s < b->subject_count; ++s) {
    if (b->subjects[s].peer) continue;
    for (int64_t p = 0; p < b->places.count; ++p) pools[p] = describe(b, &b->places.places[p], &b->subjects[s]);
    GP_TRY(bench_list_print(pools, b->places.places, b->places.count));
  }
cleanup:
  gp_free(pools);
  return status;
}

static gp_status run(void *opaque) {
  gp_status status = GP_OK;
  const pool_config *config = opaque;
  bench b = {.config = config};
  if (config->threads > 0) gp_set_max_threads((int32_t)config->threads);
  GP_TRY(bench_places_read(&b.places, config->network));
  GP_TRY(make_subjects(&b));
  status = config->list ? list(&b) : measure(&b);
cleanup:
  bench_copy_clear(&b.copy);
  bench_places_clear(&b.places);
  gp_free(b.subjects);
  gp_free(b.rows);
  gp_free(b.seconds);
  gp_free(b.copies);
  return status;
}

static gp_status check(void *opaque) {
  const pool_config *config = opaque;
  if (config->list && config->json)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "bench pool: expected --list or --json, found both");
  return cli_check_name("kind", config->kind, kind_option);
}

int bench_pool(const cli_command *command, int argc, char *const argv[]) {
  pool_config config = {0};
  const cli_course course = {.table = &table, .config = &config, .help = &config.help, .check = check, .run = run};
  return cli_run(command, &course, argc, argv);
}
