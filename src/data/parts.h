/* How an epoch is cut into batches, batches into the shares of several loaders, and these into parts that are loaded and
 * computed one after the other. */
#ifndef GP_DATA_PARTS_H
#define GP_DATA_PARTS_H

#include <stdbool.h>
#include <stdint.h>

/* In how many parts of at most `most` samples a batch of `count` is taken. */
int64_t data_parts(int64_t count, int64_t most);

/* Where part i of them begins, as even as can be; part `data_parts()` begins at the end. */
int64_t data_part(int64_t count, int64_t most, int64_t i);

/* What of every epoch is a loader's, where `count` loaders, in one process or on many machines, share its batches. */
typedef enum data_share_mode {
  DATA_SHARE_NONE = 0, /* it has them all */
  DATA_SHARE_SAMPLES,  /* of each batch, a stretch: data_share_first(batch, index, count) up to that of index + 1 */
  DATA_SHARE_BATCHES,  /* whole batches: those of the numbers index, index + count, index + 2·count, … */
} data_share_mode;

typedef struct data_share {
  data_share_mode mode;
  int32_t index, count;
} data_share;

/* Where the stretch of loader `index` begins in a batch of so many samples: the first ones have one more, where it does not
 * come out even. That of index `count` begins at the end. */
int64_t data_share_first(int64_t samples, int32_t index, int32_t count);

/* What the size of parts must be for shares of whole batches to come in `parts` parts. */
int64_t data_share_part_size(const data_share *share, int64_t batch_size, int64_t parts);

/* Whether they then do come in so many: shares of 9 cannot come in 6 parts, nor shares of 2 in 3. */
bool data_share_in_parts(const data_share *share, int64_t batch_size, int64_t parts);

/* An epoch; all its batches but the last have `batch_parts` parts. Batches and parts are those of the share. */
typedef struct data_cut {
  data_share share;
  int64_t samples, batch_size, part_size; /* sizes: at most */
  int64_t batches, parts;                 /* of the epoch */
  int64_t batch_parts;                    /* of a whole batch */
} data_cut;

/* All numbers at least 1. `drop_last`: without the last batch if it is not full. All of several shares of samples are cut into
 * as many parts, of which those of a small batch may be empty. */
data_cut data_cut_epoch(const data_share *share, int64_t samples, int64_t batch_size, int64_t part_size,
                        bool drop_last);

/* One part. */
typedef struct data_piece {
  int64_t batch;        /* that it is of */
  int64_t part, parts;  /* which of the share's parts of it this is */
  int64_t first, count; /* its place in the batch, its samples */
  int64_t whole;        /* samples of the batch */
} data_piece;

/* Part 0 … parts − 1 of the epoch. */
data_piece data_cut_piece(const data_cut *cut, int64_t part);

/* The first part of a batch; for the number of batches, that of parts. */
int64_t data_cut_first_part(const data_cut *cut, int64_t batch);

#endif
