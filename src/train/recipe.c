#include "train/recipe.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/curves.h"
#include "train/schedule.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHANNELS = 16 };

/* Fields are set through pointers to int. */
_Static_assert(sizeof(train_schedule_kind) == sizeof(int) && sizeof(train_device) == sizeof(int) &&
                   sizeof(train_bad_image) == sizeof(int) && sizeof(nn_precision) == sizeof(int),
               "a choice is stored as an int");

/* ---- Checks of single values ---- */

gp_status train_parse_numbers(const char *text, double *numbers, size_t capacity, size_t *count) {
  *count = 0;
  const char *at = text + strspn(text, " \t");
  while (*at != '\0') {
    char *end = NULL;
    double value = strtod(at, &end);
    size_t gap = strspn(end, " \t");
    bool comma = end[gap] == ',';
    if (end == at || !isfinite(value) || (!comma && end[gap] != '\0') || (comma && end[gap + 1] == '\0'))
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected numbers with commas between, found \"%s\"", text);
    if (*count == capacity)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected at most %zu numbers, found more: \"%s\"", capacity, text);
    numbers[(*count)++] = value;
    at = end + gap + comma;
  }
  return GP_OK;
}

static gp_status check_numbers(const char *text) {
  double numbers[MAX_CHANNELS];
  size_t count = 0;
  return train_parse_numbers(text, numbers, MAX_CHANNELS, &count);
}

static gp_status check_positive_numbers(const char *text) {
  double numbers[MAX_CHANNELS];
  size_t count = 0;
  gp_status status = train_parse_numbers(text, numbers, MAX_CHANNELS, &count);
  for (size_t i = 0; status == GP_OK && i < count; ++i)
    if (numbers[i] <= 0) status = gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected numbers above 0, found \"%s\"", text);
  return status;
}

static gp_status check_range(const char *text) {
  double numbers[2];
  size_t count = 0;
  gp_status status = train_parse_numbers(text, numbers, 2, &count);
  if (status != GP_OK || count == 0) return status;
  if (count == 2 && numbers[0] > 0 && numbers[0] <= numbers[1]) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected two numbers above 0, the lesser first, found \"%s\"", text);
}

static gp_status check_jitter(const char *text) {
  double numbers[3];
  size_t count = 0;
  gp_status status = train_parse_numbers(text, numbers, 3, &count);
  if (status != GP_OK) return status;
  bool good = count != 2;
  for (size_t i = 0; i < count; ++i) good = good && numbers[i] >= 0 && numbers[i] <= 1;
  if (good) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected one number or three from 0 to 1, found \"%s\"", text);
}

static gp_status check_not_empty(const char *text) {
  if (text[0] != '\0') return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected a value, found \"\"");
}

/* ---- The table ---- */

#define NO_LIMIT 0x1p63

/* What is common to the lines of a kind: OPTION_BOOL, … is followed by flags, section, name, field. */
#define ENTRY(option_kind, section_name, option_flags, option_name, field)                          \
  .name = (option_name), .type = (option_kind), .flags = (option_flags), .section = (section_name), \
  .offset = offsetof(train_config, field)
#define RECIPE     OPTION_RECIPE
#define RECIPE_RUN (OPTION_RECIPE | OPTION_RUN)
#define RUN        OPTION_RUN

