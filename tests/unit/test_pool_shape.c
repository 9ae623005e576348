/* Output sizes and windows against a brute-force statement of PyTorch's rule; what the entry points refuse. */
#include "pool/shape.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Output o has its window at [o·stride - padding, … + kernel). Without ceil_mode windows lie inside the padded input; with
 * it one more may hang over, if it begins inside the input or the padding before it. */
static int64_t windows_by_counting(int64_t size, int64_t kernel, int64_t stride, int64_t padding, bool ceil_mode) {
  int64_t count = 0;
  for (int64_t begin = -padding; begin + kernel <= size + padding; begin += stride) ++count;
  int64_t next = count * stride - padding;
  /* The one that hangs over must cover something the others left. */
  bool rest = count == 0 ? size + 2 * padding > kernel - stride : next - stride + kernel < size + padding;
  if (ceil_mode && rest && next < size) ++count;
  return count;
}

static void check_axis(int64_t size, int32_t kernel, int32_t stride, int32_t padding, bool ceil_mode) {
  gp_pool_desc desc = {.kind = GP_POOL_AVERAGE,
                       .batch = 1,
                       .channels = 1,
                       .height = size,
                       .width = 4,
                       .kernel = {kernel, 1},
                       .stride = {stride, 1},
                       .padding = {padding, 0},
                       .ceil_mode = ceil_mode};
  int64_t expected = windows_by_counting(size, kernel, stride, padding, ceil_mode), height = 0;
  gp_status status = gp_pool_output_size(&desc, &height, NULL);
  if (status != GP_OK) height = 0;
  if (height != expected)
    fail_msg("size %lld kernel %d stride %d padding %d ceil %d: expected %lld, found %lld", (long long)size, kernel,
             stride, padding, ceil_mode, (long long)expected, (long long)height);
  for (int64_t out = 0; out < height; ++out) {
    int64_t real = 0, padded = 0, begin = -1;
    for (int64_t i = out * stride - padding; i < out * stride - padding + kernel; ++i) {
      bool inside = i >= 0 && i < size;
      if (inside && begin < 0) begin = i;
      real += inside;
      padded += i < size + padding;
    }
    desc.pad_count = GP_COUNT_INCLUDE_PAD;
    gp_pool_span span = gp_pool_span_at(&desc, 0, out);
    assert_true(real >= 1);
    assert_int_equal(span.begin, begin);
    assert_int_equal(span.end, begin + real);
    assert_int_equal(span.divisor, padded);
    desc.pad_count = GP_COUNT_EXCLUDE_PAD;
    assert_int_equal(gp_pool_span_at(&desc, 0, out).divisor, real);
  }
}

static void test_windows(void **state) {
  (void)state;
  for (int64_t size = 1; size <= 12; ++size)
    for (int32_t kernel = 1; kernel <= 7; ++kernel)
      for (int32_t stride = 1; stride <= 6; ++stride)
        for (int32_t padding = 0; padding <= kernel / 2; ++padding)
          for (int ceil_mode = 0; ceil_mode < 2; ++ceil_mode) check_axis(size, kernel, stride, padding, ceil_mode);
}

/* Sizes printed by torch.nn.AvgPool2d (PyTorch 1.13). */
static void test_published_sizes(void **state) {
  (void)state;
  static const struct {
    int64_t size;
    int32_t kernel, stride, padding;
    bool ceil_mode;
    int64_t expected;
  } rows[] = {{224, 2, 2, 0, false, 112}, {112, 3, 2, 1, false, 56}, {7, 2, 2, 0, false, 3}, {7, 2, 2, 0, true, 4},
              {5, 3, 3, 1, true, 2},      {6, 2, 3, 1, true, 3},     {3, 4, 2, 0, true, 1},  {13, 3, 2, 0, true, 6}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    gp_pool_desc desc = {.batch = 1,
                         .channels = 1,
                         .height = rows[i].size,
                         .width = rows[i].size,
                         .kernel = {rows[i].kernel, rows[i].kernel},
                         .stride = {rows[i].stride, rows[i].stride},
                         .padding = {rows[i].padding, rows[i].padding},
                         .ceil_mode = rows[i].ceil_mode};
    int64_t height = 0, width = 0;
    assert_int_equal(gp_pool_output_size(&desc, &height, &width), GP_OK);
    assert_int_equal(height, rows[i].expected);
    assert_int_equal(width, rows[i].expected);
  }
}

