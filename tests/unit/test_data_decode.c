/* The image decoders on files with known pixels, and on damaged ones. */
#include "test_data_encode.h"
#include "test_data_files.h"

#include "base/memory.h"
#include "data/decode.h"
#include "data/encode.h"
#include "data/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zlib.h>

static const data_decode_desc as_stored = {.name = "f"};

static void expect_pixels(const data_image *image, int32_t height, int32_t width, int32_t channels,
                          const uint8_t *pixels) {
  assert_int_equal(image->height, height);
  assert_int_equal(image->width, width);
  assert_int_equal(image->channels, channels);
  assert_memory_equal(image->pixels, pixels, (size_t)(height * width * channels));
}

/* Decodes bytes that lie exactly in their allocation, so that AddressSanitizer sees a step past them. */
static gp_status decode_tight(data_image *image, const void *bytes, size_t size, const data_decode_desc *desc) {
  uint8_t *copy = malloc(size + (size == 0));
  assert_non_null(copy);
  memcpy(copy, bytes, size);
  gp_status status = data_decode(image, copy, size, desc);
  free(copy);
  return status;
}

/* Every prefix shorter than `complete` is refused, without a crash. */
static void expect_truncation_refused(const uint8_t *file, size_t complete) {
  data_image image = {0};
  for (size_t cut = 0; cut < complete; ++cut) {
    gp_status status = decode_tight(&image, file, cut, &as_stored);
    if (status != GP_ERROR_CORRUPT && status != GP_ERROR_UNSUPPORTED)
      fail_msg("cut to %zu of %zu bytes: %s", cut, complete, gp_status_name(status));
  }
  data_image_free(&image);
}

/* Flips bits all over a file: whatever comes out, nothing breaks (for the sanitizers). */
static void survive_damage(const uint8_t *file, size_t size) {
  data_image image = {0};
  uint8_t *copy = malloc(size);
  data_decode_desc small = {.name = "f", .max_pixels = 1 << 16};
  for (size_t bit = 0; bit < 8 * size; bit += 3) {
    memcpy(copy, file, size);
    copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    gp_status status = data_decode(&image, copy, size, &small);
    assert_true(status == GP_OK || gp_last_error()[0] != '\0');
  }
  free(copy);
  data_image_free(&image);
}

/* ---- PGM and PPM ----------------------------------------------------------------------------- */

static void reads_pnm(void **state) {
  (void)state;
  data_image image = {0};
  const char plain[] = "P2 # grey\n3 2\n# the maximum\n15\n0 1 15\n7 8# eight\n9\n";
  test_expect_ok(decode_tight(&image, plain, strlen(plain), &as_stored));
  expect_pixels(&image, 2, 3, 1, (uint8_t[]){0, 17, 255, 119, 136, 153});
  const char colour[] = "P3\n1 2 65535 65535 0 32767 128 129 257";
  test_expect_ok(decode_tight(&image, colour, strlen(colour), &as_stored));
  expect_pixels(&image, 2, 1, 3, (uint8_t[]){255, 0, 127, 0, 1, 1});
  const char raw[] = "P5\n#c\n2 2\n255\n\x00\xff\n\x20";
  test_expect_ok(decode_tight(&image, raw, sizeof raw - 1, &as_stored));
  expect_pixels(&image, 2, 2, 1, (uint8_t[]){0, 255, 10, 32});
  const char deep[] = "P5 2 1 65535 \xff\xff\x7f\xff";
  test_expect_ok(decode_tight(&image, deep, sizeof deep - 1, &as_stored));
  expect_pixels(&image, 1, 2, 1, (uint8_t[]){255, 127});
  const char rgb[] = "P6 1 1 255\n\x0a\x14\x1e";
  test_expect_ok(decode_tight(&image, rgb, sizeof rgb - 1, &as_stored));
  expect_pixels(&image, 1, 1, 3, (uint8_t[]){10, 20, 30});
  test_expect_ok(decode_tight(&image, rgb, sizeof rgb - 1, &(data_decode_desc){.channels = 1}));
  expect_pixels(&image, 1, 1, 1, (uint8_t[]){18}); /* 0.299·10 + 0.587·20 + 0.114·30 */
  test_expect_ok(decode_tight(&image, raw, sizeof raw - 1, &(data_decode_desc){.channels = 3}));
  expect_pixels(&image, 2, 2, 3, (uint8_t[]){0, 0, 0, 255, 255, 255, 10, 10, 10, 32, 32, 32});
  expect_truncation_refused((const uint8_t *)raw, sizeof raw - 1);
  expect_truncation_refused((const uint8_t *)deep, sizeof deep - 1);
  expect_truncation_refused((const uint8_t *)plain, strlen(plain) - 2);
  survive_damage((const uint8_t *)plain, strlen(plain));
  survive_damage((const uint8_t *)rgb, sizeof rgb - 1);
  data_image_free(&image);
}