static const option_desc options[] = {
    {ENTRY(OPTION_STRING, "data", RECIPE, "dataset", dataset), .metavar = "NAME", .default_text = "fashion-mnist",
     .check = check_not_empty, .help = "data set; its name is also the default of --config-name"},
    {ENTRY(OPTION_PATH, "data", RUN, "data", data), .metavar = "DIR",
     .help = "folder of the data set; without it, the place where the data set's package puts it"},
    {ENTRY(OPTION_BOOL, "data", RECIPE, "drop-last", drop_last), .default_text = "no",
     .help = "leave out the last training batch of an epoch if it is not full"},
    {ENTRY(OPTION_INT64, "data", RECIPE, "crop-size", crop_size), .metavar = "PIXELS", .default_text = "0", .max = 4096,
     .help = "side of the net's input; 0: the data set's own, for imagenet 224"},
    {ENTRY(OPTION_INT64, "data", RECIPE, "resize", resize), .metavar = "PIXELS", .default_text = "0", .max = 8192,
     .help = "shorter side of test images before the middle is cut out; 0: the data set's own, for imagenet 256 at\n"
             "crop size 224 and in proportion at others"},
    {ENTRY(OPTION_LIST, "data", RECIPE, "crop-area", crop_area), .metavar = "X,Y", .check = check_range,
     .help = "random resized crop of training images: least and most of the image's area; without it, 0.08,1 where\n"
             "images differ in size, and no such crop elsewhere"},
    {ENTRY(OPTION_LIST, "data", RECIPE, "crop-ratio", crop_ratio), .metavar = "X,Y", .check = check_range,
     .help = "least and most of the crop's width / height; without it, 3/4 and 4/3"},
    {ENTRY(OPTION_INT64, "data", RECIPE, "crop-padding", crop_padding), .metavar = "PIXELS", .default_text = "0",
     .max = 1024, .help = "pad training images on each side and crop at random back to size; 0: do not"},
    {ENTRY(OPTION_BOOL, "data", RECIPE, "flip", flip), .default_text = "no",
     .help = "mirror training images with probability 1/2"},
    {ENTRY(OPTION_LIST, "data", RECIPE, "color-jitter", color_jitter), .metavar = "X,…", .check = check_jitter,
     .help = "change brightness, contrast and saturation of training images by up to so much, in random order; one\n"
             "number for all three, e.g. 0.4, or three"},
    {ENTRY(OPTION_DOUBLE, "data", RECIPE, "lighting", lighting), .metavar = "X", .default_text = "0", .max = 1,
     .help = "standard deviation of noise along the principal components of ImageNet's colours, in training"},
    {ENTRY(OPTION_BOOL, "data", RECIPE, "exact-decode", exact_decode), .default_text = "no",
     .help = "decode training JPEGs at full size even where 1/2, 1/4 or 1/8 is still as large as the crop becomes\n"
             "(that is 1 to 2 grey levels off in the mean)"},
    {ENTRY(OPTION_CHOICE, "data", RECIPE, "on-bad-image", on_bad_image), .choices = "fail|skip", .default_text = "fail",
     .help = "what to do about an image that cannot be read: stop, or go on without it and say so (in training\n"
             "another takes its place)"},
    {ENTRY(OPTION_LIST, "data", RECIPE, "mean", mean), .metavar = "X,…", .check = check_numbers,
     .help = "subtract per channel, pixels scaled to 0…1; without it, the data set's own"},
    {ENTRY(OPTION_LIST, "data", RECIPE, "std", std), .metavar = "X,…", .check = check_positive_numbers,
     .help = "divide by per channel; without it, the data set's own"},

    {ENTRY(OPTION_STRING, "net", RECIPE, "arch", arch), .metavar = "NAME", .default_text = "resnet20",
     .check = check_not_empty, .help = "net; `gausspool info --list` names them"},
    {ENTRY(OPTION_STRING, "net", RECIPE, "pool", pool), .metavar = "NAME", .default_text = "gauss_CN",
     .check = check_not_empty, .help = "pooling, e.g. skip, max, avg, gauss_CN, gauss_HWCN"},
    {ENTRY(OPTION_BOOL, "net", RECIPE, "zero-init-residual", zero_init_residual), .default_text = "no",
     .help = "start each residual block's last batch norm with weight 0"},
    {ENTRY(OPTION_CHOICE, "net", RECIPE, "precision", precision), .choices = NN_PRECISION_NAMES,
     .default_text = "float32",
     .help = "of activations and convolutions; bfloat16 takes half the memory; weights are float32 with either"},

    {ENTRY(OPTION_INT64, "optimizer", RECIPE, "batch-size", batch_size), .metavar = "N", .default_text = "256",
     .min = 1, .max = 1 << 20, .help = "images per training step, over all devices"},
    {ENTRY(OPTION_INT64, "optimizer", RECIPE, "test-batch-size", test_batch_size), .metavar = "N", .default_text = "0",
     .max = 1 << 20, .help = "images per batch in tests; 0: as --batch-size"},
    {ENTRY(OPTION_INT64, "optimizer", RECIPE, "accumulate", accumulate), .metavar = "N", .default_text = "1", .min = 1,
     .max = 1 << 20,
     .help = "take a batch in N parts whose gradients are added up, for less memory; batch norm then sees a part"},
    {ENTRY(OPTION_DOUBLE, "optimizer", RECIPE, "lr", lr), .metavar = "X", .default_text = "0.1", .max = 1e6,
     .help = "learning rate of the schedules step and cosine"},
    {ENTRY(OPTION_DOUBLE, "optimizer", RECIPE, "momentum", momentum), .metavar = "X", .default_text = "0.9", .max = 1,
     .help = "momentum of SGD"},
    {ENTRY(OPTION_BOOL, "optimizer", RECIPE, "nesterov", nesterov), .default_text = "no",
     .help = "Nesterov's form of momentum"},
    {ENTRY(OPTION_DOUBLE, "optimizer", RECIPE, "weight-decay", weight_decay), .metavar = "X", .default_text = "0.0001",
     .max = 1e6, .help = "weight decay"},
    {ENTRY(OPTION_BOOL, "optimizer", RECIPE, "decay-norm-bias", decay_norm_bias), .default_text = "yes",
     .help = "weight decay acts on every parameter; no: not on biases and batch norms' weights"},
    {ENTRY(OPTION_DOUBLE, "optimizer", RECIPE, "ema-decay", ema_decay), .metavar = "X", .default_text = "0",
     .max = 0.999999999,
     .help = "test and keep a running average of the weights, begun after warm-up: share that stays at each step, e.g. "
             "0.9999; 0: none"},
    {ENTRY(OPTION_DOUBLE, "optimizer", RECIPE, "label-smoothing", label_smoothing), .metavar = "X", .default_text = "0",
     .max = 0.999, .help = "share of the target spread over all classes"},

    {ENTRY(OPTION_BOOL, "ranks", RECIPE, "sync-bn", sync_bn), .default_text = "no",
     .help = "under mpirun: batch norms take the statistics of the whole batch, not of each rank's share of it"},
    {ENTRY(OPTION_CHOICE, "ranks", RECIPE, "reduce-precision", reduce_precision), .choices = NN_PRECISION_NAMES,
     .default_text = "float32", .help = "how gradients go between ranks; bfloat16: half the bytes, rounded to 8 bits"},
    {ENTRY(OPTION_INT64, "ranks", RECIPE_RUN, "bucket-size", bucket_size), .metavar = "KIB", .default_text = "0",
     .max = 1 << 20,
     .help = "gradients that go between ranks at once, while others are computed; 0: 4096, at most a fourth of them"},
    {ENTRY(OPTION_INT64, "ranks", RECIPE_RUN, "rank-timeout", rank_timeout), .metavar = "SECONDS", .default_text = "45",
     .max = 1000000,
     .help = "end the run when the other ranks have not answered for so long, waiting for data included (at the\n"
             "start, for an epoch's first batch, and while a checkpoint is written, 20 times as long); 0: never"},

    {ENTRY(OPTION_INT64, "schedule", RECIPE, "epochs", epochs), .metavar = "N", .default_text = "90", .min = 1,
     .max = 1000000, .help = "passes over the training set"},
    {ENTRY(OPTION_INT64, "schedule", RECIPE_RUN, "max-steps", max_steps), .metavar = "N", .default_text = "0",
     .max = NO_LIMIT, .help = "stop after this many steps in all; the schedule stays that of --epochs; 0: no limit"},
    {ENTRY(OPTION_CHOICE, "schedule", RECIPE, "schedule", schedule), .choices = "list|step|cosine",
     .default_text = "step", .help = "how the learning rate goes"},
    {ENTRY(OPTION_LIST, "schedule", RECIPE, "lr-list", lr_list), .metavar = "XxN,…", .check = train_schedule_check_list,
     .help = "list: a rate and its number of epochs, e.g. 0.1x30,0.01x30,0.001; the last may leave the number out"},
    {ENTRY(OPTION_INT64, "schedule", RECIPE, "lr-step-size", lr_step_size), .metavar = "N", .default_text = "30",
     .min = 1, .max = 1000000, .help = "step: epochs at one rate"},
    {ENTRY(OPTION_DOUBLE, "schedule", RECIPE, "lr-gamma", lr_gamma), .metavar = "X", .default_text = "0.1", .max = 1e6,
     .help = "step: factor on the rate after each of them"},
    {ENTRY(OPTION_DOUBLE, "schedule", RECIPE, "lr-min", lr_min), .metavar = "X", .default_text = "0", .max = 1e6,
     .help = "cosine: the rate at the end"},
    {ENTRY(OPTION_DOUBLE, "schedule", RECIPE, "warmup-epochs", warmup_epochs), .metavar = "X", .default_text = "0",
     .max = 1000000, .help = "epochs, or a fraction of one, in which the rate rises linearly"},
    {ENTRY(OPTION_DOUBLE, "schedule", RECIPE, "warmup-start", warmup_start), .metavar = "X", .default_text = "0",
     .max = 1, .help = "factor on the rate at the first step of warm-up"},

    {ENTRY(OPTION_INT64, "run", RECIPE, "seed", seed), .metavar = "N", .default_text = "0", .max = NO_LIMIT,
     .help = "of initial parameters, order of images, augmentation and draws of the pooling"},
    {ENTRY(OPTION_STRING, "run", RUN, "config-name", config_name), .metavar = "NAME",
     .help = "recipe: a file's path, or NAME for configs/NAME.ini; none: no recipe (default: the data set's name)"},
    {ENTRY(OPTION_PATH, "run", RUN, "out-dir", out_dir), .metavar = "DIR", .default_text = "out",
     .check = check_not_empty, .help = "folder for log, curves and checkpoints; created if need be"},
    {ENTRY(OPTION_PATH, "run", RUN, "resume", resume), .metavar = "FILE", .check = check_not_empty,
     .help = "continue from a checkpoint, or from the newest one in a folder, with its configuration"},
    {ENTRY(OPTION_PATH, "run", RUN, "pretrained", pretrained), .metavar = "FILE", .check = check_not_empty,
     .help = "begin with the weights in this file that have the net's names and shapes (not with --resume)"},
    {ENTRY(OPTION_BOOL, "run", RUN, "evaluate", evaluate), .help = "only test, do not train"},
    {ENTRY(OPTION_INT64, "run", RUN, "start-epoch", start_epoch), .metavar = "N", .default_text = "-1", .min = -1,
     .max = 1000000, .help = "epoch to begin with, counted from 0; -1: where the checkpoint stopped"},
    {ENTRY(OPTION_INT64, "run", RECIPE_RUN, "workers", workers), .metavar = "N", .default_text = "2", .min = 0,
     .max = 256,
     .help = "threads that read and augment images; 0: the computing one does; the result does not depend on it"},
    {ENTRY(OPTION_INT64, "run", RECIPE_RUN, "threads", threads), .metavar = "N", .default_text = "0", .max = 4096,
     .help = "threads that compute; 0: as the machine has"},
    {ENTRY(OPTION_INT64, "run", RECIPE_RUN, "print-freq", print_freq), .metavar = "N", .default_text = "50",
     .max = 1000000000,
     .help = "steps between lines of progress (counted in each epoch) and of log.jsonl (over the run); 0: none"},
    {ENTRY(OPTION_INT64, "run", RECIPE_RUN, "memory-limit", memory_limit), .metavar = "MIB", .default_text = "0",
     .max = INT64_C(1) << 40,
     .help = "take batches in as many parts (--accumulate) as keep the run below this; 0: no limit"},
    {ENTRY(OPTION_BOOL, "run", RECIPE_RUN, "space-check", space_check), .default_text = "yes",
     .help = "do not begin what memory or disk have no room for; no: only say what will be needed"},
    {ENTRY(OPTION_BOOL, "run", RECIPE_RUN, "tensorboard", tensorboard), .default_text = "no",
     .help = "write the log for TensorBoard too: events.out.tfevents.* in the out folder"},
    {ENTRY(OPTION_BOOL, "run", RUN, "profile", profile), .default_text = "no",
     .help = "write a table of the layers' times, GFLOP/s and GB/s in training, profile.txt in the out folder"},
    {ENTRY(OPTION_INT64, "run", RECIPE_RUN, "checkpoint-every", checkpoint_every), .metavar = "N", .default_text = "0",
     .max = NO_LIMIT, .help = "steps between checkpoints in mid-epoch; 0: only at the end of each epoch"},
    {ENTRY(OPTION_BOOL, "run", RECIPE_RUN, "save-last-checkpoint", save_last_checkpoint), .default_text = "no",
     .help = "keep only the last checkpoint, not one for each epoch"},
    {ENTRY(OPTION_STRING, "run", RECIPE_RUN, "pdf-filename", pdf_filename), .metavar = "FILE",
     .default_text = "train_epochs.pdf", .check = train_curves_check_filename,
     .help = "file name of the curves in the out folder; the same with .png, .dat and .gp lie beside"},
    {ENTRY(OPTION_CHOICE, "run", RUN, "device", device), .choices = "cpu", .default_text = "cpu",
     .help = "what computes"},
    {ENTRY(OPTION_BOOL, "run", OPTION_RUN | OPTION_ASK, "help", help), .short_name = 'h',
     .help = "print this and exit"},
};

