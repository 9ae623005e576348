/* A sample as its source has it, an encoded file or pixels, and what a thread needs to work on it. */
#ifndef GP_DATA_SAMPLE_H
#define GP_DATA_SAMPLE_H

#include "data/decode.h"
#include "data/resize.h"

enum { DATA_NAME_SIZE = 512 };

/* Buffers are used again for sample after sample. Zero-initialise; data_sample_free() when done. */
typedef struct data_sample {
  bool encoded;
  uint8_t *bytes; /* the file's content [size], if encoded */
  size_t size, capacity;
  char name[DATA_NAME_SIZE]; /* of an encoded sample, for messages; "": none */
  int32_t height, width;     /* that an encoded sample's image must have, as data_source_fetch() knows; 0: any */
  data_image image;          /* the pixels, if not; and scratch */

  /* Scratch of data_augmenter_run(). */
  data_image cut;
  data_resizer resizer;
} data_sample;

/* Room for `size` bytes; what was in it is lost. Errors: out of memory. */
GP_NODISCARD gp_status data_sample_reserve(data_sample *sample, size_t size);

/* Reads a file into it, as an encoded sample. Errors: GP_ERROR_NOT_FOUND, GP_ERROR_IO (also for more than 1 GiB), out of
 * memory. */
GP_NODISCARD gp_status data_sample_read(data_sample *sample, const char *path);

/* GP_ERROR_CORRUPT, without the sample's name, if its image, of that size, is not of the size that its source says. */
GP_NODISCARD gp_status data_sample_check_size(const data_sample *sample, int32_t height, int32_t width);

/* Releases the buffers. NULL is fine. */
void data_sample_free(data_sample *sample);

#endif
