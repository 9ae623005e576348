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

/* Arrays of a value for each lane; those beyond the last plane hold zeros. */
typedef struct gp_run {
  gp_source source;
  int lanes; /* planes, rounded up to GP_STAGED_LANES */
  float mu[GP_RUN_MAX], sigma[GP_RUN_MAX];
  uint32_t low[GP_RUN_MAX], high[GP_RUN_MAX];  /* gp_draw_plane */
  float weight[GP_RUN_MAX], slope[GP_RUN_MAX]; /* W and dW/da */
  float draw[GP_RUN_MAX];                      /* da/dsigma */
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

/* gp_draw4 of GP_LANES planes: [column][lane]. */
GP_INLINE void gp_draw4_lanes(const gp_pool_plan *plan, const uint32_t *low, const uint32_t *high, int64_t row,
                              int64_t group, float draws[4][GP_LANES]) {
  vu c0, c1;
  memcpy(&c0, low, sizeof c0);
  memcpy(&c1, high, sizeof c1);
  vu blocks[4];
  gp_philox_lanes(plan->desc.seed, c0, c1 ^ (uint32_t)row, (uint32_t)group, plan->desc.call_offset, blocks);
  uint32_t words[4][GP_LANES];
  memcpy(words, blocks, sizeof words);
  if (plan->kind->draws == GP_DRAWS_UNIFORM) {
    for (int column = 0; column < 4; ++column)
      for (int i = 0; i < GP_LANES; ++i) draws[column][i] = (float)(int32_t)(words[column][i] >> 8) * 0x1p-24f;
    return;
  }
  for (int i = 0; i < GP_LANES; ++i) gp_normal2(words[0][i], words[1][i], &draws[0][i], &draws[1][i]);
  for (int i = 0; i < GP_LANES; ++i) gp_normal2(words[2][i], words[3][i], &draws[2][i], &draws[3][i]);
}

/* W and dW/da of GP_LANES planes from their draws. On local arrays, which nothing aliases: the compiler vectorises the
 * loop. */
GP_INLINE void gp_weight_lanes(gp_pool_link link, const float *mu, const float *sigma, const float draws[GP_LANES],
                               float *weight, float *slope) {
  vf argument = vf_load(mu, GP_LANES) + vf_load(sigma, GP_LANES) * vf_load(draws, GP_LANES);
  float a[GP_LANES], values[GP_LANES], slopes[GP_LANES];
  vf_store(a, argument, GP_LANES);
  if (link == GP_LINK_SOFTPLUS) {
    for (int i = 0; i < GP_LANES; ++i) gp_softplus(a[i], &values[i], &slopes[i]);
  } else if (link == GP_LINK_ABSOLUTE) {
    for (int i = 0; i < GP_LANES; ++i) values[i] = fabsf(a[i]);
    for (int i = 0; i < GP_LANES; ++i) slopes[i] = a[i] > 0.0f ? 1.0f : a[i] < 0.0f ? -1.0f : 0.0f;
  } else {
    for (int i = 0; i < GP_LANES; ++i) values[i] = a[i];
    for (int i = 0; i < GP_LANES; ++i) slopes[i] = 1.0f;
  }
  memcpy(weight, values, sizeof values);
  if (slope != NULL) memcpy(slope, slopes, sizeof slopes);
}

/* Draws and weights of columns 4·group … 4·group + 3 of a row, [column][lane] at `out`; slope and draw only if
 * `derivatives`. Uniform draws are weights themselves. */
GP_INLINE void gp_draw_columns(const gp_pool_plan *plan, const gp_run *run, int64_t row, int64_t group,
                               bool derivatives, gp_columns *columns, int64_t out) {
  for (int first = 0; first < run->lanes; first += GP_LANES) {
    float draws[4][GP_LANES];
    gp_draw4_lanes(plan, run->low + first, run->high + first, row, group, draws);
    for (int column = 0; column < 4; ++column) {
      int64_t at = out + column * run->lanes + first;
      if (plan->kind->draws == GP_DRAWS_UNIFORM) {
        memcpy(columns->weight + at, draws[column], sizeof draws[column]);
        continue;
      }
      if (derivatives) memcpy(columns->draw + at, draws[column], sizeof draws[column]);
      gp_weight_lanes(plan->kind->link, run->mu + first, run->sigma + first, draws[column], columns->weight + at,
                      derivatives ? columns->slope + at : NULL);
    }
  }
}

/* A weight for each plane: from one draw, or none. */
static void gp_run_weights(const gp_pool_plan *plan, gp_run *run) {
  bool stochastic = plan->desc.stochasticity == GP_STOCHASTIC_CN;
  gp_pool_link link = plan->kind->link;
  /* At inference the half-Gaussian's W is sigma·E|e|. */
  bool expected = link == GP_LINK_ABSOLUTE && !stochastic;
  if (expected) link = GP_LINK_IDENTITY;
  for (int first = 0; first < run->lanes; first += GP_LANES) {
    float draws[4][GP_LANES] = {{0}};
    for (int i = 0; i < GP_LANES && expected; ++i) draws[0][i] = 0x1.988454p-1f; /* sqrt(2/π) */
    if (stochastic) gp_draw4_lanes(plan, run->low + first, run->high + first, 0, 0, draws);
    if (plan->kind->draws == GP_DRAWS_UNIFORM) {
      memcpy(run->weight + first, draws[0], sizeof draws[0]);
      continue;
    }
    memcpy(run->draw + first, draws[0], sizeof draws[0]);
    gp_weight_lanes(link, run->mu + first, run->sigma + first, draws[0], run->weight + first, run->slope + first);
  }
}

/* The plane of a lane: its place in parameters. */
GP_INLINE int64_t gp_run_param(const gp_pool_plan *plan, int64_t plane) {
  return gp_param_index(plan, plane / plan->desc.channels, plane % plan->desc.channels);
}

/* Fills `run` for a tile. The arguments are those of the call; a map is not read here. */
static void gp_run_make(const gp_pool_plan *plan, const gp_tile *tile, const float *mu, const float *sigma,
                        const float *weight, gp_run *run) {
  const gp_pool_desc *desc = &plan->desc;
  const gp_pool_kind_info *kind = plan->kind;
  bool given = kind->link == GP_LINK_GIVEN, one = kind->link == GP_LINK_ONE;
  run->lanes = (tile->real + GP_STAGED_LANES - 1) / GP_STAGED_LANES * GP_STAGED_LANES;
  run->source = GP_SOURCE_NONE;
  memset(run->mu, 0, (size_t)run->lanes * sizeof(float));
  memset(run->sigma, 0, (size_t)run->lanes * sizeof(float));
  memset(run->weight, 0, (size_t)run->lanes * sizeof(float));
  if (given || one) {
    run->source = given && desc->param_shape == GP_SHAPE_NCHW ? GP_SOURCE_MAP : GP_SOURCE_PLANE;
    for (int i = 0; i < tile->real && run->source == GP_SOURCE_PLANE; ++i)
      run->weight[i] = given ? weight[gp_run_param(plan, tile->plane + i)] : 1.0f;
    for (int i = 0; i < run->lanes; ++i) run->slope[i] = 1.0f, run->draw[i] = 0.0f;
    return;
  }
  bool stochastic = desc->stochasticity != GP_STOCHASTIC_NONE;
  if (kind->draws == GP_DRAWS_NOTHING || (kind->draws == GP_DRAWS_UNIFORM && !stochastic)) return;
  for (int i = 0; i < tile->real; ++i) {
    int64_t at = gp_run_param(plan, tile->plane + i);
    if (gp_pool_kind_has_mu(kind)) run->mu[i] = mu[at];
    if (gp_pool_kind_has_sigma(kind) && (stochastic || kind->link == GP_LINK_ABSOLUTE)) run->sigma[i] = sigma[at];
  }
  for (int i = 0; i < run->lanes && stochastic; ++i) {
    gp_draw_plane counter = gp_draw_plane_at(desc, 0, tile->plane + i);
    run->low[i] = counter.low;
    run->high[i] = counter.high;
  }
  run->source = desc->stochasticity == GP_STOCHASTIC_HWCN ? GP_SOURCE_DRAWN : GP_SOURCE_PLANE;
  if (run->source == GP_SOURCE_PLANE) gp_run_weights(plan, run);
}

#endif
