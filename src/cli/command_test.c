/* gausspool test */
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "train/evaluate.h"
#include "train/npy.h"

#include <stdio.h>
#include <unistd.h>

typedef struct test_config {
  char *model_file, *dataset, *data, *arch, *pool, *logits_out;
  int64_t batch_size, workers, threads;
  bool help;
} test_config;

#define FIELD(name) .offset = offsetof(test_config, name)
static const option_desc options[] = {
    {.name = "model-file",
     FIELD(model_file),
     .type = OPTION_PATH,
     .section = "model",
     .metavar = "FILE",
     .help = "trained model or checkpoint (.safetensors)"},
    {.name = "arch",
     FIELD(arch),
     .type = OPTION_STRING,
     .section = "model",
     .metavar = "NAME",
     .help = "net of a plain state dict, e.g. saved from PyTorch; other files name their own"},
    {.name = "pool",
     FIELD(pool),
     .type = OPTION_STRING,
     .section = "model",
     .metavar = "NAME",
     .help = "pooling of a plain state dict"},
    {.name = "dataset",
     FIELD(dataset),
     .type = OPTION_STRING,
     .section = "data",
     .metavar = "NAME",
     .help = "data set (default: the one the model was trained on)"},
    {.name = "data",
     FIELD(data),
     .type = OPTION_PATH,
     .section = "data",
     .metavar = "DIR",
     .help = "its folder (default: where the data set's package puts it)"},
    {.name = "logits-out",
     FIELD(logits_out),
     .type = OPTION_PATH,
     .section = "output",
     .metavar = "FILE.npy",
     .help = "write the raw scores of all images, in file order, as a NumPy array [images][classes]"},
    {.name = "batch-size",
     FIELD(batch_size),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "256",
     .min = 1,
     .max = 1 << 20,
     .help = "images at once"},
    {.name = "workers",
     FIELD(workers),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "2",
     .min = 0,
     .max = 256,
     .help = "threads that read images"},
    {.name = "threads",
     FIELD(threads),
     .type = OPTION_INT64,
     .section = "run",
     .metavar = "N",
     .default_text = "0",
     .min = 0,
     .max = 4096,
     .help = "threads that compute; 0: as the machine has"},
    {.name = "help",
     .short_name = 'h',
     FIELD(help),
     .type = OPTION_BOOL,
     .section = "run",
     .help = "print this and exit"},
};
static const option_table table = {options, sizeof options / sizeof *options};

static gp_status evaluate(const test_config *config, cli_model *model, const train_observer *observer) {
  gp_status status = GP_OK;
  data_loader *loader = NULL;
  train_plans plans = {0};
  train_meter meter;
  float *logits = NULL;
  const int64_t samples = data_source_get_info(model->source)->count, classes = model->info.classes;
  if (config->logits_out[0] != '\0') GP_TRY(GP_ALLOC(&logits, (size_t)(samples * classes)));
  GP_TRY(data_loader_create(&loader, &(data_loader_desc){.source = model->source,
                                                         .transform = cli_model_transform(model),
                                                         .batch_size = config->batch_size,
                                                         .workers = (int32_t)config->workers}));
  GP_TRY(train_plans_create(&plans, model->net,
                            &(train_plans_desc){.mode = NN_INFER, .batch = config->batch_size, .samples = samples}));
  GP_TRY(train_evaluate(
      &meter, &(train_evaluate_desc){
                  .plans = &plans, .loader = loader, .classes = classes, .observer = observer, .logits = logits}));
  cli_print_scores(train_meter_loss(&meter), train_meter_top1(&meter), train_meter_top5(&meter));
  if (logits != NULL) GP_TRY(npy_write_float32(config->logits_out, logits, samples, classes));
cleanup:
  gp_free(logits);
  train_plans_clear(&plans);
  data_loader_destroy(&loader);
  return status;
}

static gp_status test(const test_config *config) {
  gp_status status = GP_OK;
  cli_model model = {0};
  cli_progress *progress = NULL;
  train_observer observer = {0};
  if (config->threads > 0) gp_set_max_threads((int32_t)config->threads);
  GP_TRY(cli_model_open(&model, &(cli_model_desc){.path = config->model_file,
                                                  .arch = config->arch,
                                                  .pool = config->pool,
                                                  .dataset = config->dataset,
                                                  .data = config->data,
                                                  .open_source = true,
                                                  .batch = config->batch_size}));
  GP_TRY(cli_check_output(config->logits_out));
  const data_source_info *data = data_source_get_info(model.source);
  printf("%s, %s, trained on %s; testing %lld images of %s\n", model.info.arch, model.info.pool, model.info.dataset,
         (long long)data->count, data->dataset);
  /* A bar for whoever looks on; nothing into files and pipes but the result. */
  if (isatty(STDERR_FILENO)) {
    GP_TRY(cli_progress_create(&progress, &(cli_progress_desc){.stream = stderr}));
    observer = cli_progress_observer(progress);
  }
  GP_TRY(evaluate(config, &model, &observer));
cleanup:
  cli_progress_destroy(&progress);
  cli_model_close(&model);
  return status;
}

static gp_status read_arguments(test_config *config, int argc, char *const argv[]) {
  gp_status status = GP_OK;
  GP_TRY(options_init(&table, config));
  GP_TRY(options_parse(&table, config, argc, argv, NULL, NULL));
  if (!config->help && config->model_file[0] == '\0')
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "test: expected --model-file FILE, found none"));
  GP_TRY(cli_check_names(config->arch, config->pool, config->dataset));
cleanup:
  return status;
}

int command_test(const cli_command *command, int argc, char *const argv[]) {
  test_config config = {0};
  int code = CLI_OK;
  gp_status status = read_arguments(&config, argc, argv);
  if (status != GP_OK) {
    code = cli_fail_usage(status);
  } else if (config.help) {
    cli_print_help(command, &table);
  } else {
    status = test(&config);
    if (status != GP_OK) code = cli_fail(status);
  }
  options_clear(&table, &config);
  return code;
}
