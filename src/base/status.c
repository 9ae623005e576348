#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifndef GP_VERSION
#error "the build passes GP_VERSION"
#endif

enum { MESSAGE_SIZE = 1024 };
static _Thread_local char last_message[MESSAGE_SIZE];

const char *gp_status_name(gp_status status) {
  switch (status) {
    case GP_OK: return "ok";
    case GP_ERROR_INVALID_ARGUMENT: return "invalid argument";
    case GP_ERROR_OUT_OF_MEMORY: return "out of memory";
    case GP_ERROR_UNSUPPORTED: return "unsupported";
    case GP_ERROR_NOT_FOUND: return "not found";
    case GP_ERROR_IO: return "input/output error";
    case GP_ERROR_CORRUPT: return "corrupt data";
    case GP_ERROR_LIBRARY: return "library failure";
    case GP_ERROR_INTERRUPTED: return "interrupted";
  }
  return "unknown status";
}

const char *gp_last_error(void) { return last_message; }

const char *gp_version(void) { return GP_VERSION; }

gp_status gp_fail(gp_status status, const char *format, ...) {
  char message[MESSAGE_SIZE];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  /* Through a local buffer: an argument may be the last message itself. */
  memcpy(last_message, message, sizeof last_message);
  return status;
}

gp_status gp_fail_in(gp_status status, const char *format, ...) {
  char message[MESSAGE_SIZE];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(message, sizeof message, format, args);
  va_end(args);
  size_t used = length < 0 ? 0 : (size_t)length < sizeof message ? (size_t)length : sizeof message - 1;
  /* Cut, when both do not fit, at the end of the older message. */
  int rest = (int)(sizeof message - used) - 3;
  if (rest > 0) snprintf(message + used, sizeof message - used, ": %.*s", rest, last_message);
  memcpy(last_message, message, sizeof last_message);
  return status;
}
