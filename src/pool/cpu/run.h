/* The weights W of a run of planes: one for each plane, or drawn for each output element. */
#ifndef GP_POOL_CPU_RUN_H
#define GP_POOL_CPU_RUN_H

#include "pool/cpu/elementary.h"
#include "pool/cpu/simd.h"
#include "pool/cpu/tiles.h"
#include "pool/draws.h"
#include "pool/params.h"

/* Where the weight of an output element is found. */
typedef enum gp_source {
  GP_SOURCE_NONE,  /* there is no weight, or the window makes its own */
  GP_SOURCE_PLANE, /* gp_run.weight */
  GP_SOURCE_DRAWN, /* gp_columns, made for a few columns at a time */
  GP_SOURCE_MAP,   /* an array in y's layout, copied into gp_columns */
} gp_source;

/* The keys of Philox's rounds, as vectors in memory: there they are operands that cost no instruction. */
typedef struct gp_philox_keys {
  vu64 word[10][2];
} gp_philox_keys;

static void gp_philox_keys_make(gp_philox_keys *keys, uint64_t seed) {
  vu k0 = (uint32_t)seed - (vu){0}, k1 = (uint32_t)(seed >> 32) - (vu){0};
  for (int round = 0; round < 10; ++round) {
    keys->word[round][0] = (vu64)k0;
    keys->word[round][1] = (vu64)k1;
    k0 += 0x9E3779B9u; /* as base/philox.h */
    k1 += 0xBB67AE85u;
  }
}

/* Arrays of a value for each lane; those beyond the last plane hold zeros. */
typedef struct gp_run {
  gp_source source;
  int lanes; /* planes, rounded up to GP_STAGED_LANES, or a block of 8 */
  float mu[GP_RUN_MAX], sigma[GP_RUN_MAX];
  uint32_t low[GP_RUN_MAX], high[GP_RUN_MAX];  /* gp_draw_plane */
  float weight[GP_RUN_MAX], slope[GP_RUN_MAX]; /* W and dW/da */
  float draw[GP_RUN_MAX];                      /* da/dsigma */
  gp_philox_keys keys;
} gp_run;

/* As weight, slope and draw of gp_run, and dW, for some columns: [column][lane]. */
typedef struct gp_columns {
  float weight[GP_COLUMN_FLOATS], slope[GP_COLUMN_FLOATS], draw[GP_COLUMN_FLOATS], grad[GP_COLUMN_FLOATS];
} gp_columns;

/* Every second lane of the four words of a Philox state, in the low halves of 64-bit lanes; the high halves are not
 * meant. A product of two words then is one instruction and needs no rearranging. */
typedef struct gp_philox_half {
  vu64 c0, c1, c2, c3;
} gp_philox_half;

GP_INLINE gp_philox_half gp_philox_round(gp_philox_half in, vu64 k0, vu64 k1) {
  vu64 product0 = vu_multiply_even((vu)in.c0, 0xD2511F53u), product1 = vu_multiply_even((vu)in.c2, 0xCD9E8D57u);
  return (gp_philox_half){(product1 >> 32) ^ (in.c1 ^ k0), product1, (product0 >> 32) ^ (in.c3 ^ k1), product0};
}

/* Philox4x32-10 (base/philox.h) on GP_LANES counters that differ in their first two words. */
GP_INLINE void gp_philox_lanes(const gp_philox_keys *keys, vu c0, vu c1, uint32_t group, uint32_t offset, vu words[4]) {
  vu64 c2 = (vu64)(group - (vu){0}), c3 = (vu64)(offset - (vu){0});
  gp_philox_half even = {(vu64)c0, (vu64)c1, c2, c3}, odd = {(vu64)c0 >> 32, (vu64)c1 >> 32, c2, c3};
  for (int round = 0; round < 10; ++round) {
    even = gp_philox_round(even, keys->word[round][0], keys->word[round][1]);
    odd = gp_philox_round(odd, keys->word[round][0], keys->word[round][1]);
  }
  words[0] = vu_interleave(even.c0, odd.c0);
  words[1] = vu_interleave(even.c1, odd.c1);
  words[2] = vu_interleave(even.c2, odd.c2);
  words[3] = vu_interleave(even.c3, odd.c3);
}

/* Each step below is a long chain of operations, and only its neighbours' can fill the gaps: the loops run over several
 * vectors at a time, which the compiler interleaves. [column][lane] throughout. */

/* Philox words of columns 4·group … 4·group + 3 of a row, for all lanes. */
static void gp_draw_words(const gp_pool_plan *plan, const gp_run *run, int64_t row, int64_t group, float *words) {
  for (int first = 0; first < run->lanes; first += GP_LANES) {
    vu c0, c1, block[4];
    memcpy(&c0, run->low + first, sizeof c0);
    memcpy(&c1, run->high + first, sizeof c1);
    gp_philox_lanes(&run->keys, c0, c1 ^ (uint32_t)row, (uint32_t)group, plan->desc.call_offset, block);
    for (int i = 0; i < 4; ++i) memcpy(words + i * run->lanes + first, &block[i], sizeof block[i]);
  }
}

