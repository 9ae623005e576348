#include "data/loader.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "data/order.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_SIZE = 1024, LEAST_BAD = 16 };

/* A sample that was left out, and for which place of the part: the turn-th tried there. */
typedef struct bad_sample {
  int64_t place, turn, index;
  char message[256];
} bad_sample;

/* One place of the ring. Part p of the epoch lies in slot p % ring. It belongs to the workers, which fill it together, until
 * `ready`, then to the caller until the next data_loader_next(). */
typedef struct ring_slot {
  data_batch batch;
  bool ready;
  int64_t left;               /* samples that are not filled in yet */
  gp_status status;           /* of the batch; not GP_OK: `message` says why */
  _Atomic int64_t fail_place; /* the first sample that failed, whoever comes to it first; INT64_MAX: none */
  char message[MESSAGE_SIZE];
  bad_sample *bad; /* [bad_count of loader->most_bad] */
  int64_t bad_count;
} ring_slot;

typedef struct load_worker {
  struct data_loader *loader;
  pthread_t thread;
  data_sample sample; /* scratch */
} load_worker;

struct data_loader {
  const data_source *source;
  data_augmenter augmenter;
  data_cut cut;
  bool shuffle;
  uint64_t seed;
  size_t image_size; /* floats */
  int64_t *order;    /* [count], NULL without shuffle */
  ring_slot *slots;
  int64_t ring;
  load_worker *workers;
  int32_t worker_count, started; /* threads wanted, threads running */
  data_sample sample;            /* scratch of the caller's thread */
  data_bad_policy bad;
  int64_t most_bad; /* of one part */
  int64_t run;      /* samples that a worker takes at a time */
  void (*report_bad)(void *context, const char *name, const char *message);
  void *context;
  uint8_t *seen_bad; /* [count] bits, with other policies than to fail */
  int64_t bad_count; /* bits set */

  /* Of the epoch; the caller alone writes them, while no worker is busy. */
  int64_t epoch;
  bool begun;
  int64_t next_out; /* the part data_loader_next() gives next */
  double wait_seconds;

  pthread_mutex_t mutex; /* guards what follows, and of the slots all but the samples that somebody fills in */
  pthread_cond_t changed_for_workers, changed_for_caller;
  bool lock_made, workers_wait_made, caller_wait_made;
  int64_t next_fill;  /* the part of which the next free worker takes a run */
  int64_t next_place; /* where that begins */
  int64_t end_fill;   /* parts from here on find their slot taken, or do not exist */
  int32_t busy;       /* workers that fill a run */
  bool stop;          /* the workers are to end */
  atomic_bool cancel; /* parts being filled are not wanted any more; read without the lock */
};

/* ---- Filling one part ------------------------------------------------------------------------ */

static gp_status fill_sample(const data_loader *loader, int64_t index, data_sample *sample, float *dst) {
  gp_status status = GP_OK;
  GP_TRY(data_source_fetch(loader->source, index, sample));
  data_draw_key key = {.seed = loader->seed, .epoch = loader->epoch, .index = index};
  GP_TRY(data_augmenter_run(&loader->augmenter, sample, &key, dst));
cleanup:
  if (status != GP_OK && strstr(gp_last_error(), sample->name) == NULL) return gp_fail_in(status, "%s", sample->name);
  return status;
}

static int64_t index_at(const data_loader *loader, int64_t position) {
  return loader->shuffle ? loader->order[position] : position;
}

/* Whether the sample of this failure may be left out: notes it then. */
static bool leave_out(data_loader *loader, ring_slot *slot, const bad_sample *bad, gp_status status) {
  if (loader->bad == DATA_BAD_FAIL || status == GP_ERROR_OUT_OF_MEMORY) return false;
  pthread_mutex_lock(&loader->mutex);
  const bool room = slot->bad_count < loader->most_bad;
  if (room) {
    bad_sample *noted = &slot->bad[slot->bad_count++];
    *noted = *bad;
    snprintf(noted->message, sizeof noted->message, "%s", gp_last_error());
  }
  pthread_mutex_unlock(&loader->mutex);
  if (!room) (void)!gp_fail_in(status, "%" PRId64 " bad images in one batch, the last", loader->most_bad + 1);
  return room;
}

