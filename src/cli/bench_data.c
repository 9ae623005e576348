/* gausspool bench data: the speed of reading and transforming images. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "cli/bench.h"
#include "cli/options.h"
#include "data/loader.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef struct data_config {
  char *dataset, *data;
  int64_t crop_size, threads, batch, passes;
  int transform;
  bool exact_decode, json, help;
} data_config;

enum { DECODE = 0, TRAIN_FULL, TRAIN_CROP_FLIP, TEST, ALL };
static const char *const transform_names[] = {"decode", "train", "train-crop-flip", "test"};

#define FIELD(name) .offset = offsetof(data_config, name)
static const option_desc options[] = {
    {.name = "dataset",
     FIELD(dataset),
     .type = OPTION_STRING,
     .section = "data",
     .metavar = "NAME",
     .default_text = "imagenet",
     .help = "data set, of which the training images are read"},
    CLI_OPTION_DATA(data_config, "data"),
    {.name = "transform",
     FIELD(transform),
     .type = OPTION_CHOICE,
     .section = "data",
     .choices = "decode|train|train-crop-flip|test|all",
     .default_text = "all",
     .help = "decode: whole images, nothing else, which is the bound; train: random resized crop, flip,\n"
             "jitter, lighting; test: shorter side to 256/224 of the crop size, middle"},
    {.name = "crop-size",
     FIELD(crop_size),
     .type = OPTION_INT64,
     .section = "data",
     .metavar = "PIXELS",
     .default_text = "224",
     .min = 1,
     .max = 4096,
     .help = "side of the net's input"},
    {.name = "exact-decode",
     FIELD(exact_decode),
     .type = OPTION_BOOL,
     .section = "data",
     .help = "never decode at 1/2, 1/4 or 1/8"},
    {.name = "batch-size",
     FIELD(batch),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "8",
     .min = 1,
     .max = 1 << 16,
     .help = "images that a thread makes at a time"},
    {.name = "passes",
     FIELD(passes),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "5",
     .min = 1,
     .max = 100000,
     .help = "passes over the images, after one for warming up; the median counts"},
    {.name = "threads",
     FIELD(threads),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "2",
     .min = 1,
     .max = DATA_MAX_WORKERS,
     .help = "threads that read images"},
    {.name = "json", FIELD(json), .type = OPTION_BOOL, .section = "run", .help = "print JSON, one line each transform"},
    CLI_OPTION_HELP(data_config),
};
static const option_table table = {options, sizeof options / sizeof *options};

typedef struct bench {
  const data_config *config;
  data_source *source;
  double *seconds; /* [passes] */
} bench;

/* ---- Decoding alone ---- */

typedef struct decoding {
  const data_source *source;
  int64_t threads;
  atomic_bool failed; /* the first failure's message is in `message` */
  char message[1024];
} decoding;

/* Every `threads`-th image, from the task's own on. */
static void decode_some(void *context, int64_t task) {
  decoding *d = context;
  data_sample sample = {0};
  for (int64_t i = task; i < data_source_get_info(d->source)->count; i += d->threads) {
    if (data_source_read(d->source, i, &sample) == GP_OK) continue;
    if (!atomic_exchange(&d->failed, true)) snprintf(d->message, sizeof d->message, "%s", gp_last_error());
    break;
  }
  data_sample_free(&sample);
}

static gp_status decode_pass(const bench *b) {
  decoding d = {.source = b->source, .threads = b->config->threads};
  gp_parallel_for(d.threads, (int32_t)d.threads, decode_some, &d);
  return d.failed ? gp_fail(GP_ERROR_CORRUPT, "%s", d.message) : GP_OK;
}

/* ---- The loader ---- */