/* `count`, a constant, radii and angles to normal draws, in place. */
GP_INLINE void gp_normals(int count, float *restrict radius, float *restrict angle) {
  for (int i = 0; i < count; ++i)
    gp_normal2(gp_bits_of_float(radius[i]), gp_bits_of_float(angle[i]), &radius[i], &angle[i]);
}

/* Words of `columns`, an even number, to draws, in place: each even column is a radius and the next one an angle. */
static void gp_draws_of_words(const gp_run *run, gp_pool_draw_kind kind, int64_t columns, float *draws) {
  int lanes = run->lanes;
  if (kind == GP_DRAWS_UNIFORM) {
    for (int64_t i = 0; i < columns * lanes; ++i)
      draws[i] = (float)(int32_t)(gp_bits_of_float(draws[i]) >> 8) * 0x1p-24f;
    return;
  }
  for (int64_t column = 0; column < columns; column += 2) {
    float *radius = draws + column * lanes, *angle = radius + lanes;
    int lane = 0;
    for (; lane + GP_STAGED_LANES <= lanes; lane += GP_STAGED_LANES)
      gp_normals(GP_STAGED_LANES, radius + lane, angle + lane);
    if (lane < lanes) gp_normals(GP_STAGED_LANES / 2, radius + lane, angle + lane); /* a block of 8 */
  }
}

enum { GP_SOFTPLUS_CHUNK = 4 * GP_LANES };

/* W and dW/da in place of a; slope may be NULL. `count` is a multiple of GP_LANES. */
static void gp_softplus_all(int64_t count, float *a, float *slope) {
  float in[GP_SOFTPLUS_CHUNK], value[GP_SOFTPLUS_CHUNK], slopes[GP_SOFTPLUS_CHUNK];
  for (int64_t done = 0; done < count; done += GP_SOFTPLUS_CHUNK) {
    int64_t left = count - done < GP_SOFTPLUS_CHUNK ? count - done : GP_SOFTPLUS_CHUNK;
    for (int i = 0; i < left; i += GP_LANES) vf_store(in + i, vf_load(a + done + i, GP_LANES), GP_LANES);
    for (int64_t i = left; i < GP_SOFTPLUS_CHUNK; ++i) in[i] = 0.0f;
    /* Twice the same loop: where slopes are not wanted the compiler leaves out what only they need. */
    if (slope == NULL) {
      for (int i = 0; i < GP_SOFTPLUS_CHUNK; ++i) gp_softplus(in[i], &value[i], &slopes[i]);
    } else {
      for (int i = 0; i < GP_SOFTPLUS_CHUNK; ++i) gp_softplus(in[i], &value[i], &slopes[i]);
      for (int i = 0; i < left; i += GP_LANES) vf_store(slope + done + i, vf_load(slopes + i, GP_LANES), GP_LANES);
    }
    for (int i = 0; i < left; i += GP_LANES) vf_store(a + done + i, vf_load(value + i, GP_LANES), GP_LANES);
  }
}

/* As gp_softplus_all for the links without a formula to speak of. */
static void gp_link_all(gp_pool_link link, int64_t count, float *a, float *slope) {
  bool absolute = link == GP_LINK_ABSOLUTE;
  for (int64_t i = 0; i < count; ++i) {
    if (slope != NULL) slope[i] = !absolute || a[i] > 0.0f ? 1.0f : a[i] < 0.0f ? -1.0f : 0.0f;
    a[i] = absolute ? fabsf(a[i]) : a[i];
  }
}

/* Weights of `columns` from their draws, and slopes unless NULL. */
static void gp_weights_of_draws(gp_pool_link link, const gp_run *run, int64_t columns, const float *draws,
                                float *weight, float *slope) {
  for (int64_t column = 0; column < columns; ++column)
    for (int first = 0; first < run->lanes; first += GP_LANES) {
      int64_t at = column * run->lanes + first;
      vf mu = vf_load(run->mu + first, GP_LANES), sigma = vf_load(run->sigma + first, GP_LANES);
      vf_store(weight + at, mu + sigma * vf_load(draws + at, GP_LANES), GP_LANES);
    }
  if (link == GP_LINK_SOFTPLUS)
    gp_softplus_all(columns * run->lanes, weight, slope);
  else
    gp_link_all(link, columns * run->lanes, weight, slope);
}

/* Weights of columns [begin, end) of a row, begin a multiple of four: uniform draws are weights themselves. Slopes and draws
 * for the derivatives. */
