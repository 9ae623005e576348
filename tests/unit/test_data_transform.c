/* What happens to pixels and order: grey and RGB, resizing (against Pillow), the transform, an epoch's order. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "data/augment.h"
#include "data/order.h"
#include "data/resize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_ok(gp_status status) {
  if (status != GP_OK) fail_msg("%s: %s", gp_status_name(status), gp_last_error());
}

static void expect_invalid(gp_status status, const char *part) {
  assert_int_equal(status, GP_ERROR_INVALID_ARGUMENT);
  if (strstr(gp_last_error(), part) == NULL) fail_msg("\"%s\" does not say \"%s\"", gp_last_error(), part);
}

/* Pixel (y, x, c) = (37y + 101x + 53c + 11xy) mod 256, the pattern of the figures below. */
static data_image pattern(int32_t height, int32_t width, int32_t channels) {
  data_image image = {0};
  expect_ok(data_image_reserve(&image, height, width, channels));
  uint8_t *at = image.pixels;
  for (int32_t y = 0; y < height; ++y)
    for (int32_t x = 0; x < width; ++x)
      for (int32_t c = 0; c < channels; ++c) *at++ = (uint8_t)(37 * y + 101 * x + 53 * c + 11 * x * y);
  return image;
}

static uint64_t fnv1a(const void *bytes, size_t size) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < size; ++i) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
  return hash;
}

static size_t image_bytes(const data_image *image) {
  return (size_t)image->height * (size_t)image->width * (size_t)image->channels;
}

/* ---- Images ---------------------------------------------------------------------------------- */

static void grey_and_rgb(void **state) {
  (void)state;
  data_image image = pattern(8, 8, 3);
  expect_ok(data_image_convert(&image, 1));
  assert_int_equal(image.channels, 1);
  assert_true(fnv1a(image.pixels, 64) == 0xc09adf30b5606af0u); /* Pillow 10.4, convert("L") */
  uint8_t grey[64];
  memcpy(grey, image.pixels, 64);
  expect_ok(data_image_convert(&image, 3)); /* fits the buffer */
  for (int i = 0; i < 192; ++i) assert_int_equal(image.pixels[i], grey[i / 3]);
  expect_ok(data_image_convert(&image, 1));
  assert_memory_equal(image.pixels, grey, 64);
  data_image small = pattern(3, 5, 1);
  uint8_t kept[15];
  memcpy(kept, small.pixels, 15);
  expect_ok(data_image_convert(&small, 3)); /* does not fit */
  for (int i = 0; i < 45; ++i) assert_int_equal(small.pixels[i], kept[i / 3]);
  expect_invalid(data_image_convert(&small, 2), "3 channels");
  expect_invalid(data_image_reserve(&small, 0, 5, 1), "0 x 5");
  data_image_free(&image);
  data_image_free(&small);
  data_image_free(NULL);
}

typedef struct resize_case {
  int32_t from[3], to[2];
  uint64_t hash;
} resize_case;

static uint64_t resized_hash(const resize_case *c) {
  data_image src = pattern(c->from[0], c->from[1], c->from[2]), dst = {0};
  expect_ok(data_resize(&dst, &src, c->to[0], c->to[1]));
  assert_int_equal(dst.height, c->to[0]);
  assert_int_equal(dst.width, c->to[1]);
  uint64_t hash = fnv1a(dst.pixels, image_bytes(&dst));
  data_image_free(&src);
  data_image_free(&dst);
  return hash;
}