static gp_pool_desc good(void) {
  return (gp_pool_desc){.batch = 2, .channels = 3, .height = 8, .width = 8, .kernel = {2, 2}};
}

static void refused(const gp_pool_desc *desc, const char *word) {
  assert_int_equal(gp_pool_output_size(desc, NULL, NULL), GP_ERROR_INVALID_ARGUMENT);
  if (strstr(gp_last_error(), word) == NULL) fail_msg("no `%s` in: %s", word, gp_last_error());
}

#define REFUSED(word, ...)      \
  do {                          \
    gp_pool_desc desc = good(); \
    desc.__VA_ARGS__;           \
    refused(&desc, word);       \
  } while (0)

static void test_bad_descriptors(void **state) {
  (void)state;
  gp_pool_desc fine = good();
  assert_int_equal(gp_pool_output_size(&fine, NULL, NULL), GP_OK);
  REFUSED("kind", kind = (gp_pool_kind)77);
  REFUSED("dtype", dtype = (gp_dtype)4);
  REFUSED("layout", layout = (gp_layout)4);
  REFUSED("pad_count", pad_count = (gp_pad_count)2);
  REFUSED("param_shape", param_shape = (gp_param_shape)5);
  REFUSED("GP_SHAPE_NCHW", param_shape = GP_SHAPE_NCHW);
  REFUSED("stochasticity", stochasticity = (gp_stochasticity)3);
  REFUSED("batch", batch = -1);
  REFUSED("channels", channels = 0);
  REFUSED("height", height = 0);
  REFUSED("width", width = INT64_C(1) << 31);
  REFUSED("kernel", kernel[0] = 0);
  REFUSED("stride", stride[1] = -1);
  REFUSED("padding", padding[0] = 2);
  REFUSED("padding", padding[1] = -1);
  REFUSED("does not fit an input", kernel[0] = 9);
  REFUSED("eps", eps = -1);
  REFUSED("eps", eps = NAN);
  REFUSED("eps", eps = INFINITY);
  REFUSED("threads", threads = -1);
  REFUSED("norm", norm = 0.5);
  REFUSED("norm", norm = -1);
  REFUSED("norm", norm = NAN);
  REFUSED("norm", norm = INFINITY);
  REFUSED("first_sample", first_sample = -1);
  REFUSED("first_sample", first_sample = INT64_MAX);
  REFUSED("address space", channels = INT64_C(1) << 58);
  assert_int_equal(gp_pool_output_size(NULL, NULL, NULL), GP_ERROR_INVALID_ARGUMENT);
}

/* ---- Adaptive windows ---------------------------------------------------------------------- */

static gp_pool_desc adaptive(int64_t height, int64_t width, int32_t rows, int32_t columns) {
  return (gp_pool_desc){.kind = GP_POOL_AVERAGE,
                        .batch = 1,
                        .channels = 1,
                        .height = height,
                        .width = width,
                        .adaptive = {rows, columns}};
}

/* torch.nn.AdaptiveAvgPool2d: from floor(o·size/outputs) to ceil((o + 1)·size/outputs). */
static void test_adaptive_windows(void **state) {
  (void)state;
  for (int64_t size = 1; size <= 20; ++size)
    for (int32_t outputs = 1; outputs <= 24; ++outputs) {
      gp_pool_desc desc = adaptive(size, 3, outputs, 3);
      int64_t height = 0;
      assert_int_equal(gp_pool_output_size(&desc, &height, NULL), GP_OK);
      assert_int_equal(height, outputs);
      for (int64_t out = 0; out < outputs; ++out) {
        gp_pool_span span = gp_pool_span_at(&desc, 0, out);
        assert_int_equal(span.begin, (int64_t)floor((double)(out * size) / outputs));
        assert_int_equal(span.end, (int64_t)ceil((double)((out + 1) * size) / outputs));
        assert_int_equal(span.divisor, span.end - span.begin);
        assert_int_equal(gp_pool_kernel_of(&desc, 0, &span), span.divisor);
      }
    }
}

