/* gausspool train */
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/ranks.h"
#include "dist/launcher.h"
#include "nn/nn.h"
#include "train/checkpoint.h"
#include "train/stop.h"
#include "train/train.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
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

/* The command line once more, over what the checkpoint says. `ranks`: of the checkpoint's run, whose parts of a batch are kept only
 * as far as they do for those of now. */
static gp_status lay_over_arguments(train_config *config, int64_t ranks, int argc, char *const argv[]) {
  const int64_t kept = config->accumulate;
  config->accumulate = 0; /* what no argument can be */
  gp_status status = options_parse(&train_option_table, config, argc, argv, NULL, NULL);
  if (config->accumulate > 0) return status;
  config->accumulate = kept;
  config->accumulate_ranks = ranks;
  return status;
}

/* A resumed run takes the checkpoint's configuration and folder; the command line still overrides both. */
static gp_status lay_over_checkpoint(train_config *config, int argc, char *const argv[]) {
  gp_status status = GP_OK;
  model_file *file = NULL;
  char *path = NULL, *folder = NULL;
  int64_t ranks = 0;
  GP_TRY(checkpoint_find(config->resume, &path));
  GP_TRY(model_file_open(&file, path));
  const model_info *info = model_file_info(file);
  if (model_file_is_checkpoint(file)) {
    GP_TRY(checkpoint_apply_config(file, config));
    ranks = checkpoint_ranks(file);
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
  GP_TRY(lay_over_arguments(config, ranks, argc, argv));
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

/* The command line, and who runs it. */
typedef struct invocation {
  int argc;
  char *const *argv;
  dist_comm *comm;
  const train_config *config;
} invocation;

/* This command line again, from the checkpoint on. */
static void print_resume_command(FILE *stream, const char *checkpoint, const invocation *call) {
  char launcher[64];
  cli_ranks_launcher(call->comm, launcher);
  fprintf(stream, "resume with:%s%s", launcher[0] == '\0' ? "" : " ", launcher);
  print_quoted(stream, cli_program_name);
  fputs(" train", stream);
  for (int i = 0; i < call->argc;) {
    const int words = words_of_start(call->argv[i]);
    if (words == 0) print_quoted(stream, call->argv[i]);
    i += words == 0 ? 1 : words;
  }
  fputs(" --resume", stream);
  print_quoted(stream, checkpoint);
  fputc('\n', stream);
}

/* From the newest checkpoint that there is, for runs that do not end in good order: so the folder is named, not the file. */
static void print_resume_hint(FILE *stream, const invocation *call) {
  char *found = NULL;
  if (!call->config->evaluate && checkpoint_find(call->config->out_dir, &found) == GP_OK)
    print_resume_command(stream, call->config->out_dir, call);
  else
    fprintf(stream, "no checkpoint was written: start again\n");
  gp_free(found);
}

static void hint_of_lost_rank(void *context) {
  char *text = NULL;
  size_t size = 0;
  FILE *stream = open_memstream(&text, &size); /* one write, not to be torn by what the launcher prints */
  if (stream == NULL) return;
  fputs("gausspool: asked to stop while other ranks do not answer: one of them may be lost (the launcher says which); ",
        stream);
  print_resume_hint(stream, context);
  if (fclose(stream) == 0) (void)!write(STDERR_FILENO, text, size);
  free(text);
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

/* That none was found is said, too: a program copied away from its recipes trains otherwise. */
static void print_recipe(const train_config *config, const char *recipe) {
  if (recipe[0] != '\0')
    printf("recipe: %s\n", recipe);
  else if (config->config_name[0] != '\0')
    printf("recipe: none\n");
  else
    printf("recipe: none, there is no configs/%s.ini: default values (--config-name takes a name or a path)\n",
           config->dataset);
}

/* Said at the start, since not all launchers leave time for it at the end. */
static void print_how_to_resume(const invocation *call) {
  if (dist_size(call->comm) == 1) return;
  printf("if this ends early, ");
  print_resume_command(stdout, call->config->out_dir, call);
}

static void print_task(const train_config *config, const char *recipe, const invocation *call) {
  if (config->evaluate || dist_rank(call->comm) > 0) return;
  options_print(&train_option_table, config, stdout);
  if (config->resume[0] == '\0')
    print_recipe(config, recipe);
  else
    printf("configuration of %s%s\n", config->resume,
           config->config_name[0] == '\0' ? "" : "; of --config-name's, only how to run (workers, threads, …)");
  printf("computing with %s, %d threads\n", nn_backend(), (int)gp_max_threads());
  print_how_to_resume(call);
  fflush(stdout);
}

/* Where this rank alone has failed, tells how to resume and ends them all. */
static void end_if_alone(gp_status status, const invocation *call) {
  char *text = NULL, message[1024];
  size_t size = 0;
  if (status == GP_OK || dist_agreed(call->comm)) return;
  snprintf(message, sizeof message, "%s", gp_last_error());
  FILE *stream = dist_rank(call->comm) == 0 ? open_memstream(&text, &size) : NULL;
  if (stream != NULL) {
    print_resume_hint(stream, call);
    fclose(stream);
  }
  cli_ranks_end_if_alone(call->comm, gp_fail(status, "%s", message), text == NULL ? "" : text);
}

static int train(const train_config *config, const char *recipe, const invocation *call) {
  gp_status status = GP_OK;
  cli_progress *progress = NULL;
  cli_watch *watch = NULL;
  train_result result = {0};
  const bool first = dist_rank(call->comm) == 0;
  GP_TRY(cli_ranks_set_threads(call->comm, config->threads, config->evaluate ? NULL : stdout));
  print_task(config, recipe, call);
  if (first) cli_warn_of_precision(config->precision);
  GP_TRY(train_stop_install());
  GP_TRY(cli_watch_start(&watch, call->comm, hint_of_lost_rank, (void *)call));
  /* What mpirun takes the output through looks like a terminal, wherever it goes. */
  GP_TRY(cli_progress_create(&progress, &(cli_progress_desc){.stream = stdout,
                                                             .print_freq = config->print_freq,
                                                             .plain = dist_launcher_find().command != NULL}));
  const train_observer observer = cli_progress_observer(progress);
  GP_TRY(train_run_ranks(config, &observer, call->comm, &result));
cleanup:
  cli_progress_destroy(&progress);
  end_if_alone(status, call);
  cli_watch_stop(&watch);
  int code = status == GP_OK ? CLI_OK : is_wrong_usage(status) ? cli_fail_usage(status) : cli_fail(status);
  if (status == GP_OK && first) print_result(config, &result);
  if (status == GP_ERROR_INTERRUPTED && result.checkpoint != NULL)
    print_resume_command(stdout, result.checkpoint, call);
  train_result_clear(&result);
  return code;
}

/* Rank 0 reads arguments, recipe and checkpoint; the others get what comes of it. */
static gp_status share_arguments(train_config *config, char **recipe, const invocation *call) {
  gp_status status =
      dist_rank(call->comm) == 0 ? read_arguments(config, recipe, call->argc, call->argv) : train_config_init(config);
  status = dist_agree_later(call->comm, status);
  if (status == GP_OK) status = cli_ranks_share_config(call->comm, &train_option_table, config);
  if (status != GP_OK) return status;
  return dist_broadcast(call->comm, &config->accumulate_ranks, sizeof config->accumulate_ranks);
}

int command_train(const cli_command *command, int argc, char *const argv[]) {
  train_config config = {0};
  char *recipe = NULL;
  dist_comm *comm = NULL;
  int code = CLI_OK;
  gp_status status = cli_ranks_open(&comm);
  if (status != GP_OK) return cli_fail(status);
  const invocation call = {argc, argv, comm, &config};
  status = share_arguments(&config, &recipe, &call);
  cli_ranks_end_if_alone(comm, status, "");
  if (status != GP_OK)
    code = cli_fail_usage(status);
  else if (!config.help)
    code = train(&config, recipe == NULL ? "" : recipe, &call);
  else if (dist_rank(comm) == 0)
    cli_print_help(command, &train_option_table);
  dist_comm_close(&comm);
  train_config_clear(&config);
  gp_free(recipe);
  return code;
}
