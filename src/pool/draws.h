/* The Philox counter of a draw: its logical position, so that layout, instruction set and threads do not enter. */
#ifndef GP_POOL_DRAWS_H
#define GP_POOL_DRAWS_H

#include "base/normal.h"
#include "pool/shape.h"

/* First two counter words of row 0 of channel c of sample n: the low half of (first_sample + n)·channels + c, and its high
 * half with the bytes reversed. The row is put into the second by exclusive or: counters stay distinct for all
 * tensors of less than 2^24 rows and 2^40 planes. */
typedef struct gp_draw_plane {
  uint32_t low, high;
} gp_draw_plane;

GP_HD static inline gp_draw_plane gp_draw_plane_at(const gp_pool_desc *desc, int64_t n, int64_t c) {
  uint64_t index = (uint64_t)(desc->first_sample + n) * (uint64_t)desc->channels + (uint64_t)c;
  uint32_t high = (uint32_t)(index >> 32);
  high = high << 24 | (high & 0xFF00u) << 8 | (high >> 8 & 0xFF00u) | high >> 24;
  gp_draw_plane plane = {(uint32_t)index, high};
  return plane;
}

/* The draws of columns 4·group … 4·group + 3 of a row, normal or uniform as the kind has them. GP_STOCHASTIC_CN uses the
 * first one of row 0, group 0. */
static inline void gp_draw4(const gp_pool_plan *plan, gp_draw_plane plane, int64_t row, int64_t group, float out[4]) {
  const gp_pool_desc *desc = &plan->desc;
  gp_philox_block block =
      gp_philox(desc->seed, plane.low, plane.high ^ (uint32_t)row, (uint32_t)group, desc->call_offset);
  if (plan->kind->draws == GP_DRAWS_NORMAL)
    gp_normal4(block, out);
  else
    for (int i = 0; i < 4; ++i) out[i] = gp_unit_float(block.word[i]);
}

/* The draw of one output element of sample n and channel c; the plan's stochasticity is not NONE. */
static inline float gp_draw_at(const gp_pool_plan *plan, int64_t n, int64_t c, int64_t row, int64_t column) {
  float draws[4];
  bool each = plan->desc.stochasticity == GP_STOCHASTIC_HWCN;
  gp_draw4(plan, gp_draw_plane_at(&plan->desc, n, c), each ? row : 0, each ? column / 4 : 0, draws);
  return draws[each ? column % 4 : 0];
}

#endif
