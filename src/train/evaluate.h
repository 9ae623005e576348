/* The test of a net on a whole data set. */
#ifndef GP_TRAIN_EVALUATE_H
#define GP_TRAIN_EVALUATE_H

#include "data/loader.h"
#include "train/meter.h"
#include "train/observer.h"
#include "train/plans.h"

typedef struct train_evaluate_desc {
  const train_plans *plans; /* NN_INFER, of the loader's batch size */
  data_loader *loader;      /* without shuffling */
  int64_t classes;
  const train_observer *observer; /* may be NULL */
  int64_t epoch, epochs;          /* for the observer; epochs 0: a test alone */
  float *logits;                  /* [samples][classes] in the source's order, or NULL */
} train_evaluate_desc;

/* Loss, top-1 and top-5 over all samples, into *meter. GP_ERROR_INTERRUPTED when asked to stop (train/stop.h). */
GP_NODISCARD gp_status train_evaluate(train_meter *meter, const train_evaluate_desc *desc);

#endif
