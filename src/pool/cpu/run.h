/* The weights W of a run of planes: one for each plane, or drawn for each output element. */
#ifndef GP_POOL_CPU_RUN_H
#define GP_POOL_CPU_RUN_H

#include "pool/cpu/elementary.h"
#include "pool/cpu/simd.h"
#include "pool/cpu/tiles.h"
#include "pool/cpu/words.h"
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

/* ---- Steps from counters to weights -------------------------------------------------------- */

/* Each step below is a long chain of operations, and only its neighbours' can fill the gaps. So a chain is cut where that
 * costs no more than a load, and each part is run over all that is wanted before the next one. A part takes `columns`, a
 * group of 4 or 1, of `width` lanes at a time, all of whose operations the compiler interleaves; both are constants.
 * [column][lane] throughout. */

/* Philox words of `groups` groups of columns of a row, for all lanes. */
static void gp_draw_words(const gp_pool_plan *plan, const gp_run *run, int64_t row, int64_t group, int64_t groups,
                          float *words) {
  int count = run->lanes < GP_LANES ? run->lanes : GP_LANES;
  for (int first = 0; first < run->lanes; first += GP_LANES) {
    vu c0, c1;
    memcpy(&c0, run->low + first, sizeof c0);
    memcpy(&c1, run->high + first, sizeof c1);
    gp_philox_planes planes = gp_philox_planes_at(&run->keys, c0, c1 ^ (uint32_t)row, plan->desc.call_offset);
    float *to = words + first;
    int64_t i = 0;
    for (; i + 2 <= groups; i += 2) {
      vu block[8];
      gp_philox_words(2, &run->keys, &planes, (uint32_t)(group + i), block);
      for (int column = 0; column < 8; ++column, to += run->lanes) vf_store(to, (vf)block[column], count);
    }
    if (i < groups) {
      vu block[4];
      gp_philox_words(1, &run->keys, &planes, (uint32_t)(group + i), block);
      for (int column = 0; column < 4; ++column, to += run->lanes) vf_store(to, (vf)block[column], count);
    }
  }
}

/* Words of pairs of columns to half radii and words, in place. */
GP_INLINE void gp_radii(int width, int columns, int lanes, float *words) {
  for (int lane = 0; lane < lanes; lane += width)
    for (int column = 0; column < columns; column += 2) {
      float *radius = words + column * lanes + lane;
      for (int i = 0; i < width; ++i) radius[i] = gp_half_radius(gp_bits_of_float(radius[i]));
    }
}

GP_INLINE void gp_turn(int width, float *restrict radius, float *restrict angle) {
  for (int i = 0; i < width; ++i) gp_normals_at(radius[i], gp_bits_of_float(angle[i]), &radius[i], &angle[i]);
}

/* These to normals, in place. */
GP_INLINE void gp_normals(int width, int columns, int lanes, float *draws) {
  for (int lane = 0; lane < lanes; lane += width)
    for (int column = 0; column < columns; column += 2)
      gp_turn(width, draws + column * lanes + lane, draws + (column + 1) * lanes + lane);
}

static void gp_uniforms(int64_t count, float *draws) {
  for (int64_t i = 0; i < count; ++i) draws[i] = (float)(int32_t)(gp_bits_of_float(draws[i]) >> 8) * 0x1p-24f;
}

GP_INLINE void gp_affine(int width, const gp_run *restrict run, int lane, const float *restrict draws,
                         float *restrict a) {
  for (int i = 0; i < width; ++i) a[i] = run->mu[lane + i] + run->sigma[lane + i] * draws[i];
}

/* a = mu + sigma·draw. */
GP_INLINE void gp_arguments(int width, int columns, const gp_run *run, const float *draws, float *a) {
  for (int lane = 0; lane < run->lanes; lane += width)
    for (int column = 0; column < columns; ++column) {
      int at = column * run->lanes + lane;
      gp_affine(width, run, lane, draws + at, a + at);
    }
}

/* The parts of softplus, of `count`, a constant: t of a, W of a and t, dW/da of a and t. */
GP_INLINE void gp_softplus_begin(int count, const float *restrict a, float *restrict t) {
  for (int i = 0; i < count; ++i) t[i] = gp_softplus_exp(a[i]);
}
GP_INLINE void gp_softplus_end(int count, float *restrict a, float *restrict t, bool slopes) {
  for (int i = 0; i < count; ++i) {
    float value = gp_softplus_value(a[i], t[i]);
    if (slopes) t[i] = gp_softplus_slope(a[i], t[i]);
    a[i] = value;
  }
}

