/* The configuration of a training run, its option table, and recipes: INI files of its values.
 * Precedence: default < recipe < command line. Names and defaults follow PyTorch's where it has them. */
#ifndef GP_TRAIN_RECIPE_H
#define GP_TRAIN_RECIPE_H

#include "nn/nn.h"
#include "train/option.h"

typedef enum train_schedule_kind {
  TRAIN_SCHEDULE_LIST = 0, /* lr-list: a rate for each run of epochs */
  TRAIN_SCHEDULE_STEP,     /* lr · lr-gamma^floor(epoch / lr-step-size), torch's StepLR */
  TRAIN_SCHEDULE_COSINE,   /* half a cosine from lr to lr-min over all steps after warm-up */
} train_schedule_kind;

typedef enum train_bad_image { TRAIN_BAD_IMAGE_FAIL = 0, TRAIN_BAD_IMAGE_SKIP } train_bad_image;

typedef enum train_device { TRAIN_DEVICE_CPU = 0 } train_device;

/* Strings are owned by the config, never NULL after train_config_init(). */
typedef struct train_config {
  /* data */
  char *dataset; /* fashion-mnist, … */
  char *data;    /* folder; "" means the data set's usual place */
  bool drop_last;
  int64_t crop_size;            /* side of the net's input; 0: the data set's own */
  int64_t resize;               /* shorter side of test images before the crop; 0: the data set's own */
  char *crop_area, *crop_ratio; /* of the random part: least and most, of the image's area, width / height */
  int64_t crop_padding;         /* pixels; 0: no random crop */
  bool flip;
  char *color_jitter; /* brightness, contrast, saturation: how much they change; or one number for all */
  double lighting;    /* standard deviation of the noise along the colours' principal components */
  bool exact_decode;  /* training images are always decoded at full size */
  train_bad_image on_bad_image;
  char *mean, *std; /* a number per channel, comma-separated, pixel scale 0…1; "" means the data set's own */

  /* net */
  char *arch, *pool;
  bool zero_init_residual;
  nn_precision precision;

  /* ranks: processes that a launcher has started to train as one */
  bool sync_bn;                  /* batch norms take the statistics of the whole batch, not of the rank's share */
  nn_precision reduce_precision; /* in which gradients go between ranks */
  int64_t bucket_size;           /* KiB of gradients that are added up at once; 0: chosen */
  int64_t rank_timeout;          /* seconds without an answer; 0: for ever */

  /* optimizer */
  int64_t batch_size, test_batch_size; /* test_batch_size 0: as batch_size */
  int64_t accumulate;                  /* parts into which a batch is cut, for the memory; divides batch_size */
  int64_t accumulate_ranks; /* no option: the ranks of the run whose checkpoint `accumulate` is from; 0: from none */
  double lr, momentum, weight_decay, label_smoothing;
  bool decay_norm_bias; /* weight decay acts on biases and batch norms' weights too */
  double ema_decay;     /* of a running average of the weights, which is what is tested; 0: none */
  bool nesterov;

  /* schedule */
  int64_t epochs;
  int64_t max_steps; /* stop after so many steps in all; 0: no limit. Does not stretch the schedule */
  train_schedule_kind schedule;
  char *lr_list; /* "0.1x30, 0.01x30, 0.001": a rate and for how many epochs; the last may leave out the epochs */
  int64_t lr_step_size;
  double lr_gamma, lr_min;
  double warmup_epochs; /* may be fractional */
  double warmup_start;  /* factor on the rate at step 0 */

  /* run */
  int64_t seed;
  char *config_name; /* a recipe's name or path; "" means the data set's name; "none": no recipe */
  char *out_dir;
  char *resume;     /* checkpoint to continue from, or "" */
  char *pretrained; /* file with weights to begin with, or "" */
  bool evaluate;
  int64_t start_epoch;       /* -1: where the checkpoint stopped, else 0-based */
  int64_t workers, threads;  /* threads 0: as many as the machine has */
  int64_t print_freq;        /* steps between lines; 0: none */
  int64_t memory_limit;      /* MiB; 0: none. Batches are taken in as many parts as it takes */
  bool space_check;          /* refuse what memory and disk have no room for */
  bool profile;              /* measure the layers' times */
  bool tensorboard;          /* write event files too */
  int64_t checkpoint_every;  /* steps between checkpoints in mid-epoch; 0: only at the end of each epoch */
  bool save_last_checkpoint; /* keep one checkpoint rather than one for each epoch */
  char *pdf_filename;        /* file name of the curves, in out_dir; .png, .dat and .gp lie beside it */
  train_device device;
  bool help;
} train_config;

extern const option_table train_option_table;

/* Reads comma-separated numbers ("0.485, 0.456, 0.406"), at most `capacity`; "" gives none. */
GP_NODISCARD gp_status train_parse_numbers(const char *text, double *numbers, size_t capacity, size_t *count);

/* Every default. *config need not be initialised before. */
GP_NODISCARD gp_status train_config_init(train_config *config);
void train_config_clear(train_config *config);

/* Checks what one option alone cannot show, e.g. that lr-list covers the epochs. */
GP_NODISCARD gp_status train_config_check(const train_config *config);

/* Defaults, then the recipe that argv or the data set names, then argv. *config need not be initialised before, and
 * must be cleared afterwards in every case. `recipe_path`, when not NULL, gets the recipe's path ("" if none was
 * read; gp_free() it). With --help in argv no recipe is read. Does not call train_config_check(), since a resumed
 * run still lays the checkpoint's values in between: options_from_json(), then options_parse() of argv again. */
GP_NODISCARD gp_status train_config_load(train_config *config, int argc, char *const argv[], char **recipe_path);

/* Finds a recipe: `name` itself if it has a slash or ends in .ini. Else configs/NAME.ini here, then in the source tree
 * if the program runs from a build folder inside it, then in the share folder beside the program's bin folder, then in
 * the share folder it was configured for. *path is for gp_free(). GP_ERROR_NOT_FOUND names the places searched. */
GP_NODISCARD gp_status train_recipe_find(const char *name, char **path);

/* Sets what the file says. Errors name file and line, and what was expected and found. Unknown sections and keys,
 * duplicate keys and over-long lines are errors. */
GP_NODISCARD gp_status train_recipe_read(train_config *config, const char *path);

/* As train_recipe_read() from memory; `name` stands for the path in messages. */
GP_NODISCARD gp_status train_recipe_parse(train_config *config, const char *text, size_t bytes, const char *name);

/* Writes the configuration as a recipe that would repeat the run; replaces the file atomically. */
GP_NODISCARD gp_status train_recipe_write(const train_config *config, const char *path);

#endif
