/* Batches, prepared ahead by worker threads. What comes out depends on the source, the transform, the seed, the epoch
 * and the batch size only: not on the number of workers, nor on where in an epoch the loader was started, nor on how many
 * loaders share an epoch.
 *
 *   GP_TRY(data_loader_create(&loader, &(data_loader_desc){.source = source, .transform = t, .batch_size = 128}));
 *   GP_TRY(data_loader_start(loader, epoch, 0));
 *   for (const data_batch *batch;;) {
 *     GP_TRY(data_loader_next(loader, &batch));
 *     if (batch == NULL) break;
 *     …
 *   }
 *
 * A loader belongs to one caller: its functions are not to be called from several threads at once. */
#ifndef GP_DATA_LOADER_H
#define GP_DATA_LOADER_H

#include "data/augment.h"
#include "data/parts.h"
#include "data/source.h"

typedef struct data_loader data_loader;

enum { DATA_MAX_WORKERS = 256, DATA_DEFAULT_RING = 4 };

/* What becomes of a sample that cannot be read or decoded. Running out of memory is always a failure. */
typedef enum data_bad_policy {
  DATA_BAD_FAIL = 0, /* its batch fails */
  DATA_BAD_REPLACE,  /* the next good one in the epoch's order takes its place: batches stay full, for training */
  DATA_BAD_MARK,     /* its image is zeros and its label -1: nothing is counted twice, for tests */
} data_bad_policy;

/* Zero-initialise and fill with designated initialisers. */
typedef struct data_loader_desc {
  const data_source *source; /* must outlive the loader */
  data_transform transform;
  int64_t batch_size;
  int64_t part_size; /* batches come in parts of at most so many samples (parts.h); 0: in one piece */
  data_share share;  /* of several loaders, all made alike but for its index */
  bool shuffle;      /* otherwise in the source's order */
  bool drop_last;    /* leave out the epoch's last batch if it is not full */
  uint64_t seed;     /* of order and augmentation */
  int32_t workers;   /* threads; 0: everything is done in the caller's thread, inside data_loader_next() */
  data_bad_policy bad;
  /* Told of each sample that is left out, once, by data_loader_next() in the order of the batches. May be NULL. */
  void (*report_bad)(void *context, const char *name, const char *message);
  void *context;
  int32_t ring; /* parts held at once, the caller's included; 0: as data_loader_ring_images() has it */
} data_loader_desc;

/* A batch, or a part of one. */
typedef struct data_batch {
  float *images;    /* [count][channels][height][width] */
  int32_t *labels;  /* [count] */
  int64_t *indices; /* [count], of the samples in the source */
  int64_t
      count; /* batch_size, or less in the last batch; with parts, the part's; of a small batch a share may have none */
  int64_t number;      /* of the batch in its epoch, from 0 */
  int64_t part, parts; /* which of the loader's parts of the batch it is */
  int64_t first;       /* place of the first of these samples in the batch: 0 but for later parts and shares */
  int64_t whole;       /* samples of the whole batch, the other loaders' too */
  int64_t marked;      /* samples without an image, whose label is -1 */
} data_batch;

/* Allocates everything and starts the workers, which wait for data_loader_start().
 * Errors: GP_ERROR_INVALID_ARGUMENT, GP_ERROR_OUT_OF_MEMORY, GP_ERROR_LIBRARY (no thread to be had). */
GP_NODISCARD gp_status data_loader_create(data_loader **out, const data_loader_desc *desc);

/* Stops the workers, after at most the sample each is at, and releases everything. Takes NULL, leaves NULL. */
void data_loader_destroy(data_loader **loader);

/* Images that a loader of this description holds memory for, all of the transform's size. Where desc->ring is 0 that is
 * one part without workers, else DATA_DEFAULT_RING parts, which the workers fill together. The description must be one that
 * data_loader_create() takes. */
int64_t data_loader_ring_images(const data_loader_desc *desc);

/* Batches of one epoch, of its share. */
int64_t data_loader_batches(const data_loader *loader);

/* Samples of its source. */
int64_t data_loader_samples(const data_loader *loader);

/* Begins an epoch (0 or more) at batch `first_batch` (0 … data_loader_batches(); that many means: nothing left). May be
 * called at any time: what was being prepared is dropped. */
GP_NODISCARD gp_status data_loader_start(data_loader *loader, int64_t epoch, int64_t first_batch);

/* The epoch's next batch, or the next part of one, valid until the next call of any function of this loader but the queries; *batch is NULL
 * at the end of the epoch. Allocates nothing, unless images are larger than all before.
 * With DATA_BAD_FAIL a sample that cannot be read fails the call for its batch or part, naming the sample; the next call
 * goes on with what comes after it. With the other policies a batch or part fails that meets more of them than a batch has
 * samples (16 at least). GP_ERROR_INVALID_ARGUMENT before the first data_loader_start(). */
GP_NODISCARD gp_status data_loader_next(data_loader *loader, const data_batch **batch);

/* Distinct samples left out since the loader was created, in the batches that data_loader_next() has given. */
int64_t data_loader_bad(const data_loader *loader);

/* Seconds that data_loader_next() has kept the caller waiting, since the loader was created. */
double data_loader_wait_seconds(const data_loader *loader);

#endif
