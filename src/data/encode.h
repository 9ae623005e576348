/* Pixels to JPEG. */
#ifndef GP_DATA_ENCODE_H
#define GP_DATA_ENCODE_H

#include "data/sample.h"

/* Replaces the sample's bytes by a baseline JPEG of the image (1 or 3 channels), quality 1 … 100, libjpeg's usual
 * subsampling. Only in builds with libjpeg (DATA_HAVE_JPEG). Errors: invalid argument, out of memory; what
 * the bytes were is lost then too. */
GP_NODISCARD gp_status data_jpeg_encode(data_sample *sample, const data_image *image, int32_t quality);

#endif
