/* Taking up a run where a checkpoint left it. Private to the loop. */
#ifndef GP_TRAIN_RESUME_H
#define GP_TRAIN_RESUME_H

#include "train/session.h"

/* Fills the built net and session->state from config->resume, if that is given, and applies config->start_epoch. Says
 * by message which options differ from the checkpoint's. Errors: those of model_file_load(); GP_ERROR_INVALID_ARGUMENT
 * when the checkpoint is of another net, data set or, in the middle of an epoch, order of samples. */
GP_NODISCARD gp_status train_resume(train_session *session);

#endif
