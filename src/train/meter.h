/* Running statistics of an epoch. Sums are exact in their order, so that a saved and restored meter goes on bit for
 * bit. */
#ifndef GP_TRAIN_METER_H
#define GP_TRAIN_METER_H

#include <gausspool/gausspool.h>

/* Zero-initialise. */
typedef struct train_meter {
  int64_t samples;
  int64_t top1_wrong, top5_wrong;
  double loss_sum; /* over samples */
} train_meter;

/* Adds a batch: its mean loss and its logits [batch][classes], labels in [0, classes). */
void train_meter_add(train_meter *meter, double mean_loss, const float *logits, const int32_t *labels, int64_t batch,
                     int64_t classes);

/* Adds what another meter has counted. */
void train_meter_join(train_meter *meter, const train_meter *other);

/* Adds one sample of which loss and errors are known. */
void train_meter_add_sample(train_meter *meter, double loss, bool top1_wrong, bool top5_wrong);

/* Softmax cross-entropy of one sample's logits, without label smoothing. */
double train_cross_entropy(const float *logits, int64_t classes, int64_t label);

/* Means over the samples so far; errors in percent. NaN before the first sample. */
double train_meter_loss(const train_meter *meter);
double train_meter_top1(const train_meter *meter);
double train_meter_top5(const train_meter *meter);

/* The state as the integers that a checkpoint's metadata holds; a restored meter equals the saved one in every bit. Restoring refuses
 * what no meter can hold (GP_ERROR_CORRUPT). */
enum { TRAIN_METER_STATE = 4 };
void train_meter_save(const train_meter *meter, int64_t state[TRAIN_METER_STATE]);
GP_NODISCARD gp_status train_meter_restore(train_meter *meter, const int64_t state[TRAIN_METER_STATE]);

/* Whether the label is among the k greatest logits: fewer than k others are greater (so ties count for the label).
 * NaN is greater than everything, and a label whose own logit is NaN is never among them. */
bool train_in_top_k(const float *logits, int64_t classes, int64_t label, int64_t k);

#endif
