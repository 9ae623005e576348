/* gausspool bench pool: the speed of the operator at the places of a network. */
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "bench/table.h"
#include "cli/bench.h"
#include "cli/bench_list.h"
#include "cli/bench_peer.h"
#include "cli/options.h"

#include <stdio.h>
#include <string.h>

typedef struct pool_config {
  char *network, *kind, *device;
  int64_t batch, threads, repeat;
  int layout, dtype, stochasticity; /* gp_layout, gp_dtype, gp_stochasticity */
  bool json, list, help;
} pool_config;

/* Images at once unless --batch says otherwise. */
enum { CPU_BATCH = 16, GPU_BATCH = 256 };

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
     .default_text = "0",
     .min = 0,
     .max = 1 << 20,
     .help = "images at once; 0: 16, on a GPU 256, where fewer are too short a call to measure"},
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
    {.name = "device",
     FIELD(device),
     .type = OPTION_STRING,
     .section = "run",
     .metavar = "cpu|cuda[:N]",
     .default_text = "cpu",
     .help = "where: the processors, or a GPU by its number (0 unless given)"},
    CLI_OPTION_THREADS(pool_config),
    {.name = "repeat",
     FIELD(repeat),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "R",
     .default_text = "10",
     .min = 1,
     .max = 100000,
     .help = "times that it is measured, after one to warm up; the median counts"},
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

static const char *kind_option(int32_t index) {
  return index == 0 ? "all" : gp_pool_kind_name((gp_pool_kind)(index - 1)); /* the kinds count from 0 */
}

/* ---- The command ---- */

static gp_status list(const bench_desc *desc) {
  gp_status status = GP_OK;
  gp_pool_desc *pools = NULL;
  const bench_places *places = desc->places;
  GP_TRY(GP_ALLOC(&pools, (size_t)places->count));
  bench_list_isa();
  printf("%s, %s%s\n", bench_layout_names[desc->layout], bench_dtype_names[desc->dtype],
         places->count > 1 ? "; of neighbouring places that go alike, the first" : "");
  for (int64_t s = 0; s < desc->subject_count; ++s) {
    for (int64_t p = 0; p < places->count; ++p) pools[p] = bench_describe(desc, &places->places[p], &desc->subjects[s]);
    GP_TRY(bench_list_print(pools, places->places, places->count));
  }
cleanup:
  gp_free(pools);
  return status;
}

static gp_status measure(bench_desc *desc, const pool_config *config) {
  gp_status status = GP_OK;
  bench_results results = {0};
  int index = -1;
  GP_TRY(bench_device_parse(config->device, &index));
  GP_TRY(index < 0 ? bench_host_open(&desc->device) : bench_cuda_open(&desc->device, index));
  desc->place_done = config->json ? bench_print_json : bench_print_table;
  GP_TRY(bench_measure(&results, desc));
cleanup:
  bench_results_clear(&results);
  bench_device_close(&desc->device);
  return status;
}

static gp_status run(void *opaque) {
  gp_status status = GP_OK;
  const pool_config *config = opaque;
  bench_places places = {0};
  bench_subject *subjects = NULL;
  const bool on_cpu = strcmp(config->device, "cpu") == 0;
  bench_desc desc = {.network = config->network,
                     .places = &places,
                     .batch = config->batch > 0 ? config->batch
                              : on_cpu          ? CPU_BATCH
                                                : GPU_BATCH,
                     .repeat = config->repeat,
                     .layout = (gp_layout)config->layout,
                     .dtype = (gp_dtype)config->dtype};
  const bool peers = !config->list && on_cpu;
  if (config->threads > 0) gp_set_max_threads((int32_t)config->threads);
  GP_TRY(bench_places_read(&places, config->network));
  GP_TRY(bench_subjects_make(&subjects, &desc.subject_count, config->kind, (gp_stochasticity)config->stochasticity,
                             BENCH_PEERS));
  for (int i = 0; peers && i < BENCH_PEERS; ++i) subjects[desc.subject_count++] = bench_peers[i];
  desc.subjects = subjects;
  status = config->list ? list(&desc) : measure(&desc, config);
cleanup:
  bench_places_clear(&places);
  gp_free(subjects);
  return status;
}

static gp_status check(void *opaque) {
  gp_status status = GP_OK;
  const pool_config *config = opaque;
  int index = -1;
  if (config->list && config->json)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "bench pool: expected --list or --json, found both");
  GP_TRY(bench_device_parse(config->device, &index));
  if (config->list && index >= 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "bench pool: --list tells of the processors' implementations; expected no --device %s with it",
                   config->device);
  GP_TRY(cli_check_name("kind", config->kind, kind_option));
cleanup:
  return status;
}

int bench_pool(const cli_command *command, int argc, char *const argv[]) {
  pool_config config = {0};
  const cli_course course = {.table = &table, .config = &config, .help = &config.help, .check = check, .run = run};
  return cli_run(command, &course, argc, argv);
}
