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
 * costs no more than a load, each part is run over all that is wanted before the next one, and takes several vectors at a
 * time, whose operations the compiler interleaves: `count`, or `columns` by `width` lanes, are constants. [column][lane]
 * throughout. */

GP_INLINE void gp_draw_groups(int count, const gp_run *run, const gp_philox_planes *planes, uint32_t group,
                              float *words) {
  vu block[8];
  gp_philox_words(count, &run->keys, planes, group, block);
  /* A block of 8 fills half a vector, where that is so long. */
  int lanes = GP_LANES > 8 && run->lanes == 8 ? 8 : GP_LANES;
  for (int column = 0; column < 4 * count; ++column) vf_store(words + column * run->lanes, (vf)block[column], lanes);
}

/* Philox words of `groups` groups of four columns of a row, for all lanes. */
static void gp_draw_words(const gp_pool_plan *plan, const gp_run *run, int64_t row, int64_t group, int64_t groups,
                          float *words) {
  for (int first = 0; first < run->lanes; first += GP_LANES) {
    vu c0, c1;
    memcpy(&c0, run->low + first, sizeof c0);
    memcpy(&c1, run->high + first, sizeof c1);
    gp_philox_planes planes = gp_philox_planes_at(&run->keys, c0, c1 ^ (uint32_t)row, plan->desc.call_offset);
    int64_t i = 0;
    for (; i + 2 <= groups; i += 2)
      gp_draw_groups(2, run, &planes, (uint32_t)(group + i), words + i * 4 * run->lanes + first);
    if (i < groups) gp_draw_groups(1, run, &planes, (uint32_t)(group + i), words + i * 4 * run->lanes + first);
  }
}

GP_INLINE void gp_copy(int width, float *to, const float *from) {
  int count = width < GP_LANES ? width : GP_LANES;
  for (int i = 0; i < width; i += count) vf_store(to + i, vf_load(from + i, count), count);
}

/* Pairs that are four vectors of 16 lanes. More at a time gain little, and take up the instruction cache. */
enum { GP_DRAW_PAIRS = GP_LANES / 4 };

/* Words of `pairs` of columns to half radii of the first, in place. By way of a local array, which nothing overlaps:
 * otherwise one column would be stored before the next one is loaded. */
GP_INLINE void gp_radii(int width, int pairs, int lanes, float *words) {
  float radius[GP_DRAW_PAIRS * GP_STAGED_LANES];
  for (int i = 0; i < pairs; ++i) gp_copy(width, radius + i * width, words + 2 * i * lanes);
  for (int i = 0; i < pairs * width; ++i) radius[i] = gp_half_radius(gp_bits_of_float(radius[i]));
  for (int i = 0; i < pairs; ++i) gp_copy(width, words + 2 * i * lanes, radius + i * width);
}

/* These, and words of the second columns, to normals, in place. */
GP_INLINE void gp_turns(int width, int pairs, int lanes, float *words) {
  float first[GP_DRAW_PAIRS * GP_STAGED_LANES], second[GP_DRAW_PAIRS * GP_STAGED_LANES];
  for (int i = 0; i < pairs; ++i) {
    gp_copy(width, first + i * width, words + 2 * i * lanes);
    gp_copy(width, second + i * width, words + (2 * i + 1) * lanes);
  }
  for (int i = 0; i < pairs * width; ++i) gp_normals_at(first[i], gp_bits_of_float(second[i]), &first[i], &second[i]);
  for (int i = 0; i < pairs; ++i) {
    gp_copy(width, words + 2 * i * lanes, first + i * width);
    gp_copy(width, words + (2 * i + 1) * lanes, second + i * width);
  }
}

/* A step, gp_radii or gp_turns, of all columns. Four are what a group has (plane.h). */
#define GP_EACH_PAIR(step)                                                                                  \
  do {                                                                                                      \
    int64_t column = 0;                                                                                     \
    for (; column + 2 * GP_DRAW_PAIRS <= columns; column += 2 * GP_DRAW_PAIRS)                              \
      for (int lane = 0; lane < lanes; lane += width)                                                       \
        step(width, GP_DRAW_PAIRS, lanes, draws + column * lanes + lane);                                   \
    for (; GP_DRAW_PAIRS > 2 && column + 4 <= columns; column += 4)                                         \
      for (int lane = 0; lane < lanes; lane += width) step(width, 2, lanes, draws + column * lanes + lane); \
    for (; column < columns; column += 2)                                                                   \
      for (int lane = 0; lane < lanes; lane += width) step(width, 1, lanes, draws + column * lanes + lane); \
  } while (0)

GP_INLINE void gp_normals_by(int width, int lanes, int64_t columns, float *draws) {
  GP_EACH_PAIR(gp_radii);
  GP_EACH_PAIR(gp_turns);
}