/* The expected numbers are Pillow 10.4's: Image.resize(…, Image.BILINEAR). */
static void resizes_as_pillow(void **state) {
  (void)state;
  static const uint8_t up[] = {0,  40,  101, 162, 202, 19, 61,  125, 113, 104, 43,  89,  157, 72,  15,
                               68, 116, 189, 108, 54,  93, 144, 221, 145, 94,  111, 165, 245, 172, 123};
  static const uint8_t down[] = {111, 141, 148, 123, 152, 118, 130, 141, 141, 129, 132, 137};
  data_image src = pattern(4, 3, 1), dst = {0};
  expect_ok(data_resize(&dst, &src, 6, 5));
  assert_memory_equal(dst.pixels, up, sizeof up);
  data_image_free(&src);
  src = pattern(6, 9, 3);
  expect_ok(data_resize(&dst, &src, 2, 2));
  assert_memory_equal(dst.pixels, down, sizeof down);
  expect_ok(data_resize(&dst, &src, 6, 9));
  assert_memory_equal(dst.pixels, src.pixels, 6 * 9 * 3);
  static const resize_case cases[] = {{{97, 131, 3}, {32, 43}, 0x5460558f8e765af0u},
                                      {{33, 17, 1}, {224, 115}, 0xe5e12cb7d31cab99u},
                                      {{480, 37, 3}, {28, 28}, 0x9c8fe4bf9f772ba0u},
                                      {{300, 500, 3}, {299, 499}, 0xb46bd35bc6df6b82u}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i)
    if (resized_hash(&cases[i]) != cases[i].hash) fail_msg("case %zu differs from Pillow", i);
  data_image_free(&src);
  data_image_free(&dst);
}

static void fits_any_image(void **state) {
  (void)state;
  data_image src = pattern(30, 47, 1), dst = {0};
  expect_ok(data_resize_shorter(&dst, &src, 20));
  assert_int_equal(dst.height * 1000 + dst.width, 20 * 1000 + 31);
  expect_ok(data_fit(&dst, &src, 30, 47));
  assert_memory_equal(dst.pixels, src.pixels, 30 * 47);
  static const int32_t sizes[][2] = {{28, 28}, {1, 90}, {200, 3}, {30, 40}, {64, 64}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    expect_ok(data_fit(&dst, &src, sizes[i][0], sizes[i][1]));
    assert_int_equal(dst.height, sizes[i][0]);
    assert_int_equal(dst.width, sizes[i][1]);
  }
  /* 47 - 42 = 5 spare columns: 2.5 goes to the even 2; 30 - 27 = 3 rows: 1.5 goes to 2. */
  data_image crop = pattern(30, 47, 1);
  expect_ok(data_centre_crop(&crop, 27, 42));
  for (int y = 0; y < 27; ++y) assert_memory_equal(crop.pixels + 42 * y, src.pixels + 47 * (y + 2) + 2, 42);
  expect_invalid(data_centre_crop(&crop, 28, 42), "28 x 42");
  expect_invalid(data_resize(&dst, &src, 0, 3), "0 x 3");
  expect_invalid(data_resize(&dst, &src, 3, 1 << 17), "131072");
  expect_invalid(data_resize(&dst, &(data_image){0}, 3, 3), "empty");
  for (uint64_t n = 1; n <= 10; ++n) {
    data_image fresh = {0};
    gp_alloc_fail_after(n);
    assert_int_equal(data_resize(&fresh, &src, 20, 20), GP_ERROR_OUT_OF_MEMORY);
    data_image_free(&fresh);
  }
  gp_alloc_fail_after(0);
  data_image_free(&src);
  data_image_free(&dst);
  data_image_free(&crop);
}

/* ---- The transform --------------------------------------------------------------------------- */

static const data_transform usual = {
    .channels = 1, .height = 6, .width = 5, .train = true, .padding = 2, .flip = 0.5f, .mean = {0.25f}, .std = {0.5f}};

/* The pixel of the padded image, normalised as torchvision does it. */
static float expected_value(const data_image *image, const data_transform *t, int32_t y, int32_t x, int32_t c) {
  bool inside = y >= 0 && x >= 0 && y < image->height && x < image->width;
  uint8_t pixel = inside ? image->pixels[(y * image->width + x) * image->channels + c] : 0;
  return ((float)pixel / 255.0f - t->mean[c]) / t->std[c];
}

