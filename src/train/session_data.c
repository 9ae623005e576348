/* Opens the data of a training run. */
#include "base/memory.h"
#include "base/status.h"
#include "train/pass.h"
#include "train/session.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- What the net is for ---- */

/* The configured numbers, one for each channel, instead of the data set's own. */
static gp_status override_channels(const char *option, const char *text, float *out, int64_t channels) {
  double numbers[MODEL_MAX_CHANNELS];
  size_t count = 0;
  if (text[0] == '\0') return GP_OK;
  gp_status status = train_parse_numbers(text, numbers, MODEL_MAX_CHANNELS, &count);
  if (status == GP_OK && (int64_t)count != channels)
    status = gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected a number for each of %" PRId64 " channels, found \"%s\"",
                     channels, text);
  for (size_t c = 0; status == GP_OK && c < count; ++c) out[c] = (float)numbers[c];
  return status == GP_OK ? status : gp_fail_in(status, "%s", option);
}

/* The input's size, and how images come to it: resized where they differ in size, or where that is asked for. */
static gp_status choose_sizes(train_session *session) {
  const train_config *config = session->config;
  const data_source_info *data = data_source_get_info(session->train_source);
  model_info *info = &session->info;
  const int64_t usual = data->height > 0 ? data->height : data->crop_size;
  info->height = config->crop_size > 0 ? config->crop_size : usual;
  info->width = config->crop_size > 0 || data->width == 0 ? info->height : data->width;
  info->resize = 0;
  const bool vary = data->height == 0;
  if (!vary && config->resize == 0 && config->crop_area[0] == '\0') return GP_OK;
  const int64_t least = info->height > info->width ? info->height : info->width;
  info->resize = config->resize;
  if (info->resize == 0) info->resize = vary ? llround((double)least * data->resize / data->crop_size) : least;
  if (info->resize < least)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "resize: expected at least the crop's %" PRId64 " pixels, found %" PRId64,
                   least, info->resize);
  if (config->crop_padding > 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "crop-padding: images of %s are resized, and not padded: expected 0",
                   data->dataset);
  return GP_OK;
}

static gp_status describe_model(train_session *session) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  const data_source_info *data = data_source_get_info(session->train_source);
  model_info *info = &session->info;
  info->val_loss = info->val_top1 = info->val_top5 = NAN;
  info->channels = data->channels;
  GP_TRY(choose_sizes(session));
  for (int32_t c = 0; c < data->channels; ++c) {
    info->mean[c] = data->mean[c];
    info->std[c] = data->std[c];
  }
  GP_TRY(override_channels("mean", config->mean, info->mean, info->channels));
  GP_TRY(override_channels("std", config->std, info->std, info->channels));
  snprintf(info->dataset, sizeof info->dataset, "%s", config->dataset);
  snprintf(info->arch, sizeof info->arch, "%s", config->arch);
  snprintf(info->pool, sizeof info->pool, "%s", config->pool);
  GP_TRY(model_info_set_classes(info, data->classes, data->class_names));
cleanup:
  return status;
}

/* The net is built for the training set; the test set must fit it. */
static gp_status check_same_shape(const train_session *session) {
  const data_source_info *train = data_source_get_info(session->train_source);
  const data_source_info *test = data_source_get_info(session->test_source);
  if (train->channels == test->channels && train->height == test->height && train->width == test->width &&
      train->classes == test->classes)
    return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                 "%s: the training set has %" PRId32 "x%" PRId32 "x%" PRId32 " images of %" PRId32
                 " classes, the test set %" PRId32 "x%" PRId32 "x%" PRId32 " of %" PRId32 ": they must be alike",
                 train->dataset, train->channels, train->height, train->width, train->classes, test->channels,
                 test->height, test->width, test->classes);
}

/* ---- Transforms ---- */

/* Two numbers of an option, if it has any. */
static void read_range(const char *text, float out[2]) {
  double numbers[2];
  size_t count = 0;
  if (train_parse_numbers(text, numbers, 2, &count) != GP_OK || count != 2) return;
  out[0] = (float)numbers[0];
  out[1] = (float)numbers[1];
}

static void read_jitter(const char *text, data_transform *transform) {
  double numbers[3];
  size_t count = 0;
  if (train_parse_numbers(text, numbers, 3, &count) != GP_OK || count == 0) return;
  transform->brightness = (float)numbers[0];
  transform->contrast = (float)numbers[count == 3 ? 1 : 0];
  transform->saturation = (float)numbers[count == 3 ? 2 : 0];
}

