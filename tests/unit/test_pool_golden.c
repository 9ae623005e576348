/* Hashes of draws and of the kernels' results on fixed inputs: the same bits on every architecture and instruction set, in
 * every layout, but for which NaN it is. With GAUSSPOOL_TEST_TABLE set it prints the table below as it should be, for
 * when a change of results is meant. */
#include "pool_case.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KINDS = GP_POOL_LP + 1, LAYOUTS = GP_NCHW16C + 1, DTYPES = 3, CASES = 3, PAIRS = CASES, PAIRS_END = PAIRS + 2 };

static const gp_dtype dtypes[DTYPES] = {GP_FLOAT32, GP_BFLOAT16, GP_FLOAT16};

/* Of the forward and of the backward pass, by dtype. */
static const struct golden {
  uint32_t forward[DTYPES], backward[DTYPES];
} golden[KINDS] = {
    {{0x27D0B185, 0x6D1BB923, 0xC0D47975}, {0x0FC45056, 0x8A4A2B1A, 0xBFE27A10}}, /* isp_gaussian */
    {{0x67F0E99C, 0xACF1A52F, 0x8CA7A794}, {0xFB299241, 0x472E9270, 0x1A8A100D}}, /* weighted */
    {{0xCCF6492F, 0xD6BE399D, 0x057D5638}, {0x661BAEB9, 0x42974AD8, 0x06D048F8}}, /* average */
    {{0x0E46D093, 0x247AC95D, 0x8345621E}, {0xCCAF1023, 0x11DC6F50, 0xA378E781}}, /* max */
    {{0x4C152A92, 0x7EBC986A, 0x65603528}, {0x5B1B12B5, 0x87E3AA73, 0xE8BFDF47}}, /* gaussian */
    {{0x2C20D5D6, 0x4CEFEB16, 0x2A1942D0}, {0xFB648050, 0x0C1D384A, 0x6156788D}}, /* half_gaussian */
    {{0x8C657E82, 0x700FBB7A, 0x34AE6FF5}, {0x5C6A74EB, 0x3D22987D, 0xD1D9AF54}}, /* max_entropy */
    {{0xAC05922E, 0x63760DDB, 0x642D7F01}, {0x002C11FE, 0x01EDCE29, 0xCC6C6E1F}}, /* softpool */
    {{0xE62C5A77, 0x8B4F83E8, 0xD838AE2E}, {0x58A3ACAA, 0xE09F7EB5, 0x3C07D095}}, /* stochastic */
    {{0xBFF6748F, 0x9246564B, 0x8CE2C110}, {0x697E0565, 0x8C55A64B, 0x83692BB6}}, /* mixed */
    {{0x420F072D, 0x0A60EFD8, 0xEF7A3620}, {0x86915E4F, 0x6D2E6B55, 0xCCC36688}}, /* gated */
    {{0x69CA7B47, 0x800975D9, 0xBA23118D}, {0x150DEB64, 0x30846688, 0x58B64CF9}}, /* lp */
};

static const struct golden_draws {
  gp_pool_kind kind;
  gp_stochasticity stochasticity;
  uint32_t hash;
} golden_draws[] = {
    {GP_POOL_GAUSSIAN, GP_STOCHASTIC_CN, 0x0BC5F47A},
    {GP_POOL_GAUSSIAN, GP_STOCHASTIC_HWCN, 0x860D1ADF},
    {GP_POOL_STOCHASTIC, GP_STOCHASTIC_CN, 0x1772730F},
    {GP_POOL_STOCHASTIC, GP_STOCHASTIC_HWCN, 0x417276AC},
};

/* Of NCHW's windows of 2×2 that step by 2, whose sums are made in another order; by dtype. */
static const uint32_t golden_pairs[KINDS][DTYPES] = {
    {0xFFAB8C0F, 0xDB947AAC, 0x9477F397}, /* isp_gaussian */
    {0x563F6C51, 0xB395DC4D, 0x00669412}, /* weighted */
    {0x1DEB5D27, 0x86A25180, 0x47961579}, /* average */
    {0x6C562746, 0xADE27204, 0x486A34DA}, /* max */
    {0xC2551AFD, 0x443C02A1, 0xDF501F5E}, /* gaussian */
    {0xFD06D2B4, 0x0D4E8998, 0xD43D77E4}, /* half_gaussian */
    {0x803F9A69, 0xFB3A9214, 0x3378866F}, /* max_entropy */
    {0x6A3D5168, 0xA14650CA, 0x1F08CD4D}, /* softpool */
    {0xF1511E02, 0x815804A7, 0x33657F42}, /* stochastic */
    {0xF5204D97, 0x861D31C8, 0xBDE3D3FE}, /* mixed */
    {0x9D2CDDD9, 0xC24F667E, 0xAE047F08}, /* gated */
    {0x1FDF929A, 0x48607461, 0xF0A3B8FF}, /* lp */
};

