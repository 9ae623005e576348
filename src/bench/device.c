#include "bench/device.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_DEVICES = 1 << 16 };

gp_status bench_device_parse(const char *text, int *index) {
  const char *number = strncmp(text, "cuda:", 5) == 0 ? text + 5 : "";
  *index = strcmp(text, "cpu") == 0 ? -1 : 0;
  if (*index < 0 || strcmp(text, "cuda") == 0) return GP_OK;
  char *end = NULL;
  const long value = strtol(number, &end, 10);
  if (*number < '0' || *number > '9' || *end != '\0' || value >= MOST_DEVICES)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "--device: expected cpu, cuda or cuda:N, found \"%s\"", text);
  *index = (int)value;
  return GP_OK;
}

void bench_device_close(bench_device **device) {
  if (*device != NULL) (*device)->ops->close(*device);
  *device = NULL;
}