static void gp_columns_draw(const gp_pool_plan *plan, const gp_run *run, int64_t row, int64_t begin, int64_t end,
                            bool derivatives, gp_columns *columns) {
  bool uniform = plan->kind->draws == GP_DRAWS_UNIFORM;
  float *draws = uniform ? columns->weight : columns->draw;
  int64_t groups = (end - begin + 3) / 4;
  for (int64_t group = 0; group < groups; ++group)
    gp_draw_words(plan, run, row, begin / 4 + group, draws + group * 4 * run->lanes);
  gp_draws_of_words(run, plan->kind->draws, groups * 4, draws);
  if (!uniform)
    gp_weights_of_draws(plan->kind->link, run, groups * 4, draws, columns->weight, derivatives ? columns->slope : NULL);
}

/* A weight for each plane: from one draw, or none. */
static void gp_run_weights(const gp_pool_plan *plan, gp_run *run) {
  float words[4 * GP_RUN_MAX];
  memset(words, 0, (size_t)run->lanes * sizeof(float));
  gp_pool_link link = plan->kind->link;
  if (plan->desc.stochasticity == GP_STOCHASTIC_CN) {
    gp_draw_words(plan, run, 0, 0, words);
    gp_draws_of_words(run, plan->kind->draws, 2, words); /* only the first column is used */
  } else if (link == GP_LINK_ABSOLUTE) {
    /* At inference the half-Gaussian's W is sigma·E|e| = sigma·sqrt(2/π). */
    for (int i = 0; i < run->lanes; ++i) words[i] = 0x1.988454p-1f;
    link = GP_LINK_IDENTITY;
  }
  memcpy(run->draw, words, (size_t)run->lanes * sizeof(float));
  if (plan->kind->draws == GP_DRAWS_UNIFORM)
    memcpy(run->weight, words, (size_t)run->lanes * sizeof(float));
  else
    gp_weights_of_draws(link, run, 1, words, run->weight, run->slope);
}

/* Fills `run` for a tile. The arguments are those of the call; a map is not read here. */
static void gp_run_make(const gp_pool_plan *plan, const gp_tile *tile, const float *mu, const float *sigma,
                        const float *weight, gp_run *run) {
  const gp_pool_desc *desc = &plan->desc;
  const gp_pool_kind_info *kind = plan->kind;
  bool given = kind->link == GP_LINK_GIVEN, one = kind->link == GP_LINK_ONE;
  int unit = desc->layout == GP_NCHW8C ? 8 : GP_STAGED_LANES;
  run->lanes = (tile->real + unit - 1) / unit * unit;
  run->source = GP_SOURCE_NONE;
  gp_lane at = gp_lane_first(plan, tile);
  memset(run->mu, 0, (size_t)run->lanes * sizeof(float));
  memset(run->sigma, 0, (size_t)run->lanes * sizeof(float));
  memset(run->weight, 0, (size_t)run->lanes * sizeof(float));
  if (given || one) {
    run->source = given && desc->param_shape == GP_SHAPE_NCHW ? GP_SOURCE_MAP : GP_SOURCE_PLANE;
    for (int i = 0; i < tile->real && run->source == GP_SOURCE_PLANE; ++i, gp_lane_next(plan, &at))
      run->weight[i] = given ? weight[gp_param_index(plan, at.n, at.c)] : 1.0f;
    for (int i = 0; i < run->lanes; ++i) run->slope[i] = 1.0f, run->draw[i] = 0.0f;
    return;
  }
  bool stochastic = desc->stochasticity != GP_STOCHASTIC_NONE;
  if (kind->draws == GP_DRAWS_NOTHING || (kind->draws == GP_DRAWS_UNIFORM && !stochastic)) return;
  for (int i = 0; i < tile->real; ++i, gp_lane_next(plan, &at)) {
    int64_t param = gp_param_index(plan, at.n, at.c);
    if (gp_pool_kind_has_mu(kind)) run->mu[i] = mu[param];
    if (gp_pool_kind_has_sigma(kind) && (stochastic || kind->link == GP_LINK_ABSOLUTE)) run->sigma[i] = sigma[param];
  }
  if (stochastic) gp_philox_keys_make(&run->keys, desc->seed);
  for (int i = 0; i < run->lanes && stochastic; ++i) {
    gp_draw_plane counter = gp_draw_plane_at(desc, 0, tile->plane + i);
    run->low[i] = counter.low;
    run->high[i] = counter.high;
  }
  run->source = desc->stochasticity == GP_STOCHASTIC_HWCN ? GP_SOURCE_DRAWN : GP_SOURCE_PLANE;
  if (run->source == GP_SOURCE_PLANE) gp_run_weights(plan, run);
}

#endif
