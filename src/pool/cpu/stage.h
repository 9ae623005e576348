/* Staged copies: a rectangle of a run's planes as floats, [row][column][lane], whatever the tensor's layout and type, and
 * the way back. In this form the inner loops know one layout only, and what is asked for besides (scale and shift, sums)
 * is done where the copy is made. */
#ifndef GP_POOL_CPU_STAGE_H
#define GP_POOL_CPU_STAGE_H

#include "pool/cpu/shuffle.h"
#include "pool/cpu/storage.h"
#include "pool/cpu/tiles.h"

/* A run's planes in a tensor. */
typedef struct gp_planes {
  void *data;                    /* of gp_element */
  int64_t base[GP_STAGED_LANES]; /* of each plane; of the first one only where lanes are neighbours */
  int64_t row, pixel;            /* strides */
  bool neighbours;               /* channels are innermost */
  int real, memory;              /* lanes that exist, and those that are in memory */
} gp_planes;

/* A rectangle of rows × columns elements from (row, column) on. */
typedef struct gp_rectangle {
  int64_t row, column, rows, columns;
} gp_rectangle;

static void gp_planes_make(gp_planes *planes, const gp_pool_plan *plan, const gp_strides *strides, const void *data,
                           const gp_tile *tile) {
  *planes = (gp_planes){.data = (void *)(uintptr_t)data, .row = strides->h, .pixel = strides->w};
  planes->neighbours = plan->desc.layout != GP_NCHW;
  planes->real = tile->real;
  planes->memory = tile->memory;
  gp_lane at = gp_lane_first(plan, tile);
  for (int lane = 0; lane < tile->real && (lane == 0 || !planes->neighbours); ++lane, gp_lane_next(plan, &at))
    planes->base[lane] = gp_pool_plane_at(plan->desc.layout, strides, at.n, at.c).base;
}

/* The element of a lane's plane at (row, 0), where lanes are planes apart. */
GP_INLINE gp_element *gp_planes_row(const gp_planes *planes, int lane, int64_t row) {
  return (gp_element *)planes->data + planes->base[lane] + row * planes->row;
}

/* The element of the first lane at (row, column), where lanes are neighbours. */
GP_INLINE gp_element *gp_planes_at(const gp_planes *planes, int64_t row, int64_t column) {
  return (gp_element *)planes->data + planes->base[0] + row * planes->row + column * planes->pixel;
}

/* ---- Transposition of GP_LANES × GP_LANES -------------------------------------------------- */