typedef struct bad_file {
  const char *content;
  gp_status status;
  const char *says;
} bad_file;

static void refuses_bad_pnm(void **state) {
  (void)state;
  static const bad_file bad[] = {
      {"P2 2 2 15 1 2 3 16", GP_ERROR_CORRUPT, "a sample at byte 16 is larger than 15"},
      {"P5 2 2 7 \1\2\3\x08", GP_ERROR_CORRUPT, "sample 3 is 8"},
      {"P2 x 2 15 1 2", GP_ERROR_CORRUPT, "expected the width at byte 3, found 0x78"},
      {"P2 2 -2 15 1 2", GP_ERROR_CORRUPT, "the height"},
      {"P2 2 2 0 0 0 0 0", GP_ERROR_CORRUPT, "the maximum is 0"},
      {"P2 2 2 70000 0 0 0 0", GP_ERROR_CORRUPT, "the maximum"},
      {"P2 0 2 15 ", GP_ERROR_CORRUPT, "2 x 0"},
      {"P5 20000 2 255 ", GP_ERROR_UNSUPPORTED, "2 x 20000"},
      {"P5 16384 16384 255 ", GP_ERROR_CORRUPT, "need at least 268435456 bytes, found 0"},
      {"P5 99999999999999999999 2 255 ", GP_ERROR_CORRUPT, "the width"},
      {"P6 2 2 255#\n123456789012", GP_ERROR_CORRUPT, "white space"},
      {"P4 8 1 a", GP_ERROR_UNSUPPORTED, "begins with 50 34 20 38"},
      {"GIF89a", GP_ERROR_UNSUPPORTED, "expected PNG, JPEG, PGM or PPM"},
      {"P", GP_ERROR_UNSUPPORTED, "begins with 50"},
      {"", GP_ERROR_CORRUPT, "empty"},
  };
  data_image image = {0};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i)
    test_expect_failure(decode_tight(&image, bad[i].content, strlen(bad[i].content), &as_stored), bad[i].status,
                        "f: ", bad[i].says, NULL);
  const char good[] = "P5 2 2 255 abcd";
  test_expect_failure(decode_tight(&image, good, strlen(good), &(data_decode_desc){.channels = 2}),
                      GP_ERROR_INVALID_ARGUMENT, "2 channels", NULL);
  test_expect_failure(decode_tight(&image, good, strlen(good), &(data_decode_desc){.max_pixels = 3}),
                      GP_ERROR_UNSUPPORTED, "more than 3", NULL);
  data_image_free(&image);
}

/* ---- Files ----------------------------------------------------------------------------------- */

static void reads_files(void **state) {
  (void)state;
  test_folder folder = test_folder_make();
  char path[128];
  test_write(&folder, "a.jpeg", (const uint8_t *)"P5 2 2 255 abcd", 15, false); /* the name does not count */
  snprintf(path, sizeof path, "%s/a.jpeg", folder.path);
  data_image image = {0};
  test_expect_ok(data_decode_file(&image, path, &(data_decode_desc){.channels = 1}));
  expect_pixels(&image, 2, 2, 1, (const uint8_t *)"abcd");
  uint8_t *bytes = NULL;
  size_t size = 0;
  test_expect_ok(data_read_file(path, &bytes, &size));
  assert_int_equal(size, 15);
  gp_free(bytes);
  gp_alloc_fail_after(1);
  test_expect_failure(data_read_file(path, &bytes, &size), GP_ERROR_OUT_OF_MEMORY, NULL);
  gp_alloc_fail_after(0);
  assert_null(bytes);
  test_write(&folder, "a.jpeg", NULL, 0, false);
  test_expect_failure(data_decode_file(&image, path, &(data_decode_desc){0}), GP_ERROR_CORRUPT, path, "empty", NULL);
  test_expect_failure(data_read_file(folder.path, &bytes, &size), GP_ERROR_IO, "a folder", NULL);
  test_expect_failure(data_read_file("/dev/null", &bytes, &size), GP_ERROR_IO, "a device", NULL);
  snprintf(path, sizeof path, "%s/none", folder.path);
  test_expect_failure(data_read_file(path, &bytes, &size), GP_ERROR_NOT_FOUND, path, "No such file", NULL);
  snprintf(path, sizeof path, "%s/pipe", folder.path);
  assert_int_equal(mkfifo(path, 0600), 0);
  test_expect_failure(data_read_file(path, &bytes, &size), GP_ERROR_IO, "a device", NULL);
  data_image_free(&image);
  test_folder_remove(&folder);
}

