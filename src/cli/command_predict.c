/* gausspool predict */
#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "cli/apply.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/samples.h"
#include "data/decode.h"
#include "data/resize.h"
#include "train/npy.h"
#include "train/plans.h"

#include <math.h>
#include <stdio.h>

enum { BATCH = 64, SHOWN = 5 };

/* Files, or sample numbers of the source: one of the two. */
typedef struct inputs {
  const char *const *files;
  int64_t *samples;
  int64_t count;
  bool wrong; /* the numbers are none of the data set's */
} inputs;

typedef struct predict_config {
  char *model_file, *dataset, *data, *arch, *pool, *logits_out, *samples;
  int64_t threads;
  int precision;
  bool invert, help;
  /* Beyond the options: */
  const char **files; /* the positional arguments */
  int file_count;
  inputs in;
} predict_config;

#define FIELD(name) .offset = offsetof(predict_config, name)
static const option_desc options[] = {
    CLI_OPTION_MODEL_FILE(predict_config),
    CLI_OPTION_MODEL_ARCH(predict_config),
    CLI_OPTION_MODEL_POOL(predict_config),
    {.name = "samples",
     FIELD(samples),
     .type = OPTION_LIST,
     .section = "images",
     .metavar = "I-J,K,…",
     .check = cli_samples_check,
     .help = "numbers of test images of the data set, instead of files, e.g. 0-9,17"},
    CLI_OPTION_DATASET(predict_config, "images", "data set (default: the one the model was trained on)"),
    CLI_OPTION_DATA(predict_config, "images"),
    {.name = "invert",
     FIELD(invert),
     .type = OPTION_BOOL,
     .section = "images",
     .help = "swap black and white of image files"},
    CLI_OPTION_LOGITS_OUT(predict_config, "write the raw scores as a NumPy array [images][classes]"),
    CLI_OPTION_PRECISION(predict_config),
    CLI_OPTION_THREADS(predict_config),
    CLI_OPTION_HELP(predict_config),
};
static const option_table table = {options, sizeof options / sizeof *options};

typedef struct predictor {
  const predict_config *config;
  cli_model model;
  train_plans plans;
  data_augmenter augmenter;
  data_sample sample;
  data_image fitted;
  float *images; /* [BATCH or less][c][h][w] */
  float *logits; /* [count][classes] */
} predictor;

/* ---- Images ---- */

static void invert(data_image *image) {
  const size_t bytes = (size_t)image->height * (size_t)image->width * (size_t)image->channels;
  for (size_t i = 0; i < bytes; ++i) image->pixels[i] = (uint8_t)(255 - image->pixels[i]);
}

/* As a test image of the data set, where these differ in size; else scaled so that it covers the net's input. */
static gp_status read_file(predictor *p, const char *path, float *dst) {
  gp_status status = GP_OK;
  const data_transform *transform = &p->augmenter.transform;
  data_image *image = &p->sample.image;
  GP_TRY(data_decode_file(image, path, &(data_decode_desc){.channels = transform->channels}));
  if (p->config->invert) invert(image);
  p->sample.encoded = false;
  if (transform->resize > 0) {
    GP_TRY(data_augmenter_run(&p->augmenter, &p->sample, NULL, dst));
  } else {
    GP_TRY(data_fit(&p->fitted, image, transform->height, transform->width));
    GP_TRY(data_augmenter_apply(&p->augmenter, &p->fitted, NULL, dst));
  }
cleanup:
  return status;
}

static gp_status read_sample(predictor *p, int64_t index, float *dst) {
  gp_status status = data_source_fetch(p->model.source, index, &p->sample);
  return status == GP_OK ? data_augmenter_run(&p->augmenter, &p->sample, NULL, dst) : status;
}

/* ---- Net ---- */

static gp_status run_batch(predictor *p, const inputs *in, int64_t first, int64_t count) {
  gp_status status = GP_OK;
  const model_info *info = &p->model.info;
  const int64_t pixels = info->channels * info->height * info->width;
  nn_plan *plan = NULL;
  for (int64_t i = 0; i < count; ++i) {
    float *dst = p->images + i * pixels;
    GP_TRY(in->files != NULL ? read_file(p, in->files[first + i], dst) : read_sample(p, in->samples[first + i], dst));
  }
  GP_TRY(train_plans_get(&p->plans, count, &plan));
  GP_TRY(nn_plan_forward(plan, p->images, NULL, &(nn_step_desc){0}));
  const float *logits = nn_plan_logits(plan);
  for (int64_t i = 0; i < count * info->classes; ++i) p->logits[first * info->classes + i] = logits[i];
cleanup:
  return status;
}

