/* gausspool bench reduce: how fast ranks add up gradients. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "cli/bench.h"
#include "cli/options.h"
#include "cli/ranks.h"
#include "dist/reducer.h"

#include <inttypes.h>
#include <stdio.h>

enum { WARM_UP = 2, MIB_FLOATS = (1 << 20) / sizeof(float) };

typedef struct reduce_config {
  int64_t size, bucket_size, threads, repeat;
  int precision;
  bool json, help;
  dist_comm *comm;
} reduce_config;

#define FIELD(name) .offset = offsetof(reduce_config, name)
static const option_desc options[] = {
    {.name = "size",
     FIELD(size),
     .type = OPTION_INT64,
     .section = "gradients",
     .metavar = "MIB",
     .default_text = "130",
     .min = 1,
     .max = 1 << 16,
     .help = "of float32 that are added up; ResNet-50 with Gaussian pooling has 130"},
    {.name = "bucket-size",
     FIELD(bucket_size),
     .type = OPTION_INT64,
     .section = "gradients",
     .metavar = "KIB",
     .default_text = "0",
     .min = 0,
     .max = 1 << 20,
     .help = "as of `train`"},
    {.name = "reduce-precision",
     FIELD(precision),
     .type = OPTION_CHOICE,
     .section = "gradients",
     .choices = NN_PRECISION_NAMES,
     .default_text = "float32",
     .help = "as of `train`"},
    CLI_OPTION_THREADS(reduce_config),
    {.name = "repeat",
     FIELD(repeat),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "10",
     .min = 1,
     .max = 100000,
     .help = "sums measured, after warm-up; the median counts"},
    {.name = "json", FIELD(json), .type = OPTION_BOOL, .section = "run", .help = "print JSON, one line"},
    CLI_OPTION_HELP(reduce_config),
};
static const option_table table = {options, sizeof options / sizeof *options};

static gp_status sum_once(dist_comm *comm, dist_reducer *reducer, double *seconds) {
  gp_status status = GP_OK;
  GP_TRY(dist_agree(comm, GP_OK)); /* all are here */
  const double started = gp_seconds();
  dist_reducer_begin(reducer);
  GP_TRY(dist_reducer_finish(reducer));
  *seconds = gp_seconds() - started;
cleanup:
  return status;
}

static void print_measured(const reduce_config *config, const bench_times *times, int32_t buckets) {
  const char *precision = config->precision == NN_BFLOAT16 ? "bfloat16" : "float32";
  const int32_t ranks = dist_size(config->comm);
  const double gigabytes = (double)config->size * (1 << 20) / 1e9;
  if (config->json) {
    printf("{\"ranks\": %" PRId32 ", \"size_mib\": %" PRId64 ", \"buckets\": %" PRId32
           ", \"reduce_precision\": \"%s\", \"median_ms\": %.3f, \"min_ms\": %.3f, \"max_ms\": %.3f}\n",
           ranks, config->size, buckets, precision, 1e3 * times->median, 1e3 * times->min, 1e3 * times->max);
    return;
  }
  printf("%6s %8s %8s  %-9s %12s %10s %10s %8s\n", "ranks", "MiB", "buckets", "precision", "median ms", "min ms",
         "max ms", "GB/s");
  printf("%6" PRId32 " %8" PRId64 " %8" PRId32 "  %-9s %12.3f %10.3f %10.3f %8.3f\n", ranks, config->size, buckets,
         precision, 1e3 * times->median, 1e3 * times->min, 1e3 * times->max, gigabytes / times->median);
}

static gp_status make(const reduce_config *config, float **values, double **seconds, dist_reducer **reducer) {
  gp_status status = GP_OK;
  const size_t count = (size_t)config->size * MIB_FLOATS;
  GP_TRY(GP_ALLOC(values, count));
  GP_TRY(GP_ALLOC(seconds, (size_t)config->repeat));
  GP_TRY(dist_reducer_create(reducer, config->comm,
                             &(dist_reducer_desc){.values = *values,
                                                  .count = count,
                                                  .bucket_bytes = (size_t)config->bucket_size << 10,
                                                  .bfloat16 = config->precision == NN_BFLOAT16}));
  for (size_t i = 0; i < count; ++i) (*values)[i] = 0;
cleanup:
  return status;
}

static gp_status measure_reduce(void *opaque) {
  const reduce_config *config = opaque;
  gp_status status = GP_OK;
  float *values = NULL;
  double *seconds = NULL;
  dist_reducer *reducer = NULL;
  GP_TRY(cli_ranks_set_threads(config->comm, config->threads, config->json ? NULL : stdout));
  GP_TRY(dist_agree(config->comm, make(config, &values, &seconds, &reducer)));
  for (int64_t i = -WARM_UP; i < config->repeat; ++i) {
    double passed;
    GP_TRY(sum_once(config->comm, reducer, &passed));
    if (i >= 0) seconds[i] = passed;
  }
  const bench_times times = bench_summarise(seconds, config->repeat);
  if (dist_rank(config->comm) == 0) print_measured(config, &times, dist_reducer_buckets(reducer));
cleanup:
  dist_reducer_destroy(&reducer);
  gp_free(values);
  gp_free(seconds);
  return status;
}

static gp_status check(void *opaque) {
  const reduce_config *config = opaque;
  if (dist_size(config->comm) > 1) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                 "bench reduce: expected to be started as several ranks, found one process: "
                 "mpirun -np 2 gausspool bench reduce");
}

int bench_reduce(const cli_command *command, int argc, char *const argv[]) {
  reduce_config config = {0};
  const cli_course course = {.table = &table,
                             .config = &config,
                             .help = &config.help,
                             .check = check,
                             .run = measure_reduce,
                             .comm = &config.comm};
  return cli_run(command, &course, argc, argv);
}
