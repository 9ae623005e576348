/* How an epoch is cut into batches, and batches into parts that are loaded and computed one after the other. */
#ifndef GP_DATA_PARTS_H
#define GP_DATA_PARTS_H

#include <stdbool.h>
#include <stdint.h>

/* In how many parts of at most `most` samples a batch of `count` is taken. */
int64_t data_parts(int64_t count, int64_t most);

/* Where part i of them begins, as even as can be; part `data_parts()` begins at the end. */
int64_t data_part(int64_t count, int64_t most, int64_t i);

/* An epoch; all its batches but the last have `batch_parts` parts. */
typedef struct data_cut {
  int64_t samples, batch_size, part_size; /* sizes: at most */
  int64_t batches, parts;                 /* of the epoch */
  int64_t batch_parts;                    /* of a whole batch */
} data_cut;

/* All numbers at least 1. `drop_last`: without the last batch if it is not full. */
data_cut data_cut_epoch(int64_t samples, int64_t batch_size, int64_t part_size, bool drop_last);

/* One part. */
typedef struct data_piece {
  int64_t batch;        /* that it is of */
  int64_t first, count; /* its place in the batch, its samples */
  int64_t whole;        /* samples of the batch */
} data_piece;

/* Part 0 … parts − 1 of the epoch. */
data_piece data_cut_piece(const data_cut *cut, int64_t part);

/* The first part of a batch; for the number of batches, that of parts. */
int64_t data_cut_first_part(const data_cut *cut, int64_t batch);

#endif
