/* The test of a net on a whole data set. */
#ifndef GP_TRAIN_EVALUATE_H
#define GP_TRAIN_EVALUATE_H

#include "data/loader.h"
#include "dist/comm.h"
#include "train/meter.h"
#include "train/observer.h"
#include "train/plans.h"
#include "train/tally.h"

typedef struct train_evaluate_desc {
  const train_plans *plans; /* NN_INFER, of the loader's batch size */
  const nn_net *net;
  data_loader *loader;            /* without shuffling */
  const train_observer *observer; /* may be NULL */
  int64_t epoch, epochs;          /* for the observer; epochs 0: a test alone */
  bool flip_average;              /* logits are the mean of the image's and of its mirror image's */
  const bool *left_out;           /* [samples] in the source's order: not counted; NULL: all are */
  const char *refusal; /* once the loader's report_bad has written a text there, the test fails with it; or NULL */
  dist_comm *comm;     /* of ranks that share the batches, each its loader's; all get the whole result. NULL: alone */
  train_tally *tally;  /* counted into as well; NULL: none */
  float *logits;       /* [samples][classes] in the source's order, NaN for images that could not be read; or NULL */
} train_evaluate_desc;

/* With several ranks, each batch is computed by one of them, as one process would, and what becomes of each sample goes round:
 * so results have the same bits for any number of ranks, if these compute alike.
 *
 * Loss (cross-entropy without label smoothing), top-1 and top-5 over all samples, each once, into *meter. Samples whose
 * label is negative, since they could not be read, are not counted. GP_ERROR_CORRUPT with desc->refusal, and when that leaves none:
 * a mean over nothing is no result. GP_ERROR_INTERRUPTED when asked to stop (train/stop.h). */
GP_NODISCARD gp_status train_evaluate(train_meter *meter, const train_evaluate_desc *desc);

#endif
