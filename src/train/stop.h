/* Stopping in good order: the first SIGINT or SIGTERM asks, a second one of the same kind kills as by default. */
#ifndef GP_TRAIN_STOP_H
#define GP_TRAIN_STOP_H

#include <gausspool/gausspool.h>

/* Installs the handlers, for the whole process. Call once, from a command. */
GP_NODISCARD gp_status train_stop_install(void);

/* The signal that asked to stop (SIGINT, SIGTERM), or 0. The exit code is 128 plus it. */
int train_stop_requested(void);

/* Asks as a signal would, for tests; 0 takes the request back. */
void train_stop_request(int signal_number);

#endif