/* ---- PNG ------------------------------------------------------------------------------------- */

#ifdef DATA_HAVE_PNG
typedef struct png_case {
  const char *label;
  uint8_t colour_type, depth;
  uint32_t height, width;
  uint8_t raw[32];
  size_t raw_size;
  int32_t channels;
  uint8_t pixels[32];
} png_case;

static const uint8_t palette[12] = {1, 2, 3, 40, 50, 60, 255, 0, 128, 9, 9, 9};

static const png_case png_cases[] = {
    {"grey 8", 0, 8, 2, 2, {0, 100, 200, 255}, 4, 1, {0, 100, 200, 255}},
    {"grey 1", 0, 1, 2, 3, {0xa0, 0x40}, 2, 1, {255, 0, 255, 0, 255, 0}},
    {"grey 2", 0, 2, 1, 4, {0x1b}, 1, 1, {0, 85, 170, 255}},
    {"grey 4", 0, 4, 1, 3, {0x0f, 0x70}, 2, 1, {0, 255, 119}},
    {"grey 16", 0, 16, 1, 2, {0x12, 0xff, 0xfe, 0x01}, 4, 1, {0x12, 0xfe}},
    {"grey alpha 8", 4, 8, 1, 2, {10, 0, 20, 128}, 4, 1, {10, 20}},
    {"grey alpha 16", 4, 16, 1, 1, {0x33, 0x99, 0, 0}, 4, 1, {0x33}},
    {"rgb 8", 2, 8, 1, 2, {1, 2, 3, 4, 5, 6}, 6, 3, {1, 2, 3, 4, 5, 6}},
    {"rgb 16", 2, 16, 1, 1, {1, 255, 2, 255, 3, 255}, 6, 3, {1, 2, 3}},
    {"rgba 8", 6, 8, 1, 2, {1, 2, 3, 0, 4, 5, 6, 255}, 8, 3, {1, 2, 3, 4, 5, 6}},
    {"rgba 16", 6, 16, 1, 1, {7, 0, 8, 0, 9, 0, 0, 0}, 8, 3, {7, 8, 9}},
    {"palette 8", 3, 8, 1, 3, {2, 0, 1}, 3, 3, {255, 0, 128, 1, 2, 3, 40, 50, 60}},
    {"palette 2", 3, 2, 1, 2, {0x70}, 1, 3, {40, 50, 60, 9, 9, 9}},
};

static void reads_png(void **state) {
  (void)state;
  data_image image = {0};
  for (size_t i = 0; i < sizeof png_cases / sizeof png_cases[0]; ++i) {
    const png_case *c = &png_cases[i];
    size_t size = 0;
    uint8_t *file = test_png(c->height, c->width, c->colour_type, c->depth, false, c->raw, c->raw_size,
                             c->colour_type == 3 ? palette : NULL, &size);
    gp_status status = decode_tight(&image, file, size, &(data_decode_desc){.name = c->label});
    test_expect_ok(status);
    if (image.channels != c->channels) fail_msg("%s: %d channels", c->label, image.channels);
    size_t bytes = (size_t)c->height * c->width * (size_t)c->channels;
    if (memcmp(image.pixels, c->pixels, bytes) != 0) fail_msg("%s: wrong pixels", c->label);
    expect_truncation_refused(file, size - 4); /* the end chunk's own checksum is not missed */
    survive_damage(file, size);
    free(file);
  }
  data_image_free(&image);
}

