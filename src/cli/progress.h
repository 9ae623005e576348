/* Shows a training or test run: a bar that redraws itself on a terminal, plain lines otherwise. */
#ifndef GP_CLI_PROGRESS_H
#define GP_CLI_PROGRESS_H

#include "train/observer.h"

#include <stdio.h>

typedef struct cli_progress cli_progress;

typedef struct cli_progress_desc {
  FILE *stream;       /* stays the caller's */
  int64_t print_freq; /* batches between plain lines; 0: none */
  bool plain;         /* lines, also on a terminal */
  bool force_bar;     /* also where the stream is no terminal, for tests */
} cli_progress_desc;

GP_NODISCARD gp_status cli_progress_create(cli_progress **out, const cli_progress_desc *desc);

/* Takes the bar away. */
void cli_progress_destroy(cli_progress **progress);

/* The observer to hand to the loop; valid until destroy. */
train_observer cli_progress_observer(cli_progress *progress);

#endif