/* ---- Hashes -------------------------------------------------------------------------------- */

static const uint32_t hash_start = 0x811C9DC5;

/* FNV-1a over an element's bytes, lowest first. */
static uint32_t hash_element(uint32_t hash, const void *data, gp_dtype dtype, int64_t i) {
  uint64_t word = 0;
  if (gp_dtype_size(dtype) == 2)
    word = ((const uint16_t *)data)[i];
  else
    word = ((const uint32_t *)data)[i];
  if (isnan(gp_load(data, dtype, i))) word = UINT32_MAX;
  for (size_t k = 0; k < gp_dtype_size(dtype); ++k) hash = (hash ^ (uint32_t)(word >> (8 * k) & 0xFF)) * 0x01000193u;
  return hash;
}

static uint32_t hash_array(uint32_t hash, const test_buffer *buffer) {
  for (size_t i = 0; i < buffer->elements; ++i) hash = hash_element(hash, buffer->data, buffer->dtype, (int64_t)i);
  return hash;
}

/* y or grad_x in the order [n][c][h][w], whatever the layout. */
static uint32_t hash_tensor(uint32_t hash, const pool_case *pool, enum pool_output which) {
  const gp_pool_desc *desc = &pool->plan.desc;
  int64_t height = which == POOL_Y ? pool->plan.out_height : desc->height;
  int64_t width = which == POOL_Y ? pool->plan.out_width : desc->width;
  for (int64_t plane = 0; plane < desc->batch * desc->channels; ++plane) {
    gp_pool_plane place = pool_case_plane_out(pool, which, plane / desc->channels, plane % desc->channels);
    for (int64_t i = 0; i < height * width; ++i)
      hash = hash_element(hash, pool->out[which].data, pool->out[which].dtype, pool_at(place, i / width, i % width));
  }
  return hash;
}

/* ---- Cases --------------------------------------------------------------------------------- */

/* Numbers made of integers alone: the mathematical library's last bits are not the same everywhere. */
static double number(test_random *random) { return (double)(random_below(random, 2049) - 1024) / 512; }

/* At times one that arithmetic is not used to. The 16-bit types have infinities in place of some. */
static double wild_number(test_random *random) {
  static const double wild[] = {0.0,     -0.0,    0x1p-149, -0x1p-140, 0x1.8p-24, 0x1p-14,  FLT_MIN,
                                65519.0, 65520.0, 1e30,     -1e30,     -FLT_MAX,  INFINITY, NAN};
  size_t i = (size_t)random_below(random, 1000);
  return i < sizeof wild / sizeof wild[0] ? wild[i] : number(random);
}

static void fill_tensor(pool_case *pool, enum pool_input which, bool of_y, double (*number_of)(test_random *)) {
  test_random random = {17 + (uint64_t)which};
  const gp_pool_desc *desc = &pool->plan.desc;
  int64_t height = of_y ? pool->plan.out_height : desc->height, width = of_y ? pool->plan.out_width : desc->width;
  for (int64_t plane = 0; plane < desc->batch * desc->channels; ++plane) {
    gp_pool_plane place = pool_case_plane_in(pool, which, plane / desc->channels, plane % desc->channels);
    for (int64_t i = 0; i < height * width; ++i)
      test_buffer_set(&pool->in[which], pool_at(place, i / width, i % width), number_of(&random));
  }
}

/* The first case has windows that overlap each other and the padding, the second the short way's and all that may go with
 * it, the third special values. The last two are what NCHW has loops of its own for. */
static const struct {
  int32_t kernel, stride, padding;
  gp_stochasticity stochasticity;
  double norm;
  unsigned extras;
  double (*x)(test_random *);
} cases[PAIRS_END] = {
    {3, 2, 1, GP_STOCHASTIC_HWCN, 3, POOL_PLAIN, number},
    {2, 2, 0, GP_STOCHASTIC_CN, 2, POOL_SCALED | POOL_AVERAGES | POOL_ADDING, number},
    {3, 3, 0, GP_STOCHASTIC_HWCN, 1.5, POOL_PLAIN, wild_number},
    {2, 2, 0, GP_STOCHASTIC_HWCN, 3, POOL_AVERAGES, wild_number},
    {2, 2, 0, GP_STOCHASTIC_CN, 3, POOL_AVERAGES, number},
};

