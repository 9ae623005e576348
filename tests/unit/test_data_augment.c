/* From a sample to a net's input where images are resized: parts of JPEGs, parts of resizes, crops, colours, and that all
 * instruction sets make the same bytes. Against torchvision: tests/parity/test_transforms.py. */
#include "test_data_files.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "data/augment.h"
#include "data/colour.h"
#include "data/order.h"
#include "data/pixels.h"
#include "test_data_encode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Smooth, with edges: what JPEG keeps. */
static data_image picture(int32_t height, int32_t width, int32_t channels) {
  data_image image = {0};
  test_expect_ok(data_image_reserve(&image, height, width, channels));
  uint8_t *at = image.pixels;
  for (int32_t y = 0; y < height; ++y)
    for (int32_t x = 0; x < width; ++x)
      for (int32_t c = 0; c < channels; ++c)
        *at++ = (uint8_t)(128 + 90 * sin(x / (5.0 + c) + y / 9.0) + (x / 20 + y / 30) % 2 * 30);
  return image;
}

static uint32_t random_state = 12345;
static int32_t random_below(int32_t bound) {
  random_state = random_state * 1664525u + 1013904223u;
  return (int32_t)(((uint64_t)random_state * (uint64_t)bound) >> 32);
}

static data_box random_box(int32_t height, int32_t width) {
  data_box box = {.height = 1 + random_below(height), .width = 1 + random_below(width)};
  box.top = random_below(height - box.height + 1);
  box.left = random_below(width - box.width + 1);
  return box;
}

/* ---- Parts of files -------------------------------------------------------------------------- */

static gp_status choose_fixed(void *context, int32_t height, int32_t width, data_region *region) {
  assert_int_equal(region->box.height, height);
  assert_int_equal(region->box.width, width);
  assert_int_equal(region->shrink, 1);
  const data_region *wanted = context;
  region->box = wanted->box;
  region->shrink = wanted->shrink;
  return GP_OK;
}

/* The part holds the box, and its pixels are those of the whole. */
static void expect_part(const data_image *part, const data_image *whole, const data_region *got) {
  const int32_t shrink = got->shrink, channels = part->channels;
  assert_true(got->top <= got->box.top / shrink && got->left <= got->box.left / shrink);
  assert_true(got->top + part->height >= (got->box.top + got->box.height + shrink - 1) / shrink);
  assert_true(got->left + part->width >= (got->box.left + got->box.width + shrink - 1) / shrink);
  const int32_t bottom = (got->box.top + got->box.height + shrink - 1) / shrink;
  const int32_t right = (got->box.left + got->box.width + shrink - 1) / shrink;
  for (int32_t y = got->box.top / shrink; y < bottom; ++y)
    for (int32_t x = got->box.left / shrink; x < right; ++x) {
      const uint8_t *one =
          part->pixels + ((size_t)(y - got->top) * (size_t)part->width + (size_t)(x - got->left)) * (size_t)channels;
      const uint8_t *other = whole->pixels + ((size_t)y * (size_t)whole->width + (size_t)x) * (size_t)channels;
      if (memcmp(one, other, 3) != 0)
        fail_msg("row %d, column %d of %d, %d, %d, %d at 1/%d differs", (int)y, (int)x, (int)got->box.top,
                 (int)got->box.left, (int)got->box.height, (int)got->box.width, (int)shrink);
    }
}

static void decode_part(data_image *out, const uint8_t *file, size_t size, data_region *region) {
  data_region wanted = *region;
  const data_decode_desc desc = {.channels = 4, .choose = choose_fixed, .context = &wanted, .region = region};
  test_expect_ok(data_decode(out, file, size, &desc));
}

static void check_parts(const uint8_t *file, size_t size, int32_t height, int32_t width, int count) {
  data_image whole = {0}, part = {0};
  for (int32_t shrink = 1; shrink <= 8; shrink *= 2) {
    data_region all = {.box = {.height = height, .width = width}, .shrink = shrink};
    decode_part(&whole, file, size, &all);
    assert_int_equal(whole.height, (height + all.shrink - 1) / all.shrink);
    for (int i = 0; i < count; ++i) {
      data_region region = {.box = random_box(height, width), .shrink = shrink};
      decode_part(&part, file, size, &region);
      expect_part(&part, &whole, &region);
    }
  }
  data_image_free(&whole);
  data_image_free(&part);
}

