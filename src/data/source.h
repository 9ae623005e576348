/* A data set's one split: how many samples, their labels, and the image of sample i. */
#ifndef GP_DATA_SOURCE_H
#define GP_DATA_SOURCE_H

#include "data/sample.h"

typedef struct data_source data_source;

typedef enum data_split {
  DATA_TRAIN = 0,
  DATA_TEST, /* what is tested on; the "validation" set of ImageNet */
} data_split;

/* Zero-initialise and fill with designated initialisers. The strings are copied or not kept. */
typedef struct data_source_desc {
  const char *dataset; /* a name of data_set_name() */
  const char *dir;     /* the data set's folder; NULL: where the data set's Debian package puts it, if there is one */
  data_split split;
  /* Of a folder of classes: a class without images, or one in the test set only, is left out instead of an error. */
  bool lenient;
  /* The classes that labels count, where they are known already (to a trained net); NULL: those of the training set. */
  const char *const *class_names;
  int32_t classes;
  int32_t side; /* of synthetic images; 0: 224 */
} data_source_desc;

enum { DATA_MAX_CHANNELS = 3 };

typedef struct data_source_info {
  const char *dataset; /* as in the table of data sets */
  int64_t count;       /* samples, at least 1 */
  int32_t classes;
  const char *const *class_names; /* [classes], owned by the source */
  int32_t channels;
  int32_t height, width; /* of every image; 0 where they differ from image to image */
  int32_t crop_size,
      resize; /* where they differ: the usual sides of a net's input and of test images before the crop */
  float mean[DATA_MAX_CHANNELS]; /* of the training set's pixels, scaled to 0 … 1, as customary for the data set */
  float std[DATA_MAX_CHANNELS];
  const char *note; /* something odd that was found and left out, one line; NULL: nothing */
} data_source_info;

/* Opens the split. Errors: GP_ERROR_INVALID_ARGUMENT for an unknown data set (the message lists the known ones),
 * GP_ERROR_NOT_FOUND for a missing folder or file (says which package has it, or which names were looked for),
 * GP_ERROR_CORRUPT, GP_ERROR_IO, GP_ERROR_OUT_OF_MEMORY. */
GP_NODISCARD gp_status data_source_create(data_source **out, const data_source_desc *desc);

/* Releases the source and sets it to NULL; NULL is fine. No loader may be using it. */
void data_source_destroy(data_source **source);

/* Valid as long as the source. */
const data_source_info *data_source_get_info(const data_source *source);

/* Class of the sample, 0 … classes-1. `index` must be in 0 … count-1, here and below. */
int32_t data_source_label(const data_source *source, int64_t index);

/* Writes a name that finds the sample again: "t10k-images-idx3-ubyte.gz#17", or a path below the data set's folder.
 * Cut to `size` bytes, always terminated. */
void data_source_name(const data_source *source, int64_t index, char *name, size_t size);

/* Reads the sample, as a file or as pixels with info's number of channels: data_augmenter_run() takes both. May be called
 * from several threads at once, each with a sample of its own. The index is checked.
 * Errors: GP_ERROR_NOT_FOUND, GP_ERROR_IO, GP_ERROR_OUT_OF_MEMORY. */
GP_NODISCARD gp_status data_source_fetch(const data_source *source, int64_t index, data_sample *sample);

/* Fetches and decodes into sample->image, with info's number of channels. Further errors: those of data_decode(), and
 * GP_ERROR_CORRUPT where the image is not of info's size. */
GP_NODISCARD gp_status data_source_read(const data_source *source, int64_t index, data_sample *sample);

/* The known data sets, in the order of the table; NULL past the last one. */
const char *data_set_name(int32_t index);
/* One line for the data set's help; NULL past the last one. */
const char *data_set_summary(int32_t index);

#endif