static void test_bad_adaptive(void **state) {
  (void)state;
  gp_pool_desc desc = adaptive(8, 8, 2, 0);
  assert_int_equal(gp_pool_output_size(&desc, NULL, NULL), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "adaptive"));
  desc = adaptive(8, 8, -1, 2);
  assert_int_equal(gp_pool_output_size(&desc, NULL, NULL), GP_ERROR_INVALID_ARGUMENT);
  desc = adaptive(8, 8, 2, 2);
  desc.kernel[1] = 2;
  assert_int_equal(gp_pool_output_size(&desc, NULL, NULL), GP_ERROR_INVALID_ARGUMENT);
  desc = adaptive(8, 8, 2, 2);
  desc.stride[0] = 2;
  assert_int_equal(gp_pool_output_size(&desc, NULL, NULL), GP_ERROR_INVALID_ARGUMENT);
  desc = adaptive(8, 8, 2, 2);
  desc.padding[0] = 1;
  assert_int_equal(gp_pool_output_size(&desc, NULL, NULL), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "kernel, stride and padding must be 0"));
  desc = adaptive(8, 8, 2, 2);
  desc.kind = GP_POOL_GATED;
  desc.param_shape = GP_SHAPE_C;
  assert_int_equal(gp_pool_output_size(&desc, NULL, NULL), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "gated"));
}

/* ---- Parameters of the kinds --------------------------------------------------------------- */

static void test_param_shapes(void **state) {
  (void)state;
  static const struct {
    gp_pool_kind kind;
    bool takes[5]; /* NC, C, N, ONE, NCHW */
  } rows[] = {
      {GP_POOL_ISP_GAUSSIAN, {true, true, true, true, false}},
      {GP_POOL_GAUSSIAN, {true, true, true, true, false}},
      {GP_POOL_HALF_GAUSSIAN, {true, true, true, true, false}},
      {GP_POOL_WEIGHTED, {true, true, true, true, true}},
      {GP_POOL_MAX_ENTROPY, {true, true, true, true, true}},
      {GP_POOL_MIXED, {true, true, true, true, true}},
      {GP_POOL_GATED, {false, true, false, true, false}},
      {GP_POOL_AVERAGE, {true, true, true, true, true}}, /* looks at none */
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i)
    for (int shape = GP_SHAPE_NC; shape <= GP_SHAPE_NCHW; ++shape) {
      gp_pool_desc desc = good();
      desc.kind = rows[i].kind;
      desc.param_shape = (gp_param_shape)shape;
      gp_status expected = rows[i].takes[shape] ? GP_OK : GP_ERROR_INVALID_ARGUMENT;
      if (gp_pool_output_size(&desc, NULL, NULL) != expected) fail_msg("kind %d, shape %d", (int)desc.kind, shape);
    }
}

/* ---- Strides ------------------------------------------------------------------------------- */

static gp_status plan_with(gp_layout layout, gp_strides x, gp_strides y, gp_pool_plan *plan) {
  gp_pool_desc desc = good();
  desc.layout = layout;
  desc.x_stride = x;
  desc.y_stride = y;
  return gp_pool_plan_make(plan, &desc);
}