static data_transform transform_of(const bench *b, int kind) {
  const data_config *config = b->config;
  const data_source_info *info = data_source_get_info(b->source);
  const int32_t side = (int32_t)config->crop_size;
  data_transform transform = {.channels = info->channels, .height = side, .width = side, .resize = side};
  memcpy(transform.mean, info->mean, sizeof transform.mean);
  memcpy(transform.std, info->std, sizeof transform.std);
  if (kind == TEST) {
    transform.resize = (side * 8 + 3) / 7;
    return transform;
  }
  transform.train = true;
  transform.flip = 0.5f;
  transform.exact_decode = config->exact_decode;
  if (kind == TRAIN_CROP_FLIP || info->channels != 3) return transform;
  transform.brightness = transform.contrast = transform.saturation = 0.4f;
  transform.lighting = 0.1f;
  return transform;
}

static gp_status load_pass(data_loader *loader, int64_t epoch) {
  gp_status status = GP_OK;
  GP_TRY(data_loader_start(loader, epoch, 0));
  for (const data_batch *batch = NULL;;) {
    GP_TRY(data_loader_next(loader, &batch));
    if (batch == NULL) break;
  }
cleanup:
  return status;
}

/* ---- Both ---- */

static void print_measured(const bench *b, int kind) {
  const data_config *config = b->config;
  const double count = (double)data_source_get_info(b->source)->count;
  const bench_times times = bench_summarise(b->seconds, config->passes);
  if (config->json)
    printf("{\"dataset\": \"%s\", \"transform\": \"%s\", \"crop_size\": %" PRId64 ", \"threads\": %" PRId64
           ", \"images\": %.0f, \"images_per_second\": %.1f, \"least\": %.1f, \"most\": %.1f}\n",
           config->dataset, transform_names[kind], config->crop_size, config->threads, count, count / times.median,
           count / times.max, count / times.min);
  else
    printf("%-16s %8" PRId64 " %8.0f %12.1f %10.1f %10.1f\n", transform_names[kind], config->threads, count,
           count / times.median, count / times.max, count / times.min);
  fflush(stdout);
}

static gp_status measure(bench *b, int kind) {
  gp_status status = GP_OK;
  data_loader *loader = NULL;
  if (kind != DECODE)
    GP_TRY(data_loader_create(&loader, &(data_loader_desc){.source = b->source,
                                                           .transform = transform_of(b, kind),
                                                           .batch_size = b->config->batch,
                                                           .shuffle = kind != TEST,
                                                           .workers = (int32_t)b->config->threads,
                                                           .ring = (int32_t)(2 * b->config->threads + 1)}));
  for (int64_t pass = -1; pass < b->config->passes; ++pass) {
    const double started = gp_seconds();
    GP_TRY(kind == DECODE ? decode_pass(b) : load_pass(loader, pass + 1));
    if (pass >= 0) b->seconds[pass] = gp_seconds() - started;
  }
  print_measured(b, kind);
cleanup:
  data_loader_destroy(&loader);
  return status;
}

static gp_status measure_data(void *opaque) {
  const data_config *config = opaque;
  gp_status status = GP_OK;
  bench b = {.config = config};
  GP_TRY(data_source_create(&b.source, &(data_source_desc){.dataset = config->dataset,
                                                           .dir = config->data[0] != '\0' ? config->data : NULL,
                                                           .side = (int32_t)config->crop_size}));
  GP_TRY(GP_ALLOC(&b.seconds, (size_t)config->passes));
  if (!config->json)
    printf("%-16s %8s %8s %12s %10s %10s\n", "transform", "threads", "images", "images/s", "least", "most");
  for (int kind = DECODE; kind < ALL; ++kind)
    if (config->transform == ALL || config->transform == kind) GP_TRY(measure(&b, kind));
cleanup:
  gp_free(b.seconds);
  data_source_destroy(&b.source);
  return status;
}

static gp_status check(void *opaque) {
  const data_config *config = opaque;
  return cli_check_names("", "", config->dataset);
}

int bench_data(const cli_command *command, int argc, char *const argv[]) {
  data_config config = {0};
  const cli_course course = {
      .table = &table, .config = &config, .help = &config.help, .check = check, .run = measure_data};
  return cli_run(command, &course, argc, argv);
}