static gp_status run_all(predictor *p, const inputs *in) {
  gp_status status = GP_OK;
  const model_info *info = &p->model.info;
  const data_transform transform = cli_model_transform(&p->model);
  const int64_t batch = in->count < BATCH ? in->count : BATCH;
  GP_TRY(data_augmenter_init(&p->augmenter, &transform));
  GP_TRY(GP_ALLOC(&p->images, (size_t)(batch * info->channels * info->height * info->width)));
  GP_TRY(GP_ALLOC(&p->logits, (size_t)(in->count * info->classes)));
  GP_TRY(train_plans_create(&p->plans, p->model.net,
                            &(train_plans_desc){.mode = NN_INFER, .batch = batch, .samples = in->count}));
  for (int64_t first = 0; first < in->count; first += batch)
    GP_TRY(run_batch(p, in, first, in->count - first < batch ? in->count - first : batch));
cleanup:
  return status;
}

/* ---- Output ---- */

/* The k-th best class after those already taken: ties go to the lower number. */
static int64_t next_best(const float *logits, int64_t classes, const int64_t *taken, int64_t count) {
  int64_t best = -1;
  for (int64_t c = 0; c < classes; ++c) {
    bool used = false;
    for (int64_t t = 0; t < count; ++t) used = used || taken[t] == c;
    if (!used && (best < 0 || logits[c] > logits[best])) best = c;
  }
  return best;
}

static void print_prediction(const predictor *p, const inputs *in, int64_t i) {
  const model_info *info = &p->model.info;
  const float *logits = p->logits + i * info->classes;
  const int64_t shown = info->classes < SHOWN ? info->classes : SHOWN;
  int64_t taken[SHOWN];
  char name[DATA_NAME_SIZE], number[24];
  double sum = 0;
  for (int64_t k = 0; k < shown; ++k) taken[k] = next_best(logits, info->classes, taken, k);
  for (int64_t c = 0; c < info->classes; ++c) sum += exp((double)(logits[c] - logits[taken[0]]));
  if (in->files == NULL) data_source_name(p->model.source, in->samples[i], name, sizeof name);
  printf("%s: ", in->files != NULL ? in->files[i] : name);
  for (int64_t k = 0; k < shown; ++k)
    printf("%s%s %.1f %%", k > 0 ? ", " : "", cli_class_name(info, taken[k], number),
           100 * exp((double)(logits[taken[k]] - logits[taken[0]])) / sum);
  if (in->files == NULL) {
    const int32_t label = data_source_label(p->model.source, in->samples[i]);
    printf(" (%s: %s)", label == taken[0] ? "right" : "wrong, it is", cli_class_name(info, label, number));
  }
  putchar('\n');
}

static gp_status predict(void *opaque) {
  predict_config *config = opaque;
  inputs *in = &config->in;
  gp_status status = GP_OK;
  predictor p = {.config = config};
  if (config->threads > 0) gp_set_max_threads((int32_t)config->threads);
  if (config->file_count > 0) {
    in->files = config->files;
    in->count = config->file_count;
  }
  GP_TRY(cli_model_open(&p.model, &(cli_model_desc){.path = config->model_file,
                                                    .arch = config->arch,
                                                    .pool = config->pool,
                                                    .dataset = config->dataset,
                                                    .data = config->data,
                                                    .open_source = in->files == NULL,
                                                    .batch = BATCH,
                                                    .precision = (nn_precision)config->precision}));
  if (in->files == NULL) {
    status = cli_samples_parse(config->samples, data_source_get_info(p.model.source)->count, &in->samples, &in->count);
    in->wrong = status == GP_ERROR_INVALID_ARGUMENT;
    GP_TRY(status);
  }
  GP_TRY(cli_check_output(config->logits_out));
  GP_TRY(run_all(&p, in));
  for (int64_t i = 0; i < in->count; ++i) print_prediction(&p, in, i);
  if (config->logits_out[0] != '\0')
    GP_TRY(npy_write_float32(config->logits_out, p.logits, in->count, p.model.info.classes));
cleanup:
  train_plans_clear(&p.plans);
  cli_model_close(&p.model);
  data_sample_free(&p.sample);
  data_image_free(&p.fitted);
  gp_free(p.images);
  gp_free(p.logits);
  return status;
}

static gp_status check(void *opaque) {
  const predict_config *config = opaque;
  const bool files = config->file_count > 0;
  if (config->model_file[0] == '\0')
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "predict: expected --model-file FILE, found none");
  if (files == (config->samples[0] != '\0'))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "predict: expected image files or --samples, found %s",
                   files ? "both" : "neither");
  if (files && (config->dataset[0] != '\0' || config->data[0] != '\0'))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "predict: expected --%s with --samples, found it with image files",
                   config->dataset[0] != '\0' ? "dataset" : "data");
  return cli_check_names(config->arch, config->pool, config->dataset);
}

int command_predict(const cli_command *command, int argc, char *const argv[]) {
  predict_config config = {0};
  gp_status status = GP_ALLOC(&config.files, (size_t)argc + 1);
  if (status != GP_OK) return cli_fail(status);
  const cli_course course = {.table = &table,
                             .config = &config,
                             .help = &config.help,
                             .positionals = config.files,
                             .positional_count = &config.file_count,
                             .check = check,
                             .run = predict,
                             .wrong_usage = &config.in.wrong};
  const int code = cli_run(command, &course, argc, argv);
  gp_free(config.in.samples);
  gp_free(config.files);
  return code;
}