/* As softplus for the links without a formula to speak of. */
static void gp_link_all(gp_pool_link link, int64_t count, float *restrict a, float *restrict slope) {
  bool absolute = link == GP_LINK_ABSOLUTE;
  for (int64_t i = 0; i < count; ++i) {
    slope[i] = !absolute || a[i] > 0.0f ? 1.0f : a[i] < 0.0f ? -1.0f : 0.0f;
    a[i] = absolute ? fabsf(a[i]) : a[i];
  }
}

/* All steps from words to draws. */
GP_INLINE void gp_draws_of_words(int width, int columns, int lanes, int64_t groups, float *draws) {
  for (int64_t i = 0; i < groups; ++i) gp_radii(width, columns, lanes, draws + i * 4 * lanes);
  for (int64_t i = 0; i < groups; ++i) gp_normals(width, columns, lanes, draws + i * 4 * lanes);
}

/* All steps from draws to W, and to dW/da if wanted. */
GP_INLINE void gp_weights_of_draws(int width, int columns, gp_pool_link link, const gp_run *run, int64_t groups,
                                   const float *draws, bool slopes, float *weight, float *slope) {
  int64_t size = columns * run->lanes, all = groups * size;
  int step = columns * width;
  for (int64_t at = 0; at < all; at += size) gp_arguments(width, columns, run, draws + at, weight + at);
  if (link != GP_LINK_SOFTPLUS) {
    gp_link_all(link, all, weight, slope);
    return;
  }
  for (int64_t at = 0; at < all; at += step) gp_softplus_begin(step, weight + at, slope + at);
  if (slopes)
    for (int64_t at = 0; at < all; at += step) gp_softplus_end(step, weight + at, slope + at, true);
  else
    for (int64_t at = 0; at < all; at += step) gp_softplus_end(step, weight + at, slope + at, false);
}

/* Weights of columns [begin, end) of a row, begin a multiple of four: uniform draws are weights themselves. Slopes and draws
 * for the derivatives. */
static void gp_columns_draw(const gp_pool_plan *plan, const gp_run *run, int64_t row, int64_t begin, int64_t end,
                            bool derivatives, gp_columns *columns) {
  int64_t groups = (end - begin + 3) / 4;
  if (plan->kind->draws == GP_DRAWS_UNIFORM) {
    gp_draw_words(plan, run, row, begin / 4, groups, columns->weight);
    gp_uniforms(groups * 4 * run->lanes, columns->weight);
    return;
  }
  gp_draw_words(plan, run, row, begin / 4, groups, columns->draw);
  gp_pool_link link = plan->kind->link;
  if (run->lanes % GP_STAGED_LANES == 0) {
    gp_draws_of_words(GP_STAGED_LANES, 4, run->lanes, groups, columns->draw);
    gp_weights_of_draws(GP_STAGED_LANES, 4, link, run, groups, columns->draw, derivatives, columns->weight,
                        columns->slope);
  } else {
    gp_draws_of_words(8, 4, 8, groups, columns->draw);
    gp_weights_of_draws(8, 4, link, run, groups, columns->draw, derivatives, columns->weight, columns->slope);
  }
}

/* A weight for each plane: from one draw, or none. */
static void gp_run_weights(const gp_pool_plan *plan, gp_run *run) {
  float words[4 * GP_RUN_MAX];
  memset(words, 0, (size_t)run->lanes * sizeof(float));
  gp_pool_link link = plan->kind->link;
  if (plan->desc.stochasticity == GP_STOCHASTIC_CN) {
    gp_draw_words(plan, run, 0, 0, 1, words); /* only the first column is used */
    if (plan->kind->draws == GP_DRAWS_UNIFORM)
      gp_uniforms(run->lanes, words);
    else
      gp_draws_of_words(8, 1, run->lanes, 1, words);
  } else if (link == GP_LINK_ABSOLUTE) {
    /* At inference the half-Gaussian's W is sigma·E|e| = sigma·sqrt(2/π). */
    for (int i = 0; i < run->lanes; ++i) words[i] = 0x1.988454p-1f;
    link = GP_LINK_IDENTITY;
  }
  memcpy(run->draw, words, (size_t)run->lanes * sizeof(float));
  if (plan->kind->draws == GP_DRAWS_UNIFORM)
    memcpy(run->weight, words, (size_t)run->lanes * sizeof(float));
  else
    gp_weights_of_draws(8, 1, link, run, 1, words, true, run->weight, run->slope);
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
