/* Image files for the decoders' tests. */
#ifndef TEST_DATA_ENCODE_H
#define TEST_DATA_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* PNG of the given colour type (as in the format: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA) and bit depth;
 * `raw` are the rows as PNG stores them (16-bit samples big-endian). `palette`: rgb of 4 entries, for type 3. free() it. */
uint8_t *test_png(uint32_t height, uint32_t width, uint8_t colour_type, uint8_t depth, bool interlaced,
                  const uint8_t *raw, size_t raw_size, const uint8_t palette[12], size_t *size);

typedef enum test_jpeg_kind {
  TEST_JPEG_GREY = 1,
  TEST_JPEG_RGB = 3,
  TEST_JPEG_CMYK = 4,
  TEST_JPEG_YCCK = 5
} test_jpeg_kind;

/* JPEG at quality 100 without subsampling of `pixels` [height][width][1, 3 or 4]. free() it. */
uint8_t *test_jpeg(uint32_t height, uint32_t width, test_jpeg_kind kind, bool progressive, const uint8_t *pixels,
                   size_t *size);

/* RGB at quality 90 with luma sampled `across` and `down` times as often as chroma. free() it. */
uint8_t *test_jpeg_sampled(uint32_t height, uint32_t width, int across, int down, bool progressive,
                           const uint8_t *pixels, size_t *size);

#endif