static gp_pool_desc desc_of(gp_pool_kind kind, gp_dtype dtype, gp_layout layout, int i) {
  bool draws = gp_pool_kind_find(kind)->draws != GP_DRAWS_NOTHING;
  return (gp_pool_desc){
      .kind = kind,
      .dtype = dtype,
      .layout = layout,
      .batch = 2,
      .channels = 19,
      .height = i >= PAIRS ? 10 : 9,
      .width = i >= PAIRS ? 44 : 11,
      .kernel = {cases[i].kernel, cases[i].kernel},
      .stride = {cases[i].stride, cases[i].stride},
      .padding = {cases[i].padding, cases[i].padding},
      .norm = cases[i].norm,
      .param_shape = kind == GP_POOL_GATED ? GP_SHAPE_C : GP_SHAPE_NC,
      .stochasticity = draws ? cases[i].stochasticity : GP_STOCHASTIC_NONE,
      .seed = 0x0123456789ABCDEF,
      .call_offset = 5,
      .first_sample = INT64_C(1) << 33,
  };
}

static void make(pool_case *pool, const gp_pool_desc *desc, int i) {
  pool_case_make(pool, desc, cases[i].extras, 1);
  fill_tensor(pool, POOL_X, false, cases[i].x);
  fill_tensor(pool, POOL_GRAD_Y, true, number);
  fill_tensor(pool, POOL_BEFORE, false, number);
  test_random random = {5};
  for (int which = POOL_WEIGHT; which < POOL_INPUTS; ++which)
    for (size_t k = 0; k < pool->in[which].elements; ++k)
      test_buffer_set(&pool->in[which], (int64_t)k, number(&random));
}

/* ---- Tests --------------------------------------------------------------------------------- */

struct hashes {
  uint32_t forward, backward;
};

static struct hashes run(gp_pool_kind kind, gp_dtype dtype, gp_layout layout, gp_isa isa) {
  struct hashes hashes = {hash_start, hash_start};
  for (int i = 0; i < CASES; ++i) {
    gp_pool_desc desc = desc_of(kind, dtype, layout, i);
    pool_case pool;
    make(&pool, &desc, i);
    pool_case_run(&pool, isa);
    hashes.forward = hash_array(hash_tensor(hashes.forward, &pool, POOL_Y), &pool.out[POOL_AVERAGE_Y]);
    hashes.backward = hash_tensor(hashes.backward, &pool, POOL_GRAD_X);
    for (int which = POOL_GRAD_WEIGHT; which < POOL_OUTPUTS; ++which)
      if (which != POOL_AVERAGE_Y) hashes.backward = hash_array(hashes.backward, &pool.out[which]);
    pool_case_free(&pool);
  }
  return hashes;
}

/* Of y and grad_x alone, and of all that comes out. */
struct pair_hashes {
  uint32_t tensors, all;
};

static struct pair_hashes run_pairs(gp_pool_kind kind, gp_dtype dtype, gp_layout layout, gp_isa isa) {
  struct pair_hashes hashes = {hash_start, hash_start};
  for (int i = PAIRS; i < PAIRS_END; ++i) {
    gp_pool_desc desc = desc_of(kind, dtype, layout, i);
    pool_case pool;
    make(&pool, &desc, i);
    pool_case_run(&pool, isa);
    hashes.tensors = hash_tensor(hash_tensor(hashes.tensors, &pool, POOL_Y), &pool, POOL_GRAD_X);
    for (int which = 0; which < POOL_OUTPUTS; ++which) hashes.all = hash_array(hashes.all, &pool.out[which]);
    pool_case_free(&pool);
  }
  return hashes;
}

static bool table_wanted(void) { return getenv("GAUSSPOOL_TEST_TABLE") != NULL; }

static void print_table(void) {
  for (int kind = 0; kind < KINDS; ++kind) {
    struct hashes h[DTYPES];
    for (int i = 0; i < DTYPES; ++i) h[i] = run((gp_pool_kind)kind, dtypes[i], GP_NHWC, GP_ISA_BASELINE);
    printf("{{0x%08X, 0x%08X, 0x%08X}, {0x%08X, 0x%08X, 0x%08X}}, /* %s */\n", h[0].forward, h[1].forward, h[2].forward,
           h[0].backward, h[1].backward, h[2].backward, gp_pool_kind_name((gp_pool_kind)kind));
  }
}

