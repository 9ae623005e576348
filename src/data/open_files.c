#include "data/open_files.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/file.h"

#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

enum { NONE = -1 };

/* Room for one open file. While `handle` is NONE and `file` is not, the thread that counts as its user opens it. */
typedef struct open_file {
  int handle;
  int32_t file;
  int32_t users;
  uint64_t last_use;
} open_file;

struct data_open_files {
  const data_known_file *files;
  open_file *slots;
  int32_t most;

  pthread_mutex_t mutex; /* guards the slots and what follows; not held while files are opened, read or closed */
  pthread_cond_t changed;
  bool mutex_made, changed_made;
  int32_t *slot_of; /* [count] of the files; NONE: not open */
  uint64_t uses;
};

gp_status data_open_files_create(data_open_files **out, const data_known_file *files, int32_t count, int32_t most) {
  gp_status status = GP_OK;
  data_open_files *self = NULL;
  *out = NULL;
  GP_TRY(GP_ALLOC(&self, 1));
  self->files = files;
  self->mutex_made = pthread_mutex_init(&self->mutex, NULL) == 0;
  self->changed_made = pthread_cond_init(&self->changed, NULL) == 0;
  if (!self->mutex_made || !self->changed_made)
    GP_TRY(gp_fail(GP_ERROR_LIBRARY, "files: the system gives no more locks"));
  GP_TRY(GP_ALLOC(&self->slots, (size_t)most));
  GP_TRY(GP_ALLOC(&self->slot_of, (size_t)count));
  self->most = most;
  for (int32_t i = 0; i < most; ++i) self->slots[i] = (open_file){.handle = NONE, .file = NONE};
  for (int32_t i = 0; i < count; ++i) self->slot_of[i] = NONE;
  *out = self;
  self = NULL;
cleanup:
  data_open_files_destroy(&self);
  return status;
}

void data_open_files_destroy(data_open_files **files) {
  if (files == NULL || *files == NULL) return;
  data_open_files *self = *files;
  *files = NULL;
  for (int32_t i = 0; i < self->most; ++i)
    if (self->slots[i].handle != NONE) close(self->slots[i].handle);
  if (self->changed_made) pthread_cond_destroy(&self->changed);
  if (self->mutex_made) pthread_mutex_destroy(&self->mutex);
  gp_free(self->slots);
  gp_free(self->slot_of);
  gp_free(self);
}

/* An empty slot, or else the one that nobody has used for longest; NULL if all are in use. The lock is held. */
static open_file *find_slot(data_open_files *self) {
  open_file *best = NULL;
  for (int32_t i = 0; i < self->most; ++i) {
    open_file *slot = &self->slots[i];
    if (slot->file == NONE) return slot;
    if (slot->users == 0 && (best == NULL || slot->last_use < best->last_use)) best = slot;
  }
  return best;
}

/* Opens the file into a slot that is this thread's. The lock is held on return, too. */
static gp_status fill_slot(data_open_files *self, open_file *slot, int32_t number) {
  gp_status status = GP_OK;
  const data_known_file *file = &self->files[number];
  const int before = slot->handle;
  int handle = NONE;
  size_t size = 0;
  if (slot->file != NONE) self->slot_of[slot->file] = NONE;
  *slot = (open_file){.handle = NONE, .file = number, .users = 1};
  self->slot_of[number] = (int32_t)(slot - self->slots);
  pthread_mutex_unlock(&self->mutex);
  if (before != NONE) close(before);
  GP_TRY(data_open_file(file->path, &handle, &size));
  if (size != file->size)
    GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: has %zu bytes, had %" PRIu64 " when it was listed", file->path, size,
                   file->size));
cleanup:
  if (status != GP_OK && handle != NONE) close(handle);
  pthread_mutex_lock(&self->mutex);
  slot->handle = handle;
  if (status != GP_OK) {
    *slot = (open_file){.handle = NONE, .file = NONE};
    self->slot_of[number] = NONE;
  }
  pthread_cond_broadcast(&self->changed);
  return status;
}

/* The slot of the file, with this thread among its users. The lock is held. */
static gp_status take_slot(data_open_files *self, int32_t number, open_file **out) {
  for (;; pthread_cond_wait(&self->changed, &self->mutex)) {
    const int32_t found = self->slot_of[number];
    open_file *slot = found == NONE ? find_slot(self) : &self->slots[found];
    if (slot == NULL || (found != NONE && slot->handle == NONE)) continue;
    if (found == NONE) {
      gp_status status = fill_slot(self, slot, number);
      if (status != GP_OK) return status;
    } else {
      slot->users++;
    }
    slot->last_use = ++self->uses;
    *out = slot;
    return GP_OK;
  }
}

gp_status data_open_files_read(data_open_files *files, int32_t number, uint8_t *bytes, size_t size, uint64_t offset) {
  open_file *slot = NULL;
  pthread_mutex_lock(&files->mutex);
  gp_status status = take_slot(files, number, &slot);
  pthread_mutex_unlock(&files->mutex);
  if (status != GP_OK) return status;
  status = data_read_at(slot->handle, files->files[number].path, bytes, size, offset);
  pthread_mutex_lock(&files->mutex);
  if (--slot->users == 0) pthread_cond_broadcast(&files->changed);
  pthread_mutex_unlock(&files->mutex);
  return status;
}
