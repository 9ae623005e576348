/* A source of samples without files, and what tests of loaders do with it. */
#ifndef TEST_DATA_FAKE_H
#define TEST_DATA_FAKE_H

#include "data/loader.h"
#include "data/source_impl.h"

typedef struct fake_source {
  data_source base;
  int64_t bad;       /* this sample cannot be read; -1: all can */
  int64_t bad_every; /* nor every so-manieth; 0: no further */
  bool slow;         /* bad ones take the longer the sooner they come, so that later ones are known first */
} fake_source;

enum { FAKE_FLOATS = 3 * 6 * 5 }; /* of an image */

/* All samples can be read. */
fake_source fake(int64_t count);

/* Batches of 7 of it, shuffled and augmented; it must outlive what is made of the description. */
data_loader_desc usual_desc(const fake_source *source);
data_loader *make_loader(const data_loader_desc *desc);

uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size);
uint64_t hash_batch(uint64_t hash, const data_batch *batch);
/* Of what is left of an epoch, from `first` on; *batches counts. */
uint64_t hash_epoch(data_loader *loader, int64_t epoch, int64_t first, int64_t *batches);

#endif