const option_table train_option_table = {options, sizeof options / sizeof *options};

/* ---- A config ---- */

gp_status train_config_init(train_config *config) {
  memset(config, 0, sizeof *config);
  return options_init(&train_option_table, config);
}

void train_config_clear(train_config *config) { options_clear(&train_option_table, config); }

gp_status train_config_check(const train_config *config) {
  train_schedule schedule;
  gp_status status = train_schedule_init(&schedule, config, 1);
  if (status != GP_OK) return status;
  if (config->nesterov && config->momentum <= 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "nesterov: expected a momentum above 0, found %g", config->momentum);
  if (config->pretrained[0] != '\0' && config->evaluate)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "pretrained: expected it for a training, found --evaluate");
  if (config->batch_size % config->accumulate != 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "accumulate: expected a divisor of the batch size %lld, found %lld",
                   (long long)config->batch_size, (long long)config->accumulate);
  if (config->warmup_epochs > (double)config->epochs)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "warmup-epochs: expected at most the %lld epochs, found %g",
                   (long long)config->epochs, config->warmup_epochs);
  if (config->start_epoch > config->epochs)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "start-epoch: expected at most the %lld epochs, found %lld",
                   (long long)config->epochs, (long long)config->start_epoch);
  if (config->schedule == TRAIN_SCHEDULE_COSINE && config->lr_min > config->lr)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "lr-min: expected at most lr, %g, found %g", config->lr, config->lr_min);
  return GP_OK;
}

