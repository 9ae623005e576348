/* gausspool export */
#include "base/status.h"
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "export/onnx.h"
#include "nn/fold.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct export_config {
  char *model_file, *dataset, *data, *arch, *pool, *onnx, *fold;
  bool keep_batch_norm, help;
  /* Beyond the options: */
  bool same_file; /* what is wrong with them, as only the files tell */
} export_config;

#define FIELD(name) .offset = offsetof(export_config, name)
static const option_desc options[] = {
    CLI_OPTION_MODEL_FILE(export_config),
    CLI_OPTION_MODEL_ARCH(export_config),
    CLI_OPTION_MODEL_POOL(export_config),
    CLI_OPTION_DATASET(export_config, "model", "data set of a plain state dict: its images' sizes and its classes"),
    CLI_OPTION_DATA(export_config, "model"),
    {.name = "onnx",
     FIELD(onnx),
     .type = OPTION_PATH,
     .section = "output",
     .metavar = "FILE.onnx",
     .help = "write the net in ONNX's standard operators"},
    {.name = "fold",
     FIELD(fold),
     .type = OPTION_PATH,
     .section = "output",
     .metavar = "FILE.safetensors",
     .help = "write the net with batch norms folded into the layers in front of them, for inference only"},
    {.name = "keep-batch-norm",
     FIELD(keep_batch_norm),
     .type = OPTION_BOOL,
     .section = "output",
     .help = "write them as they are into the ONNX file, too"},
    CLI_OPTION_HELP(export_config),
};
static const option_table table = {options, sizeof options / sizeof *options};

static bool same_file(const char *a, const char *b) {
  struct stat first, second;
  return a[0] != '\0' && b[0] != '\0' && stat(a, &first) == 0 && stat(b, &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* Whether two paths of files that may not exist yet are one place: the same name in the same folder. */
static bool same_place(const char *a, const char *b) {
  char folders[2][4096];
  const char *paths[] = {a, b}, *names[2];
  for (int i = 0; i < 2; ++i) {
    const char *slash = strrchr(paths[i], '/');
    const int length = slash == NULL ? 0 : (int)(slash - paths[i]) + 1;
    if (paths[i][0] == '\0' ||
        snprintf(folders[i], sizeof folders[i], "%.*s.", length, paths[i]) >= (int)sizeof folders[i])
      return false;
    names[i] = paths[i] + length;
  }
  return strcmp(names[0], names[1]) == 0 && same_file(folders[0], folders[1]);
}

/* The trained model must not be replaced by one that cannot be trained any more, nor one output by the other. */
static gp_status check_outputs(export_config *config) {
  gp_status status = GP_OK;
  const char *outputs[] = {config->onnx, config->fold};
  config->same_file = same_place(config->onnx, config->fold);
  if (config->same_file)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "export: expected two files, found %s for both", config->onnx));
  for (int i = 0; i < 2; ++i) {
    config->same_file = same_file(outputs[i], config->model_file);
    if (config->same_file)
      GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                     "export: expected another file than the model's own to write to, found %s", outputs[i]));
    GP_TRY(cli_check_output(outputs[i]));
  }
  if (config->onnx[0] != '\0') GP_TRY(onnx_available());
cleanup:
  return status;
}

static gp_status write_fold(const char *path, const nn_net *folded, const model_info *info, int32_t count) {
  gp_status status = model_file_write(path, folded, info);
  if (status == GP_OK) printf("%s: %" PRId32 " batch norms folded\n", path, count);
  return status;
}

static gp_status write_onnx(const char *path, const nn_net *net, const model_info *info) {
  onnx_summary summary;
  gp_status status = onnx_write(path, net, info, &summary);
  if (status == GP_OK)
    printf("%s: ONNX, opset %d, %" PRId64 " nodes, %" PRId64 " constants, %.2f MB\n", path, ONNX_OPSET, summary.nodes,
           summary.initializers, (double)summary.bytes / 1e6);
  return status;
}

static gp_status export_model(void *opaque) {
  export_config *config = opaque;
  gp_status status = GP_OK;
  cli_model model = {0};
  nn_net *folded = NULL;
  GP_TRY(check_outputs(config));
  GP_TRY(cli_model_open(&model, &(cli_model_desc){.path = config->model_file,
                                                  .arch = config->arch,
                                                  .pool = config->pool,
                                                  .dataset = config->dataset,
                                                  .data = config->data,
                                                  .batch = 1}));
  if (config->onnx[0] != '\0' && config->keep_batch_norm) GP_TRY(write_onnx(config->onnx, model.net, &model.info));
  if (config->fold[0] == '\0' && config->keep_batch_norm) goto cleanup;
  const int32_t count = nn_net_foldable_batch_norms(model.net);
  GP_TRY(model_net_fold(&folded, model.net, &model.info, 1));
  model_info of_folded = model.info; /* borrows the names */
  of_folded.folded = true;
  nn_net_destroy(&model.net); /* what is written next takes a copy of the weights */
  if (config->fold[0] != '\0') GP_TRY(write_fold(config->fold, folded, &of_folded, count));
  if (config->onnx[0] != '\0' && !config->keep_batch_norm) GP_TRY(write_onnx(config->onnx, folded, &of_folded));
cleanup:
  nn_net_destroy(&folded);
  cli_model_close(&model);
  return status;
}

static gp_status check(void *opaque) {
  const export_config *config = opaque;
  if (config->model_file[0] == '\0')
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "export: expected --model-file FILE, found none");
  if (config->onnx[0] == '\0' && config->fold[0] == '\0')
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "export: expected --onnx FILE.onnx or --fold FILE.safetensors, found neither");
  if (config->keep_batch_norm && config->onnx[0] == '\0')
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "export: expected --keep-batch-norm with --onnx, found it without");
  return cli_check_names(config->arch, config->pool, config->dataset);
}

int command_export(const cli_command *command, int argc, char *const argv[]) {
  export_config config = {0};
  const cli_course course = {.table = &table,
                             .config = &config,
                             .help = &config.help,
                             .check = check,
                             .run = export_model,
                             .wrong_usage = &config.same_file};
  return cli_run(command, &course, argc, argv);
}
