/* Failing with a message: gp_fail() records a thread-local line and returns the status to pass on. */
#ifndef GP_BASE_STATUS_H
#define GP_BASE_STATUS_H

#include <gausspool/gausspool.h>

/* Records the formatted message for gp_last_error() and returns `status`. Say what was expected and what was found. */
GP_NODISCARD gp_status gp_fail(gp_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " before this thread's last message; returns `status`. */
GP_NODISCARD gp_status gp_fail_in(gp_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Leaves through the function's one `cleanup:` label when expr fails; needs a local `gp_status status = GP_OK`. */
#define GP_TRY(expr)                   \
  do {                                 \
    status = (expr);                   \
    if (status != GP_OK) goto cleanup; \
  } while (0)

#endif
