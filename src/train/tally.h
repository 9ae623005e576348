/* What a test came to, class by class: errors, and which classes are taken for which. */
#ifndef GP_TRAIN_TALLY_H
#define GP_TRAIN_TALLY_H

#include "dist/comm.h"

typedef struct train_tally train_tally;

/* With `confusion` it counts pairs of classes too, which takes 8·classes² bytes. */
GP_NODISCARD gp_status train_tally_create(train_tally **out, int64_t classes, bool confusion);
void train_tally_destroy(train_tally **tally);

/* Counts one sample. An error is one by train_in_top_k(); it is taken for the class of the greatest logit, of several the
 * first (so a tie with the label's logit is no error, but may be counted beside the diagonal). */
void train_tally_add(train_tally *tally, const float *logits, int64_t label);

/* What all ranks have counted, on each of them. */
GP_NODISCARD gp_status train_tally_sum(train_tally *tally, dist_comm *comm);

/* CSV with a header: class (its number), name, images, top1_error and top5_error in percent, these empty for a class
 * without images. `names` may be NULL. */
GP_NODISCARD gp_status train_tally_write_classes(const train_tally *tally, const char *const *names, const char *path);

/* CSV with a header: a row for each class of the label, a column for each class that was predicted. */
GP_NODISCARD gp_status train_tally_write_confusion(const train_tally *tally, const char *const *names,
                                                   const char *path);

#endif
