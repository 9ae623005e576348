/* gausspool pack */
#include "base/memory.h"
#include "base/status.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "data/pack.h"
#include "train/stop.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct pack_config {
  char *dataset;
  int64_t side, quality, shard_mib, threads;
  int on_bad_image;
  bool help;
  /* Beyond the options: */
  const char **folders; /* the positional arguments */
  int folder_count;
} pack_config;

#define FIELD(name) .offset = offsetof(pack_config, name)
static const option_desc options[] = {
    {.name = "dataset",
     FIELD(dataset),
     .type = OPTION_STRING,
     .section = "images",
     .metavar = "NAME",
     .default_text = "imagenet",
     .help = "imagenet or cifar10: how DIR is laid out"},
    {.name = "side",
     FIELD(side),
     .type = OPTION_INT64,
     .section = "images",
     .metavar = "PIXELS",
     .default_text = "0",
     .max = 16384,
     .help = "make larger images' shorter side so long and encode them anew; 0: copy all files as they are"},
    {.name = "quality",
     FIELD(quality),
     .type = OPTION_INT64,
     .section = "images",
     .metavar = "Q",
     .default_text = "95",
     .min = 1,
     .max = 100,
     .help = "of JPEGs that are encoded anew"},
    {.name = "on-bad-image",
     FIELD(on_bad_image),
     .type = OPTION_CHOICE,
     .section = "images",
     .choices = "fail|skip",
     .default_text = "fail",
     .help = "what to do about an image that cannot be resized, a class without images, and the like"},
    {.name = "shard-mib",
     FIELD(shard_mib),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "MIB",
     .default_text = "1024",
     .min = 1,
     .max = 1 << 20,
     .help = "size of a tar file"},
    CLI_OPTION_THREADS(pack_config),
    CLI_OPTION_HELP(pack_config),
};
static const option_table table = {options, sizeof options / sizeof *options};

static void report_bad(void *context, const char *name, const char *message) {
  (void)context;
  const bool named = strstr(message, name) != NULL;
  fprintf(stderr, "left out: %s%s%s\n", named ? "" : name, named ? "" : ": ", message);
}

static void show_progress(void *context, int64_t done, int64_t count) {
  const char *split = context;
  if (isatty(STDERR_FILENO))
    fprintf(stderr, "\r%s: %" PRId64 " of %" PRId64 "%s", split, done, count, done == count ? "\n" : "");
}

static bool stopped(void *context) {
  (void)context;
  return train_stop_requested() != 0;
}

static const char *split_name(data_split split) { return split == DATA_TRAIN ? "train" : "test"; }

static data_pack_desc describe(const pack_config *config, data_split split) {
  return (data_pack_desc){.dataset = config->dataset,
                          .dir = config->folders[0],
                          .split = split,
                          .out = config->folders[1],
                          .shard_bytes = config->shard_mib << 20,
                          .side = (int32_t)config->side,
                          .quality = (int32_t)config->quality,
                          .threads = (int32_t)config->threads,
                          .lenient = config->on_bad_image == 1,
                          .report_bad = report_bad,
                          .progress = show_progress,
                          .stopped = stopped,
                          .context = (void *)(uintptr_t)split_name(split)};
}

static gp_status pack_split(const pack_config *config, data_split split) {
  gp_status status = GP_OK;
  const data_pack_desc desc = describe(config, split);
  data_pack_result result;
  char images[CLI_NUMBER_SIZE], megabytes[CLI_NUMBER_SIZE];
  GP_TRY(data_pack(&desc, &result));
  printf("%s: %s images, %s MB in %" PRId64 " tar file%s", split_name(split), cli_number(result.images, images),
         cli_number((result.bytes + 500000) / 1000000, megabytes), result.shards, result.shards == 1 ? "" : "s");
  if (config->side > 0) printf("; %" PRId64 " resized", result.resized);
  if (result.left_out > 0) printf("; %" PRId64 " left out", result.left_out);
  putchar('\n');
cleanup:
  return status;
}

/* Both splits are checked before the first is packed, which may take hours. The test images are packed where there are
 * any: a training set alone is fine. */
static gp_status pack(void *opaque) {
  const pack_config *config = opaque;
  gp_status status = GP_OK;
  const data_pack_desc train = describe(config, DATA_TRAIN), test = describe(config, DATA_TEST);
  GP_TRY(data_pack_check(&train));
  status = data_pack_check(&test);
  const bool tests = status != GP_ERROR_NOT_FOUND;
  if (!tests) printf("no test images, which `gausspool train` asks for: %s\n", gp_last_error());
  if (tests) GP_TRY(status);
  status = GP_OK;
  if (mkdir(config->folders[1], 0777) != 0 && errno != EEXIST)
    GP_TRY(gp_fail(GP_ERROR_IO, "%s: cannot make the folder: %s", config->folders[1], strerror(errno)));
  GP_TRY(train_stop_install());
  GP_TRY(pack_split(config, DATA_TRAIN));
  if (tests) GP_TRY(pack_split(config, DATA_TEST));
cleanup:
  return status;
}

static gp_status check(void *opaque) {
  const pack_config *config = opaque;
  if (config->folder_count != 2)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pack: expected two folders, DIR and OUT, found %d",
                   config->folder_count);
  return cli_check_names("", "", config->dataset);
}

int command_pack(const cli_command *command, int argc, char *const argv[]) {
  pack_config config = {0};
  gp_status status = GP_ALLOC(&config.folders, (size_t)argc + 1);
  if (status != GP_OK) return cli_fail(status);
  const cli_course course = {.table = &table,
                             .config = &config,
                             .help = &config.help,
                             .positionals = config.folders,
                             .positional_count = &config.folder_count,
                             .check = check,
                             .run = pack};
  const int code = cli_run(command, &course, argc, argv);
  gp_free(config.folders);
  return code;
}
