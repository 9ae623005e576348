#include "cli/cli.h"

#include "base/status.h"
#include "cli/ranks.h"
#include "data/source.h"
#include "dist/launcher.h"
#include "models/models.h"
#include "train/atomic_file.h"
#include "train/stop.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *cli_program_name = "gausspool";
bool cli_quiet = false;

int cli_fail(gp_status status) {
  fflush(stdout);
  if (!cli_quiet)
    fprintf(stderr, "gausspool: %s\n", gp_last_error()[0] != '\0' ? gp_last_error() : gp_status_name(status));
  if (status == GP_ERROR_INTERRUPTED && train_stop_requested() != 0) return 128 + train_stop_requested();
  return CLI_FAILURE;
}

/* Each of several processes would do it all, and they would write the same files. */
gp_status cli_check_alone(const cli_command *command) {
  const dist_launcher launcher = dist_launcher_find();
  if (command->by_ranks || launcher.processes <= 1) return GP_OK;
  return gp_fail(GP_ERROR_UNSUPPORTED,
                 "%s runs as one process, expected to be started once, found %s %" PRId64
                 ": only train, test and bench reduce share their work; leave the launcher out",
                 command->name, launcher.command, launcher.processes);
}

int cli_fail_usage(gp_status status) {
  const int code = cli_fail(status);
  return status == GP_ERROR_INVALID_ARGUMENT ? CLI_USAGE : code;
}

void cli_warn_of_precision(nn_precision precision) {
  const char *warning = nn_precision_warning(precision);
  fflush(stdout);
  if (warning != NULL && !cli_quiet) fprintf(stderr, "gausspool: %s\n", warning);
}

void cli_print_help(const cli_command *command, const option_table *table) {
  printf("usage: gausspool %s [options]%s%s\n\n%s\n\n", command->name, command->arguments[0] != '\0' ? " " : "",
         command->arguments, command->summary);
  options_print_help(table, stdout);
  if (command->notes != NULL) printf("\n%s", command->notes);
}

static gp_status read_arguments(const cli_course *course, int argc, char *const argv[]) {
  gp_status status = GP_OK;
  GP_TRY(options_init(course->table, course->config));
  GP_TRY(options_parse(course->table, course->config, argc, argv, course->positionals, course->positional_count));
  if (!*course->help && course->check != NULL) GP_TRY(course->check(course->config));
cleanup:
  return status;
}

static int run_course(const cli_command *command, const cli_course *course, int argc, char *const argv[]) {
  gp_status status = read_arguments(course, argc, argv);
  if (status != GP_OK) return cli_fail_usage(status);
  if (*course->help) {
    if (!cli_quiet) cli_print_help(command, course->table);
    return CLI_OK;
  }
  status = course->run(course->config);
  if (course->comm != NULL) cli_ranks_end_if_alone(*course->comm, status, "");
  const bool usage = course->wrong_usage != NULL && *course->wrong_usage;
  return status == GP_OK ? CLI_OK : usage ? cli_fail_usage(status) : cli_fail(status);
}

int cli_run(const cli_command *command, const cli_course *course, int argc, char *const argv[]) {
  gp_status status = course->comm == NULL ? GP_OK : cli_ranks_open(course->comm);
  if (status != GP_OK) return cli_fail(status);
  const int code = run_course(command, course, argc, argv);
  if (course->comm != NULL) dist_comm_close(course->comm);
  options_clear(course->table, course->config);
  return code;
}

gp_status cli_check_name(const char *option, const char *text, const char *(*name_at)(int32_t index)) {
  char known[960] = ""; /* a message holds 1024 */
  const char *nearest = NULL;
  /* A name further off would be no help, nor one of which nothing was typed. */
  size_t least = strlen(text) < 4 ? strlen(text) : 4;
  for (int32_t i = 0; name_at(i) != NULL; ++i) {
    const size_t used = strlen(known);
    if (strcmp(text, name_at(i)) == 0) return GP_OK;
    snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", name_at(i));
    const size_t distance = option_edit_distance(text, name_at(i));
    if (distance >= least) continue;
    least = distance;
    nearest = name_at(i);
  }
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: expected one of %s, found '%s'%s%s%s", option, known, text,
                 nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
}

gp_status cli_check_names(const char *arch, const char *pool, const char *dataset) {
  gp_status status = GP_OK;
  char hint[MODEL_HINT_SIZE];
  if (model_arch_hint(arch, hint))
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "arch: there is no net '%s'; %s", arch, hint));
  if (arch[0] != '\0') GP_TRY(cli_check_name("arch", arch, model_arch_name));
  if (pool[0] != '\0') GP_TRY(cli_check_name("pool", pool, model_pool_name));
  if (dataset[0] != '\0') GP_TRY(cli_check_name("dataset", dataset, data_set_name));
cleanup:
  return status;
}

gp_status cli_usual_sizes(const char *arch, int64_t *channels, int64_t *side, int64_t *classes) {
  model_usual usual;
  gp_status status = model_usual_of(&usual, arch);
  if (status != GP_OK) return status;
  if (*channels == 0) *channels = usual.channels;
  if (*side == 0) *side = usual.side;
  if (*classes == 0) *classes = usual.classes;
  return GP_OK;
}

gp_status cli_check_output(const char *path) {
  atomic_file *probe = NULL;
  gp_status status = path[0] != '\0' ? atomic_file_create(&probe, path, 0) : GP_OK;
  atomic_file_destroy(&probe);
  return status;
}

const char *cli_number(int64_t value, char buffer[CLI_NUMBER_SIZE]) {
  char digits[CLI_NUMBER_SIZE];
  const int length = snprintf(digits, sizeof digits, "%" PRId64, value);
  char *out = buffer;
  for (int i = 0; i < length; ++i) {
    *out++ = digits[i];
    if (digits[i] != '-' && i + 1 < length && (length - i - 1) % 3 == 0) *out++ = ',';
  }
  *out = '\0';
  return buffer;
}

void cli_print_scores(double loss, double top1, double top5) {
  printf("loss %.4f\ntop-5 error %.2f %%\ntop-1 error %.2f %%\n", loss, top5, top1);
}