/* Words of `columns`, an even number, to normals, in place: each even column becomes a radius, the next one is an angle. */
static void gp_normals(int lanes, int64_t columns, float *draws) {
  if (lanes % GP_STAGED_LANES == 0)
    gp_normals_by(GP_STAGED_LANES, lanes, columns, draws);
  else
    gp_normals_by(8, lanes, columns, draws);
}

static void gp_uniforms(int64_t count, float *draws) {
  for (int64_t i = 0; i < count; ++i) draws[i] = (float)(int32_t)(gp_bits_of_float(draws[i]) >> 8) * 0x1p-24f;
}

/* a = mu + sigma·draw. */
GP_INLINE void gp_arguments(int width, const gp_run *run, int64_t columns, const float *draws, float *a) {
  int count = width < GP_LANES ? width : GP_LANES;
  for (int lane = 0; lane < run->lanes; lane += count) {
    vf mu = vf_load(run->mu + lane, count), sigma = vf_load(run->sigma + lane, count);
    for (int64_t at = lane; at < columns * run->lanes; at += run->lanes)
      vf_store(a + at, mu + sigma * vf_load(draws + at, count), count);
  }
}

/* The parts of softplus: t of a, W of a and t, dW/da of a and t. */
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

/* W in place of a, and dW/da if wanted, or else anything. `count` is a multiple of 8, and of 32 in all but short calls. */
GP_INLINE void gp_softplus_all(bool slopes, int64_t count, float *a, float *slope) {
  enum { MANY = 8 * GP_LANES };
  int64_t at = 0;
  for (; at + MANY <= count; at += MANY) gp_softplus_begin(MANY, a + at, slope + at);
  for (; at + 32 <= count; at += 32) gp_softplus_begin(32, a + at, slope + at);
  for (; at < count; at += 8) gp_softplus_begin(8, a + at, slope + at);
  at = 0;
  for (; at + MANY <= count; at += MANY) gp_softplus_end(MANY, a + at, slope + at, slopes);
  for (; at + 32 <= count; at += 32) gp_softplus_end(32, a + at, slope + at, slopes);
  for (; at < count; at += 8) gp_softplus_end(8, a + at, slope + at, slopes);
}

/* As softplus for the links without a formula to speak of. */
static void gp_link_all(gp_pool_link link, int64_t count, float *restrict a, float *restrict slope) {
  bool absolute = link == GP_LINK_ABSOLUTE;
  for (int64_t i = 0; i < count; ++i) {
    slope[i] = !absolute || a[i] > 0.0f ? 1.0f : a[i] < 0.0f ? -1.0f : 0.0f;
    a[i] = absolute ? fabsf(a[i]) : a[i];
  }
}

/* W of draws, and dW/da if wanted, or else anything. */
static void gp_weights_of_draws(gp_pool_link link, const gp_run *run, int64_t columns, const float *draws, bool slopes,
                                float *weight, float *slope) {
  int64_t count = columns * run->lanes;
  if (run->lanes % GP_STAGED_LANES == 0)
    gp_arguments(GP_STAGED_LANES, run, columns, draws, weight);
  else
    gp_arguments(8, run, columns, draws, weight);
  if (link != GP_LINK_SOFTPLUS)
    gp_link_all(link, count, weight, slope);
  else if (slopes)
    gp_softplus_all(true, count, weight, slope);
  else
    gp_softplus_all(false, count, weight, slope);
}

/* Weights of columns [begin, end) of a row, begin a multiple of four, to float `at` of the arrays and on: uniform draws are
 * weights themselves. Slopes and draws for the derivatives. */
static void gp_columns_draw(const gp_pool_plan *plan, const gp_run *run, int64_t row, int64_t begin, int64_t end,
                            bool derivatives, int64_t at, gp_columns *columns) {
  int64_t groups = (end - begin + 3) / 4;
  float *weight = columns->weight + at, *slope = columns->slope + at, *draw = columns->draw + at;
  if (plan->kind->draws == GP_DRAWS_UNIFORM) {
    gp_draw_words(plan, run, row, begin / 4, groups, weight);
    gp_uniforms(groups * 4 * run->lanes, weight);
    return;
  }
  gp_draw_words(plan, run, row, begin / 4, groups, draw);
  gp_normals(run->lanes, groups * 4, draw);
  gp_weights_of_draws(plan->kind->link, run, groups * 4, draw, derivatives, weight, slope);
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
      gp_normals(run->lanes, 2, words);
  } else if (link == GP_LINK_ABSOLUTE) {
    /* At inference the half-Gaussian's W is sigma·E|e| = sigma·sqrt(2/π). */
    for (int i = 0; i < run->lanes; ++i) words[i] = 0x1.988454p-1f;
    link = GP_LINK_IDENTITY;
  }
  memcpy(run->draw, words, (size_t)run->lanes * sizeof(float));
  if (plan->kind->draws == GP_DRAWS_UNIFORM)
    memcpy(run->weight, words, (size_t)run->lanes * sizeof(float));
  else
    gp_weights_of_draws(link, run, 1, words, true, run->weight, run->slope);
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
