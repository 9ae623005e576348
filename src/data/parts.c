#include "data/parts.h"

int64_t data_parts(int64_t count, int64_t most) { return (count + most - 1) / most; }

int64_t data_part(int64_t count, int64_t most, int64_t i) { return count * i / data_parts(count, most); }

data_cut data_cut_epoch(int64_t samples, int64_t batch_size, int64_t part_size, bool drop_last) {
  const int64_t full = samples / batch_size, rest = drop_last ? 0 : samples % batch_size;
  data_cut cut = {.samples = samples, .batch_size = batch_size, .part_size = part_size};
  cut.batch_parts = data_parts(batch_size, part_size);
  cut.batches = full + (rest > 0);
  cut.parts = full * cut.batch_parts + data_parts(rest, part_size);
  return cut;
}

data_piece data_cut_piece(const data_cut *cut, int64_t part) {
  data_piece piece = {.batch = part / cut->batch_parts};
  const int64_t left = cut->samples - piece.batch * cut->batch_size, i = part % cut->batch_parts;
  piece.whole = left < cut->batch_size ? left : cut->batch_size;
  piece.first = data_part(piece.whole, cut->part_size, i);
  piece.count = data_part(piece.whole, cut->part_size, i + 1) - piece.first;
  return piece;
}

int64_t data_cut_first_part(const data_cut *cut, int64_t batch) {
  return batch < cut->batches ? batch * cut->batch_parts : cut->parts;
}
