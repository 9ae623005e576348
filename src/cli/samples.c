#include "cli/samples.h"

#include "base/memory.h"
#include "base/status.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum { MAX_SAMPLES = 1000000 };

static bool read_number(const char **cursor, int64_t *out) {
  char *end = NULL;
  if (!isdigit((unsigned char)**cursor)) return false;
  errno = 0;
  *out = strtoll(*cursor, &end, 10);
  *cursor = end;
  return errno == 0;
}

/* Goes through the list; `out`, if not NULL, gets the numbers. Gives how many there are, or -1 where it is wrong. */
static int64_t scan(const char *text, int64_t limit, int64_t *out) {
  int64_t count = 0, first = 0, last = 0;
  for (const char *cursor = text;; ++cursor) {
    if (!read_number(&cursor, &first)) return -1;
    last = first;
    if (*cursor == '-') {
      ++cursor;
      if (!read_number(&cursor, &last)) return -1;
    }
    if (first > last || last >= limit || last - first >= MAX_SAMPLES - count) return -1;
    for (int64_t i = first; i <= last; ++i, ++count)
      if (out != NULL) out[count] = i;
    if (*cursor == '\0') return count;
    if (*cursor != ',') return -1;
  }
}

gp_status cli_samples_parse(const char *text, int64_t limit, int64_t **out, int64_t *count) {
  *out = NULL;
  *count = scan(text, limit, NULL);
  if (*count < 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "samples: expected numbers and ranges in 0 … %" PRId64 ", as 0-9,17 (at most %d), found '%s'",
                   limit - 1, MAX_SAMPLES, text);
  gp_status status = GP_ALLOC(out, (size_t)*count);
  if (status == GP_OK) (void)scan(text, limit, *out);
  return status;
}

gp_status cli_samples_check(const char *text) {
  if (text[0] == '\0' || scan(text, INT64_MAX, NULL) >= 0) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected numbers and ranges, as 0-9,17 (at most %d), found '%s'",
                 MAX_SAMPLES, text);
}
