#include "nn/arena.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/status.h"

static int larger_first(const void *a, const void *b) {
  const nn_buffer *x = *(nn_buffer *const *)a, *y = *(nn_buffer *const *)b;
  if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
  return x < y ? -1 : x > y; /* a total order: the same plan everywhere */
}

static bool live_together(const nn_buffer *a, const nn_buffer *b) { return a->first <= b->last && b->first <= a->last; }

/* Lowest offset for `buffer` beside the placed ones, which are kept in order of offset. */
static size_t lowest_free(const nn_buffer *buffer, nn_buffer *const *placed, int32_t count) {
  size_t offset = 0;
  for (int32_t i = 0; i < count; ++i) {
    if (!live_together(buffer, placed[i])) continue;
    if (offset + buffer->bytes <= placed[i]->offset) break;
    size_t end = gp_align_up(placed[i]->offset + placed[i]->bytes);
    if (end > offset) offset = end;
  }
  return offset;
}

gp_status nn_arena_plan(nn_buffer *buffers, int32_t count, size_t *total, size_t *sum) {
  gp_status status = GP_OK;
  nn_buffer **order = NULL, **placed = NULL;
  int32_t placed_count = 0;
  *total = *sum = 0;
  GP_TRY(GP_ALLOC(&order, (size_t)count));
  GP_TRY(GP_ALLOC(&placed, (size_t)count));
  for (int32_t i = 0; i < count; ++i) order[i] = &buffers[i];
  qsort(order, (size_t)count, sizeof *order, larger_first);
  for (int32_t i = 0; i < count; ++i) {
    nn_buffer *buffer = order[i];
    buffer->offset = lowest_free(buffer, placed, placed_count);
    int32_t at = placed_count++;
    for (; at > 0 && placed[at - 1]->offset > buffer->offset; --at) placed[at] = placed[at - 1];
    placed[at] = buffer;
    size_t end = gp_align_up(buffer->offset + buffer->bytes);
    if (end > *total) *total = end;
    *sum += gp_align_up(buffer->bytes);
  }
cleanup:
  gp_free(order);
  gp_free(placed);
  return status;
}
