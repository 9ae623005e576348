/* Image files to pixels: PNG, JPEG, and the portable grey and colour maps PGM and PPM, told apart by content. */
#ifndef GP_DATA_DECODE_H
#define GP_DATA_DECODE_H

#include "data/image.h"

/* Larger images are refused. */
enum {
  DATA_MAX_SIDE = 16384,     /* pixels */
  DATA_MAX_PIXELS = 1 << 28, /* height·width */
};

/* Which part of an image is decoded. */
typedef struct data_region {
  data_box box;      /* asked for, in the whole image's pixels and inside it */
  int32_t shrink;    /* asked for: 1, 2, 4 or 8, the image may come at 1/shrink (sides rounded up). Given: as it came */
  int32_t top, left; /* given: where the first decoded pixel lies in the whole, shrunk image */
} data_region;

/* Zero-initialise and fill with designated initialisers. */
typedef struct data_decode_desc {
  const char *name;   /* stands in messages; NULL: "image" */
  int32_t channels;   /* 1: grey, 3: RGB, 4: RGBX, 0: as the file has it. Alpha is dropped, palettes are looked up */
  int64_t max_pixels; /* refuse images of more pixels; 0: DATA_MAX_PIXELS */

  /* NULL: the whole image. Otherwise asked, once the image's size is known, what is wanted of it (`region` comes as the
   * whole image, unshrunk); at least that part is decoded, and *region, which the caller owns, then says which. */
  gp_status (*choose)(void *context, int32_t height, int32_t width, data_region *region);
  void *context;
  data_region *region;
} data_decode_desc;

/* Decodes a file's content. 16-bit samples keep their high byte (PGM and PPM: scaled by their maximum and rounded);
 * CMYK JPEGs become RGB as Pillow does it. EXIF orientation and colour profiles are ignored. Pixels of a part are the
 * same as in the whole image; damage outside of it may go unnoticed. Only JPEGs are decoded in part or shrunk.
 * Errors: GP_ERROR_CORRUPT (truncated or damaged, says where), GP_ERROR_UNSUPPORTED (no known format, too large, or
 * the decoder was left out of this build: says which package it needs), GP_ERROR_OUT_OF_MEMORY, those of `choose`.
 * The image's pixels are undefined after a failure. */
GP_NODISCARD gp_status data_decode(data_image *image, const uint8_t *bytes, size_t size, const data_decode_desc *desc);

/* data_read_file() and data_decode(); desc->name NULL stands for the path. */
GP_NODISCARD gp_status data_decode_file(data_image *image, const char *path, const data_decode_desc *desc);

#endif