#ifdef DATA_HAVE_JPEG
static void parts_of_jpegs_are_those_of_the_whole(void **state) {
  (void)state;
  static const int samplings[][2] = {{1, 1}, {2, 1}, {2, 2}, {1, 2}, {4, 1}, {4, 2}};
  static const int32_t sizes[][2] = {{97, 131}, {64, 64}, {200, 33}, {7, 150}};
  for (size_t s = 0; s < sizeof samplings / sizeof *samplings; ++s)
    for (size_t k = 0; k < 4; ++k)
      for (int progressive = 0; progressive < 2; ++progressive) {
        data_image image = picture(sizes[k][0], sizes[k][1], 3);
        size_t size = 0;
        uint8_t *file = test_jpeg_sampled((uint32_t)sizes[k][0], (uint32_t)sizes[k][1], samplings[s][0],
                                          samplings[s][1], progressive != 0, image.pixels, &size);
        check_parts(file, size, sizes[k][0], sizes[k][1], 25);
        free(file);
        data_image_free(&image);
      }
}

static void parts_of_grey_and_inks(void **state) {
  (void)state;
  static const test_jpeg_kind kinds[] = {TEST_JPEG_GREY, TEST_JPEG_CMYK, TEST_JPEG_YCCK};
  for (size_t k = 0; k < 3; ++k) {
    data_image image = picture(75, 90, kinds[k] == TEST_JPEG_GREY ? 1 : 4);
    size_t size = 0;
    uint8_t *file = test_jpeg(75, 90, kinds[k], false, image.pixels, &size);
    check_parts(file, size, 75, 90, 25);
    free(file);
    data_image_free(&image);
  }
}

/* Damage below the part is not looked at; damage in it is. */
static void rows_below_are_not_decoded(void **state) {
  (void)state;
  data_image image = picture(160, 96, 3), part = {0};
  size_t size = 0;
  uint8_t *file = test_jpeg_sampled(160, 96, 2, 2, false, image.pixels, &size);
  data_region region = {.box = {.top = 0, .left = 0, .height = 40, .width = 96}, .shrink = 1};
  decode_part(&part, file, size * 2 / 3, &region);
  data_region wanted = {.box = {.top = 140, .height = 20, .width = 96}, .shrink = 1};
  const data_decode_desc desc = {
      .name = "f", .channels = 4, .choose = choose_fixed, .context = &wanted, .region = &region};
  test_expect_failure(data_decode(&part, file, size * 2 / 3, &desc), GP_ERROR_CORRUPT, "f: JPEG", NULL);
  wanted.box.top = 141;
  test_expect_failure(data_decode(&part, file, size, &desc), GP_ERROR_INVALID_ARGUMENT, "141", NULL);
  wanted = (data_region){.box = {.height = 160, .width = 96}, .shrink = 3};
  test_expect_failure(data_decode(&part, file, size, &desc), GP_ERROR_INVALID_ARGUMENT, "shrunk by 3", NULL);
  free(file);
  data_image_free(&image);
  data_image_free(&part);
}
#endif

static void other_formats_come_whole(void **state) {
  (void)state;
  static const char text[] = "P2 4 3 255\n1 2 3 4 5 6 7 8 9 10 11 12\n";
  data_image image = {0};
  data_region region = {.box = {.top = 1, .left = 2, .height = 1, .width = 1}, .shrink = 4};
  decode_part(&image, (const uint8_t *)text, sizeof text - 1, &region);
  assert_int_equal(region.shrink * 100 + region.top * 10 + region.left, 100);
  assert_int_equal(region.box.top * 10 + region.box.left, 12);
  assert_int_equal(image.height * 100 + image.width * 10 + image.channels, 344);
  data_image_free(&image);
}

/* ---- Parts of resizes ------------------------------------------------------------------------ */