static void reads_interlaced_png_and_converts(void **state) {
  (void)state;
  uint8_t raw[9 * 11 * 3];
  for (size_t i = 0; i < sizeof raw; ++i) raw[i] = (uint8_t)(i * 7);
  size_t size = 0;
  uint8_t *file = test_png(9, 11, 2, 8, true, raw, sizeof raw, NULL, &size);
  data_image image = {0};
  test_expect_ok(decode_tight(&image, file, size, &as_stored));
  expect_pixels(&image, 9, 11, 3, raw);
  test_expect_ok(decode_tight(&image, file, size, &(data_decode_desc){.channels = 1}));
  assert_int_equal(image.channels, 1);
  assert_int_equal(image.pixels[1], (raw[3] * 19595 + raw[4] * 38470 + raw[5] * 7471 + 0x8000) >> 16);
  test_expect_failure(decode_tight(&image, file, size, &(data_decode_desc){.name = "f", .max_pixels = 98}),
                      GP_ERROR_UNSUPPORTED, "9 x 11", "98", NULL);
  /* A header that promises far more than the file can hold, its checksum in order. */
  static const uint8_t sizes[8] = {0, 0, 0x40, 0, 0, 0, 0x40, 0};
  memcpy(file + 16, sizes, sizeof sizes);
  uint32_t checksum = (uint32_t)crc32(0, file + 12, 17);
  for (int i = 0; i < 4; ++i) file[29 + i] = (uint8_t)(checksum >> (24 - 8 * i));
  test_expect_failure(decode_tight(&image, file, size, &as_stored), GP_ERROR_CORRUPT, "16384 x 16384", "cannot be in",
                      NULL);
  free(file);
  data_image_free(&image);
}
#endif

/* ---- JPEG ------------------------------------------------------------------------------------ */

#ifdef DATA_HAVE_JPEG
enum { SIDE = 24 };

/* Smooth ramps, which survive quality 100 within 2 grey levels. */
static void fill_ramps(uint8_t *pixels, int32_t channels) {
  for (int32_t y = 0; y < SIDE; ++y)
    for (int32_t x = 0; x < SIDE; ++x)
      for (int32_t c = 0; c < channels; ++c)
        *pixels++ = (uint8_t)(c == 0 ? 10 + 9 * x : c == 1 ? 240 - 8 * y : c == 2 ? 40 + 3 * x + 4 * y : 250 - 2 * x);
}

static void expect_near(const uint8_t *found, const uint8_t *expected, size_t count, const char *label) {
  for (size_t i = 0; i < count; ++i)
    if (abs(found[i] - expected[i]) > 3) fail_msg("%s: byte %zu is %u, expected %u", label, i, found[i], expected[i]);
}

static void reads_jpeg(void **state) {
  (void)state;
  uint8_t ramps[SIDE * SIDE * 4], expected[SIDE * SIDE * 4];
  data_image image = {0};
  for (int kind = 1; kind <= 5; kind += kind == 1 ? 2 : 1) {
    for (int progressive = 0; progressive < 2; ++progressive) {
      int32_t channels = kind == 1 ? 1 : 3;
      fill_ramps(ramps, kind == 1 ? 1 : kind == 3 ? 3 : 4);
      memcpy(expected, ramps, sizeof ramps);
      for (int i = 0; kind >= 4 && i < SIDE * SIDE; ++i) /* stored inverted: R = C'·K'/255 */
        for (int c = 0; c < 3; ++c) expected[3 * i + c] = (uint8_t)((ramps[4 * i + c] * ramps[4 * i + 3] + 127) / 255);
      size_t size = 0;
      uint8_t *file = test_jpeg(SIDE, SIDE, (test_jpeg_kind)kind, progressive, ramps, &size);
      char label[32];
      snprintf(label, sizeof label, "kind %d progressive %d", kind, progressive);
      test_expect_ok(decode_tight(&image, file, size, &(data_decode_desc){.name = label}));
      assert_int_equal(image.height * 10000 + image.width * 10 + image.channels, SIDE * 10000 + SIDE * 10 + channels);
      expect_near(image.pixels, expected, (size_t)(SIDE * SIDE * channels), label);
      expect_truncation_refused(file, size - 8);
      survive_damage(file, size);
      free(file);
    }
  }
  data_image_free(&image);
}

/* Of CMYK, to the digit as Pillow does it; constant blocks come through the transform exactly. */
static void reads_cmyk_as_pillow(void **state) {
  (void)state;
  static const uint8_t inks[4] = {10, 200, 30, 120};
  uint8_t pixels[64 * 4];
  for (size_t i = 0; i < sizeof pixels; ++i) pixels[i] = inks[i % 4];
  size_t size = 0;
  uint8_t *file = test_jpeg(8, 8, TEST_JPEG_CMYK, false, pixels, &size);
  data_image image = {0};
  test_expect_ok(decode_tight(&image, file, size, &as_stored));
  for (int i = 0; i < 64; ++i) assert_memory_equal(image.pixels + 3 * i, ((uint8_t[]){5, 94, 14}), 3);
  free(file);
  data_image_free(&image);
}

