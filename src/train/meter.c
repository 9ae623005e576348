#include "train/meter.h"

#include "base/status.h"

#include <math.h>
#include <string.h>

bool train_in_top_k(const float *logits, int64_t classes, int64_t label, int64_t k) {
  float own = logits[label];
  if (isnan(own)) return false;
  int64_t greater = 0;
  for (int64_t i = 0; i < classes; ++i) greater += !(logits[i] <= own); /* true for NaN too */
  return greater < k;
}

void train_meter_add(train_meter *meter, double mean_loss, const float *logits, const int32_t *labels, int64_t batch,
                     int64_t classes) {
  for (int64_t i = 0; i < batch; ++i) {
    const float *row = logits + i * classes;
    meter->top1_wrong += !train_in_top_k(row, classes, labels[i], 1);
    meter->top5_wrong += !train_in_top_k(row, classes, labels[i], 5);
  }
  meter->samples += batch;
  meter->loss_sum += mean_loss * (double)batch;
}

void train_meter_join(train_meter *meter, const train_meter *other) {
  meter->samples += other->samples;
  meter->top1_wrong += other->top1_wrong;
  meter->top5_wrong += other->top5_wrong;
  meter->loss_sum += other->loss_sum;
}

void train_meter_add_sample(train_meter *meter, double loss, bool top1_wrong, bool top5_wrong) {
  train_meter_join(meter, &(train_meter){1, top1_wrong, top5_wrong, loss});
}

double train_cross_entropy(const float *logits, int64_t classes, int64_t label) {
  double greatest = -INFINITY, sum = 0;
  for (int64_t i = 0; i < classes; ++i) greatest = fmax(greatest, (double)logits[i]);
  for (int64_t i = 0; i < classes; ++i) sum += exp((double)logits[i] - greatest);
  return log(sum) + greatest - (double)logits[label];
}

static double mean(double sum, int64_t samples) { return samples == 0 ? NAN : sum / (double)samples; }

double train_meter_loss(const train_meter *meter) { return mean(meter->loss_sum, meter->samples); }

double train_meter_top1(const train_meter *meter) { return mean(100.0 * (double)meter->top1_wrong, meter->samples); }

double train_meter_top5(const train_meter *meter) { return mean(100.0 * (double)meter->top5_wrong, meter->samples); }

void train_meter_save(const train_meter *meter, int64_t state[TRAIN_METER_STATE]) {
  state[0] = meter->samples;
  state[1] = meter->top1_wrong;
  state[2] = meter->top5_wrong;
  memcpy(&state[3], &meter->loss_sum, sizeof state[3]);
}

gp_status train_meter_restore(train_meter *meter, const int64_t state[TRAIN_METER_STATE]) {
  int64_t samples = state[0], top1 = state[1], top5 = state[2];
  if (samples < 0 || top5 < 0 || top5 > top1 || top1 > samples)
    return gp_fail(GP_ERROR_CORRUPT,
                   "a meter's state: expected 0 <= top-5 errors <= top-1 errors <= samples, found %lld, %lld, %lld",
                   (long long)top5, (long long)top1, (long long)samples);
  meter->samples = samples;
  meter->top1_wrong = top1;
  meter->top5_wrong = top5;
  memcpy(&meter->loss_sum, &state[3], sizeof state[3]);
  return GP_OK;
}