/* good() is 2 x 3 x 8 x 8, pooled to 4 x 4. */
static void test_strides(void **state) {
  (void)state;
  const gp_strides dense = {0};
  gp_pool_plan plan;
  assert_int_equal(plan_with(GP_NCHW, dense, dense, &plan), GP_OK);
  assert_memory_equal(&plan.desc.x_stride, &((gp_strides){192, 64, 8, 1}), sizeof(gp_strides));
  assert_memory_equal(&plan.desc.y_stride, &((gp_strides){48, 16, 4, 1}), sizeof(gp_strides));
  assert_int_equal(plan_with(GP_NHWC, dense, dense, &plan), GP_OK);
  assert_memory_equal(&plan.desc.x_stride, &((gp_strides){192, 1, 24, 3}), sizeof(gp_strides));
  assert_int_equal(plan_with(GP_NCHW8C, dense, dense, &plan), GP_OK);
  assert_memory_equal(&plan.desc.x_stride, &((gp_strides){512, 512, 64, 8}), sizeof(gp_strides));

  /* Inputs may repeat elements, outputs may not. */
  assert_int_equal(plan_with(GP_NCHW, (gp_strides){0, 64, 8, 1}, dense, &plan), GP_OK);
  assert_int_equal(plan_with(GP_NCHW, dense, (gp_strides){0, 16, 4, 1}, &plan), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "y_stride"));
  assert_non_null(strstr(gp_last_error(), "share memory"));
  assert_int_equal(plan_with(GP_NCHW, dense, (gp_strides){48, 16, 3, 1}, &plan), GP_ERROR_INVALID_ARGUMENT);
  assert_int_equal(plan_with(GP_NCHW, dense, (gp_strides){48, 15, 4, 1}, &plan), GP_ERROR_INVALID_ARGUMENT);
  assert_int_equal(plan_with(GP_NCHW, dense, (gp_strides){96, 16, 4, 1}, &plan), GP_OK);
  assert_int_equal(plan_with(GP_NCHW, dense, (gp_strides){48, 1, 12, 3}, &plan), GP_OK); /* NHWC in memory */
  assert_int_equal(plan_with(GP_NCHW, dense, (gp_strides){4, 32, 8, 1}, &plan), GP_OK);  /* samples side by side */

  assert_int_equal(plan_with(GP_NCHW, (gp_strides){192, 64, 8, -1}, dense, &plan), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "x_stride"));
  assert_int_equal(plan_with(GP_NCHW, (gp_strides){INT64_MAX, 64, 8, 1}, dense, &plan), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "address space"));
  assert_int_equal(plan_with(GP_NCHW8C, (gp_strides){512, 512, 64, 4}, dense, &plan), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "multiples of the block"));
  assert_int_equal(plan_with(GP_NCHW16C, dense, (gp_strides){256, 256, 64, 8}, &plan), GP_ERROR_INVALID_ARGUMENT);
  assert_int_equal(plan_with(GP_NCHW16C, dense, (gp_strides){512, 256, 64, 16}, &plan), GP_OK);
}

/* The stride of an axis of one element means nothing. */
static void test_strides_of_single_axes(void **state) {
  (void)state;
  gp_pool_desc desc = {.kind = GP_POOL_MAX,
                       .batch = 1,
                       .channels = 1,
                       .height = 1,
                       .width = 4,
                       .kernel = {1, 2},
                       .x_stride = {-7, -1, 99, 1},
                       .y_stride = {0, 0, 0, 1}};
  gp_pool_plan plan;
  assert_int_equal(gp_pool_plan_make(&plan, &desc), GP_OK);
  assert_int_equal(plan.desc.x_stride.n, 4);
  assert_int_equal(plan.desc.x_stride.w, 1);
}

/* ---- Pointers ------------------------------------------------------------------------------ */

static void test_missing_pointers(void **state) {
  (void)state;
  float x[384] = {0}, y[96], value[6] = {0}, workspace_too_small[1];
  gp_pool_desc desc = good();
  gp_pool_forward_args forward = {.x = x, .mu = value, .y = y};
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_OK); /* no draws: sigma is not needed */
  assert_int_equal(gp_pool_forward(&desc, NULL), GP_ERROR_INVALID_ARGUMENT);
  desc.stochasticity = GP_STOCHASTIC_CN;
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "sigma"));
  forward.mu = NULL;
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  forward = (gp_pool_forward_args){.x = x, .mu = value, .sigma = value};
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "`y`"));
  forward.y = (char *)y + 1;
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "aligned"));
  desc.kind = GP_POOL_WEIGHTED;
  forward.y = y;
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "weight"));
  desc.kind = GP_POOL_HALF_GAUSSIAN; /* sigma is its inference, too */
  desc.stochasticity = GP_STOCHASTIC_NONE;
  forward.sigma = NULL;
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "sigma"));
  desc.kind = GP_POOL_WEIGHTED;
  gp_pool_backward_args backward = {.x = x, .weight = value, .grad_y = y};
  assert_int_equal(gp_pool_backward(&desc, &backward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "workspace"));
  backward.workspace = (char *)workspace_too_small + 1;
  assert_int_equal(gp_pool_backward(&desc, &backward), GP_ERROR_INVALID_ARGUMENT);
  backward.grad_y = NULL;
  assert_int_equal(gp_pool_backward(&desc, &backward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "grad_y"));
  assert_int_equal(gp_pool_draws(&desc, x), GP_ERROR_INVALID_ARGUMENT);
}

