/* The weights W of a run of channels: one for each channel, or drawn for four output columns at a time. */
#ifndef GP_POOL_CPU_RUN_H
#define GP_POOL_CPU_RUN_H

#include "pool/cpu/elementary.h"
#include "pool/cpu/simd.h"
#include "pool/cpu/tiles.h"
#include "pool/draws.h"
#include "pool/params.h"

/* Where the weight of an output element is found. */
typedef enum gp_source {
  GP_SOURCE_NONE,    /* the body has no weight */
  GP_SOURCE_CHANNEL, /* gp_run.weight */
  GP_SOURCE_DRAWN,   /* gp_columns, made anew every four columns */
  GP_SOURCE_MAP,     /* an array in y's layout */
} gp_source;

typedef struct gp_run {
  gp_source source;
  int lanes;                                   /* channels that exist, rounded up to whole vectors */
  float mu[GP_RUN_MAX], sigma[GP_RUN_MAX];     /* zeros in the lanes beyond the channels */
  uint32_t low[GP_RUN_MAX], high[GP_RUN_MAX];  /* gp_draw_plane of each channel */
  float weight[GP_RUN_MAX], slope[GP_RUN_MAX]; /* W and dW/da */
  float draw[GP_RUN_MAX];                      /* da/dsigma */
} gp_run;

/* As weight, slope and draw of gp_run, for columns 4·group … 4·group + 3 of a row: [column][lane]. */
typedef struct gp_columns {
  float weight[4][GP_RUN_MAX], slope[4][GP_RUN_MAX], draw[4][GP_RUN_MAX];
} gp_columns;

/* Every second lane of the four words of a Philox state, in the low halves of 64-bit lanes; the high halves are not
 * meant. A product of two words then is one instruction and needs no rearranging. */
typedef struct gp_philox_half {
  vu64 c0, c1, c2, c3;
} gp_philox_half;

GP_INLINE gp_philox_half gp_philox_round(gp_philox_half in, vu k0, vu k1) {
  vu64 product0 = vu_multiply_even((vu)in.c0, 0xD2511F53u), product1 = vu_multiply_even((vu)in.c2, 0xCD9E8D57u);
  return (gp_philox_half){(product1 >> 32) ^ in.c1 ^ (vu64)k0, product1, (product0 >> 32) ^ in.c3 ^ (vu64)k1, product0};
}