/* Place i of the part. */
static gp_status fill_place(data_loader *loader, ring_slot *slot, int64_t i, data_sample *sample) {
  data_batch *batch = &slot->batch;
  const int64_t first = batch->number * loader->cut.batch_size + batch->first + i;
  float *dst = batch->images + (size_t)i * loader->image_size;
  for (int64_t next = 0;; ++next) {
    const int64_t index = index_at(loader, (first + next) % loader->cut.samples);
    gp_status status = fill_sample(loader, index, sample, dst);
    batch->indices[i] = index;
    batch->labels[i] = data_source_label(loader->source, index);
    const bad_sample bad = {.place = i, .turn = next, .index = index};
    if (status == GP_OK || !leave_out(loader, slot, &bad, status)) return status;
    if (loader->bad == DATA_BAD_REPLACE) continue;
    batch->labels[i] = -1;
    memset(dst, 0, loader->image_size * sizeof *dst);
    return GP_OK;
  }
}

/* A sample that fails its part: of several the first one counts, so that it does not matter who is faster. */
static void note_failure(data_loader *loader, ring_slot *slot, int64_t i, gp_status status) {
  pthread_mutex_lock(&loader->mutex);
  if (i < atomic_load_explicit(&slot->fail_place, memory_order_relaxed)) {
    atomic_store_explicit(&slot->fail_place, i, memory_order_relaxed);
    slot->status = status;
    snprintf(slot->message, sizeof slot->message, "%s", gp_last_error());
  }
  pthread_mutex_unlock(&loader->mutex);
}

/* Places first … end − 1. Those behind a failure are not needed any more. */
static void fill_run(data_loader *loader, ring_slot *slot, int64_t first, int64_t end, data_sample *sample) {
  for (int64_t i = first; i < end; ++i) {
    if (atomic_load_explicit(&loader->cancel, memory_order_relaxed)) return;
    if (i > atomic_load_explicit(&slot->fail_place, memory_order_relaxed)) return;
    gp_status status = fill_place(loader, slot, i, sample);
    if (status != GP_OK) note_failure(loader, slot, i, status);
  }
}

static void begin_slot(const data_loader *loader, ring_slot *slot, int64_t part) {
  data_batch *batch = &slot->batch;
  const data_piece piece = data_cut_piece(&loader->cut, part);
  batch->number = piece.batch;
  batch->part = piece.part;
  batch->parts = piece.parts;
  batch->first = piece.first;
  batch->count = piece.count;
  batch->whole = piece.whole;
  slot->left = piece.count;
  slot->bad_count = 0;
  slot->status = GP_OK;
  atomic_store_explicit(&slot->fail_place, INT64_MAX, memory_order_relaxed);
}

static int compare_bad(const void *a, const void *b) {
  const bad_sample *one = a, *other = b;
  const int64_t difference = one->place != other->place ? one->place - other->place : one->turn - other->turn;
  return difference < 0 ? -1 : difference > 0;
}

/* What was left out, in the order of the samples. */
static void end_slot(const data_loader *loader, ring_slot *slot) {
  if (slot->bad_count > 1) qsort(slot->bad, (size_t)slot->bad_count, sizeof *slot->bad, compare_bad);
  slot->batch.marked = loader->bad == DATA_BAD_MARK ? slot->bad_count : 0;
}

/* ---- Workers --------------------------------------------------------------------------------- */

static void *work(void *argument) {
  load_worker *self = argument;
  data_loader *loader = self->loader;
  pthread_mutex_lock(&loader->mutex);
  while (!loader->stop) {
    if (loader->next_fill >= loader->end_fill) {
      pthread_cond_wait(&loader->changed_for_workers, &loader->mutex);
      continue;
    }
    ring_slot *slot = &loader->slots[loader->next_fill % loader->ring];
    const int64_t first = loader->next_place;
    if (first == 0) begin_slot(loader, slot, loader->next_fill);
    const int64_t count = slot->batch.count, end = count - first > loader->run ? first + loader->run : count;
    loader->next_place = end < count ? end : 0;
    loader->next_fill += end == count;
    loader->busy++;
    pthread_mutex_unlock(&loader->mutex);
    fill_run(loader, slot, first, end, &self->sample);
    pthread_mutex_lock(&loader->mutex);
    loader->busy--;
    slot->left -= end - first;
    slot->ready = slot->left == 0;
    pthread_cond_signal(&loader->changed_for_caller);
  }
  pthread_mutex_unlock(&loader->mutex);
  return NULL;
}

