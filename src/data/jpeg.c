/* JPEG by libjpeg(-turbo). */
#include "base/status.h"
#include "data/decode_impl.h"

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

/* After jpeglib.h: which messages there are depends on its configuration. */
#include <jerror.h>

/* A progressive file may hold any number of scans over the whole image; real ones have about ten. */
enum { MAX_SCANS = 500 };

/* libjpeg reports through callbacks and cannot be returned from: errors jump out, the message kept here. */
typedef struct jpeg_state {
  struct jpeg_decompress_struct decoder; /* `client_data` points back here */
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
  gp_status status; /* of a step of ours that failed; its message is gp_last_error() */
} jpeg_state;

_Noreturn static void on_error(j_common_ptr common) {
  jpeg_state *state = common->client_data;
  common->err->format_message(common, state->message);
  longjmp(state->escape, 1);
}

/* Damage to the picture's own data is an error here, where libjpeg would go on with grey or smeared blocks. Oddities
 * around it (stray bytes between segments, inconsistent markers) are common in the wild and harmless. */
static void on_message(j_common_ptr common, int level) {
  if (level >= 0) return;
  switch (common->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
#if JPEG_LIB_VERSION >= 70 || defined(D_ARITH_CODING_SUPPORTED)
    case JWRN_ARITH_BAD_CODE:
#endif
    case JWRN_MUST_RESYNC: on_error(common);
    default: break;
  }
}

static void on_progress(j_common_ptr common) {
  jpeg_state *state = common->client_data;
  if (state->decoder.input_scan_number <= MAX_SCANS) return;
  snprintf(state->message, sizeof state->message, "more than %d scans", MAX_SCANS);
  longjmp(state->escape, 1);
}

/* As Pillow: the four inks of every such file are taken as stored inverted (Adobe's way, 255 = no ink), and
 * R = K' - (255 - C)·K'/255 with K' the stored K. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk) {
  uint32_t black = cmyk[3];
  for (int c = 0; c < 3; ++c) {
    uint32_t product = (255u - cmyk[c]) * black + 128;
    uint32_t ink = ((product >> 8) + product) >> 8;
    rgb[c] = (uint8_t)(black > ink ? black - ink : 0);
  }
}

/* Of libjpeg-turbo; plain libjpeg decodes all. */
#if defined(LIBJPEG_TURBO_VERSION_NUMBER) && LIBJPEG_TURBO_VERSION_NUMBER >= 2000000
#define HAVE_PARTS 1
#else
#define HAVE_PARTS 0
#endif

/* Whether parts come out as in the whole image. libjpeg-turbo 2.1 gives other pixels for some rare samplings (4x2 shrunk,
 * for one), so parts are taken where chroma has half of the rows and columns, or all; and for progressive files without all
 * their scans, which it smooths over blocks. */
static bool can_part(j_decompress_ptr decoder) {
  const jpeg_component_info *parts = decoder->comp_info;
  bool usual = HAVE_PARTS && !decoder->progressive_mode && parts[0].h_samp_factor <= 2 && parts[0].v_samp_factor <= 2;
  for (int i = 1; i < decoder->num_components; ++i) {
    const bool same =
        parts[i].h_samp_factor == parts[0].h_samp_factor && parts[i].v_samp_factor == parts[0].v_samp_factor;
    usual = usual && (same || (parts[i].h_samp_factor == 1 && parts[i].v_samp_factor == 1));
  }
  return usual;
}

/* Chroma is interpolated between neighbours: so many pixels on each side of a part keep its own exact. */
enum { MARGIN = 16 };

/* The columns that are decoded: rows are cut down to those of the box and what lies beside it in the same blocks. */
static void cut_columns(jpeg_state *state, data_region *region) {
#if HAVE_PARTS
  j_decompress_ptr decoder = &state->decoder;
  const int32_t whole = (int32_t)decoder->output_width, shrink = region->shrink;
  int32_t left = region->box.left / shrink - MARGIN;
  int32_t right = (region->box.left + region->box.width + shrink - 1) / shrink + MARGIN;
  if (left < 0) left = 0;
  if (right > whole) right = whole;
  if ((left == 0 && right == whole) || !can_part(decoder)) return;
  JDIMENSION offset = (JDIMENSION)left, width = (JDIMENSION)(right - left);
  jpeg_crop_scanline(decoder, &offset, &width);
  region->left = (int32_t)offset;
#else
  (void)state;
  (void)region;
#endif
}

