/* gausspool bench: what can be measured. */
#include "base/status.h"
#include "cli/bench.h"

#include <stdio.h>
#include <string.h>

static const cli_command subjects[] = {
    {.name = "bench data",
     .arguments = "",
     .run = bench_data,
     .summary = "Measures how fast images are read, decoded and transformed for a net.",
     .notes = "After the first pass the images come from memory, not from the disk.\n"},
    {.name = "bench net",
     .arguments = "",
     .run = bench_net,
     .summary = "Measures training step and inference of a net on random data.",
     .notes = NULL},
    {.name = "bench pool",
     .arguments = "",
     .run = bench_pool,
     .summary =
         "Measures the pooling operator at the places of a network, beside the machine's memory and oneDNN's pooling.",
     .notes =
         "A ratio is the time taken over the time of copying as many bytes as must move: x and y in the forward\n"
         "pass, x, grad_y and grad_x in the backward pass. GB are 10^9 bytes. Calls of everything that is measured\n"
         "alternate, so that a noisy machine disturbs all of it alike.\n"
         "On a GPU (--device cuda) times are those between events on a stream, of many calls in a row that go round\n"
         "several sets of tensors, so that little is found in its L2 cache; copies are made of each size, and \"of "
         "copy\"\n"
         "is the share of their speed that is reached. Needs NVIDIA's driver and libgausspool_cuda.\n"
         "A FILE has a line for each place: name channels height width kernel_h kernel_w stride_h stride_w pad_h\n"
         "pad_w; # begins a comment.\n"},
    {.name = "bench reduce",
     .arguments = "",
     .run = bench_reduce,
     .by_ranks = true,
     .summary = "Measures how fast the ranks that mpirun starts add up gradients, with nothing else to do.",
     .notes = "GB/s are 10^9 bytes of float32 gradients over the time, whatever goes over the network for them.\n"},
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };

/* The word after "bench ". */
static const char *subject_name(int32_t index) {
  return index < SUBJECTS ? subjects[index].name + strlen("bench ") : NULL;
}

static int help_all(void) {
  static char option[] = "--help";
  static char *const arguments[] = {option, NULL};
  int code = CLI_OK;
  for (int i = 0; i < SUBJECTS && code == CLI_OK; ++i) {
    if (i > 0) putchar('\n');
    code = subjects[i].run(&subjects[i], 1, arguments);
  }
  return code;
}

int command_bench(const cli_command *command, int argc, char *const argv[]) {
  (void)command;
  if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) return help_all();
  gp_status status = cli_check_name("bench", argc > 0 ? argv[0] : "nothing", subject_name);
  if (status != GP_OK) return cli_fail_usage(status);
  int i = 0;
  while (strcmp(argv[0], subject_name(i)) != 0) ++i;
  status = cli_check_alone(&subjects[i]);
  if (status != GP_OK) return cli_fail(status);
  return subjects[i].run(&subjects[i], argc - 1, argv + 1);
}
