/* gausspool bench net: the speed of a whole net on random data. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/philox.h"
#include "base/status.h"
#include "cli/bench.h"
#include "cli/options.h"
#include "models/models.h"
#include "train/model_file.h"
#include "train/profile.h"
#include "train/sgd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 3 };

typedef struct net_config {
  char *arch, *pool;
  int64_t batch, image, channels, classes, threads, steps;
  int mode, precision;
  bool profile, json, help;
} net_config;

enum { MODE_BOTH = 0, MODE_TRAIN, MODE_INFER };

#define FIELD(name) .offset = offsetof(net_config, name)
static const option_desc options[] = {
    CLI_OPTION_NET_ARCH(net_config),
    CLI_OPTION_NET_POOL(net_config),
    {.name = "batch",
     FIELD(batch),
     .type = OPTION_INT64,
     .section = "net",
     .metavar = "N",
     .default_text = "128",
     .min = 2,
     .max = 1 << 20,
     .help = "images at once"},
    CLI_OPTION_IMAGE(net_config, "image", image),
    CLI_OPTION_CHANNELS(net_config),
    CLI_OPTION_CLASSES(net_config),
    {.name = "mode",
     FIELD(mode),
     .type = OPTION_CHOICE,
     .section = "run",
     .choices = "both|train|infer",
     .default_text = "both",
     .help = "train: forward, backward and SGD; infer: forward"},
    CLI_OPTION_PRECISION(net_config),
    CLI_OPTION_THREADS(net_config),
    {.name = "steps",
     FIELD(steps),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "20",
     .min = 1,
     .max = 100000,
     .help = "steps measured, after warm-up; the median counts"},
    {.name = "profile",
     FIELD(profile),
     .type = OPTION_BOOL,
     .section = "run",
     .help = "print a table of the layers: ms, GFLOP/s, GB/s, share"},
    {.name = "json", FIELD(json), .type = OPTION_BOOL, .section = "run", .help = "print JSON, one line each mode"},
    CLI_OPTION_HELP(net_config),
};
static const option_table table = {options, sizeof options / sizeof *options};

typedef struct bench {
  const net_config *config;
  nn_net *net;
  nn_plan *plan;
  float *images;
  int32_t *labels;
  double *seconds; /* [steps] */
} bench;

/* ---- Measuring ---- */

/* Has the kernel forget the peak so far, so that each mode shows its own. Where it cannot, the peak is the process's. */
static void reset_peak(void) {
  FILE *file = fopen("/proc/self/clear_refs", "w");
  if (file == NULL) return;
  fputs("5", file);
  fclose(file);
}

/* Peak of resident memory in MiB, or 0 if the system does not tell. */
static double peak_mib(void) {
  char line[256];
  double kib = 0;
  FILE *file = fopen("/proc/self/status", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, "VmHWM:", 6) == 0) kib = strtod(line + 6, NULL);
  if (file != NULL) fclose(file);
  return kib / 1024;
}

static gp_status step(bench *b, nn_mode mode, int64_t number) {
  gp_status status = GP_OK;
  GP_TRY(nn_plan_forward(b->plan, b->images, mode == NN_TRAIN ? b->labels : NULL,
                         &(nn_step_desc){.seed = 1, .step = (uint32_t)number}));
  if (mode == NN_INFER) return GP_OK;
  GP_TRY(nn_plan_backward(b->plan));
  const nn_arenas arenas = nn_net_arenas(b->net);
  /* Small, so that training on noise stays finite; the work is the same. */
  sgd_step(&arenas, &(sgd_desc){.lr = 1e-3, .momentum = 0.9, .weight_decay = 1e-4});
cleanup:
  return status;
}

/* Median seconds of the convolutions alone: what no engine on this library can be faster than. */
static gp_status measure_convolutions(bench *b, double *median) {
  gp_status status = GP_OK;
  GP_TRY(nn_plan_run_op(b->plan, "conv"));
  for (int64_t i = 0; i < b->config->steps; ++i) {
    const double started = gp_seconds();
    GP_TRY(nn_plan_run_op(b->plan, "conv"));
    b->seconds[i] = gp_seconds() - started;
  }
  *median = bench_summarise(b->seconds, b->config->steps).median;
cleanup:
  return status;
}

