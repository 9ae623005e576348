/* A task whose planes are made one after the other, their windows read where they lie (pairs.h). Lanes are columns there, so
 * that a plane's weight is the same in all of them; drawn weights are made with a group of four neighbouring outputs in each
 * lane, as Philox gives them, and laid out along the columns. */
#ifndef GP_POOL_CPU_PLANE_H
#define GP_POOL_CPU_PLANE_H

#include "pool/cpu/pairs.h"
#include "pool/cpu/rows.h"

/* What all windows of a task share, and what those of a plane do, in every lane. */
typedef struct gp_plane {
  gp_stretch stretch;
  int lane;
  float weight[GP_STAGED_LANES], add_x[GP_STAGED_LANES], add_y[GP_STAGED_LANES];
} gp_plane;

/* In gp_columns: [element of the group][group] from the beginning, and along the columns from here on. */
enum { GP_ALONG_COLUMNS = GP_COLUMN_FLOATS / 2 };
_Static_assert(4 * GP_RUN_MAX + GP_LANES <= GP_ALONG_COLUMNS, "groups of a run, and a vector that ends beyond them");

static void set_all(float *to, int count, float value) {
  for (int i = 0; i < count; ++i) to[i] = value;
}

/* ---- Drawn weights ------------------------------------------------------------------------- */

/* The plane's counters and parameters in every lane of work->groups. */
static void begin_draws(gp_work *work, int lane) {
  gp_run *groups = &work->groups;
  set_all(groups->mu, GP_RUN_MAX, work->run.mu[lane]);
  set_all(groups->sigma, GP_RUN_MAX, work->run.sigma[lane]);
  for (int i = 0; i < GP_RUN_MAX; ++i) {
    groups->low[i] = work->run.low[lane];
    groups->high[i] = 0; /* lanes past the last group draw, too, for nobody */
  }
}

/* Philox words of a group of four draws for each lane: [word][lane]. The rows are in groups->high. */
static void draw_groups(const gp_philox_keys *keys, const gp_run *groups, const uint32_t *group, uint32_t offset,
                        float *words) {
  enum { AT_ONCE = GP_STAGED_LANES / GP_LANES < 2 ? 1 : 2 };
  for (int first = 0; first < groups->lanes; first += AT_ONCE * GP_LANES) {
    gp_philox_half lower[AT_ONCE], upper[AT_ONCE];
    vu block[4 * AT_ONCE];
    for (int i = 0; i < AT_ONCE; ++i) {
      vu c0, c1, c2;
      memcpy(&c0, groups->low + first + i * GP_LANES, sizeof c0);
      memcpy(&c1, groups->high + first + i * GP_LANES, sizeof c1);
      memcpy(&c2, group + first + i * GP_LANES, sizeof c2);
      gp_philox_planes planes = gp_philox_planes_at(keys, c0, c1, offset);
      lower[i] = gp_philox_third(keys, &planes.lower, gp_philox_product1(vu_lower(c2)));
      upper[i] = gp_philox_third(keys, &planes.upper, gp_philox_product1(vu_upper(c2)));
    }
    gp_philox_last(AT_ONCE, keys, lower, upper, block);
    for (int i = 0; i < AT_ONCE; ++i)
      for (int k = 0; k < 4; ++k)
        vf_store(words + k * groups->lanes + first + i * GP_LANES, (vf)block[4 * i + k], GP_LANES);
  }
}

/* Weights of the part's outputs. */
static void draw_part(gp_work *work, int lane, const gp_part *part) {
  const gp_pool_plan *plan = work->call->plan;
  gp_run *groups = &work->groups;
  gp_columns *columns = &work->columns;
  int64_t line_groups = part->weight_line / 4, all = part->lines * line_groups;
  groups->lanes = (int)((all + GP_STAGED_LANES - 1) / GP_STAGED_LANES * GP_STAGED_LANES);
  uint32_t group[GP_RUN_MAX] = {0};
  for (int64_t line = 0, i = 0; line < part->lines; ++line)
    for (int64_t k = 0; k < line_groups; ++k, ++i) {
      groups->high[i] = work->run.high[lane] ^ (uint32_t)(part->row + line);
      group[i] = (uint32_t)(part->begin / 4 + k);
    }
  bool uniform = plan->kind->draws == GP_DRAWS_UNIFORM;
  float *draws = uniform ? columns->weight : columns->draw;
  draw_groups(&work->run.keys, groups, group, plan->desc.call_offset, draws);
  if (uniform) {
    gp_uniforms(4 * groups->lanes, draws);
  } else {
    gp_normals(groups->lanes, 4, draws);
    gp_weights_of_draws(plan->kind->link, groups, 4, draws, work->call->backward, columns->weight, columns->slope);
  }
  float *restrict along = columns->weight + GP_ALONG_COLUMNS;
  const float *restrict weight = columns->weight;
  for (int i = 0; i < groups->lanes; ++i)
    for (int k = 0; k < 4; ++k) along[4 * i + k] = weight[k * groups->lanes + i];
}