static bool window_matches(const data_image *image, const data_transform *t, const float *dst, int32_t top,
                           int32_t left, bool flip) {
  for (int32_t c = 0; c < t->channels; ++c)
    for (int32_t y = 0; y < t->height; ++y)
      for (int32_t x = 0; x < t->width; ++x, ++dst)
        if (*dst != expected_value(image, t, top + y, left + (flip ? t->width - 1 - x : x), c)) return false;
  return true;
}

/* Every result is exactly one window of the padded image, mirrored or not; all windows come up about equally often. */
static void crops_and_flips(void **state) {
  (void)state;
  enum { ROWS = 7, COLUMNS = 6, DRAWS = 16800 };
  data_image image = pattern(8, 6, 3);
  data_transform t = usual;
  t.channels = 3;
  memcpy(t.mean, (float[]){0.25f, 0.5f, 0.125f}, sizeof t.mean);
  memcpy(t.std, (float[]){0.5f, 0.3f, 0.7f}, sizeof t.std);
  data_augmenter augmenter;
  expect_ok(data_augmenter_init(&augmenter, &t));
  int32_t seen[ROWS][COLUMNS][2] = {0};
  float dst[3 * 6 * 5];
  for (int64_t i = 0; i < DRAWS; ++i) {
    expect_ok(
        data_augmenter_apply(&augmenter, &image, &(data_draw_key){.seed = 5, .epoch = i % 7, .index = i / 7}, dst));
    int32_t matches = 0;
    for (int32_t w = 0; w < ROWS * COLUMNS * 2; ++w) {
      int32_t row = w / 2 / COLUMNS, column = w / 2 % COLUMNS, flip = w % 2;
      if (!window_matches(&image, &t, dst, row - 2, column - 2, flip)) continue;
      ++matches;
      ++seen[row][column][flip];
    }
    if (matches != 1) fail_msg("draw %d is %d windows", (int)i, matches);
  }
  /* 200 expected of each, standard deviation 14. */
  for (int32_t w = 0; w < ROWS * COLUMNS * 2; ++w) {
    int32_t times = seen[w / 2 / COLUMNS][w / 2 % COLUMNS][w % 2];
    if (times < 130 || times > 270) fail_msg("window %d came up %d times of %d", w, times, DRAWS);
  }
  data_image_free(&image);
}

static void draws_depend_on_the_key_alone(void **state) {
  (void)state;
  data_image image = pattern(6, 5, 1);
  data_augmenter augmenter;
  expect_ok(data_augmenter_init(&augmenter, &usual));
  float all[64][30], again[30];
  for (int i = 0; i < 64; ++i)
    expect_ok(data_augmenter_apply(&augmenter, &image, &(data_draw_key){i & 1, i >> 1 & 3, i >> 3}, all[i]));
  for (int i = 63; i >= 0; --i) {
    expect_ok(data_augmenter_apply(&augmenter, &image, &(data_draw_key){i & 1, i >> 1 & 3, i >> 3}, again));
    assert_memory_equal(again, all[i], sizeof again);
  }
  int same[3] = {0}; /* as the neighbour in seed, epoch, index: 1 in 50 by chance */
  for (int i = 0; i < 64; ++i)
    for (int bit = 0; bit < 3; ++bit)
      same[bit] += memcmp(all[i], all[i ^ (1 << (bit == 2 ? 3 : bit))], sizeof again) == 0;
  for (int bit = 0; bit < 3; ++bit)
    if (same[bit] > 12) fail_msg("key part %d hardly matters: %d of 64 the same", bit, same[bit]);
  data_image_free(&image);
}

static void test_mode_takes_the_middle(void **state) {
  (void)state;
  data_image image = pattern(9, 8, 1);
  data_transform t = usual;
  t.train = false;
  data_augmenter augmenter;
  expect_ok(data_augmenter_init(&augmenter, &t));
  float dst[30];
  expect_ok(data_augmenter_apply(&augmenter, &image, NULL, dst));
  assert_true(window_matches(&image, &t, dst, 2, 2, false)); /* 1.5 rounded to even */
  /* Training without padding and with certain flip, image of the crop's size: one outcome. */
  t.train = true;
  t.padding = 0;
  t.flip = 1.0f;
  t.height = 9;
  t.width = 8;
  float whole[72];
  expect_ok(data_augmenter_init(&augmenter, &t));
  for (int64_t i = 0; i < 20; ++i) {
    expect_ok(data_augmenter_apply(&augmenter, &image, &(data_draw_key){1, 2, i}, whole));
    assert_true(window_matches(&image, &t, whole, 0, 0, true));
  }
  data_image_free(&image);
}