static data_image cut_out(const data_image *image, const data_box *box) {
  data_image cut = {0};
  test_expect_ok(data_image_reserve(&cut, box->height, box->width, image->channels));
  const size_t bytes = (size_t)box->width * (size_t)image->channels;
  for (int32_t y = 0; y < box->height; ++y)
    memcpy(
        cut.pixels + (size_t)y * bytes,
        image->pixels + ((size_t)(box->top + y) * (size_t)image->width + (size_t)box->left) * (size_t)image->channels,
        bytes);
  return cut;
}

static bool same_colours(const data_image *a, const data_image *b) {
  const size_t pixels = (size_t)a->height * (size_t)a->width, channels = (size_t)a->channels;
  if (a->height != b->height || a->width != b->width || a->channels != b->channels) return false;
  for (size_t i = 0; i < pixels; ++i)
    if (memcmp(a->pixels + i * channels, b->pixels + i * channels, channels < 3 ? 1 : 3) != 0) return false;
  return true;
}

/* A window of the result from no more of the input than it needs, of any number of channels. */
static void windows_of_a_resize(void **state) {
  (void)state;
  data_resizer resizer = {0};
  data_image window = {0};
  for (int i = 0; i < 300; ++i) {
    const int32_t channels = (const int32_t[]){1, 3, 4}[i % 3];
    const int32_t height = 1 + random_below(70), width = 1 + random_below(70);
    const int32_t to_height = 1 + random_below(60), to_width = 1 + random_below(60);
    data_image image = picture(height, width, channels), whole = {0};
    test_expect_ok(data_resize(&whole, &image, to_height, to_width));
    const data_box box = random_box(to_height, to_width);
    const data_axis y = {.extent = height, .high = height, .to = to_height, .first = box.top, .count = box.height};
    const data_axis x = {.extent = width, .high = width, .to = to_width, .first = box.left, .count = box.width};
    data_box need = {0};
    int32_t bottom = 0, right = 0;
    data_axis_reach(&y, &need.top, &bottom);
    data_axis_reach(&x, &need.left, &right);
    need.height = bottom - need.top;
    need.width = right - need.left;
    data_image held = cut_out(&image, &need), expected = cut_out(&whole, &box);
    test_expect_ok(data_resize_part(&window, &held, need.top, need.left, &y, &x, &resizer));
    if (!same_colours(&window, &expected)) fail_msg("window %d differs", i);
    /* One row less is not enough. */
    if (held.height > 1) {
      held.height--;
      test_expect_failure(data_resize_part(&window, &held, need.top, need.left, &y, &x, &resizer),
                          GP_ERROR_INVALID_ARGUMENT, "are needed", NULL);
    }
    data_image_free(&held);
    data_image_free(&expected);
    data_image_free(&image);
    data_image_free(&whole);
  }
  data_image_free(&window);
  data_resizer_free(&resizer);
}

/* A part of the input alone, as if it had been cut out before. */
static void a_crop_is_resized_as_if_cut_out(void **state) {
  (void)state;
  data_resizer resizer = {0};
  data_image got = {0}, expected = {0}, image = picture(83, 71, 4);
  for (int i = 0; i < 100; ++i) {
    const data_box box = random_box(83, 71);
    data_image cut = cut_out(&image, &box);
    const data_axis y = {box.top, box.height, box.top, box.top + box.height, 24, 0, 24};
    const data_axis x = {box.left, box.width, box.left, box.left + box.width, 20, 0, 20};
    test_expect_ok(data_resize_part(&got, &image, 0, 0, &y, &x, &resizer));
    test_expect_ok(data_resize(&expected, &cut, 24, 20));
    assert_true(same_colours(&got, &expected));
    data_image_free(&cut);
  }
  const data_axis y = {3, 50, 3, 53, 24, 0, 24};
  test_expect_ok(data_resize_part(&got, &image, 0, 0, &y, &y, &resizer));
  const uint64_t allocations = gp_alloc_count();
  test_expect_ok(data_resize_part(&got, &image, 0, 0, &y, &y, &resizer));
  assert_true(gp_alloc_count() == allocations); /* buffers are kept */
  const data_axis bad[] = {{3, 0, 3, 53, 24, 0, 24},    {3, 50, 53, 53, 24, 0, 24}, {3, 50, 3, 53, 24, 1, 24},
                           {NAN, 50, 3, 53, 24, 0, 24}, {3, 50, 3, 53, 0, 0, 0},    {3, 50, -1, 53, 24, 0, 24}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i)
    test_expect_failure(data_resize_part(&got, &image, 0, 0, &y, &bad[i], &resizer), GP_ERROR_INVALID_ARGUMENT, "width",
                        NULL);
  data_image_free(&got);
  data_image_free(&expected);
  data_image_free(&image);
  data_resizer_free(&resizer);
}

