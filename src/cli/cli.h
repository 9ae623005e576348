/* What the commands share. A command gets its own arguments, without its name, and returns the exit status. */
#ifndef GP_CLI_CLI_H
#define GP_CLI_CLI_H

#include "dist/comm.h"
#include "nn/nn.h"
#include "train/option.h"

enum { CLI_OK = 0, CLI_FAILURE = 1, CLI_USAGE = 2 };

typedef struct cli_command {
  const char *name;
  const char *arguments; /* what follows the options in the usage line; "" for none */
  const char *summary;   /* one line for the list of commands */
  int (*run)(const struct cli_command *command, int argc, char *const argv[]);
  const char *notes; /* further lines for --help; NULL: none */
  bool by_ranks;     /* several processes that a launcher starts work as one */
} cli_command;

int command_train(const cli_command *command, int argc, char *const argv[]);
int command_test(const cli_command *command, int argc, char *const argv[]);
int command_predict(const cli_command *command, int argc, char *const argv[]);
int command_info(const cli_command *command, int argc, char *const argv[]);
int command_export(const cli_command *command, int argc, char *const argv[]);
int command_pack(const cli_command *command, int argc, char *const argv[]);
int command_bench(const cli_command *command, int argc, char *const argv[]);

/* As typed: argv[0] of the program. */
extern const char *cli_program_name;

/* Another process tells of failures (cli/ranks.h): cli_fail() prints nothing. */
extern bool cli_quiet;

/* Prints the last failure as one line on stderr; gives the exit status for it. The second is for failures of reading
 * arguments: an invalid argument is a usage error there. */
int cli_fail(gp_status status);
int cli_fail_usage(gp_status status);

/* GP_ERROR_UNSUPPORTED where a launcher has started several processes, and the command is not one that they share. */
GP_NODISCARD gp_status cli_check_alone(const cli_command *command);

/* One line on stderr where there is something to know about it on this machine. */
void cli_warn_of_precision(nn_precision precision);

/* --help of a command. */
void cli_print_help(const cli_command *command, const option_table *table);

/* How a command goes: it reads its arguments, checks them, and does its work. */
typedef struct cli_course {
  const option_table *table;
  void *config;             /* what the table describes, maybe with more behind it; zeroed but for that */
  const bool *help;         /* its field for --help */
  const char **positionals; /* as options_parse() has them; NULL: none are taken */
  int *positional_count;
  gp_status (*check)(
      void *config); /* what the table cannot say of the arguments; NULL: nothing. Not asked for --help */
  gp_status (*run)(void *config);
  dist_comm **comm; /* opened before the arguments are read, for commands that several ranks run as one; NULL: others */
  const bool *wrong_usage; /* set by `run` where it fails for an argument, not for what it found; or NULL */
} cli_course;

/* Runs it, tells its failure, clears the config; gives the exit status. */
int cli_run(const cli_command *command, const cli_course *course, int argc, char *const argv[]);

/* Checks that `text` is one of the names that name_at(0), name_at(1), … give up to NULL; otherwise
 * GP_ERROR_INVALID_ARGUMENT listing them and the nearest. */
GP_NODISCARD gp_status cli_check_name(const char *option, const char *text, const char *(*name_at)(int32_t index));

/* The same for the options --arch, --pool and --dataset; "" is good. */
GP_NODISCARD gp_status cli_check_names(const char *arch, const char *pool, const char *dataset);

/* Puts what the net was published for in the place of zeros. */
GP_NODISCARD gp_status cli_usual_sizes(const char *arch, int64_t *channels, int64_t *side, int64_t *classes);

/* Fails where a file could not be written at `path`, and leaves nothing there: asked before the work whose result goes
 * there; "" is good. */
GP_NODISCARD gp_status cli_check_output(const char *path);

/* "1,234,567" into the buffer; returns it. */
enum { CLI_NUMBER_SIZE = 32 };
const char *cli_number(int64_t value, char buffer[CLI_NUMBER_SIZE]);

/* The three lines of a test's result; the last is "top-1 error N.NN %". */
void cli_print_scores(double loss, double top1, double top5);

#endif
