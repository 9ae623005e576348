#include "base/status.h"
#include "data/encode.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

/* libjpeg's errors jump out; what it writes to is its own memory. */
typedef struct encode_state {
  struct jpeg_compress_struct encoder; /* `client_data` points back here */
  struct jpeg_error_mgr errors;
  jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
  unsigned char *bytes;
  unsigned long size;
  bool failed;
} encode_state;

_Noreturn static void on_error(j_common_ptr common) {
  encode_state *state = common->client_data;
  common->err->format_message(common, state->message);
  longjmp(state->escape, 1);
}

static void on_message(j_common_ptr common, int level) {
  (void)common;
  (void)level;
}

/* Runs under setjmp: has no resources of its own. */
static void encode_into(encode_state *state, const data_image *image, int32_t quality) {
  j_compress_ptr encoder = &state->encoder;
  jpeg_create_compress(encoder);
  jpeg_mem_dest(encoder, &state->bytes, &state->size);
  encoder->image_height = (JDIMENSION)image->height;
  encoder->image_width = (JDIMENSION)image->width;
  encoder->input_components = image->channels;
  encoder->in_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(encoder);
  jpeg_set_quality(encoder, quality, TRUE);
  encoder->optimize_coding = TRUE;
  jpeg_start_compress(encoder, TRUE);
  const size_t row_bytes = (size_t)image->width * (size_t)image->channels;
  while (encoder->next_scanline < encoder->image_height) {
    JSAMPROW row = image->pixels + encoder->next_scanline * row_bytes;
    jpeg_write_scanlines(encoder, &row, 1);
  }
  jpeg_finish_compress(encoder);
}

static void encode_guarded(encode_state *state, const data_image *image, int32_t quality) {
  if (setjmp(state->escape) == 0)
    encode_into(state, image, quality);
  else
    state->failed = true;
}

gp_status data_jpeg_encode(data_sample *sample, const data_image *image, int32_t quality) {
  encode_state state = {.failed = false};
  gp_status status = GP_OK;
  if (image->channels != 1 && image->channels != 3)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "JPEG of %d channels: expected 1 or 3", image->channels);
  state.encoder.err = jpeg_std_error(&state.errors);
  state.encoder.client_data = &state;
  state.errors.error_exit = on_error;
  state.errors.emit_message = on_message;
  encode_guarded(&state, image, quality);
  if (state.failed) GP_TRY(gp_fail(GP_ERROR_OUT_OF_MEMORY, "JPEG: %s", state.message));
  GP_TRY(data_sample_reserve(sample, state.size));
  memcpy(sample->bytes, state.bytes, state.size);
  sample->encoded = true;
cleanup:
  jpeg_destroy_compress(&state.encoder);
  free(state.bytes); /* libjpeg's allocation */
  return status;
}
