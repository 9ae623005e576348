#include "train/events.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_SIZE = 8192, FRAME_SIZE = MESSAGE_SIZE + 16, NAMES_TRIED = 1000 };

struct train_events {
  char *path;
  int fd;
};

/* ---- Wire format ---- */

/* A message being written; `failed` once it did not fit. */
typedef struct message {
  size_t used;
  bool failed;
  uint8_t bytes[MESSAGE_SIZE];
} message;

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_bytes(message *m, const void *data, size_t bytes) {
  m->failed = m->failed || bytes > sizeof m->bytes - m->used;
  if (m->failed) return;
  memcpy(m->bytes + m->used, data, bytes);
  m->used += bytes;
}

static void put_varint(message *m, uint64_t value) {
  do {
    const uint8_t byte = (uint8_t)(value & 0x7F) | (value > 0x7F ? 0x80 : 0);
    put_bytes(m, &byte, 1);
    value >>= 7;
  } while (value > 0);
}

/* Lowest byte first, on any machine. */
static void store(uint8_t *out, uint64_t bits, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) out[i] = (uint8_t)(bits >> 8 * i);
}

static void put_key(message *m, uint64_t field, uint64_t wire) { put_varint(m, field << 3 | wire); }

static void put_integer(message *m, uint64_t field, int64_t value) {
  put_key(m, field, WIRE_VARINT);
  put_varint(m, (uint64_t)value);
}

static void put_double(message *m, uint64_t field, double value) {
  uint64_t bits;
  uint8_t bytes[8];
  memcpy(&bits, &value, sizeof bits);
  store(bytes, bits, sizeof bytes);
  put_key(m, field, WIRE_64);
  put_bytes(m, bytes, sizeof bytes);
}

static void put_float(message *m, uint64_t field, float value) {
  uint32_t bits;
  uint8_t bytes[4];
  memcpy(&bits, &value, sizeof bits);
  store(bytes, bits, sizeof bytes);
  put_key(m, field, WIRE_32);
  put_bytes(m, bytes, sizeof bytes);
}

static void put_block(message *m, uint64_t field, const void *data, size_t bytes) {
  put_key(m, field, WIRE_BYTES);
  put_varint(m, bytes);
  put_bytes(m, data, bytes);
}

static void put_message(message *m, uint64_t field, const message *inner) {
  m->failed = m->failed || inner->failed;
  put_block(m, field, inner->bytes, inner->used);
}

/* ---- Messages ---- */

enum {
  EVENT_WALL_TIME = 1,
  EVENT_STEP = 2,
  EVENT_FILE_VERSION = 3,
  EVENT_SUMMARY = 5,
  EVENT_SESSION_LOG = 7,
  SUMMARY_VALUE = 1,
  VALUE_TAG = 1,
  VALUE_SIMPLE = 2,
  SESSION_STATUS = 1,
  SESSION_START = 1, /* a status */
};

static void begin_event(message *m, int64_t step) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  m->used = 0;
  m->failed = false;
  put_double(m, EVENT_WALL_TIME, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
  put_integer(m, EVENT_STEP, step);
}

static void put_scalars(message *m, const train_scalar *scalars, size_t count) {
  message summary, value;
  summary.used = 0;
  summary.failed = false;
  for (size_t i = 0; i < count; ++i) {
    value.used = 0;
    value.failed = false;
    put_block(&value, VALUE_TAG, scalars[i].tag, strlen(scalars[i].tag));
    put_float(&value, VALUE_SIMPLE, scalars[i].value);
    put_message(&summary, SUMMARY_VALUE, &value);
  }
  put_message(m, EVENT_SUMMARY, &summary);
}

/* ---- Records ---- */

uint32_t train_events_checksum(const void *data, size_t bytes) {
  const uint8_t *byte = data;
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= byte[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

/* In one write, so that a reader never sees half a record. */
static gp_status write_record(train_events *events, const message *m) {
  uint8_t frame[FRAME_SIZE];
  const size_t bytes = 8 + 4 + m->used + 4;
  if (m->failed)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "a record for %s is larger than %d bytes", events->path, MESSAGE_SIZE);
  store(frame, m->used, 8);
  store(frame + 8, train_events_checksum(frame, 8), 4);
  memcpy(frame + 12, m->bytes, m->used);
  store(frame + 12 + m->used, train_events_checksum(m->bytes, m->used), 4);
  for (size_t done = 0; done < bytes;) {
    const ssize_t count = write(events->fd, frame + done, bytes - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      return gp_fail(GP_ERROR_IO, "cannot write %s: %s", events->path, strerror(count == 0 ? ENOSPC : errno));
    done += (size_t)count;
  }
  return GP_OK;
}

gp_status train_events_add(train_events *events, int64_t step, const train_scalar *scalars, size_t count) {
  message m;
  begin_event(&m, step);
  put_scalars(&m, scalars, count);
  return write_record(events, &m);
}

/* ---- Files ---- */

/* A name that is not taken, greater than those of earlier files: TensorBoard reads them by name. */
static gp_status open_new(train_events *events, const char *folder) {
  gp_status status = GP_OK;
  const int64_t now = (int64_t)time(NULL);
  for (int64_t i = 0; i < NAMES_TRIED && events->fd < 0; ++i) {
    char name[80];
    snprintf(name, sizeof name, "events.out.tfevents.%010" PRId64 ".gausspool", now + i);
    gp_free(events->path);
    GP_TRY(path_join(&events->path, folder, name));
    events->fd = open(events->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (events->fd < 0 && errno != EEXIST) break;
  }
  if (events->fd < 0) GP_TRY(gp_fail(GP_ERROR_IO, "cannot write %s: %s", events->path, strerror(errno)));
cleanup:
  return status;
}

gp_status train_events_create(train_events **out, const char *folder, int64_t first_step) {
  static const char version[] = "brain.Event:2";
  gp_status status = GP_OK;
  train_events *events = NULL;
  message m, start = {.used = 0};
  *out = NULL;
  GP_TRY(GP_ALLOC(&events, 1));
  events->fd = -1;
  GP_TRY(open_new(events, folder));
  begin_event(&m, 0);
  put_block(&m, EVENT_FILE_VERSION, version, sizeof version - 1);
  GP_TRY(write_record(events, &m));
  /* A start makes a reader forget the earlier files' events from this step on. */
  begin_event(&m, first_step + 1);
  put_integer(&start, SESSION_STATUS, SESSION_START);
  put_message(&m, EVENT_SESSION_LOG, &start);
  GP_TRY(write_record(events, &m));
  *out = events;
  events = NULL;
cleanup:
  train_events_destroy(&events);
  return status;
}

void train_events_destroy(train_events **events) {
  if (*events == NULL) return;
  if ((*events)->fd >= 0) close((*events)->fd);
  gp_free((*events)->path);
  gp_free(*events);
  *events = NULL;
}
