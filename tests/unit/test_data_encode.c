#include "test_data_encode.h"

#include "test_data_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef DATA_HAVE_PNG
#include <spng.h>

uint8_t *test_png(uint32_t height, uint32_t width, uint8_t colour_type, uint8_t depth, bool interlaced,
                  const uint8_t *raw, size_t raw_size, const uint8_t palette[12], size_t *size) {
  spng_ctx *context = spng_ctx_new(SPNG_CTX_ENCODER);
  assert_non_null(context);
  struct spng_ihdr header = {.width = width, .height = height, .bit_depth = depth, .color_type = colour_type};
  header.interlace_method = interlaced ? SPNG_INTERLACE_ADAM7 : SPNG_INTERLACE_NONE;
  assert_int_equal(spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1), 0);
  assert_int_equal(spng_set_ihdr(context, &header), 0);
  if (palette != NULL) {
    struct spng_plte entries = {.n_entries = 4};
    for (int i = 0; i < 4; ++i)
      entries.entries[i] = (struct spng_plte_entry){palette[3 * i], palette[3 * i + 1], palette[3 * i + 2], 0};
    assert_int_equal(spng_set_plte(context, &entries), 0);
  }
  int error = spng_encode_image(context, raw, raw_size, SPNG_FMT_RAW, SPNG_ENCODE_FINALIZE);
  if (error != 0) fail_msg("libspng: %s", spng_strerror(error));
  uint8_t *file = spng_get_png_buffer(context, size, &error);
  assert_non_null(file);
  spng_ctx_free(context);
  return file;
}
#endif

#ifdef DATA_HAVE_JPEG
#include <jpeglib.h>

typedef struct jpeg_settings {
  uint32_t height, width;
  test_jpeg_kind kind;
  int across, down, quality;
  bool progressive;
} jpeg_settings;

static uint8_t *encode(const jpeg_settings *set, const uint8_t *pixels, size_t *size) {
  struct jpeg_compress_struct encoder;
  struct jpeg_error_mgr errors;
  unsigned char *file = NULL;
  unsigned long bytes = 0;
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  jpeg_mem_dest(&encoder, &file, &bytes);
  encoder.image_height = set->height;
  encoder.image_width = set->width;
  encoder.input_components = set->kind == TEST_JPEG_YCCK ? 4 : (int)set->kind;
  encoder.in_color_space = set->kind == TEST_JPEG_GREY  ? JCS_GRAYSCALE
                           : set->kind == TEST_JPEG_RGB ? JCS_RGB
                                                        : JCS_CMYK;
  jpeg_set_defaults(&encoder);
  if (set->kind == TEST_JPEG_YCCK) jpeg_set_colorspace(&encoder, JCS_YCCK);
  jpeg_set_quality(&encoder, set->quality, TRUE);
  for (int i = 0; i < encoder.num_components; ++i)
    encoder.comp_info[i].h_samp_factor = encoder.comp_info[i].v_samp_factor = 1;
  encoder.comp_info[0].h_samp_factor = set->across;
  encoder.comp_info[0].v_samp_factor = set->down;
  if (set->progressive) jpeg_simple_progression(&encoder);
  jpeg_start_compress(&encoder, TRUE);
  while (encoder.next_scanline < set->height) {
    JSAMPROW row =
        (JSAMPROW)(uintptr_t)(pixels + (size_t)encoder.next_scanline * set->width * (size_t)encoder.input_components);
    jpeg_write_scanlines(&encoder, &row, 1);
  }
  jpeg_finish_compress(&encoder);
  jpeg_destroy_compress(&encoder);
  *size = bytes;
  return file;
}

uint8_t *test_jpeg(uint32_t height, uint32_t width, test_jpeg_kind kind, bool progressive, const uint8_t *pixels,
                   size_t *size) {
  return encode(&(jpeg_settings){height, width, kind, 1, 1, 100, progressive}, pixels, size);
}

uint8_t *test_jpeg_sampled(uint32_t height, uint32_t width, int across, int down, bool progressive,
                           const uint8_t *pixels, size_t *size) {
  return encode(&(jpeg_settings){height, width, TEST_JPEG_RGB, across, down, 90, progressive}, pixels, size);
}
#endif
