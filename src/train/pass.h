/* One pass over a data set as the observer sees it: counts, speed, time left. */
#ifndef GP_TRAIN_PASS_H
#define GP_TRAIN_PASS_H

#include "train/meter.h"
#include "train/observer.h"

typedef struct train_pass {
  const train_observer *observer; /* may be NULL */
  train_progress progress;
  double started;
  int64_t first_batch, images; /* done before, and in, this process */
} train_pass;

/* Sends one line to the observer, if there is one who listens. */
void train_message(const train_observer *observer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `start` names phase, epoch, epochs, batch (done already) and batches; its other fields are ignored. */
void train_pass_start(train_pass *pass, const train_observer *observer, const train_progress *start);

/* A batch of `count` images is done; `meter` stands over the whole pass. */
void train_pass_step(train_pass *pass, int64_t count, double lr, const train_meter *meter);

void train_pass_end(train_pass *pass);

#endif
