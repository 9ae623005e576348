/* gausspool: trains, tests and applies nets with Gaussian pooling. */
#include "base/status.h"
#include "cli/cli.h"
#include "nn/nn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const cli_command commands[] = {
    {.name = "train",
     .arguments = "",
     .run = command_train,
     .by_ranks = true,
     .summary = "Trains a net on a data set.",
     .notes =
         "Values come from the defaults, then the recipe, then the command line. Errors are printed in percent.\n"},
    {.name = "test",
     .arguments = "",
     .run = command_test,
     .by_ranks = true,
     .summary = "Tests a trained net on a data set's test images.",
     .notes = NULL},
    {.name = "predict",
     .arguments = "[IMAGE...]",
     .run = command_predict,
     .summary = "Labels pictures: PNG, JPEG, PGM or PPM files, or samples of a data set's test images.",
     .notes = "A picture is scaled so that it covers the net's input, cut in the middle, and made grey or RGB as the\n"
              "net needs it. Fashion-MNIST's images are white on black: --invert turns pictures that are not.\n"},
    {.name = "export",
     .arguments = "",
     .run = command_export,
     .summary = "Writes a trained net for inference elsewhere: as ONNX, or with its batch norms folded in.",
     .notes = "The ONNX file takes images [batch][channels][height][width], scaled to 0…1 and normalised, and gives "
              "the scores\n"
              "[batch][classes]; mean, std, resize and class names are in its metadata. `gausspool test` and `predict` "
              "read\n"
              "a folded model as any other.\n"},
    {.name = "info",
     .arguments = "",
     .run = command_info,
     .summary = "Describes a net layer by layer: shapes, parameters, multiply-adds, memory.",
     .notes = NULL},
    {.name = "pack",
     .arguments = "DIR OUT",
     .run = command_pack,
     .summary = "Packs an image folder into tar files with an index, for disks that are slow with many small files.",
     .notes =
         "`train --data OUT` and the like then read the images from there, at random and in the same order as from\n"
         "DIR. The files hold DIR's own paths: any tar program unpacks them.\n"},
    {.name = "bench",
     .arguments = "",
     .run = command_bench,
     .by_ranks = true, /* one of its subjects is; the others see to themselves */
     .summary = "Measures speed: `bench net`, training step and inference of a net; `bench pool`, the pooling "
                "operator; `bench data`, reading images; `bench reduce`, adding up gradients over ranks.",
     .notes = NULL},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const char *command_name(int32_t index) { return index < COMMANDS ? commands[index].name : NULL; }

static void print_help(FILE *stream) {
  fprintf(stream,
          "usage: gausspool COMMAND [options]\n\n"
          "Convolutional neural networks with Gaussian-based pooling (T. Kobayashi, NeurIPS 2019).\n\ncommands:\n");
  for (int i = 0; i < COMMANDS; ++i) fprintf(stream, "  %-10s%s\n", commands[i].name, commands[i].summary);
  fprintf(stream, "\n  gausspool COMMAND --help    options of a command\n  gausspool --version\n");
}

static int run_command(const cli_command *command, int argc, char *const argv[]) {
  gp_status status = cli_check_alone(command);
  return status == GP_OK ? command->run(command, argc, argv) : cli_fail(status);
}

static int run(int argc, char *argv[]) {
  if (argc < 2) {
    (void)!gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected a command, found none; gausspool --help lists them");
    return cli_fail_usage(GP_ERROR_INVALID_ARGUMENT);
  }
  const char *name = argv[1];
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (strcmp(name, "help") == 0 && argc == 2)) {
    print_help(stdout);
    return CLI_OK;
  }
  if (strcmp(name, "--version") == 0) {
    printf("gausspool %s (%s)\n", gp_version(), nn_backend());
    return CLI_OK;
  }
  static char help_option[] = "--help";
  static char *const help_arguments[] = {help_option, NULL};
  const bool help = strcmp(name, "help") == 0; /* help COMMAND */
  if (help) name = argv[2];
  gp_status status = cli_check_name("command", name, command_name);
  if (status != GP_OK) return cli_fail_usage(status);
  for (int i = 0; i < COMMANDS; ++i)
    if (strcmp(name, commands[i].name) == 0)
      return help ? commands[i].run(&commands[i], 1, help_arguments) : run_command(&commands[i], argc - 2, argv + 2);
  return CLI_USAGE;
}

/* Started with a standard stream closed, the program's next file would get its number, and what is printed would go into
 * that file. The number is held instead, opened the wrong way round, so that using the stream still fails. */
static void hold_closed_streams(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char *argv[]) {
  hold_closed_streams();
  /* A reader that goes away and a limit on file sizes are failing writes, which are reported, not a silent death in the
   * middle of a training. */
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  if (argc > 0) cli_program_name = argv[0];
  int code = run(argc, argv);
  errno = 0;
  if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_OK) {
    fprintf(stderr, "gausspool: cannot write to standard output: %s\n",
            errno != 0 ? strerror(errno) : "input/output error");
    code = CLI_FAILURE;
  }
  return code;
}