/* Signals are for the program's own threads: the workers are started with all of them blocked. */
static gp_status start_workers(data_loader *loader) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  for (; loader->started < loader->worker_count && error == 0; loader->started += error == 0) {
    load_worker *worker = &loader->workers[loader->started];
    error = pthread_create(&worker->thread, NULL, work, worker);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error != 0)
    return gp_fail(GP_ERROR_LIBRARY, "loader: cannot start worker %d of %d: %s", loader->started + 1,
                   loader->worker_count, strerror(error));
  return GP_OK;
}

/* Drops what is being prepared; afterwards no worker touches anything until next_fill and end_fill allow it. */
static void halt_workers(data_loader *loader) {
  atomic_store_explicit(&loader->cancel, true, memory_order_relaxed);
  pthread_mutex_lock(&loader->mutex);
  loader->end_fill = loader->next_fill;
  loader->next_place = 0;
  while (loader->busy > 0) pthread_cond_wait(&loader->changed_for_caller, &loader->mutex);
  pthread_mutex_unlock(&loader->mutex);
  atomic_store_explicit(&loader->cancel, false, memory_order_relaxed);
}

static void stop_workers(data_loader *loader) {
  if (loader->started == 0) return;
  halt_workers(loader);
  pthread_mutex_lock(&loader->mutex);
  loader->stop = true;
  pthread_cond_broadcast(&loader->changed_for_workers);
  pthread_mutex_unlock(&loader->mutex);
  for (int32_t i = 0; i < loader->started; ++i) pthread_join(loader->workers[i].thread, NULL);
  loader->started = 0;
}

/* ---- Creation -------------------------------------------------------------------------------- */

static gp_status check_desc(const data_loader_desc *desc) {
  if (desc->source == NULL) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "loader: no source was given");
  const data_source_info *info = data_source_get_info(desc->source);
  if (desc->batch_size < 1 || desc->batch_size > INT32_MAX)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "loader: the batch size must be at least 1, not %" PRId64,
                   desc->batch_size);
  if (desc->part_size < 0 || desc->part_size > desc->batch_size)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "loader: parts must be of 0 (whole batches) to %" PRId64 " samples, not %" PRId64, desc->batch_size,
                   desc->part_size);
  if (desc->drop_last && desc->batch_size > info->count)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "loader: a batch size of %" PRId64 " with --drop-last leaves nothing of %" PRId64
                   " samples: use a smaller --batch-size",
                   desc->batch_size, info->count);
  if (info->count > UINT32_MAX)
    return gp_fail(GP_ERROR_UNSUPPORTED, "loader: %" PRId64 " samples, more than 2^32 - 1", info->count);
  if (desc->workers < 0 || desc->workers > DATA_MAX_WORKERS)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "loader: workers must be 0 to %d, not %d", DATA_MAX_WORKERS,
                   desc->workers);
  if (desc->ring < 0 || desc->ring > 4 * DATA_MAX_WORKERS)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "loader: the ring must hold 0 to %d parts, not %d", 4 * DATA_MAX_WORKERS,
                   desc->ring);
  if (desc->share.mode != DATA_SHARE_NONE && (desc->share.index < 0 || desc->share.index >= desc->share.count))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "loader: share %" PRId32 " of %" PRId32, desc->share.index,
                   desc->share.count);
  if (info->channels != desc->transform.channels)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "loader: the images have %d channels, the transform expects %d",
                   info->channels, desc->transform.channels);
  return GP_OK;
}

/* How an epoch is cut, and how many parts are held at once. The description is good. */
static data_cut cut_epoch(const data_loader_desc *desc, int64_t *ring) {
  const int64_t samples = data_source_get_info(desc->source)->count;
  const int64_t part_size = desc->part_size > 0 ? desc->part_size : desc->batch_size;
  const data_cut cut = data_cut_epoch(&desc->share, samples, desc->batch_size, part_size, desc->drop_last);
  *ring = desc->workers == 0 ? 1 : desc->ring > 0 ? desc->ring : DATA_DEFAULT_RING;
  if (*ring > cut.parts) *ring = cut.parts;
  return cut;
}

int64_t data_loader_ring_images(const data_loader_desc *desc) {
  int64_t ring = 0;
  const data_cut cut = cut_epoch(desc, &ring);
  return ring * cut.part_size;
}

