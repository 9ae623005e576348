/* What a kind of data set implements. A new one is a file with its data_source_ops and one line in source.c's table. */
#ifndef GP_DATA_SOURCE_IMPL_H
#define GP_DATA_SOURCE_IMPL_H

#include "data/listing.h"
#include "data/source.h"

#include <string.h>

/* Indices are in range and handles are not NULL when these are called. */
typedef struct data_source_ops {
  int32_t (*label)(const data_source *source, int64_t index);
  void (*name)(const data_source *source, int64_t index, char *name, size_t size);
  gp_status (*fetch)(const data_source *source, int64_t index, data_sample *sample); /* thread-safe */
  void (*destroy)(data_source *source); /* releases the members and the source itself */
} data_source_ops;

/* The first member of every kind's own structure. */
struct data_source {
  const data_source_ops *ops;
  data_source_info info;
};

/* One line of the table of data sets. */
typedef struct data_set {
  const char *name;
  const char *summary;
  gp_status (*open)(data_source **out, const struct data_set *set, const data_source_desc *desc);
  const char *default_dir; /* NULL: the folder must be given */
  const char *package;     /* Debian package that fills default_dir, or NULL */
  int32_t classes;         /* 0: as found */
  const char *const *class_names;
  int32_t crop_size, resize; /* as in data_source_info */
  int32_t side;              /* of every image; 0: as found, or they differ */
  float mean[DATA_MAX_CHANNELS], std[DATA_MAX_CHANNELS];
} data_set;

/* What is said of a data set of colour images whose samples are those of a listing; its class names stay the listing's. */
static inline data_source_info data_info_of_files(const data_set *set, const data_listing *files) {
  data_source_info info = {.dataset = set->name,
                           .count = files->count,
                           .classes = files->classes,
                           .class_names = (const char *const *)files->class_names,
                           .channels = 3,
                           .height = set->side,
                           .width = set->side,
                           .crop_size = set->crop_size,
                           .resize = set->resize};
  memcpy(info.mean, set->mean, sizeof info.mean);
  memcpy(info.std, set->std, sizeof info.std);
  return info;
}

#endif