static void test_scale_without_shift(void **state) {
  (void)state;
  float x[384] = {0}, y[96] = {0}, value[6] = {0};
  gp_pool_desc desc = good();
  desc.kind = GP_POOL_MAX;
  gp_pool_forward_args forward = {.x = x, .y = y, .scale = value};
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "`shift`"));
  forward = (gp_pool_forward_args){.x = x, .y = y, .shift = value};
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "`scale`"));
  forward.scale = (const char *)value + 2;
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "`scale` is not aligned"));
  gp_pool_backward_args backward = {.x = x, .grad_y = y, .grad_x = x, .scale = value};
  assert_int_equal(gp_pool_backward(&desc, &backward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "`shift`"));
}

/* Parameters of 16-bit tensors are float32. */
static void test_alignment_of_dtypes(void **state) {
  (void)state;
  uint16_t x[1 + 384] = {0}, y[1 + 2 * 96] = {0};
  float value[7] = {0};
  gp_pool_desc desc = good();
  desc.dtype = GP_BFLOAT16;
  gp_pool_forward_args forward = {.x = x + 1, .mu = value, .y = y + 1};
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_OK);
  forward.mu = (const char *)value + 2;
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_ERROR_INVALID_ARGUMENT);
  assert_non_null(strstr(gp_last_error(), "`mu`"));
  desc.kind = GP_POOL_WEIGHTED;
  desc.param_shape = GP_SHAPE_NCHW; /* a map is of y's dtype */
  forward.weight = y + 97;
  assert_int_equal(gp_pool_forward(&desc, &forward), GP_OK);
}

static void test_empty_batch(void **state) {
  (void)state;
  gp_pool_desc desc = good();
  desc.batch = 0;
  desc.param_shape = GP_SHAPE_C;
  size_t bytes = 1;
  float grad_mu[3] = {1, 2, 3};
  assert_int_equal(gp_pool_forward(&desc, &(gp_pool_forward_args){0}), GP_OK);
  assert_int_equal(gp_pool_backward_workspace(&desc, &bytes), GP_OK);
  assert_int_equal(bytes, 0);
  assert_int_equal(gp_pool_backward(&desc, &(gp_pool_backward_args){.grad_mu = grad_mu}), GP_OK);
  for (int i = 0; i < 3; ++i) assert_true(grad_mu[i] == 0);
}

static void test_layout_elements(void **state) {
  (void)state;
  assert_int_equal(gp_layout_elements(GP_NCHW, 2, 3, 4, 5), 120);
  assert_int_equal(gp_layout_elements(GP_NHWC, 2, 3, 4, 5), 120);
  assert_int_equal(gp_layout_elements(GP_NCHW8C, 2, 9, 4, 5), 2 * 16 * 20);
  assert_int_equal(gp_layout_elements(GP_NCHW16C, 2, 17, 4, 5), 2 * 32 * 20);
  assert_int_equal(gp_layout_elements(GP_NCHW, 0, 3, 4, 5), 0);
  assert_true(gp_layout_elements(GP_NCHW, INT64_MAX, INT64_MAX / 2, 4, 5) == SIZE_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_windows),
      cmocka_unit_test(test_published_sizes),
      cmocka_unit_test(test_bad_descriptors),
      cmocka_unit_test(test_adaptive_windows),
      cmocka_unit_test(test_bad_adaptive),
      cmocka_unit_test(test_param_shapes),
      cmocka_unit_test(test_strides),
      cmocka_unit_test(test_strides_of_single_axes),
      cmocka_unit_test(test_missing_pointers),
      cmocka_unit_test(test_scale_without_shift),
      cmocka_unit_test(test_alignment_of_dtypes),
      cmocka_unit_test(test_empty_batch),
      cmocka_unit_test(test_layout_elements),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