static data_transform transform_of(const train_session *session, bool train) {
  const model_info *info = &session->info;
  const train_config *config = session->config;
  data_transform transform = {
      .channels = (int32_t)info->channels,
      .height = (int32_t)info->height,
      .width = (int32_t)info->width,
      .resize = (int32_t)info->resize,
      .train = train,
  };
  memcpy(transform.mean, info->mean, sizeof transform.mean);
  memcpy(transform.std, info->std, sizeof transform.std);
  if (!train) return transform;
  transform.padding = (int32_t)config->crop_padding;
  transform.flip = config->flip ? 0.5f : 0.0f;
  transform.exact_decode = config->exact_decode;
  transform.lighting = (float)config->lighting;
  read_range(config->crop_area, transform.area);
  read_range(config->crop_ratio, transform.ratio);
  read_jitter(config->color_jitter, &transform);
  return transform;
}

int64_t train_session_part_size(const train_session *session) {
  return data_share_part_size(&session->ranks.samples, session->config->batch_size, session->config->accumulate);
}

int64_t train_test_batch_size(const train_config *config) {
  return config->test_batch_size > 0 ? config->test_batch_size : config->batch_size;
}

/* FNV-1a over the labels' bytes, lowest first, without the top bit, which JSON's integers keep for the sign. */
static int64_t hash_labels(const data_source *source) {
  uint64_t hash = 0xCBF29CE484222325u;
  const int64_t count = data_source_get_info(source)->count;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t label = (uint32_t)data_source_label(source, i);
    for (unsigned shift = 0; shift < 32; shift += 8) hash = (hash ^ (label >> shift & 0xFF)) * 0x100000001B3u;
  }
  return (int64_t)(hash & INT64_MAX);
}

/* ---- Bad images ---- */

static void report_bad(void *context, const char *name, const char *message) {
  train_session *session = context;
  session->bad_images++;
  const bool named = strstr(message, name) != NULL;
  train_message(session->witness, "bad image %" PRId64 "%s%s left out: %s%s%s", session->bad_images,
                train_ranks_alone(&session->ranks) ? "" : " of ",
                train_ranks_alone(&session->ranks) ? "" : dist_name(session->ranks.comm), named ? "" : name,
                named ? "" : ": ", message);
}

static void report_note(const train_session *session, const data_source *source) {
  const char *note = data_source_get_info(source)->note;
  if (note != NULL) train_message(session->observer, "%s", note);
}

/* ---- All of it ---- */

gp_status train_session_open_sources(train_session *session) {
  gp_status status = GP_OK;
  const train_config *config = session->config;
  data_source_desc source = {.dataset = config->dataset,
                             .dir = config->data[0] != '\0' ? config->data : NULL,
                             .lenient = config->on_bad_image == TRAIN_BAD_IMAGE_SKIP,
                             .side = (int32_t)config->crop_size};
  source.split = DATA_TRAIN;
  GP_TRY(data_source_create(&session->train_source, &source));
  source.split = DATA_TEST;
  status = data_source_create(&session->test_source, &source);
  if (status == GP_ERROR_NOT_FOUND) GP_TRY(gp_fail_in(status, "no test images, which every epoch ends with"));
  GP_TRY(status);
  report_note(session, session->train_source);
  report_note(session, session->test_source);
  GP_TRY(check_same_shape(session));
  GP_TRY(describe_model(session));
cleanup:
  return status;
}

data_loader_desc train_session_loader_desc(const train_session *session, data_split split) {
  const train_config *config = session->config;
  const bool train = split == DATA_TRAIN, skip = config->on_bad_image == TRAIN_BAD_IMAGE_SKIP;
  return (data_loader_desc){.source = train ? session->train_source : session->test_source,
                            .transform = transform_of(session, train),
                            .batch_size = train ? config->batch_size : train_test_batch_size(config),
                            .part_size = train ? train_session_part_size(session) : 0,
                            .share = train ? session->ranks.samples : session->ranks.batches,
                            .shuffle = train,
                            .drop_last = train && config->drop_last,
                            .seed = train ? (uint64_t)config->seed : 0,
                            .bad = !skip   ? DATA_BAD_FAIL
                                   : train ? DATA_BAD_REPLACE
                                           : DATA_BAD_MARK,
                            .workers = (int32_t)config->workers};
}

gp_status train_session_open_loaders(train_session *session) {
  gp_status status = GP_OK;
  data_loader_desc train = train_session_loader_desc(session, DATA_TRAIN);
  data_loader_desc test = train_session_loader_desc(session, DATA_TEST);
  train.report_bad = test.report_bad = report_bad;
  train.context = test.context = session;
  GP_TRY(data_loader_create(&session->train_loader, &train));
  GP_TRY(data_loader_create(&session->test_loader, &test));
  session->batches = data_loader_batches(session->train_loader);
  session->labels = hash_labels(session->train_source);
cleanup:
  return status;
}
