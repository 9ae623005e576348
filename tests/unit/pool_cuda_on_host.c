/* The calls of gausspool_cuda.h on ordinary memory: libgausspool loads libgausspool_cuda_host, which lies beside the test. */
#include "pool_cuda_calls.h"

#include <gausspool/gausspool_cuda.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static gp_status forward(const gp_pool_desc *desc, const gp_pool_forward_args *args) {
  return gp_cuda_pool_forward(desc, args, NULL);
}

static gp_status backward(const gp_pool_desc *desc, const gp_pool_backward_args *args) {
  return gp_cuda_pool_backward(desc, args, NULL);
}

const pool_calls pool_cuda_calls = {gp_cuda_pool_forward_workspace, forward, gp_cuda_pool_backward_workspace, backward,
                                    true};

const bool pool_cuda_in_place = true;

bool pool_cuda_ready(void) {
  char program[PATH_MAX], library[PATH_MAX + 32];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  if (length <= 0) return false;
  program[length] = '\0';
  snprintf(library, sizeof library, "%s/libgausspool_cuda_host.so", dirname(program));
  if (setenv("GAUSSPOOL_CUDA_LIBRARY", library, 1) == 0 && gp_cuda_available() == GP_OK) return true;
  /* It is built with the test: without it nothing would be tested. */
  printf("%s\n", gp_last_error());
  exit(1);
}
