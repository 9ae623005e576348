/* gausspool test */
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/options.h"
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
    CLI_OPTION_MODEL_FILE(test_config),
    CLI_OPTION_MODEL_ARCH(test_config),
    CLI_OPTION_MODEL_POOL(test_config),
    CLI_OPTION_DATASET(test_config, "data", "data set (default: the one the model was trained on)"),
    CLI_OPTION_DATA(test_config, "data"),
    CLI_OPTION_LOGITS_OUT(test_config,
                          "write the raw scores of all images, in file order, as a NumPy array [images][classes]"),
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
    CLI_OPTION_THREADS(test_config),
    CLI_OPTION_HELP(test_config),
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

static gp_status test(void *opaque) {
  const test_config *config = opaque;
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

static gp_status check(void *opaque) {
  const test_config *config = opaque;
  if (config->model_file[0] == '\0')
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "test: expected --model-file FILE, found none");
  return cli_check_names(config->arch, config->pool, config->dataset);
}

int command_test(const cli_command *command, int argc, char *const argv[]) {
  test_config config = {0};
  const cli_course course = {.table = &table, .config = &config, .help = &config.help, .check = check, .run = test};
  return cli_run(command, &course, argc, argv);
}
