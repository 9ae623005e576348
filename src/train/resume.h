/* Taking up a run where a checkpoint left it. Private to the loop. */
#ifndef GP_TRAIN_RESUME_H
#define GP_TRAIN_RESUME_H

#include "train/session.h"

/* Fills the built net and session->state from config->resume, if that is given, and applies config->start_epoch. Says
 * by message which options differ from the checkpoint's. Errors: those of model_file_load(); GP_ERROR_INVALID_ARGUMENT
 * when the checkpoint is of another net, data set or, in the middle of an epoch, order of samples. */
GP_NODISCARD gp_status train_resume(train_session *session);

/* Sees to it that out_dir holds the best model of the resumed run's epochs so far: fetched from beside the checkpoint
 * where it is not there. Where neither file is that model, says so and forgets the best. */
GP_NODISCARD gp_status train_resume_best(train_session *session);

#endif