static void refuses_bad_transforms(void **state) {
  (void)state;
  data_augmenter augmenter;
  data_transform t = usual;
  t.channels = 2;
  expect_invalid(data_augmenter_init(&augmenter, &t), "channels");
  t = usual;
  t.height = 0;
  expect_invalid(data_augmenter_init(&augmenter, &t), "0 x 5");
  t = usual;
  t.padding = -1;
  expect_invalid(data_augmenter_init(&augmenter, &t), "padding");
  t = usual;
  t.flip = 1.5f;
  expect_invalid(data_augmenter_init(&augmenter, &t), "1.5");
  t = usual;
  t.std[0] = -1.0f;
  expect_invalid(data_augmenter_init(&augmenter, &t), "std");
  expect_ok(data_augmenter_init(&augmenter, &usual));
  float dst[30];
  data_image image = pattern(6, 5, 3);
  expect_invalid(data_augmenter_apply(&augmenter, &image, &(data_draw_key){0}, dst), "3 channels");
  data_image_free(&image);
  image = pattern(1, 5, 1);
  expect_invalid(data_augmenter_apply(&augmenter, &image, &(data_draw_key){0}, dst), "1 x 5");
  data_image_free(&image);
}

/* ---- Order ----------------------------------------------------------------------------------- */

static void orders_are_permutations(void **state) {
  (void)state;
  static const int64_t counts[] = {1, 2, 3, 10, 1000};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; ++i) {
    int64_t order[1000], other[1000];
    char seen[1000] = {0};
    data_order(order, counts[i], 3, 4);
    for (int64_t k = 0; k < counts[i]; ++k) seen[order[k]]++;
    for (int64_t k = 0; k < counts[i]; ++k) assert_int_equal(seen[k], 1);
    data_order(other, counts[i], 3, 4);
    assert_memory_equal(order, other, (size_t)counts[i] * sizeof order[0]);
  }
  int64_t a[1000], b[1000], c[1000];
  data_order(a, 1000, 3, 4);
  data_order(b, 1000, 3, 5);
  data_order(c, 1000, 2, 4);
  assert_memory_not_equal(a, b, sizeof a);
  assert_memory_not_equal(a, c, sizeof a);
}

/* Each of the 24 orders of 4 comes up about equally often over the epochs. */
static void orders_are_uniform(void **state) {
  (void)state;
  enum { EPOCHS = 24000 };
  int32_t times[256] = {0};
  for (int64_t epoch = 0; epoch < EPOCHS; ++epoch) {
    int64_t o[4];
    data_order(o, 4, 99, epoch);
    times[o[0] | o[1] << 2 | o[2] << 4 | o[3] << 6]++;
  }
  int32_t kinds = 0;
  for (int i = 0; i < 256; ++i) {
    kinds += times[i] > 0;
    if (times[i] > 0 && (times[i] < 850 || times[i] > 1150)) fail_msg("order %d came up %d times of 1000", i, times[i]);
  }
  assert_int_equal(kinds, 24);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(grey_and_rgb),
      cmocka_unit_test(resizes_as_pillow),
      cmocka_unit_test(fits_any_image),
      cmocka_unit_test(crops_and_flips),
      cmocka_unit_test(draws_depend_on_the_key_alone),
      cmocka_unit_test(test_mode_takes_the_middle),
      cmocka_unit_test(refuses_bad_transforms),
      cmocka_unit_test(orders_are_permutations),
      cmocka_unit_test(orders_are_uniform),
  };
  return cmocka_run_group_tests_name("data/transform", tests, NULL, NULL);
}