static gp_status make_slots(data_loader *loader) {
  size_t floats = 0;
  gp_status status = GP_OK;
  const data_transform *transform = &loader->augmenter.transform;
  GP_TRY(gp_mul_size(&loader->image_size, (size_t)transform->height, (size_t)transform->width));
  GP_TRY(gp_mul_size(&loader->image_size, loader->image_size, (size_t)transform->channels));
  GP_TRY(gp_mul_size(&floats, loader->image_size, (size_t)loader->cut.part_size));
  GP_TRY(GP_ALLOC(&loader->slots, (size_t)loader->ring));
  for (int64_t i = 0; i < loader->ring; ++i) {
    data_batch *batch = &loader->slots[i].batch;
    GP_TRY(GP_ALLOC(&batch->images, floats));
    GP_TRY(GP_ALLOC(&batch->labels, (size_t)loader->cut.part_size));
    GP_TRY(GP_ALLOC(&batch->indices, (size_t)loader->cut.part_size));
    if (loader->bad != DATA_BAD_FAIL) GP_TRY(GP_ALLOC(&loader->slots[i].bad, (size_t)loader->most_bad));
  }
cleanup:
  return status;
}

/* Room for one image, where its size is known. */
static gp_status reserve_scratch(data_image *image, const data_source_info *info) {
  if (info->height == 0 || info->width == 0) return GP_OK;
  return data_image_reserve(image, info->height, info->width, info->channels);
}

static gp_status make_workers(data_loader *loader) {
  const data_source_info *info = data_source_get_info(loader->source);
  gp_status status = GP_OK;
  if (loader->worker_count == 0) GP_TRY(reserve_scratch(&loader->sample.image, info));
  GP_TRY(GP_ALLOC(&loader->workers, (size_t)loader->worker_count));
  for (int32_t i = 0; i < loader->worker_count; ++i) {
    loader->workers[i].loader = loader;
    GP_TRY(reserve_scratch(&loader->workers[i].sample.image, info));
  }
cleanup:
  return status;
}

static gp_status make_locks(data_loader *loader) {
  loader->lock_made = pthread_mutex_init(&loader->mutex, NULL) == 0;
  loader->workers_wait_made = pthread_cond_init(&loader->changed_for_workers, NULL) == 0;
  loader->caller_wait_made = pthread_cond_init(&loader->changed_for_caller, NULL) == 0;
  if (loader->lock_made && loader->workers_wait_made && loader->caller_wait_made) return GP_OK;
  return gp_fail(GP_ERROR_LIBRARY, "loader: the system gives no more locks");
}

gp_status data_loader_create(data_loader **out, const data_loader_desc *desc) {
  data_loader *loader = NULL;
  gp_status status = GP_OK;
  *out = NULL;
  GP_TRY(check_desc(desc));
  GP_TRY(GP_ALLOC(&loader, 1));
  GP_TRY(make_locks(loader));
  GP_TRY(data_augmenter_init(&loader->augmenter, &desc->transform));
  loader->source = desc->source;
  loader->cut = cut_epoch(desc, &loader->ring);
  loader->shuffle = desc->shuffle;
  loader->seed = desc->seed;
  loader->worker_count = desc->workers;
  loader->bad = desc->bad;
  loader->most_bad = desc->batch_size > LEAST_BAD ? desc->batch_size : LEAST_BAD;
  loader->run = loader->cut.part_size / (2 * (desc->workers > 0 ? desc->workers : 1));
  if (loader->run < 1) loader->run = 1;
  loader->report_bad = desc->report_bad;
  loader->context = desc->context;
  if (desc->bad != DATA_BAD_FAIL) GP_TRY(GP_ALLOC(&loader->seen_bad, (size_t)(loader->cut.samples / 8 + 1)));
  if (desc->shuffle) GP_TRY(GP_ALLOC(&loader->order, (size_t)loader->cut.samples));
  GP_TRY(make_slots(loader));
  GP_TRY(make_workers(loader));
  GP_TRY(start_workers(loader));
  *out = loader;
  loader = NULL;
cleanup:
  data_loader_destroy(&loader);
  return status;
}