/* ---- Instruction sets ------------------------------------------------------------------------ */

enum { PIXELS = 1000 };

static void fill_random(uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) bytes[i] = (uint8_t)random_below(256);
}

/* The definition in double; float's rounding may tip a value over the next integer, rarely. */
static void expect_blend(const uint8_t *got, const uint8_t *from, double factor, bool luma, uint8_t value) {
  for (size_t i = 0; i < 4 * PIXELS; ++i) {
    if (i % 4 == 3) continue;
    const double base = luma ? data_luma(from + i / 4 * 4) : value, exact = base + factor * (from[i] - base);
    const double cut = exact < 0 ? 0 : exact > 255 ? 255 : exact;
    if (fabs(got[i] - floor(cut)) > 1 || (got[i] != floor(cut) && fabs(cut - nearbyint(cut)) > 1e-3))
      fail_msg("%g became %d: %g of %g", (double)from[i], got[i], factor, base);
  }
}

static void blends_as_defined_on_all_sets(void **state) {
  (void)state;
  uint8_t from[4 * PIXELS], got[4 * PIXELS], first[4 * PIXELS];
  for (int i = 0; i < 60; ++i) {
    const float factor = (float)random_below(2000) / 1000.0f;
    const uint8_t value = (uint8_t)random_below(256);
    fill_random(from, sizeof from);
    for (int luma = 0; luma < 2; ++luma)
      for (gp_isa isa = GP_ISA_BASELINE; isa <= gp_isa_best(); ++isa) {
        gp_isa_set(isa);
        const data_pixels *pixels = data_pixels_get();
        memcpy(got, from, sizeof got);
        if (luma)
          pixels->blend_luma(got, PIXELS - 3, factor);
        else
          pixels->blend_value(got, PIXELS - 3, value, factor);
        assert_memory_equal(got + 4 * (PIXELS - 3), from + 4 * (PIXELS - 3), 12);
        uint64_t sum = 0;
        for (size_t p = 0; p < PIXELS; ++p) sum += data_luma(from + 4 * p);
        assert_true(pixels->luma_sum(from, PIXELS) == sum);
        if (isa == GP_ISA_BASELINE) memcpy(first, got, sizeof first);
        assert_memory_equal(got, first, sizeof got);
      }
    if (i == 0) continue;
    gp_isa_set(gp_isa_best());
    memcpy(got, from, sizeof got);
    data_pixels_get()->blend_luma(got, PIXELS, factor);
    expect_blend(got, from, (double)factor, true, 0);
    memcpy(got, from, sizeof got);
    data_pixels_get()->blend_value(got, PIXELS, value, factor);
    expect_blend(got, from, (double)factor, false, value);
  }
}

static void resizes_alike_on_all_sets(void **state) {
  (void)state;
  for (int i = 0; i < 40; ++i) {
    const int32_t height = 1 + random_below(50), width = 1 + random_below(50);
    data_image image = {0}, first = {0}, got = {0}, three = {0};
    test_expect_ok(data_image_reserve(&image, height, width, 4));
    fill_random(image.pixels, (size_t)(height * width * 4));
    for (gp_isa isa = GP_ISA_BASELINE; isa <= gp_isa_best(); ++isa) {
      gp_isa_set(isa);
      test_expect_ok(data_resize(isa == GP_ISA_BASELINE ? &first : &got, &image, 1 + i, 40 - i));
      if (isa > GP_ISA_BASELINE) assert_true(same_colours(&got, &first));
    }
    /* Three channels go by the scalar loop. */
    test_expect_ok(data_image_convert(&image, 3));
    test_expect_ok(data_resize(&three, &image, 1 + i, 40 - i));
    test_expect_ok(data_image_convert(&first, 3));
    assert_true(same_colours(&three, &first));
    data_image_free(&image);
    data_image_free(&first);
    data_image_free(&got);
    data_image_free(&three);
  }
}