static gp_status find_named(const train_config *config, char **path) {
  *path = NULL;
  if (strcmp(config->config_name, "none") == 0) return gp_strdup(path, "");
  if (config->config_name[0] != '\0') return train_recipe_find(config->config_name, path);
  gp_status status = train_recipe_find(config->dataset, path);
  /* Nobody asked for a recipe, so that a data set without one is fine. */
  return status == GP_ERROR_NOT_FOUND ? gp_strdup(path, "") : status;
}

gp_status train_config_load(train_config *config, int argc, char *const argv[], char **recipe_path) {
  gp_status status = GP_OK;
  char *path = NULL;
  if (recipe_path != NULL) *recipe_path = NULL;
  GP_TRY(train_config_init(config));
  /* Once for the recipe's name, and once more for what overrides it. */
  GP_TRY(options_parse(&train_option_table, config, argc, argv, NULL, NULL));
  if (config->help) goto cleanup;
  GP_TRY(find_named(config, &path));
  if (path[0] != '\0') {
    GP_TRY(options_init(&train_option_table, config));
    GP_TRY(train_recipe_read(config, path));
    GP_TRY(options_parse(&train_option_table, config, argc, argv, NULL, NULL));
  }
  if (recipe_path != NULL) {
    *recipe_path = path;
    path = NULL;
  }
cleanup:
  gp_free(path);
  return status;
}