/* Leaves out the rows above the box; gives the row after its last. */
static JDIMENSION cut_rows(jpeg_state *state, data_region *region) {
  j_decompress_ptr decoder = &state->decoder;
#if HAVE_PARTS
  const JDIMENSION skipped = (JDIMENSION)(region->box.top / region->shrink);
  if (skipped > 0 && can_part(decoder)) jpeg_skip_scanlines(decoder, skipped);
  region->top = (int32_t)decoder->output_scanline;
#endif
  const int32_t bottom = (region->box.top + region->box.height + region->shrink - 1) / region->shrink;
  return (JDIMENSION)bottom < decoder->output_height ? (JDIMENSION)bottom : decoder->output_height;
}

/* The four inks pass through one row of libjpeg's own memory, which it releases with the decoder. */
static void read_rows(jpeg_state *state, data_image *image, JDIMENSION end) {
  j_decompress_ptr decoder = &state->decoder;
  const size_t width = decoder->output_width, channels = (size_t)image->channels;
  const bool inks = decoder->out_color_space == JCS_CMYK;
  JSAMPARRAY buffer = NULL;
  if (inks) buffer = decoder->mem->alloc_sarray((j_common_ptr)decoder, JPOOL_IMAGE, (JDIMENSION)(width * 4), 1);
  JSAMPROW row = image->pixels;
  for (; decoder->output_scanline < end; row += width * channels) {
    jpeg_read_scanlines(decoder, inks ? buffer : &row, 1);
    if (!inks) continue;
    for (size_t x = 0; x < width; ++x) cmyk_to_rgb(row + channels * x, buffer[0] + 4 * x);
  }
}

/* Sets the colours to come out; gives how many channels they have in the image. */
static int32_t choose_colours(j_decompress_ptr decoder, int32_t channels) {
  const bool inks = decoder->jpeg_color_space == JCS_CMYK || decoder->jpeg_color_space == JCS_YCCK;
  const bool grey = decoder->jpeg_color_space == JCS_GRAYSCALE;
  decoder->out_color_space = inks ? JCS_CMYK : grey ? JCS_GRAYSCALE : JCS_RGB;
  if (inks) return channels == 4 ? 4 : 3;
#ifdef JCS_EXTENSIONS
  if (channels == 4) {
    decoder->out_color_space = JCS_EXT_RGBX;
    return 4;
  }
#endif
  return grey ? 1 : 3;
}

/* Runs under setjmp: has no resources of its own. Failures of ours are left in state->status. */
static void decode_into(jpeg_state *state, data_image *image, const data_encoded *file, data_region *region) {
  j_decompress_ptr decoder = &state->decoder;
  jpeg_create_decompress(decoder); /* leaves err and client_data alone */
  decoder->progress = &state->progress;
  jpeg_mem_src(decoder, file->bytes, (unsigned long)file->size);
  jpeg_read_header(decoder, TRUE);
  state->status = data_check_size(file, decoder->image_height, decoder->image_width);
  if (state->status != GP_OK) return;
  state->status = data_choose(file, (int32_t)decoder->image_height, (int32_t)decoder->image_width, region);
  if (state->status != GP_OK) return;
  int32_t channels = choose_colours(decoder, file->desc->channels);
  decoder->dct_method = JDCT_ISLOW; /* the exact one */
  decoder->scale_num = 1;
  decoder->scale_denom = (unsigned)region->shrink;
  jpeg_start_decompress(decoder);
  cut_columns(state, region);
  const JDIMENSION end = cut_rows(state, region);
  const int32_t rows = (int32_t)(end - decoder->output_scanline);
  state->status = data_image_reserve(image, rows, (int32_t)decoder->output_width, channels);
  if (state->status != GP_OK) return;
  /* What follows the last row is of no interest: no jpeg_finish_decompress(). */
  read_rows(state, image, end);
}

/* Apart from data_jpeg_decode(), so that the state is not a local of the function that setjmp() returns to. */
static void decode_guarded(jpeg_state *state, data_image *image, const data_encoded *file, data_region *region) {
  if (setjmp(state->escape) == 0) {
    decode_into(state, image, file, region);
    return;
  }
  bool memory = state->errors.msg_code == JERR_OUT_OF_MEMORY;
  state->status =
      gp_fail(memory ? GP_ERROR_OUT_OF_MEMORY : GP_ERROR_CORRUPT, "%s: JPEG: %s", file->name, state->message);
}

gp_status data_jpeg_decode(data_image *image, const data_encoded *file) {
  jpeg_state state = {.status = GP_OK};
  data_region whole; /* of those who do not ask */
  state.decoder.err = jpeg_std_error(&state.errors);
  state.decoder.client_data = &state;
  state.errors.error_exit = on_error;
  state.errors.emit_message = on_message;
  state.progress.progress_monitor = on_progress;
  decode_guarded(&state, image, file, file->desc->region != NULL ? file->desc->region : &whole);
  jpeg_destroy_decompress(&state.decoder);
  return state.status;
}