/* ---- Transforms ------------------------------------------------------------------------------ */

static const data_transform train = {.channels = 3,
                                     .height = 24,
                                     .width = 20,
                                     .resize = 24,
                                     .train = true,
                                     .flip = 0.5f,
                                     .brightness = 0.4f,
                                     .contrast = 0.3f,
                                     .saturation = 0.2f,
                                     .lighting = 0.1f};

static void draws_stay_in_their_limits(void **state) {
  (void)state;
  data_augmenter augmenter;
  data_draws draws;
  test_expect_ok(data_augmenter_init(&augmenter, &train));
  int orders[27] = {0}, flips = 0, whole = 0;
  double light = 0;
  for (int64_t i = 0; i < 4000; ++i) {
    data_augmenter_draw(&augmenter, 300, 400, &(data_draw_key){.seed = 3, .index = i}, &draws);
    const data_box *box = &draws.box;
    assert_true(box->top >= 0 && box->left >= 0 && box->top + box->height <= 300 && box->left + box->width <= 400);
    const double area = box->height * box->width / 120000.0, ratio = (double)box->width / box->height;
    assert_true(area > 0.079 && area <= 1.0 && ratio > 0.74 && ratio < 1.35);
    assert_true(fabsf(draws.factor[0] - 1) <= 0.4f && fabsf(draws.factor[1] - 1) <= 0.3f &&
                fabsf(draws.factor[2] - 1) <= 0.2f);
    orders[9 * draws.order[0] + 3 * draws.order[1] + draws.order[2]]++;
    flips += draws.flip;
    whole += box->height == 300;
    light += (double)(draws.light[0] * draws.light[0]);
  }
  int used = 0;
  for (int i = 0; i < 27; ++i) used += orders[i] > 500;
  assert_int_equal(used, 6);
  assert_true(flips > 1850 && flips < 2150 && whole < 200);
  /* 0.1² · Σ_i (v_i0·λ_i)² */
  assert_true(fabs(light / 4000 / 0.01 - (0.12343 * 0.12343 + 0.01352 * 0.01352 + 0.0018 * 0.0018)) < 1e-3);
}

/* No part of such an image has an allowed ratio and enough area: the middle is taken. */
static void needles_get_their_middle(void **state) {
  (void)state;
  data_augmenter augmenter;
  data_draws draws;
  test_expect_ok(data_augmenter_init(&augmenter, &train));
  data_augmenter_draw(&augmenter, 3, 1000, &(data_draw_key){.seed = 3}, &draws);
  assert_int_equal(draws.box.height * 100 + draws.box.width, 304);
  assert_int_equal(draws.box.top * 1000 + draws.box.left, 498);
  data_augmenter_draw(&augmenter, 1000, 3, &(data_draw_key){.seed = 3}, &draws);
  assert_int_equal(draws.box.height * 100 + draws.box.width, 403);
  data_augmenter_draw(&augmenter, 1, 1, &(data_draw_key){.seed = 3}, &draws);
  assert_int_equal(draws.box.height * 100 + draws.box.width, 101);
}

/* A sample of pixels, step by step beside the whole. */
static void runs_step_by_step(void **state) {
  (void)state;
  data_augmenter augmenter;
  data_transform transform = train;
  for (int c = 0; c < 3; ++c) {
    transform.mean[c] = 0.1f * (float)(c + 1);
    transform.std[c] = 0.5f;
  }
  test_expect_ok(data_augmenter_init(&augmenter, &transform));
  float got[3][24][20];
  for (int64_t i = 0; i < 12; ++i) {
    const data_draw_key key = {.seed = 9, .epoch = 2, .index = i};
    data_image image = picture(61, 83, 3);
    data_sample sample = {.image = picture(61, 83, 3)};
    data_draws draws;
    test_expect_ok(data_augmenter_run(&augmenter, &sample, &key, &got[0][0][0]));
    data_augmenter_draw(&augmenter, 61, 83, &key, &draws);
    data_image cut = cut_out(&image, &draws.box), resized = {0};
    test_expect_ok(data_resize(&resized, &cut, 24, 20));
    test_expect_ok(data_image_convert(&resized, 4));
    data_jitter(&resized, &draws);
    for (int c = 0; c < 3; ++c)
      for (int y = 0; y < 24; ++y)
        for (int x = 0; x < 20; ++x) {
          const uint8_t pixel = resized.pixels[4 * (20 * y + (draws.flip ? 19 - x : x)) + c];
          const float expected = ((float)pixel / 255.0f + draws.light[c] - transform.mean[c]) / 0.5f;
          assert_true(got[c][y][x] == expected);
        }
    data_image_free(&image);
    data_image_free(&cut);
    data_image_free(&resized);
    data_sample_free(&sample);
  }
}

