/* What decode.c asks of the formats. */
#ifndef GP_DATA_DECODE_IMPL_H
#define GP_DATA_DECODE_IMPL_H

#include "data/decode.h"

/* A file's content, its name for messages, the most pixels wanted, and what was asked. */
typedef struct data_encoded {
  const uint8_t *bytes;
  size_t size;
  const char *name;
  int64_t max_pixels;
  const data_decode_desc *desc;
} data_encoded;

/* Decode to 1 or 3 channels, as the file has it; JPEG also to 4 at once, and the part that is asked for. */
GP_NODISCARD gp_status data_png_decode(data_image *image, const data_encoded *file);
GP_NODISCARD gp_status data_jpeg_decode(data_image *image, const data_encoded *file);
GP_NODISCARD gp_status data_pnm_decode(data_image *image, const data_encoded *file);

/* Fails unless 1 ≤ height, width ≤ DATA_MAX_SIDE and height·width ≤ file->max_pixels. */
GP_NODISCARD gp_status data_check_size(const data_encoded *file, uint64_t height, uint64_t width);

/* Asks desc->choose, if there is one, and checks the answer; otherwise the whole image. */
GP_NODISCARD gp_status data_choose(const data_encoded *file, int32_t height, int32_t width, data_region *region);

#endif
