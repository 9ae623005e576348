#include "data/parts.h"

int64_t data_parts(int64_t count, int64_t most) { return (count + most - 1) / most; }

int64_t data_part(int64_t count, int64_t most, int64_t i) { return count * i / data_parts(count, most); }

int64_t data_share_first(int64_t samples, int32_t index, int32_t count) {
  const int64_t rest = samples % count; /* one more for each of the first so many */
  return samples / count * index + (index < rest ? index : rest);
}

/* The largest share of a batch. */
static int64_t largest_share(const data_share *share, int64_t samples) {
  return share->mode == DATA_SHARE_SAMPLES ? data_share_first(samples, 1, share->count) : samples;
}

int64_t data_share_part_size(const data_share *share, int64_t batch_size, int64_t parts) {
  return (largest_share(share, batch_size) + parts - 1) / parts;
}

bool data_share_in_parts(const data_share *share, int64_t batch_size, int64_t parts) {
  return data_parts(largest_share(share, batch_size), data_share_part_size(share, batch_size, parts)) == parts;
}

/* Of so many batches, how many are the share's. */
static int64_t own_batches(const data_share *share, int64_t batches) {
  if (share->mode != DATA_SHARE_BATCHES) return batches;
  return batches > share->index ? (batches - share->index - 1) / share->count + 1 : 0;
}

data_cut data_cut_epoch(const data_share *share, int64_t samples, int64_t batch_size, int64_t part_size,
                        bool drop_last) {
  const int64_t full = samples / batch_size, rest = drop_last ? 0 : samples % batch_size;
  const int64_t largest = largest_share(share, batch_size);
  data_cut cut = {.share = *share, .samples = samples, .batch_size = batch_size};
  cut.part_size = part_size < largest ? part_size : largest;
  cut.batch_parts = data_parts(largest, cut.part_size);
  cut.batches = own_batches(share, full + (rest > 0));
  cut.parts = own_batches(share, full) * cut.batch_parts;
  if (cut.batches > own_batches(share, full)) cut.parts += data_parts(largest_share(share, rest), cut.part_size);
  return cut;
}

data_piece data_cut_piece(const data_cut *cut, int64_t part) {
  const data_share *share = &cut->share;
  data_piece piece = {.batch = part / cut->batch_parts, .part = part % cut->batch_parts};
  if (share->mode == DATA_SHARE_BATCHES) piece.batch = piece.batch * share->count + share->index;
  const int64_t left = cut->samples - piece.batch * cut->batch_size;
  piece.whole = left < cut->batch_size ? left : cut->batch_size;
  piece.parts = data_parts(largest_share(share, piece.whole), cut->part_size);
  const bool shared = share->mode == DATA_SHARE_SAMPLES;
  const int64_t begin = shared ? data_share_first(piece.whole, share->index, share->count) : 0;
  const int64_t end = shared ? data_share_first(piece.whole, share->index + 1, share->count) : piece.whole;
  piece.first = begin + (end - begin) * piece.part / piece.parts;
  piece.count = begin + (end - begin) * (piece.part + 1) / piece.parts - piece.first;
  return piece;
}

int64_t data_cut_first_part(const data_cut *cut, int64_t batch) {
  return batch < cut->batches ? batch * cut->batch_parts : cut->parts;
}
