#include "train/pass.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>

void train_message(const train_observer *observer, const char *format, ...) {
  if (observer == NULL || observer->message == NULL) return;
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  observer->message(observer->context, text);
}

void train_pass_start(train_pass *pass, const train_observer *observer, const train_progress *start) {
  *pass = (train_pass){.observer = observer, .started = gp_seconds(), .first_batch = start->batch};
  pass->progress = (train_progress){
      .phase = start->phase,
      .epoch = start->epoch,
      .epochs = start->epochs,
      .batch = start->batch,
      .batches = start->batches,
      .seconds_left = -1,
  };
  if (observer != NULL && observer->pass_start != NULL) observer->pass_start(observer->context, &pass->progress);
}

void train_pass_step(train_pass *pass, int64_t count, double lr, const train_meter *meter) {
  train_progress *progress = &pass->progress;
  const double elapsed = gp_seconds() - pass->started;
  pass->images += count;
  progress->seconds = elapsed;
  progress->batch += 1;
  progress->loss = train_meter_loss(meter);
  progress->top1 = train_meter_top1(meter);
  progress->top5 = train_meter_top5(meter);
  progress->lr = lr;
  progress->images_per_second = elapsed > 0 ? (double)pass->images / elapsed : 0;
  const int64_t done = progress->batch - pass->first_batch;
  progress->seconds_left = elapsed / (double)done * (double)(progress->batches - progress->batch);
  const train_observer *observer = pass->observer;
  if (observer != NULL && observer->step != NULL) observer->step(observer->context, progress);
}

void train_pass_end(train_pass *pass) {
  const train_observer *observer = pass->observer;
  if (observer != NULL && observer->pass_end != NULL) observer->pass_end(observer->context, &pass->progress);
}