/* At the images' own scale jitter works too. */
static void jitters_windows(void **state) {
  (void)state;
  data_augmenter augmenter;
  data_transform transform = {
      .channels = 3, .height = 10, .width = 10, .train = true, .padding = 2, .brightness = 0.4f};
  float got[3][10][10];
  for (int64_t i = 0; i < 20; ++i) {
    const data_draw_key key = {.seed = 1, .index = i};
    data_sample sample = {.image = picture(10, 10, 3)};
    data_image image = picture(10, 10, 3);
    data_draws draws;
    test_expect_ok(data_augmenter_init(&augmenter, &transform));
    test_expect_ok(data_augmenter_run(&augmenter, &sample, &key, &got[0][0][0]));
    data_augmenter_draw(&augmenter, 10, 10, &key, &draws);
    for (int y = 0; y < 10; ++y)
      for (int x = 0; x < 10; ++x) {
        const int row = y + draws.box.top, column = x + draws.box.left;
        const bool inside = row >= 0 && row < 10 && column >= 0 && column < 10;
        const float pixel = inside ? (float)image.pixels[3 * (10 * row + column)] * draws.factor[0] : 0;
        assert_true(got[0][y][x] == floorf(fminf(pixel, 255.0f)) / 255.0f);
      }
    test_expect_failure(data_augmenter_apply(&augmenter, &image, &key, &got[0][0][0]), GP_ERROR_INVALID_ARGUMENT,
                        "jitters", NULL);
    data_image_free(&image);
    data_sample_free(&sample);
  }
}

static void refuses_transforms(void **state) {
  (void)state;
  static const struct {
    data_transform transform;
    const char *message;
  } cases[] = {{{.channels = 3, .height = 8, .width = 8, .resize = 7}, "resize"},
               {{.channels = 3, .height = 8, .width = 8, .resize = 8, .area = {0.5f, 0.4f}}, "area"},
               {{.channels = 3, .height = 8, .width = 8, .resize = 8, .area = {0.5f, 1.4f}}, "area"},
               {{.channels = 3, .height = 8, .width = 8, .resize = 8, .ratio = {-1.0f, 1.0f}}, "ratio"},
               {{.channels = 3, .height = 8, .width = 8, .brightness = 1.5f}, "brightness"},
               {{.channels = 1, .height = 8, .width = 8, .contrast = 0.5f}, "colour images"},
               {{.channels = 3, .height = 8, .width = 8, .lighting = NAN}, "lighting"}};
  data_augmenter augmenter;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    test_expect_failure(data_augmenter_init(&augmenter, &cases[i].transform), GP_ERROR_INVALID_ARGUMENT,
                        cases[i].message, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#ifdef DATA_HAVE_JPEG
      cmocka_unit_test(parts_of_jpegs_are_those_of_the_whole),
      cmocka_unit_test(parts_of_grey_and_inks),
      cmocka_unit_test(rows_below_are_not_decoded),
#endif
      cmocka_unit_test(other_formats_come_whole),
      cmocka_unit_test(windows_of_a_resize),
      cmocka_unit_test(a_crop_is_resized_as_if_cut_out),
      cmocka_unit_test(blends_as_defined_on_all_sets),
      cmocka_unit_test(resizes_alike_on_all_sets),
      cmocka_unit_test(draws_stay_in_their_limits),
      cmocka_unit_test(needles_get_their_middle),
      cmocka_unit_test(runs_step_by_step),
      cmocka_unit_test(jitters_windows),
      cmocka_unit_test(refuses_transforms),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
