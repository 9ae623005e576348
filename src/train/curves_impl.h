/* Running gnuplot, apart from what it draws. */
#ifndef GP_TRAIN_CURVES_IMPL_H
#define GP_TRAIN_CURVES_IMPL_H

#include <gausspool/gausspool.h>

/* Runs `gnuplot SCRIPT` in a folder and waits for it. GP_ERROR_UNSUPPORTED if there is no such program,
 * GP_ERROR_LIBRARY with the first line of its complaint if it fails. */
GP_NODISCARD gp_status curves_run_gnuplot(const char *folder, const char *script);

#endif
