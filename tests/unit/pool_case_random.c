/* Random descriptors. */
#include "pool_case.h"

#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

uint64_t pool_test_cases(uint64_t usual) {
  const char *wanted = getenv("GAUSSPOOL_TEST_CASES");
  unsigned long long cases = wanted != NULL ? strtoull(wanted, NULL, 10) : 0;
  if (cases > 0) return usual * cases / 20000 + 1;
#if defined(SANITIZED)
  return usual / 20 + 1;
#else
  return usual;
#endif
}

static int64_t pick_channels(test_random *random, gp_layout layout, bool large) {
  static const int64_t around[] = {1, 1, 2, 3, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 33};
  if (layout == GP_NHWC && random_one_in(random, large ? 3 : 100)) return 120 + random_below(random, 400);
  return around[random_below(random, sizeof around / sizeof around[0])];
}

static int64_t pick_side(test_random *random, bool large) {
  if (large) return 1 + random_below(random, random_one_in(random, 8) ? 500 : 100);
  return 1 + random_below(random, random_one_in(random, 12) ? 19 : 8);
}

gp_strides pool_random_slice(test_random *random, gp_layout layout, int64_t channels, int64_t height, int64_t width) {
  gp_strides strides = gp_strides_dense(layout, channels + random_below(random, 12), height + random_below(random, 3),
                                        width + random_below(random, 3));
  strides.n += random_below(random, 2) * 16;
  return strides;
}

/* The order of another layout: its innermost axis is not this one's. */
static gp_strides transposed(const gp_pool_desc *desc, int64_t height, int64_t width) {
  gp_layout other = desc->layout == GP_NCHW ? GP_NHWC : GP_NCHW;
  return gp_strides_dense(other, desc->channels, height, width);
}

static gp_strides pick_strides(test_random *random, const gp_pool_desc *desc, int64_t height, int64_t width) {
  bool blocked = gp_layout_block(desc->layout) > 0;
  if (!blocked && random_one_in(random, 8)) return transposed(desc, height, width);
  if (random_one_in(random, 3)) return (gp_strides){0};
  return pool_random_slice(random, desc->layout, desc->channels, height, width);
}

static void pick_all_strides(test_random *random, gp_pool_desc *desc) {
  int64_t height, width;
  if (gp_pool_output_size(desc, &height, &width) != GP_OK) return;
  desc->x_stride = pick_strides(random, desc, desc->height, desc->width);
  desc->grad_x_stride = pick_strides(random, desc, desc->height, desc->width);
  desc->y_stride = pick_strides(random, desc, height, width);
  desc->grad_y_stride = pick_strides(random, desc, height, width);
}

static void pick_window(test_random *random, gp_pool_desc *desc) {
  if (random_one_in(random, 6)) {
    for (int axis = 0; axis < 2; ++axis)
      desc->adaptive[axis] = (int32_t)(random_one_in(random, 2) ? 1 : 1 + random_below(random, 8));
    return;
  }
  for (int axis = 0; axis < 2; ++axis) {
    desc->kernel[axis] = (int32_t)(1 + random_below(random, 4) + (random_one_in(random, 10) ? 3 : 0));
    desc->stride[axis] = (int32_t)random_below(random, 4);
    desc->padding[axis] = (int32_t)random_below(random, desc->kernel[axis] / 2 + 1);
  }
  if (!random_one_in(random, 2)) return;
  desc->kernel[1] = desc->kernel[0];
  desc->stride[1] = desc->stride[0];
  desc->padding[1] = desc->padding[0];
}

/* Windows of 2×2 that step by 2 and fill the input: the commonest, and in NCHW with loops of their own. */
static void pick_halving(test_random *random, gp_pool_desc *desc, bool large) {
  for (int axis = 0; axis < 2; ++axis) {
    desc->kernel[axis] = desc->stride[axis] = 2;
    desc->padding[axis] = desc->adaptive[axis] = 0;
  }
  desc->height = 2 * (1 + random_below(random, large ? 50 : 3));
  desc->width = 2 * (1 + random_below(random, large ? 100 : 40));
  /* Rows that are cut: longer than their weights have room, or than float is good for their sums. */
  if (large && random_one_in(random, 3)) {
    desc->height = 2;
    desc->width =
        random_one_in(random, 2) ? 1000 + 2 * random_below(random, 100) : 16384 + 2 * random_below(random, 100);
  }
  if (random_one_in(random, 8)) ++desc->height;
  if (random_one_in(random, 8)) ++desc->width;
}

static gp_dtype pick_dtype(test_random *random) {
  static const gp_dtype dtypes[] = {GP_FLOAT32,  GP_FLOAT32, GP_FLOAT32, GP_FLOAT32, GP_BFLOAT16,
                                    GP_BFLOAT16, GP_FLOAT16, GP_FLOAT16, GP_FLOAT64};
  return dtypes[random_below(random, sizeof dtypes / sizeof dtypes[0])];
}

static bool has_size(const gp_pool_desc *desc, bool large) {
  if (gp_pool_output_size(desc, NULL, NULL) != GP_OK) return false;
  int64_t elements = desc->batch * desc->channels * desc->height * desc->width;
  return !large || (elements > 20000 && elements < 200000);
}

gp_pool_desc pool_random_desc(test_random *random, bool large) {
  static const double norms[] = {0, 1, 1.5, 2, 3, 4.25};
  for (;;) {
    gp_pool_desc desc = {
        .kind = (gp_pool_kind)random_below(random, GP_POOL_LP + 1),
        .dtype = pick_dtype(random),
        .layout = (gp_layout)random_below(random, 4),
        .batch = 1 + random_below(random, 3),
        .height = pick_side(random, large),
        .width = pick_side(random, large),
        .ceil_mode = random_one_in(random, 2),
        .pad_count = (gp_pad_count)random_below(random, 2),
        .eps = random_one_in(random, 4) ? 0.5 : 0,
        .norm = norms[random_below(random, sizeof norms / sizeof norms[0])],
        .param_shape = (gp_param_shape)random_below(random, 5),
        .stochasticity = (gp_stochasticity)random_below(random, 3),
        .seed = random_word(random),
        .call_offset = (uint32_t)random_word(random),
        .first_sample = random_one_in(random, 3) ? random_below(random, INT64_C(1) << 36) : 0,
        .threads = random_one_in(random, 200) ? 2 : 1, /* more: test_thread_counts_agree */
    };
    desc.channels = pick_channels(random, desc.layout, large);
    if (random_one_in(random, 8))
      pick_halving(random, &desc, large);
    else
      pick_window(random, &desc);
    if (random_one_in(random, 3)) pick_all_strides(random, &desc);
    if (has_size(&desc, large)) return desc;
  }
}

unsigned pool_random_extras(test_random *random) {
  unsigned extras = POOL_PLAIN;
  if (random_one_in(random, 3)) extras |= POOL_SCALED;
  if (random_one_in(random, 3)) extras |= POOL_AVERAGES;
  if (random_one_in(random, 3)) extras |= POOL_ADDING;
  if (random_one_in(random, 8)) extras |= POOL_NO_GRAD_X;
  if (random_one_in(random, 4)) extras |= POOL_SEED;
  return extras;
}
