#include "cli/apply.h"

#include "base/status.h"
#include "cli/cli.h"
#include "models/models.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static gp_status check_asked_net(const model_info *info, const cli_model_desc *desc) {
  const bool same = (desc->arch[0] == '\0' || strcmp(desc->arch, info->arch) == 0) &&
                    (desc->pool[0] == '\0' || strcmp(model_pool_plain_name(desc->pool), info->pool) == 0);
  if (same) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s is of %s with %s, not of %s with %s as asked for", desc->path,
                 info->arch, info->pool, desc->arch[0] != '\0' ? desc->arch : info->arch,
                 desc->pool[0] != '\0' ? desc->pool : info->pool);
}

static gp_status open_source(cli_model *model, const cli_model_desc *desc, const char *dataset) {
  return data_source_create(&model->source,
                            &(data_source_desc){.dataset = dataset,
                                                .dir = desc->data[0] != '\0' ? desc->data : NULL,
                                                .split = DATA_TEST,
                                                .lenient = desc->skip_bad,
                                                .class_names = (const char *const *)model->info.class_names,
                                                .classes = (int32_t)model->info.classes,
                                                .side = (int32_t)model->info.height});
}

/* A plain state dict: its net is what the caller says, its images are those of the data set. */
static gp_status describe_plain(cli_model *model, const cli_model_desc *desc) {
  gp_status status = GP_OK;
  model_info *info = &model->info;
  if (desc->arch[0] == '\0' || desc->pool[0] == '\0' || desc->dataset[0] == '\0')
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "%s does not say what net it is of (no gausspool metadata): expected --arch, --pool and --dataset",
                   desc->path));
  GP_TRY(open_source(model, desc, desc->dataset));
  const data_source_info *data = data_source_get_info(model->source);
  const bool vary = data->height == 0;
  *info = (model_info){.channels = data->channels,
                       .height = vary ? data->crop_size : data->height,
                       .width = vary ? data->crop_size : data->width,
                       .resize = data->resize};
  info->val_loss = info->val_top1 = info->val_top5 = NAN;
  snprintf(info->arch, sizeof info->arch, "%s", desc->arch);
  snprintf(info->pool, sizeof info->pool, "%s", model_pool_plain_name(desc->pool));
  snprintf(info->dataset, sizeof info->dataset, "%s", desc->dataset);
  memcpy(info->mean, data->mean, sizeof info->mean);
  memcpy(info->std, data->std, sizeof info->std);
  GP_TRY(model_info_set_classes(info, data->classes, data->class_names));
cleanup:
  return status;
}

static gp_status check_data(const cli_model *model, const char *path) {
  const model_info *info = &model->info;
  const data_source_info *data = data_source_get_info(model->source);
  const bool sized = info->resize > 0 || (data->height == info->height && data->width == info->width);
  if (data->classes == info->classes && data->channels == info->channels && sized) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                 "%s is of %" PRId64 " classes and %" PRId64 "x%" PRId64 "x%" PRId64
                 " images (%s); data set %s has %d classes and %dx%dx%d images",
                 path, info->classes, info->channels, info->height, info->width, info->dataset, data->dataset,
                 data->classes, data->channels, data->height, data->width);
}

gp_status cli_model_open(cli_model *model, const cli_model_desc *desc) {
  gp_status status = GP_OK;
  model_file *file = NULL;
  GP_TRY(model_file_open(&file, desc->path));
  if (model_file_info(file)->arch[0] == '\0') {
    GP_TRY(describe_plain(model, desc));
  } else {
    GP_TRY(model_info_copy(&model->info, model_file_info(file)));
    GP_TRY(check_asked_net(&model->info, desc));
    if (desc->open_source)
      GP_TRY(open_source(model, desc, desc->dataset[0] != '\0' ? desc->dataset : model->info.dataset));
  }
  if (model->source != NULL) GP_TRY(check_data(model, desc->path));
  cli_warn_of_precision(desc->precision);
  GP_TRY(model_net_create(&model->net, &model->info,
                          &(model_net_desc){.batch = desc->batch, .precision = desc->precision}));
  GP_TRY(nn_net_init(model->net, 0)); /* for buffers that older files leave out */
  status = model_file_load(file, model->net, false);
  if (status != GP_OK) status = gp_fail_in(status, "%s with %s", model->info.arch, model->info.pool);
cleanup:
  model_file_close(&file);
  return status;
}

void cli_model_close(cli_model *model) {
  nn_net_destroy(&model->net);
  data_source_destroy(&model->source);
  model_info_clear(&model->info);
}

data_transform cli_model_transform(const cli_model *model) {
  data_transform transform = {.channels = (int32_t)model->info.channels,
                              .height = (int32_t)model->info.height,
                              .width = (int32_t)model->info.width,
                              .resize = (int32_t)model->info.resize};
  memcpy(transform.mean, model->info.mean, sizeof transform.mean);
  memcpy(transform.std, model->info.std, sizeof transform.std);
  return transform;
}

const char *cli_class_name(const model_info *info, int64_t index, char buffer[24]) {
  if (info->class_names != NULL) return info->class_names[index];
  snprintf(buffer, 24, "%" PRId64, index);
  return buffer;
}