/* Philox4x32-10 (base/philox.h) on GP_LANES counters that differ in their first two words. */
static inline void gp_philox_lanes(uint64_t key, vu c0, vu c1, uint32_t group, uint32_t offset, vu words[4]) {
  vu k0 = (uint32_t)key - (vu){0}, k1 = (uint32_t)(key >> 32) - (vu){0};
  vu64 c2 = (vu64)(group - (vu){0}), c3 = (vu64)(offset - (vu){0});
  gp_philox_half even = {(vu64)c0, (vu64)c1, c2, c3}, odd = {(vu64)c0 >> 32, (vu64)c1 >> 32, c2, c3};
  for (int round = 0; round < 10; ++round) {
    even = gp_philox_round(even, k0, k1);
    odd = gp_philox_round(odd, k0, k1);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = vu_interleave(even.c0, odd.c0);
  words[1] = vu_interleave(even.c1, odd.c1);
  words[2] = vu_interleave(even.c2, odd.c2);
  words[3] = vu_interleave(even.c3, odd.c3);
}

/* gp_draw4 of GP_LANES channels: [column][lane]. */
static inline void gp_draw4_lanes(const gp_pool_desc *desc, const uint32_t *low, const uint32_t *high, int64_t row,
                                  int64_t group, float draws[4][GP_LANES]) {
  vu c0, c1;
  memcpy(&c0, low, sizeof c0);
  memcpy(&c1, high, sizeof c1);
  vu blocks[4];
  gp_philox_lanes(desc->seed, c0, c1 ^ (uint32_t)row, (uint32_t)group, desc->call_offset, blocks);
  uint32_t words[4][GP_LANES];
  memcpy(words, blocks, sizeof words);
  for (int i = 0; i < GP_LANES; ++i) gp_normal2(words[0][i], words[1][i], &draws[0][i], &draws[1][i]);
  for (int i = 0; i < GP_LANES; ++i) gp_normal2(words[2][i], words[3][i], &draws[2][i], &draws[3][i]);
}

/* W and dW/da of GP_LANES channels. On local arrays, which nothing aliases: the compiler vectorises the loop. */
GP_INLINE void gp_weight_lanes(const float *mu, const float *sigma, const float draws[GP_LANES], float *weight,
                               float *slope) {
  float a[GP_LANES], values[GP_LANES], slopes[GP_LANES];
  vf argument = vf_load(mu, GP_LANES) + vf_load(sigma, GP_LANES) * vf_load(draws, GP_LANES);
  vf_store(a, argument, GP_LANES);
  for (int i = 0; i < GP_LANES; ++i) gp_softplus(a[i], &values[i], &slopes[i]);
  memcpy(weight, values, sizeof values);
  if (slope != NULL) memcpy(slope, slopes, sizeof slopes);
}

/* Draws and weights of four columns of a row, for all the lanes of the run; slope and draw only if `derivatives`. */
GP_INLINE void gp_columns_draw(const gp_pool_desc *desc, const gp_run *run, int64_t row, int64_t group,
                               bool derivatives, gp_columns *out) {
  for (int first = 0; first < run->lanes; first += GP_LANES) {
    float draws[4][GP_LANES];
    gp_draw4_lanes(desc, run->low + first, run->high + first, row, group, draws);
    for (int column = 0; column < 4; ++column) {
      if (derivatives) memcpy(out->draw[column] + first, draws[column], sizeof draws[column]);
      gp_weight_lanes(run->mu + first, run->sigma + first, draws[column], out->weight[column] + first,
                      derivatives ? out->slope[column] + first : NULL);
    }
  }
}

/* One draw for each channel, or none. */
static void gp_run_weights(const gp_pool_desc *desc, gp_run *run) {
  for (int first = 0; first < run->lanes; first += GP_LANES) {
    float draws[4][GP_LANES] = {{0}};
    if (desc->stochasticity == GP_STOCHASTIC_CN) gp_draw4_lanes(desc, run->low + first, run->high + first, 0, 0, draws);
    memcpy(run->draw + first, draws[0], sizeof draws[0]);
    gp_weight_lanes(run->mu + first, run->sigma + first, draws[0], run->weight + first, run->slope + first);
  }
}

static void gp_run_counters(const gp_pool_desc *desc, const gp_tile *tile, gp_run *run) {
  for (int i = 0; i < run->lanes; ++i) {
    gp_draw_plane plane = gp_draw_plane_at(desc, tile->n, tile->c + i);
    run->low[i] = plane.low;
    run->high[i] = plane.high;
  }
}

/* Fills `run` for a tile. */
static void gp_run_make(const gp_pool_plan *plan, const gp_tile *tile, const float *mu, const float *sigma,
                        const float *weight, gp_run *run) {
  const gp_pool_desc *desc = &plan->desc;
  run->source = GP_SOURCE_NONE;
  run->lanes = (tile->real + GP_LANES - 1) / GP_LANES * GP_LANES;
  if (plan->kind->link == GP_LINK_NONE) return;
  if (plan->kind->link == GP_LINK_GIVEN) {
    run->source = desc->param_shape == GP_SHAPE_NCHW ? GP_SOURCE_MAP : GP_SOURCE_CHANNEL;
    for (int i = 0; i < run->lanes; ++i) {
      bool have = i < tile->real && run->source == GP_SOURCE_CHANNEL;
      run->weight[i] = have ? weight[gp_param_index(plan, tile->n, tile->c + i)] : 0.0f;
      run->slope[i] = 1.0f;
      run->draw[i] = 0.0f;
    }
    return;
  }
  bool stochastic = desc->stochasticity != GP_STOCHASTIC_NONE;
  for (int i = 0; i < run->lanes; ++i) {
    int64_t at = i < tile->real ? gp_param_index(plan, tile->n, tile->c + i) : 0;
    run->mu[i] = i < tile->real ? mu[at] : 0.0f;
    run->sigma[i] = i < tile->real && stochastic ? sigma[at] : 0.0f;
  }
  if (stochastic) gp_run_counters(desc, tile, run);
  run->source = desc->stochasticity == GP_STOCHASTIC_HWCN ? GP_SOURCE_DRAWN : GP_SOURCE_CHANNEL;
  if (run->source == GP_SOURCE_CHANNEL) gp_run_weights(desc, run);
}

#endif
