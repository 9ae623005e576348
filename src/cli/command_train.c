/* gausspool train */
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "nn/nn.h"
#include "train/checkpoint.h"
#include "train/stop.h"
#include "train/train.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The numbers, exactly, as the option's value. */
static gp_status set_channels(train_config *config, const char *option, const float *values, int64_t channels) {
  char text[MODEL_MAX_CHANNELS * 24] = "";
  for (int64_t c = 0; c < channels; ++c) {
    const size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, "%s%.9g", c > 0 ? "," : "", (double)values[c]);
  }
  return options_set(&train_option_table, config, option, text);
}

/* A resumed run takes the checkpoint's configuration and folder; the command line still overrides both. */
static gp_status lay_over_checkpoint(train_config *config, int argc, char *const argv[]) {
  gp_status status = GP_OK;
  model_file *file = NULL;
  char *path = NULL, *folder = NULL;
  GP_TRY(checkpoint_find(config->resume, &path));
  GP_TRY(model_file_open(&file, path));
  const model_info *info = model_file_info(file);
  if (model_file_is_checkpoint(file)) {
    GP_TRY(checkpoint_apply_config(file, config));
  } else if (info->arch[0] != '\0') {
    GP_TRY(options_set(&train_option_table, config, "arch", info->arch));
    GP_TRY(options_set(&train_option_table, config, "pool", info->pool));
    GP_TRY(options_set(&train_option_table, config, "dataset", info->dataset));
    GP_TRY(set_channels(config, "mean", info->mean, info->channels));
    GP_TRY(set_channels(config, "std", info->std, info->channels));
  }
  const char *slash = strrchr(path, '/');
  GP_TRY(gp_strdup(&folder, slash == NULL ? "." : path));
  if (slash != NULL) folder[slash == path ? 1 : slash - path] = '\0';
  GP_TRY(options_set(&train_option_table, config, "out-dir", folder));
  GP_TRY(options_parse(&train_option_table, config, argc, argv, NULL, NULL));
cleanup:
  model_file_close(&file);
  gp_free(path);
  gp_free(folder);
  return status;
}

static gp_status read_arguments(train_config *config, char **recipe, int argc, char *const argv[]) {
  gp_status status = GP_OK;
  GP_TRY(train_config_load(config, argc, argv, recipe));
  if (config->help) goto cleanup;
  if (config->evaluate && config->resume[0] == '\0')
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "--evaluate tests a trained model: give it by --resume FILE"));
  if (config->resume[0] != '\0') GP_TRY(lay_over_checkpoint(config, argc, argv));
  GP_TRY(train_config_check(config));
  GP_TRY(cli_check_names(config->arch, config->pool, config->dataset));
cleanup:
  return status;
}

/* An argument as a shell takes it back. */
static void print_quoted(FILE *stream, const char *text) {
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./=,:+@%-";
  fputc(' ', stream);
  if (text[0] != '\0' && strspn(text, plain) == strlen(text)) {
    fputs(text, stream);
    return;
  }
  fputc('\'', stream);
  for (; *text != '\0'; ++text) fputs(*text == '\'' ? "'\\''" : (char[]){*text, '\0'}, stream);
  fputc('\'', stream);
}

/* Arguments that say where to start: 0 for none, else how many words they take. */
static int words_of_start(const char *argument) {
  static const char *const names[] = {"--resume", "--start-epoch"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    const size_t length = strlen(names[i]);
    if (strncmp(argument, names[i], length) != 0) continue;
    if (argument[length] == '\0') return 2;
    if (argument[length] == '=') return 1;
  }
  return 0;
}

/* This command line again, from the checkpoint on. */
static void print_resume_command(const char *checkpoint, int argc, char *const argv[]) {
  fprintf(stdout, "resume with:");
  print_quoted(stdout, cli_program_name);
  fputs(" train", stdout);
  for (int i = 0; i < argc;) {
    const int words = words_of_start(argv[i]);
    if (words == 0) print_quoted(stdout, argv[i]);
    i += words == 0 ? 1 : words;
  }
  fputs(" --resume", stdout);
  print_quoted(stdout, checkpoint);
  fputc('\n', stdout);
}

static void print_result(const train_config *config, const train_result *result) {
  if (config->evaluate) {
    cli_print_scores(result->val_loss, result->val_top1, result->val_top5);
    return;
  }
  if (result->checkpoint != NULL) printf("last checkpoint: %s\n", result->checkpoint);
  if (result->best_epoch == 0) return;
  printf("best top-1 error %.2f %% after epoch %lld", result->best_top1, (long long)result->best_epoch);
  /* A run resumed elsewhere may have left its best model behind. */
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/model_best.safetensors", config->out_dir);
  if (access(path, F_OK) == 0) printf(": %s", path);
  putchar('\n');
}

/* Whether a failed run failed for the value of an option: the message begins with its name then. Not all that is asked of
 * a value is known before the data is. */
static bool is_wrong_usage(gp_status status) {
  char name[64] = "";
  const size_t length = strcspn(gp_last_error(), ":");
  if (status != GP_ERROR_INVALID_ARGUMENT || length >= sizeof name) return false;
  memcpy(name, gp_last_error(), length);
  return options_find(&train_option_table, name) != NULL;
}

static int train(const train_config *config, const char *recipe, int argc, char *const argv[]) {
  gp_status status = GP_OK;
  cli_progress *progress = NULL;
  train_result result = {0};
  if (config->threads > 0) gp_set_max_threads((int32_t)config->threads);
  if (!config->evaluate) {
    options_print(&train_option_table, config, stdout);
    if (config->resume[0] == '\0' && recipe[0] != '\0') printf("recipe: %s\n", recipe);
    if (config->resume[0] != '\0')
      printf("configuration of %s%s\n", config->resume,
             config->config_name[0] == '\0' ? "" : "; of --config-name's, only how to run (workers, threads, …)");
    printf("computing with %s, %d threads\n", nn_backend(), (int)gp_max_threads());
    fflush(stdout);
  }
  cli_warn_of_precision(config->precision);
  GP_TRY(train_stop_install());
  GP_TRY(cli_progress_create(&progress, &(cli_progress_desc){.stream = stdout, .print_freq = config->print_freq}));
  const train_observer observer = cli_progress_observer(progress);
  GP_TRY(train_run(config, &observer, &result));
cleanup:
  cli_progress_destroy(&progress);
  int code = status == GP_OK ? CLI_OK : is_wrong_usage(status) ? cli_fail_usage(status) : cli_fail(status);
  if (status == GP_OK) print_result(config, &result);
  if (status == GP_ERROR_INTERRUPTED && result.checkpoint != NULL) print_resume_command(result.checkpoint, argc, argv);
  train_result_clear(&result);
  return code;
}

int command_train(const cli_command *command, int argc, char *const argv[]) {
  train_config config = {0};
  char *recipe = NULL;
  int code = CLI_OK;
  gp_status status = read_arguments(&config, &recipe, argc, argv);
  if (status != GP_OK)
    code = cli_fail_usage(status);
  else if (config.help)
    cli_print_help(command, &train_option_table);
  else
    code = train(&config, recipe == NULL ? "" : recipe, argc, argv);
  train_config_clear(&config);
  gp_free(recipe);
  return code;
}