void data_loader_destroy(data_loader **pointer) {
  if (pointer == NULL || *pointer == NULL) return;
  data_loader *loader = *pointer;
  *pointer = NULL;
  stop_workers(loader);
  for (int64_t i = 0; loader->slots != NULL && i < loader->ring; ++i) {
    gp_free(loader->slots[i].batch.images);
    gp_free(loader->slots[i].batch.labels);
    gp_free(loader->slots[i].batch.indices);
    gp_free(loader->slots[i].bad);
  }
  for (int32_t i = 0; loader->workers != NULL && i < loader->worker_count; ++i)
    data_sample_free(&loader->workers[i].sample);
  data_sample_free(&loader->sample);
  gp_free(loader->seen_bad);
  gp_free(loader->slots);
  gp_free(loader->workers);
  gp_free(loader->order);
  if (loader->caller_wait_made) pthread_cond_destroy(&loader->changed_for_caller);
  if (loader->workers_wait_made) pthread_cond_destroy(&loader->changed_for_workers);
  if (loader->lock_made) pthread_mutex_destroy(&loader->mutex);
  gp_free(loader);
}

/* ---- Use ------------------------------------------------------------------------------------- */

int64_t data_loader_batches(const data_loader *loader) { return loader->cut.batches; }

int64_t data_loader_samples(const data_loader *loader) { return loader->cut.samples; }

double data_loader_wait_seconds(const data_loader *loader) { return loader->wait_seconds; }

/* Lets the workers fill the parts from `first` on, as many as the ring has slots. The lock is held. */
static void allow_fill(data_loader *loader, int64_t first) {
  int64_t end = first + loader->ring;
  loader->end_fill = end < loader->cut.parts ? end : loader->cut.parts;
  pthread_cond_broadcast(&loader->changed_for_workers);
}

gp_status data_loader_start(data_loader *loader, int64_t epoch, int64_t first_batch) {
  if (epoch < 0 || first_batch < 0 || first_batch > loader->cut.batches)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "loader: cannot start epoch %" PRId64 " at batch %" PRId64 ": an epoch has %" PRId64 " batches",
                   epoch, first_batch, loader->cut.batches);
  halt_workers(loader);
  loader->epoch = epoch;
  loader->begun = true;
  loader->next_out = data_cut_first_part(&loader->cut, first_batch);
  if (loader->shuffle) data_order(loader->order, loader->cut.samples, loader->seed, epoch);
  if (loader->worker_count == 0) return GP_OK;
  pthread_mutex_lock(&loader->mutex);
  for (int64_t i = 0; i < loader->ring; ++i) loader->slots[i].ready = false;
  loader->next_fill = loader->next_out;
  allow_fill(loader, loader->next_out);
  pthread_mutex_unlock(&loader->mutex);
  return GP_OK;
}

int64_t data_loader_bad(const data_loader *loader) { return loader->bad_count; }

/* Tells of the samples that the part left out, if that was not done in an earlier epoch. */
static void report_bad(data_loader *loader, const ring_slot *slot) {
  for (int64_t i = 0; i < slot->bad_count; ++i) {
    const bad_sample *bad = &slot->bad[i];
    uint8_t *byte = &loader->seen_bad[bad->index / 8], bit = (uint8_t)(1 << bad->index % 8);
    if (*byte & bit) continue;
    *byte |= bit;
    loader->bad_count++;
    char name[DATA_NAME_SIZE];
    data_source_name(loader->source, bad->index, name, sizeof name);
    if (loader->report_bad != NULL) loader->report_bad(loader->context, name, bad->message);
  }
}

/* Gives back the slot of the part before this one, and waits until its own is ready. */
static void await_slot(data_loader *loader, ring_slot *slot, int64_t part) {
  pthread_mutex_lock(&loader->mutex);
  allow_fill(loader, part);
  while (!slot->ready) pthread_cond_wait(&loader->changed_for_caller, &loader->mutex);
  slot->ready = false;
  pthread_mutex_unlock(&loader->mutex);
}

gp_status data_loader_next(data_loader *loader, const data_batch **batch) {
  *batch = NULL;
  if (!loader->begun) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "loader: no epoch was started");
  if (loader->next_out >= loader->cut.parts) return GP_OK;
  int64_t part = loader->next_out++;
  ring_slot *slot = &loader->slots[part % loader->ring];
  double before = gp_seconds();
  if (loader->worker_count == 0) {
    begin_slot(loader, slot, part);
    fill_run(loader, slot, 0, slot->batch.count, &loader->sample);
  } else {
    await_slot(loader, slot, part);
  }
  end_slot(loader, slot);
  loader->wait_seconds += gp_seconds() - before;
  report_bad(loader, slot);
  if (slot->status != GP_OK) return gp_fail(slot->status, "%s", slot->message);
  *batch = &slot->batch;
  return GP_OK;
}