static void refuses_bad_jpeg(void **state) {
  (void)state;
  uint8_t ramps[SIDE * SIDE * 3];
  fill_ramps(ramps, 3);
  size_t size = 0;
  uint8_t *file = test_jpeg(SIDE, SIDE, TEST_JPEG_RGB, false, ramps, &size);
  data_image image = {0};
  test_expect_failure(decode_tight(&image, file, size / 2, &as_stored), GP_ERROR_CORRUPT, "f: JPEG: ", "Premature end",
                      NULL);
  test_expect_failure(decode_tight(&image, file, 20, &as_stored), GP_ERROR_CORRUPT, "f: JPEG: ", NULL);
  test_expect_failure(decode_tight(&image, file, size, &(data_decode_desc){.name = "f", .max_pixels = 100}),
                      GP_ERROR_UNSUPPORTED, "24 x 24", NULL);
  gp_alloc_fail_after(1);
  test_expect_failure(decode_tight(&image, file, size, &as_stored), GP_ERROR_OUT_OF_MEMORY, NULL);
  gp_alloc_fail_after(0);
  free(file);
  data_image_free(&image);
}
#endif

/* ---- Without a decoder ----------------------------------------------------------------------- */

#ifndef DATA_HAVE_PNG
static void says_what_png_needs(void **state) {
  (void)state;
  data_image image = {0};
  test_expect_failure(decode_tight(&image, "\x89PNG\r\n\x1a\n", 8, &as_stored), GP_ERROR_UNSUPPORTED, "libspng-dev",
                      NULL);
}
#endif
#ifndef DATA_HAVE_JPEG
static void says_what_jpeg_needs(void **state) {
  (void)state;
  data_image image = {0};
  test_expect_failure(decode_tight(&image, "\xff\xd8\xff\xe0", 4, &as_stored), GP_ERROR_UNSUPPORTED,
                      "libjpeg62-turbo-dev", NULL);
}
#endif

#ifdef DATA_HAVE_JPEG
/* Noise takes many times the room that encoding begins with; each step may find no memory. */
static void encodes_jpeg_with_little_memory(void **state) {
  (void)state;
  data_image noise = {0}, back = {0};
  data_sample sample = {0};
  uint32_t word = 1;
  uint64_t failures = 0;
  gp_status status;
  test_expect_ok(data_image_reserve(&noise, 200, 150, 3));
  for (int i = 0; i < 200 * 150 * 3; ++i) noise.pixels[i] = (uint8_t)((word = word * 1664525u + 1013904223u) >> 24);
  do {
    gp_alloc_fail_after(++failures);
    status = data_jpeg_encode(&sample, &noise, 100);
    gp_alloc_fail_after(0);
    assert_true(status == GP_OK ? sample.encoded : status == GP_ERROR_OUT_OF_MEMORY && !sample.encoded);
    if (status != GP_OK) data_sample_free(&sample);
  } while (status != GP_OK);
  assert_true(failures >= 4); /* the first room, and two growths at least */
  test_expect_ok(decode_tight(&back, sample.bytes, sample.size, &as_stored));
  int64_t apart = 0;
  for (int i = 0; i < 200 * 150 * 3; i += 3) apart += abs(back.pixels[i + 1] - noise.pixels[i + 1]);
  assert_int_equal(back.height * 1000 + back.width, 200150);
  assert_true(apart < 40 * 200 * 150); /* chroma is halved; unlike noise would be 85 apart */
  data_image_free(&noise);
  data_image_free(&back);
  data_sample_free(&sample);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_pnm),        cmocka_unit_test(refuses_bad_pnm),
      cmocka_unit_test(reads_files),
#ifdef DATA_HAVE_PNG
      cmocka_unit_test(reads_png),        cmocka_unit_test(reads_interlaced_png_and_converts),
#else
      cmocka_unit_test(says_what_png_needs),
#endif
#ifdef DATA_HAVE_JPEG
      cmocka_unit_test(reads_jpeg),       cmocka_unit_test(reads_cmyk_as_pillow),
      cmocka_unit_test(refuses_bad_jpeg), cmocka_unit_test(encodes_jpeg_with_little_memory),
#else
      cmocka_unit_test(says_what_jpeg_needs),
#endif
  };
  return cmocka_run_group_tests_name("data/decode", tests, NULL, NULL);
}
