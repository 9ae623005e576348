#include "base/memory.h"
#include "base/status.h"
#include "data/encode.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

enum { FIRST_ROOM = 1 << 14 };

/* libjpeg's errors jump out, and so does a lack of room. The file grows in the sample's bytes, which are released whatever
 * happens; jpeg_mem_dest() leaves its caller with a freed buffer when memory runs out after it has grown. */
typedef struct encode_state {
  struct jpeg_compress_struct encoder; /* `client_data` points back here */
  struct jpeg_error_mgr errors;
  struct jpeg_destination_mgr output;
  jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
  data_sample *sample;
  gp_status status;
} encode_state;

_Noreturn static void on_error(j_common_ptr common) {
  encode_state *state = common->client_data;
  common->err->format_message(common, state->message);
  state->status = gp_fail(GP_ERROR_OUT_OF_MEMORY, "JPEG: %s", state->message);
  longjmp(state->escape, 1);
}

static void on_message(j_common_ptr common, int level) {
  (void)common;
  (void)level;
}

/* ---- Where the file goes --------------------------------------------------------------------- */

static void offer(encode_state *state, size_t used) {
  state->output.next_output_byte = state->sample->bytes + used;
  state->output.free_in_buffer = state->sample->capacity - used;
}

static void begin_output(j_compress_ptr encoder) { offer(encoder->client_data, 0); }

/* Called when the room is full to the last byte. */
static boolean grow_output(j_compress_ptr encoder) {
  encode_state *state = encoder->client_data;
  data_sample *sample = state->sample;
  const size_t used = sample->capacity;
  uint8_t *wider = NULL;
  state->status = GP_ALLOC(&wider, 2 * used);
  if (state->status != GP_OK) longjmp(state->escape, 1);
  memcpy(wider, sample->bytes, used);
  gp_free(sample->bytes);
  sample->bytes = wider;
  sample->capacity = 2 * used;
  offer(state, used);
  return TRUE;
}

static void end_output(j_compress_ptr encoder) {
  encode_state *state = encoder->client_data;
  state->sample->size = state->sample->capacity - state->output.free_in_buffer;
}

/* ---- Encoding -------------------------------------------------------------------------------- */

/* Runs under setjmp: has no resources of its own. */
static void encode_into(encode_state *state, const data_image *image, int32_t quality) {
  j_compress_ptr encoder = &state->encoder;
  jpeg_create_compress(encoder);
  encoder->dest = &state->output;
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
  if (setjmp(state->escape) == 0) encode_into(state, image, quality);
}

gp_status data_jpeg_encode(data_sample *sample, const data_image *image, int32_t quality) {
  encode_state state = {.sample = sample, .output = {NULL, 0, begin_output, grow_output, end_output}};
  if (image->channels != 1 && image->channels != 3)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "JPEG of %d channels: expected 1 or 3", image->channels);
  gp_status status = data_sample_reserve(sample, FIRST_ROOM);
  if (status != GP_OK) return status;
  state.encoder.err = jpeg_std_error(&state.errors);
  state.encoder.client_data = &state;
  state.errors.error_exit = on_error;
  state.errors.emit_message = on_message;
  encode_guarded(&state, image, quality);
  jpeg_destroy_compress(&state.encoder);
  if (state.status == GP_OK) sample->encoded = true;
  return state.status;
}