static void check(int kind, gp_dtype dtype, int layout, gp_isa isa, struct hashes expected) {
  struct hashes found = run((gp_pool_kind)kind, dtype, (gp_layout)layout, isa);
  if (expected.forward != found.forward || expected.backward != found.backward)
    fail_msg("%s, dtype %d, layout %d on %s: expected 0x%08X forward and 0x%08X backward, found 0x%08X and 0x%08X",
             gp_pool_kind_name((gp_pool_kind)kind), (int)dtype, layout, gp_isa_name(isa), expected.forward,
             expected.backward, found.forward, found.backward);
}

static void test_results(void **state) {
  (void)state;
  if (table_wanted()) print_table();
  for (int kind = 0; kind < KINDS; ++kind)
    for (int i = 0; i < DTYPES; ++i)
      for (int layout = 0; layout < LAYOUTS; ++layout)
        for (gp_isa isa = GP_ISA_BASELINE; isa <= gp_isa_best(); ++isa)
          check(kind, dtypes[i], layout, isa, (struct hashes){golden[kind].forward[i], golden[kind].backward[i]});
}

static void print_pairs(void) {
  for (int kind = 0; kind < KINDS; ++kind) {
    printf("{");
    for (int i = 0; i < DTYPES; ++i)
      printf("0x%08X, ", run_pairs((gp_pool_kind)kind, dtypes[i], GP_NCHW, GP_ISA_BASELINE).all);
    printf("}, /* %s */\n", gp_pool_kind_name((gp_pool_kind)kind));
  }
}

static void test_pairs(void **state) {
  (void)state;
  if (table_wanted()) print_pairs();
  for (int kind = 0; kind < KINDS; ++kind)
    for (int i = 0; i < DTYPES; ++i)
      for (gp_isa isa = GP_ISA_BASELINE; isa <= gp_isa_best(); ++isa) {
        struct pair_hashes found = run_pairs((gp_pool_kind)kind, dtypes[i], GP_NCHW, isa),
                           other = run_pairs((gp_pool_kind)kind, dtypes[i], GP_NHWC, isa);
        /* GP_POOL_GATED goes through copies, which get the averages' gradients last. */
        bool same = found.tensors == other.tensors || kind == GP_POOL_GATED;
        if (found.all != golden_pairs[kind][i] || !same)
          fail_msg("%s, dtype %d on %s: expected 0x%08X, and 0x%08X as in NHWC, found 0x%08X and 0x%08X",
                   gp_pool_kind_name((gp_pool_kind)kind), (int)dtypes[i], gp_isa_name(isa), golden_pairs[kind][i],
                   other.tensors, found.all, found.tensors);
      }
}

static void test_draws(void **state) {
  (void)state;
  for (size_t row = 0; row < sizeof golden_draws / sizeof golden_draws[0]; ++row)
    for (int layout = 0; layout < LAYOUTS; ++layout) {
      int i = golden_draws[row].stochasticity == GP_STOCHASTIC_CN ? 1 : 0;
      gp_pool_desc desc = desc_of(golden_draws[row].kind, GP_FLOAT32, (gp_layout)layout, i);
      pool_case pool;
      make(&pool, &desc, i);
      assert_int_equal(gp_pool_draws(&desc, pool.out[POOL_Y].data), GP_OK);
      uint32_t hash;
      if (i == 0) {
        hash = hash_tensor(hash_start, &pool, POOL_Y);
      } else {
        pool.out[POOL_Y].elements = (size_t)(desc.batch * desc.channels);
        hash = hash_array(hash_start, &pool.out[POOL_Y]);
      }
      pool_case_free(&pool);
      if (hash != golden_draws[row].hash)
        fail_msg("draws of row %zu, layout %d: expected hash 0x%08X, found 0x%08X", row, layout, golden_draws[row].hash,
                 hash);
    }
}

/* A line that scripts/check quotes. */
static void print_instruction_sets(void) {
  gp_isa best = gp_isa_best();
  printf("instruction sets:");
  for (gp_isa isa = GP_ISA_REFERENCE; isa <= best; ++isa) printf(" %s", gp_isa_name(isa));
#if defined(__x86_64__)
  if (best < GP_ISA_AVX512) printf("; untested, since the machine lacks them:");
  for (gp_isa isa = best + 1; isa <= GP_ISA_AVX512; ++isa) printf(" %s", gp_isa_name(isa));
#endif
  printf("\n");
}

int main(void) {
  print_instruction_sets();
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_results), cmocka_unit_test(test_pairs),
                                     cmocka_unit_test(test_draws)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
