#include "data/source.h"

#include "base/status.h"
#include "data/idx.h"
#include "data/source_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* As published with the data set (Xiao, Rasul, Vollgraf 2017, table 2). */
static const char *const clothes[] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                      "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
static const char *const digits[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

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

gp_status data_source_read(const data_source *source, int64_t index, data_image *image) {
  if (index < 0 || index >= source->info.count)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "sample %" PRId64 " of %s: there are %" PRId64, index,
                   source->info.dataset, source->info.count);
  return source->ops->read(source, index, image);
}
