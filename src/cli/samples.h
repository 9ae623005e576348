/* Lists of sample numbers, "0-9,17". */
#ifndef GP_CLI_SAMPLES_H
#define GP_CLI_SAMPLES_H

#include <gausspool/gausspool.h>

/* The numbers in the order given, each below `limit`; *out is for gp_free(). GP_ERROR_INVALID_ARGUMENT. */
GP_NODISCARD gp_status cli_samples_parse(const char *text, int64_t limit, int64_t **out, int64_t *count);

/* Whether the text, if any, is such a list; for an option's table. GP_ERROR_INVALID_ARGUMENT. */
GP_NODISCARD gp_status cli_samples_check(const char *text);

#endif