#if GP_LANES_LOG > 2
/* Quarters (four neighbouring lanes) change places as elements of a matrix of quarters do. */
GP_INLINE void gp_transpose_quarters(vf m[GP_LANES]) {
#if defined(__AVX512F__)
  for (int i = 0; i < 16; i += 8)
    for (int k = i; k < i + 4; ++k) {
      vf a = m[k], b = m[k + 4];
      m[k] = GP_SHUFFLE(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
      m[k + 4] = GP_SHUFFLE(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
  for (int k = 0; k < 8; ++k) {
    vf a = m[k], b = m[k + 8];
    m[k] = GP_SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    m[k + 8] = GP_SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
#else
  for (int k = 0; k < 4; ++k) {
    vf a = m[k], b = m[k + 4];
    m[k] = GP_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    m[k + 4] = GP_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  }
#endif
}
#endif

/* m[i][j] and m[j][i] change places: 4×4 in every quarter, then the quarters. */
GP_INLINE void gp_transpose(vf m[GP_LANES]) {
  for (int i = 0; i < GP_LANES; i += 4) {
    vf a = gp_low_singles(m[i], m[i + 1]), b = gp_high_singles(m[i], m[i + 1]);
    vf c = gp_low_singles(m[i + 2], m[i + 3]), d = gp_high_singles(m[i + 2], m[i + 3]);
    m[i] = gp_low_pairs(a, c);
    m[i + 1] = gp_high_pairs(a, c);
    m[i + 2] = gp_low_pairs(b, d);
    m[i + 3] = gp_high_pairs(b, d);
  }
#if GP_LANES_LOG > 2
  gp_transpose_quarters(m);
#endif
}

/* ---- Planes apart (NCHW) ------------------------------------------------------------------- */

/* `count` neighbouring elements of each plane to [element][lane]. */
static void gp_stage_line(const gp_planes *planes, int64_t offset, int64_t count, int64_t ahead, float *to) {
  for (int64_t k = 0; k < count; k += GP_LANES) {
    int part = count - k < GP_LANES ? (int)(count - k) : GP_LANES;
    for (int first = 0; first < GP_STAGED_LANES; first += GP_LANES) {
      vf m[GP_LANES];
      for (int i = 0; i < GP_LANES; ++i) {
        if (first + i >= planes->real) {
          m[i] = (vf){0};
          continue;
        }
        const gp_element *from = (const gp_element *)planes->data + planes->base[first + i] + offset + k;
        __builtin_prefetch(from + ahead, 0, 2);
        m[i] = part == GP_LANES ? vf_load_element(from, GP_LANES) : vf_load_element(from, part);
      }
      gp_transpose(m);
      for (int i = 0; i < part; ++i) vf_store(to + (k + i) * GP_STAGED_LANES + first, m[i], GP_LANES);
    }
  }
}

/* The way back; adds where `accumulate`. */
static void gp_unstage_line(const gp_planes *planes, int64_t offset, int64_t count, bool accumulate,
                            const float *from) {
  for (int64_t k = 0; k < count; k += GP_LANES) {
    int part = count - k < GP_LANES ? (int)(count - k) : GP_LANES;
    for (int first = 0; first < planes->real; first += GP_LANES) {
      vf m[GP_LANES];
      for (int i = 0; i < GP_LANES; ++i)
        m[i] = i < part ? vf_load(from + (k + i) * GP_STAGED_LANES + first, GP_LANES) : (vf){0};
      gp_transpose(m);
      for (int i = 0; i < GP_LANES && first + i < planes->real; ++i) {
        gp_element *to = (gp_element *)planes->data + planes->base[first + i] + offset + k;
        vf value = accumulate ? m[i] + vf_load_element(to, part) : m[i];
        if (part == GP_LANES)
          vf_store_element(to, value, GP_LANES);
        else
          vf_store_element(to, value, part);
      }
    }
  }
}

/* ---- Neighbouring lanes (NHWC and the blocked layouts) ------------------------------------- */

static void gp_stage_pixel(const gp_element *from, int real, int lanes, float *to) {
  int lane = 0;
  for (; lane + GP_LANES <= real; lane += GP_LANES)
    vf_store(to + lane, vf_load_element(from + lane, GP_LANES), GP_LANES);
  for (; lane < lanes; lane += GP_LANES)
    vf_store(to + lane, lane < real ? vf_load_element(from + lane, real - lane) : (vf){0}, GP_LANES);
}

static void gp_unstage_pixel(gp_element *to, int real, int memory, bool accumulate, const float *from) {
  int lane = 0;
  for (; lane + GP_LANES <= real; lane += GP_LANES) {
    vf value = vf_load(from + lane, GP_LANES);
    if (accumulate) value += vf_load_element(to + lane, GP_LANES);
    vf_store_element(to + lane, value, GP_LANES);
  }
  if (lane < real) {
    vf value = vf_load(from + lane, real - lane);
    if (accumulate) value += vf_load_element(to + lane, real - lane);
    vf_store_element(to + lane, value, real - lane);
  }
  for (lane = real; lane < memory; ++lane) to[lane] = 0;
}

/* ---- Rectangles ---------------------------------------------------------------------------- */

/* Copies a rectangle to [row][column][lanes]; the lanes past the last plane get zeros. */
static void gp_stage(const gp_planes *planes, gp_rectangle area, int lanes, float *to) {
  if (planes->neighbours) {
    for (int64_t row = 0; row < area.rows; ++row)
      for (int64_t column = 0; column < area.columns; ++column, to += lanes)
        gp_stage_pixel(gp_planes_at(planes, area.row + row, area.column + column), planes->real, lanes, to);
    return;
  }
  int64_t ahead = area.rows * planes->row;
  /* Rows without gaps are one line. */
  if (area.columns == planes->row) area = (gp_rectangle){area.row, area.column, 1, area.rows * area.columns};
  for (int64_t row = 0; row < area.rows; ++row, to += area.columns * lanes)
    gp_stage_line(planes, (area.row + row) * planes->row + area.column, area.columns, ahead, to);
}

/* Copies rows × columns elements, in memory `from_row` floats from row to row, back. Lanes in memory past the last plane get
 * zeros. */
static void gp_unstage(const gp_planes *planes, gp_rectangle area, int lanes, int64_t from_row, bool accumulate,
                       const float *from) {
  if (planes->neighbours) {
    for (int64_t row = 0; row < area.rows; ++row)
      for (int64_t column = 0; column < area.columns; ++column)
        gp_unstage_pixel(gp_planes_at(planes, area.row + row, area.column + column), planes->real, planes->memory,
                         accumulate, from + row * from_row + column * lanes);
    return;
  }
  if (area.columns == planes->row && from_row == area.columns * lanes)
    area = (gp_rectangle){area.row, area.column, 1, area.rows * area.columns};
  for (int64_t row = 0; row < area.rows; ++row)
    gp_unstage_line(planes, (area.row + row) * planes->row + area.column, area.columns, accumulate,
                    from + row * from_row);
}

#endif
