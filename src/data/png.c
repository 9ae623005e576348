/* PNG by libspng. */
#include "base/status.h"
#include "data/decode_impl.h"

#include <spng.h>

enum { MAX_CHUNK_BYTES = 1 << 26, MAX_DEFLATE_RATIO = 1032 };

static gp_status png_fail(const data_encoded *file, int error) {
  gp_status status = error == SPNG_EMEM ? GP_ERROR_OUT_OF_MEMORY : GP_ERROR_CORRUPT;
  return gp_fail(status, "%s: PNG: %s", file->name, spng_strerror(error));
}

/* Refuses what a file of this size cannot hold, before its memory is asked for. */
static gp_status check_header(const data_encoded *file, const struct spng_ihdr *header) {
  gp_status status = data_check_size(file, header->height, header->width);
  if (status != GP_OK) return status;
  uint64_t bits = (uint64_t)header->height * header->width * header->bit_depth;
  if (bits / 8 / MAX_DEFLATE_RATIO > file->size)
    return gp_fail(GP_ERROR_CORRUPT, "%s: PNG: truncated: %u x %u pixels cannot be in %zu bytes", file->name,
                   header->height, header->width, file->size);
  return GP_OK;
}

static gp_status decode_into(spng_ctx *context, data_image *image, const data_encoded *file) {
  struct spng_ihdr header = {0};
  gp_status status = GP_OK;
  int error = spng_set_image_limits(context, DATA_MAX_SIDE, DATA_MAX_SIDE);
  if (error == 0) error = spng_set_chunk_limits(context, MAX_CHUNK_BYTES, MAX_CHUNK_BYTES);
  if (error == 0) error = spng_set_png_buffer(context, file->bytes, file->size);
  if (error == 0) error = spng_get_ihdr(context, &header);
  if (error == SPNG_EUSER_WIDTH || error == SPNG_EUSER_HEIGHT)
    return gp_fail(GP_ERROR_UNSUPPORTED, "%s: PNG: a side is longer than %d pixels", file->name, DATA_MAX_SIDE);
  if (error != 0) return png_fail(file, error);
  GP_TRY(check_header(file, &header));
  /* libspng makes RGB8 of every kind, keeping the high byte of 16-bit samples; grey comes out with three equal bytes. */
  GP_TRY(data_image_reserve(image, (int32_t)header.height, (int32_t)header.width, 3));
  size_t bytes = (size_t)header.height * header.width * 3;
  error = spng_decode_image(context, image->pixels, bytes, SPNG_FMT_RGB8, 0);
  if (error == 0) error = spng_decode_chunks(context);
  if (error != 0) return png_fail(file, error);
  bool grey = header.color_type == SPNG_COLOR_TYPE_GRAYSCALE || header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA;
  if (grey) GP_TRY(data_image_convert(image, 1));
cleanup:
  return status;
}

gp_status data_png_decode(data_image *image, const data_encoded *file) {
  spng_ctx *context = spng_ctx_new(0);
  if (context == NULL) return gp_fail(GP_ERROR_OUT_OF_MEMORY, "%s: PNG: no memory for the decoder", file->name);
  gp_status status = decode_into(context, image, file);
  spng_ctx_free(context);
  return status;
}
