/* Placing buffers of known lifetime in one arena. */
#ifndef GP_NN_ARENA_H
#define GP_NN_ARENA_H

#include <gausspool/gausspool.h>

/* A buffer in use from step `first` to step `last`, both included. */
typedef struct nn_buffer {
  size_t bytes;
  int32_t first, last;
  size_t offset; /* out; a multiple of GP_ALIGNMENT */
} nn_buffer;

/* Gives each buffer an offset such that no two that live at the same step overlap: largest first, each at the lowest
 * place free (greedy by size, Pisarchyk and Lee 2020). *total is the arena's size, *sum that without any reuse. */
GP_NODISCARD gp_status nn_arena_plan(nn_buffer *buffers, int32_t count, size_t *total, size_t *sum);

#endif