/* dW of the part's outputs into the sums. */
static void take_draws(gp_work *work) {
  gp_columns *columns = &work->columns;
  int lanes = work->groups.lanes;
  const float *restrict along = columns->grad + GP_ALONG_COLUMNS;
  float *restrict grad = columns->grad;
  for (int i = 0; i < lanes; ++i)
    for (int k = 0; k < 4; ++k) grad[k * lanes + i] = along[4 * i + k];
  for (int i = 0; i < 4 * lanes; i += GP_LANES) {
    float *mu = work->row_sums[GP_SUM_MU] + i % GP_PAIR_SUMS, *sigma = work->row_sums[GP_SUM_SIGMA] + i % GP_PAIR_SUMS;
    vf grad_a = vf_load(grad + i, GP_LANES) * vf_load(columns->slope + i, GP_LANES);
    vf_store(mu, vf_load(mu, GP_LANES) + grad_a, GP_LANES);
    vf_store(sigma, vf_load(sigma, GP_LANES) + grad_a * vf_load(columns->draw + i, GP_LANES), GP_LANES);
  }
}

/* ---- Planes -------------------------------------------------------------------------------- */

static void run_part(gp_work *work, const gp_plane *plane, const gp_part *part) {
  const gp_call *call = work->call;
  int lane = plane->lane;
  gp_stretch stretch = plane->stretch;
  stretch.lines = part->lines;
  stretch.count = part->end - part->begin;
  bool drawn = work->run.source == GP_SOURCE_DRAWN;
  stretch.x = gp_planes_row(&work->x, lane, 2 * part->row) + 2 * part->begin;
  stretch.x_row = work->x.row;
  stretch.x_line = 2 * work->x.row;
  if (drawn) {
    draw_part(work, lane, part);
    stretch.weight = work->columns.weight + GP_ALONG_COLUMNS;
    stretch.weight_step = 1;
    stretch.weight_line = part->weight_line;
  } else if (work->run.source == GP_SOURCE_PLANE) {
    stretch.weight = plane->weight;
  }
  if (!call->backward) {
    stretch.y = gp_planes_row(&work->out, lane, part->row) + part->begin;
    stretch.y_line = work->out.row;
    if (call->forward.average_y != NULL) stretch.sum_y = work->row_sums[GP_SUM_MU];
    call->loops->forward_pairs[call->form](&stretch);
    return;
  }
  stretch.grad_y = gp_planes_row(&work->out, lane, part->row) + part->begin;
  stretch.grad_y_line = work->out.row;
  stretch.add_x = plane->add_x;
  if (call->grads.grad_average_y != NULL) stretch.grad_average_y = plane->add_y;
  if (call->grads.grad_x != NULL) {
    stretch.grad_x = gp_planes_row(&work->grad_x, lane, 2 * part->row) + 2 * part->begin;
    stretch.grad_x_row = work->grad_x.row;
    stretch.grad_x_line = 2 * work->grad_x.row;
  }
  bool sums = call->partial != NULL && work->run.source != GP_SOURCE_NONE;
  if (sums && drawn) {
    stretch.grad_weight = work->columns.grad + GP_ALONG_COLUMNS;
    stretch.grad_weight_step = 1;
    stretch.grad_weight_line = part->weight_line;
    memset(stretch.grad_weight, 0, (size_t)(4 * work->groups.lanes + GP_LANES) * sizeof(float));
  } else if (sums) {
    stretch.grad_weight = work->row_sums[GP_SUM_MU];
  }
  call->loops->backward_pairs[call->form](&stretch);
  if (sums && drawn && call->plan->kind->draws == GP_DRAWS_NORMAL) take_draws(work);
}

static void fold_plane(gp_work *work, enum gp_sum which, int lane) {
  float *parts = work->row_sums[which];
  for (int i = 0; i < GP_PAIR_SUMS; ++i) {
    work->sums[which][lane] += (double)parts[i];
    parts[i] = 0.0f;
  }
}

/* The tile's rows of a plane, as many at a time as there is room for their weights, or as float is good for their sums. */
static void run_plane(gp_work *work, const gp_plane *plane) {
  int64_t width = work->call->plan->out_width;
  bool drawn = work->run.source == GP_SOURCE_DRAWN;
  int64_t chunk = drawn ? 4 * GP_RUN_MAX : FOLD_COLUMNS * GP_PAIR_SUMS;
  int64_t columns = width < chunk ? width : chunk;
  int64_t lines = drawn ? chunk / round_up_4(columns) : FOLD_COLUMNS / ((columns + GP_PAIR_SUMS - 1) / GP_PAIR_SUMS);
  for (int64_t row = work->tile.row_begin; row < work->tile.row_end; row += lines)
    for (int64_t begin = 0; begin < width; begin += chunk) {
      gp_part part = {.row = row, .begin = begin};
      part.lines = work->tile.row_end - row < lines ? work->tile.row_end - row : lines;
      part.end = width - begin < chunk ? width : begin + chunk;
      part.weight_line = round_up_4(part.end - begin);
      run_part(work, plane, &part);
      if (work->call->partial == NULL) continue;
      fold_plane(work, GP_SUM_MU, plane->lane);
      if (drawn) fold_plane(work, GP_SUM_SIGMA, plane->lane);
    }
}

static void run_planes(gp_work *work) {
  gp_plane plane = {.stretch = stretch_of(work->call, &(gp_part){.row = work->tile.row_begin})};
  for (plane.lane = 0; plane.lane < work->tile.real; ++plane.lane) {
    set_all(plane.weight, GP_STAGED_LANES, work->run.weight[plane.lane]);
    set_all(plane.add_x, GP_STAGED_LANES, work->add_x[plane.lane]);
    set_all(plane.add_y, GP_STAGED_LANES, work->add_y[plane.lane]);
    if (work->run.source == GP_SOURCE_DRAWN) begin_draws(work, plane.lane);
    run_plane(work, &plane);
  }
}

#endif
