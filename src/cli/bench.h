/* What `gausspool bench` measures, each with options of its own; arguments and exit status as of a command. */
#ifndef GP_CLI_BENCH_H
#define GP_CLI_BENCH_H

#include "bench/times.h"
#include "cli/cli.h"

int bench_data(const cli_command *command, int argc, char *const argv[]);
int bench_net(const cli_command *command, int argc, char *const argv[]);
int bench_pool(const cli_command *command, int argc, char *const argv[]);
int bench_reduce(const cli_command *command, int argc, char *const argv[]);

#endif
