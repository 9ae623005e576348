/* Image files to pixels: PNG, JPEG, and the portable grey and colour maps PGM and PPM, told apart by content. */
#ifndef GP_DATA_DECODE_H
#define GP_DATA_DECODE_H

#include "data/image.h"

/* Larger images are refused. */
enum {
  DATA_MAX_SIDE = 16384,     /* pixels */
  DATA_MAX_PIXELS = 1 << 28, /* height·width */
};

/* Zero-initialise and fill with designated initialisers. */
typedef struct data_decode_desc {
  const char *name;   /* stands in messages; NULL: "image" */
  int32_t channels;   /* 1: grey, 3: RGB, 0: as the file has it. Alpha is dropped, palettes are looked up */
  int64_t max_pixels; /* refuse images of more pixels; 0: DATA_MAX_PIXELS */
} data_decode_desc;

/* Decodes a file's content. 16-bit samples keep their high byte (PGM and PPM: scaled by their maximum and rounded);
 * CMYK JPEGs become RGB as Pillow does it. EXIF orientation and colour profiles are ignored.
 * Errors: GP_ERROR_CORRUPT (truncated or damaged, says where), GP_ERROR_UNSUPPORTED (no known format, too large, or
 * the decoder was left out of this build: says which package it needs), GP_ERROR_OUT_OF_MEMORY.
 * The image's pixels are undefined after a failure. */
GP_NODISCARD gp_status data_decode(data_image *image, const uint8_t *bytes, size_t size, const data_decode_desc *desc);

/* data_read_file() and data_decode(); desc->name NULL stands for the path. */
GP_NODISCARD gp_status data_decode_file(data_image *image, const char *path, const data_decode_desc *desc);

/* Reads a whole regular file into memory that the caller gives to gp_free(). An empty file is no error.
 * Errors: GP_ERROR_NOT_FOUND, GP_ERROR_IO, GP_ERROR_OUT_OF_MEMORY; *bytes is NULL then. */
GP_NODISCARD gp_status data_read_file(const char *path, uint8_t **bytes, size_t *size);

#endif
