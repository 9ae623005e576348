#include "data/source.h"

#include "base/status.h"
#include "data/cifar.h"
#include "data/folder_source.h"
#include "data/idx.h"
#include "data/source_impl.h"
#include "data/synthetic.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* As published with the data set (Xiao, Rasul, Vollgraf 2017, table 2). */
static const char *const clothes[] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                      "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
static const char *const digits[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

static const char *const things[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                     "dog",      "frog",       "horse", "ship", "truck"};

static const data_set sets[] = {
    {.name = "fashion-mnist",
     .summary = "Fashion-MNIST, IDX files (Debian: dataset-fashion-mnist)",
     .open = data_idx_open,
     .default_dir = "/usr/share/datasets/fashion-mnist",
     .package = "dataset-fashion-mnist",
     .classes = 10,
     .class_names = clothes,
     .mean = {0.2860f},
     .std = {0.3530f}},
    {.name = "mnist",
     .summary = "MNIST, or any folder of IDX files like it with ten classes",
     .open = data_idx_open,
     .classes = 10,
     .class_names = digits,
     .mean = {0.1307f},
     .std = {0.3081f}},
    {.name = "imagenet",
     .summary = "images in folders by class, DIR/train/CLASS and DIR/val_dir/CLASS or DIR/val/CLASS, or packed",
     .open = data_folder_open,
     .crop_size = 224,
     .resize = 256,
     .mean = {0.485f, 0.456f, 0.406f},
     .std = {0.229f, 0.224f, 0.225f}},
    {.name = "cifar10",
     .summary = "CIFAR-10, as its binary files, or as images in DIR/train/CLASS and DIR/test/CLASS",
     .open = data_cifar_open,
     .classes = 10,
     .class_names = things,
     .side = 32,
     .mean = {0.4914f, 0.4822f, 0.4465f},
     .std = {0.2470f, 0.2435f, 0.2616f}},
    {.name = "synthetic",
     .summary = "made-up images of 1,000 classes, for benchmarks",
     .open = data_synthetic_open,
     .default_dir = "",
     .mean = {0.485f, 0.456f, 0.406f},
     .std = {0.229f, 0.224f, 0.225f}},
};
enum { SETS = sizeof sets / sizeof sets[0] };

const char *data_set_name(int32_t index) { return index >= 0 && index < SETS ? sets[index].name : NULL; }

const char *data_set_summary(int32_t index) { return index >= 0 && index < SETS ? sets[index].summary : NULL; }

static gp_status find_set(const char *name, const data_set **out) {
  char known[256] = "";
  size_t used = 0;
  if (name == NULL) name = "";
  for (int32_t i = 0; i < SETS; ++i) {
    *out = &sets[i];
    if (strcmp(sets[i].name, name) == 0) return GP_OK;
    int wrote = snprintf(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ", sets[i].name);
    used += wrote > 0 && (size_t)wrote < sizeof known - used ? (size_t)wrote : 0;
  }
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "unknown data set \"%s\": expected one of %s", name, known);
}

gp_status data_source_create(data_source **out, const data_source_desc *desc) {
  const data_set *set = NULL;
  gp_status status = GP_OK;
  *out = NULL;
  GP_TRY(find_set(desc->dataset, &set));
  if (desc->split != DATA_TRAIN && desc->split != DATA_TEST)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "data set %s: split %d is neither train nor test", set->name,
                   (int)desc->split));
  if (desc->dir == NULL && set->default_dir == NULL)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "data set %s has no usual place: its folder must be given", set->name));
  GP_TRY(set->open(out, set, desc));
cleanup:
  return status;
}

void data_source_destroy(data_source **source) {
  if (source == NULL || *source == NULL) return;
  (*source)->ops->destroy(*source);
  *source = NULL;
}

const data_source_info *data_source_get_info(const data_source *source) { return &source->info; }

int32_t data_source_label(const data_source *source, int64_t index) { return source->ops->label(source, index); }

void data_source_name(const data_source *source, int64_t index, char *name, size_t size) {
  source->ops->name(source, index, name, size);
}

gp_status data_source_fetch(const data_source *source, int64_t index, data_sample *sample) {
  if (index < 0 || index >= source->info.count)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "sample %" PRId64 " of %s: there are %" PRId64, index,
                   source->info.dataset, source->info.count);
  data_source_name(source, index, sample->name, sizeof sample->name);
  sample->height = source->info.height;
  sample->width = source->info.width;
  return source->ops->fetch(source, index, sample);
}

gp_status data_source_read(const data_source *source, int64_t index, data_sample *sample) {
  gp_status status = data_source_fetch(source, index, sample);
  if (status != GP_OK || !sample->encoded) return status;
  status = data_decode(&sample->image, sample->bytes, sample->size,
                       &(data_decode_desc){.name = sample->name, .channels = source->info.channels});
  if (status != GP_OK) return status;
  status = data_sample_check_size(sample, sample->image.height, sample->image.width);
  return status == GP_OK ? status : gp_fail_in(status, "%s", sample->name);
}