static void print_measured(const bench *b, nn_mode mode, const bench_times *times, double peak, double convolutions) {
  const net_config *config = b->config;
  const char *precision = config->precision == NN_BFLOAT16 ? "bfloat16" : "float32";
  const char *name = mode == NN_TRAIN ? "train" : "inference";
  if (config->json)
    printf("{\"arch\": \"%s\", \"pool\": \"%s\", \"batch\": %" PRId64 ", \"image\": %" PRId64
           ", \"threads\": %d, "
           "\"mode\": \"%s\", \"precision\": \"%s\", \"images_per_second\": %.2f, \"median_ms\": %.4f, \"min_ms\": "
           "%.4f, \"max_ms\": %.4f, "
           "\"peak_mib\": %.1f, \"conv_only_ms\": %.4f}\n",
           config->arch, config->pool, config->batch, config->image, (int)gp_max_threads(), name, precision,
           (double)config->batch / times->median, 1e3 * times->median, 1e3 * times->min, 1e3 * times->max, peak,
           1e3 * convolutions);
  else
    printf("%-17s %-15s %6" PRId64 " %6" PRId64 " %8d  %-9s  %-9s %10.1f %12.3f %10.3f %10.3f %10.1f %12.3f\n",
           config->arch, config->pool, config->batch, config->image, (int)gp_max_threads(), name, precision,
           (double)config->batch / times->median, 1e3 * times->median, 1e3 * times->min, 1e3 * times->max, peak,
           1e3 * convolutions);
  fflush(stdout);
}

static gp_status measure(bench *b, nn_mode mode) {
  gp_status status = GP_OK;
  reset_peak();
  GP_TRY(nn_plan_create(&b->plan, b->net, &(nn_plan_desc){.batch = b->config->batch, .mode = mode}));
  for (int64_t i = 0; i < WARM_UP; ++i) GP_TRY(step(b, mode, i));
  if (b->config->profile) GP_TRY(nn_plan_time(b->plan));
  for (int64_t i = 0; i < b->config->steps; ++i) {
    const double started = gp_seconds();
    GP_TRY(step(b, mode, WARM_UP + i));
    b->seconds[i] = gp_seconds() - started;
  }
  const bench_times times = bench_summarise(b->seconds, b->config->steps);
  const double peak = peak_mib();
  if (b->config->profile) GP_TRY(profile_print(stderr, b->net, b->plan, b->config->batch));
  double convolutions;
  GP_TRY(measure_convolutions(b, &convolutions));
  print_measured(b, mode, &times, peak, convolutions);
cleanup:
  nn_plan_destroy(&b->plan);
  return status;
}

static gp_status fill(bench *b) {
  gp_status status = GP_OK;
  const net_config *config = b->config;
  const int64_t elements = config->batch * config->channels * config->image * config->image;
  GP_TRY(GP_ALLOC(&b->images, (size_t)elements));
  GP_TRY(GP_ALLOC(&b->labels, (size_t)config->batch));
  GP_TRY(GP_ALLOC(&b->seconds, (size_t)config->steps));
  for (int64_t i = 0; i < elements; ++i)
    b->images[i] = 2 * gp_unit_float(gp_philox(1, (uint32_t)i, (uint32_t)(i >> 32), 0, 0).word[0]) - 1;
  for (int64_t i = 0; i < config->batch; ++i) b->labels[i] = (int32_t)(i % config->classes);
cleanup:
  return status;
}

static gp_status measure_net(void *opaque) {
  const net_config *config = opaque;
  gp_status status = GP_OK;
  bench b = {.config = config};
  model_info info = {
      .classes = config->classes, .channels = config->channels, .height = config->image, .width = config->image};
  snprintf(info.arch, sizeof info.arch, "%s", config->arch);
  snprintf(info.pool, sizeof info.pool, "%s", config->pool);
  if (config->threads > 0) gp_set_max_threads((int32_t)config->threads);
  cli_warn_of_precision((nn_precision)config->precision);
  GP_TRY(fill(&b));
  GP_TRY(model_net_create(&b.net, &info,
                          &(model_net_desc){.batch = config->batch,
                                            .trainable = config->mode != MODE_INFER,
                                            .precision = (nn_precision)config->precision}));
  GP_TRY(nn_net_init(b.net, 1));
  if (!config->json)
    printf("%-17s %-15s %6s %6s %8s  %-9s  %-9s %10s %12s %10s %10s %10s %12s\n", "arch", "pool", "batch", "image",
           "threads", "mode", "precision", "images/s", "median ms", "min ms", "max ms", "peak MiB", "conv only ms");
  if (config->mode != MODE_TRAIN) GP_TRY(measure(&b, NN_INFER));
  if (config->mode != MODE_INFER) GP_TRY(measure(&b, NN_TRAIN));
cleanup:
  nn_net_destroy(&b.net);
  gp_free(b.images);
  gp_free(b.labels);
  gp_free(b.seconds);
  return status;
}

static gp_status check(void *opaque) {
  net_config *config = opaque;
  gp_status status = cli_check_names(config->arch, config->pool, "");
  if (status == GP_OK) status = cli_usual_sizes(config->arch, &config->channels, &config->image, &config->classes);
  return status;
}

int bench_net(const cli_command *command, int argc, char *const argv[]) {
  net_config config = {0};
  const cli_course course = {
      .table = &table, .config = &config, .help = &config.help, .check = check, .run = measure_net};
  return cli_run(command, &course, argc, argv);
}
