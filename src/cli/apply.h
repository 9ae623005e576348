/* A trained net made ready for use, for `test` and `predict`. */
#ifndef GP_CLI_APPLY_H
#define GP_CLI_APPLY_H

#include "data/augment.h"
#include "data/source.h"
#include "train/model_file.h"

/* Zero-initialise; cli_model_close() when done. */
typedef struct cli_model {
  model_info info;
  nn_net *net;
  data_source *source; /* the data set's test images; NULL unless asked for */
} cli_model;

typedef struct cli_model_desc {
  const char *path;        /* of the model file */
  const char *arch, *pool; /* for plain state dicts, and checked otherwise; "" where not given */
  const char *dataset;     /* "": the one the model was trained on */
  const char *data;        /* its folder; "": the usual place */
  bool skip_bad;           /* classes without images, or unknown ones, are left out */
  bool open_source;        /* the data set's images are wanted */
  int64_t batch;
  nn_precision precision;
} cli_model_desc;

/* Opens the file, builds the net, loads it. Also opens the data set if its images are wanted, or if the file is a plain
 * state dict, which does not tell what images it is for. */
GP_NODISCARD gp_status cli_model_open(cli_model *model, const cli_model_desc *desc);
void cli_model_close(cli_model *model);

/* How the net wants its images. */
data_transform cli_model_transform(const cli_model *model);

/* The class's name, or its number in the buffer. */
const char *cli_class_name(const model_info *info, int64_t index, char buffer[24]);

#endif
