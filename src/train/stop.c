#include "train/stop.h"

#include "base/status.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int requested; /* another thread may look */

/* SA_RESETHAND has put the default action back: a second signal of this kind kills. */
static void on_signal(int signal_number) { requested = signal_number; }

gp_status train_stop_install(void) {
  static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < sizeof signals / sizeof *signals; ++i)
    if (sigaction(signals[i], &action, NULL) != 0)
      return gp_fail(GP_ERROR_LIBRARY, "cannot catch %s: %s", strsignal(signals[i]), strerror(errno));
  return GP_OK;
}

int train_stop_requested(void) { return requested; }

void train_stop_request(int signal_number) { requested = signal_number; }
