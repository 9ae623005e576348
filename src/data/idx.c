#include "data/idx.h"

#include "base/memory.h"
#include "base/status.h"
#include "data/decode.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <zlib.h>

/* ---- A file's content, unpacked as it is read ------------------------------------------------ */

enum {
  TYPE_UNSIGNED_BYTE = 0x08,
  MAX_DEFLATE_RATIO = 1032, /* the most that deflate compresses (zlib.net/zlib_tech.html) */
  GZIP_WINDOW = 15 + 16,    /* largest window, gzip header */
  FIRST_ROOM = 1 << 26,     /* bytes */
};

typedef struct stream {
  const uint8_t *next;
  size_t left;
  const char *name;
  bool gzip, member_open; /* member: gzip files are one or more of them in a row */
  z_stream inflater;
} stream;

static void *zlib_alloc(void *context, uInt count, uInt size) {
  (void)context;
  void *pointer = NULL;
  return gp_alloc(&pointer, count, size) == GP_OK ? pointer : NULL;
}

static void zlib_free(void *context, void *pointer) {
  (void)context;
  gp_free(pointer);
}

static bool begins_gzip(const stream *s) { return s->left >= 2 && s->next[0] == 0x1f && s->next[1] == 0x8b; }

static gp_status stream_open(stream *s, const uint8_t *bytes, size_t size, const char *name) {
  *s = (stream){.next = bytes, .left = size, .name = name};
  s->gzip = begins_gzip(s);
  if (!s->gzip) return GP_OK;
  s->inflater.zalloc = zlib_alloc;
  s->inflater.zfree = zlib_free;
  if (inflateInit2(&s->inflater, GZIP_WINDOW) != Z_OK) {
    s->gzip = false;
    return gp_fail(GP_ERROR_OUT_OF_MEMORY, "%s: no memory to unpack it", name);
  }
  s->member_open = true;
  return GP_OK;
}

static void stream_close(stream *s) {
  if (s->gzip) inflateEnd(&s->inflater);
}

/* Makes progress on `*out` of `*wanted` bytes; nothing more to come is no progress. */
static gp_status inflate_some(stream *s, uint8_t **out, size_t *wanted) {
  z_stream *z = &s->inflater;
  z->next_in = (Bytef *)(uintptr_t)s->next; /* zlib only reads it */
  z->avail_in = (uInt)(s->left < UINT_MAX ? s->left : UINT_MAX);
  z->next_out = *out;
  z->avail_out = (uInt)(*wanted < UINT_MAX ? *wanted : UINT_MAX);
  int result = inflate(z, Z_NO_FLUSH);
  s->left -= (size_t)(z->next_in - s->next);
  s->next = z->next_in;
  *wanted -= (size_t)(z->next_out - *out);
  *out = z->next_out;
  if (result == Z_OK) return GP_OK;
  if (result == Z_BUF_ERROR) /* there is room, so it wants input */
    return gp_fail(GP_ERROR_CORRUPT, "%s: truncated: the gzip data end too early", s->name);
  if (result != Z_STREAM_END)
    return gp_fail(result == Z_MEM_ERROR ? GP_ERROR_OUT_OF_MEMORY : GP_ERROR_CORRUPT, "%s: corrupt gzip data: %s",
                   s->name, z->msg != NULL ? z->msg : zError(result));
  s->member_open = begins_gzip(s) && inflateReset(z) == Z_OK;
  return GP_OK;
}

/* Reads up to `size` bytes; *got is less at the end only. */
static gp_status stream_read(stream *s, void *target, size_t size, size_t *got) {
  uint8_t *out = target;
  size_t wanted = size;
  gp_status status = GP_OK;
  *got = 0;
  if (!s->gzip) {
    wanted = size < s->left ? size : s->left;
    memcpy(out, s->next, wanted);
    s->next += wanted;
    s->left -= wanted;
    *got = wanted;
    return GP_OK;
  }
  while (wanted > 0 && s->member_open && status == GP_OK) status = inflate_some(s, &out, &wanted);
  *got = size - wanted;
  return status;
}

/* ---- The format ------------------------------------------------------------------------------ */

static uint32_t big_endian(const uint8_t *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static gp_status read_header(data_idx *out, stream *s, int32_t dims) {
  uint8_t header[4 + 4 * DATA_IDX_MAX_DIMS];
  size_t bytes = 4 + 4 * (size_t)dims, got = 0;
  gp_status status = stream_read(s, header, 4, &got);
  if (status != GP_OK) return status;
  if (got < 4)
    return gp_fail(GP_ERROR_CORRUPT, "%s: truncated: an IDX header has %zu bytes, found %zu", s->name, bytes, got);
  uint32_t magic = big_endian(header), expected = (uint32_t)TYPE_UNSIGNED_BYTE << 8 | (uint32_t)dims;
  if (magic >> 16 != 0)
    return gp_fail(GP_ERROR_CORRUPT, "%s: not an IDX file: expected magic 0x%08" PRIx32 ", found 0x%08" PRIx32, s->name,
                   expected, magic);
  if (magic >> 8 != TYPE_UNSIGNED_BYTE)
    return gp_fail(GP_ERROR_CORRUPT, "%s: expected IDX elements of type 0x08 (unsigned byte), found type 0x%02" PRIx32,
                   s->name, magic >> 8);
  if (magic != expected)
    return gp_fail(GP_ERROR_CORRUPT, "%s: expected IDX with %" PRId32 " dimensions, found %" PRIu32, s->name, dims,
                   magic & 255);
  status = stream_read(s, header + 4, bytes - 4, &got);
  if (status != GP_OK) return status;
  if (got < bytes - 4)
    return gp_fail(GP_ERROR_CORRUPT, "%s: truncated: an IDX header has %zu bytes, found %zu", s->name, bytes, got + 4);
  out->dims = dims;
  for (int32_t i = 0; i < dims; ++i) out->size[i] = big_endian(header + 4 + 4 * i);
  return GP_OK;
}

/* The product of the sizes, no larger than a file with `left` bytes after the header can hold. */
static gp_status count_elements(data_idx *out, const stream *s) {
  size_t limit = s->left;
  if (s->gzip && __builtin_mul_overflow(limit, (size_t)MAX_DEFLATE_RATIO, &limit)) limit = SIZE_MAX;
  if (s->gzip) limit = limit < SIZE_MAX - 65536 ? limit + 65536 : SIZE_MAX; /* what is unpacked, not yet handed out */
  out->count = 1;
  bool overflow = false;
  for (int32_t i = 0; i < out->dims; ++i)
    overflow |= __builtin_mul_overflow(out->count, (size_t)out->size[i], &out->count);
  if (!overflow && out->count <= limit) return GP_OK;
  char sizes[DATA_IDX_MAX_DIMS * 14] = "";
  for (int32_t i = 0, used = 0; i < out->dims; ++i)
    used += snprintf(sizes + used, sizeof sizes - (size_t)used, "%s%" PRIu32, i == 0 ? "" : " x ", out->size[i]);
  return gp_fail(GP_ERROR_CORRUPT,
                 "%s: truncated or corrupt: the header promises %s elements, the file's %zu further bytes hold "
                 "%zu at most",
                 s->name, sizes, s->left, limit);
}

/* Reads the elements into memory that doubles as they come: a small file with a large promise costs little. */
static gp_status read_growing(data_idx *out, stream *s) {
  size_t room = out->count < FIRST_ROOM ? out->count : FIRST_ROOM, got = 0, more = 0;
  uint8_t *larger = NULL;
  gp_status status = GP_OK;
  GP_TRY(GP_ALLOC(&out->elements, room));
  for (;;) {
    GP_TRY(stream_read(s, out->elements + got, room - got, &more));
    got += more;
    if (got < room)
      return gp_fail(GP_ERROR_CORRUPT, "%s: truncated: expected %zu elements, found %zu", s->name, out->count, got);
    if (room == out->count) return GP_OK;
    room = room < out->count / 2 ? 2 * room : out->count;
    GP_TRY(GP_ALLOC(&larger, room));
    memcpy(larger, out->elements, got);
    gp_free(out->elements);
    out->elements = larger;
  }
cleanup:
  return status;
}

static gp_status read_elements(data_idx *out, stream *s) {
  size_t got = 0;
  uint8_t extra = 0;
  gp_status status = GP_OK;
  GP_TRY(read_growing(out, s));
  /* Also unpacks and checks a gzip trailer. */
  GP_TRY(stream_read(s, &extra, 1, &got));
  if (got > 0 || s->left > 0)
    GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: trailing bytes after the expected %zu elements", s->name, out->count));
cleanup:
  return status;
}

gp_status data_idx_parse(data_idx *out, const uint8_t *bytes, size_t size, int32_t dims, const char *name) {
  stream s;
  gp_status status = GP_OK;
  *out = (data_idx){0};
  if (dims < 1 || dims > DATA_IDX_MAX_DIMS)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: IDX with %" PRId32 " dimensions was asked for; 1 to %d can be", name,
                   dims, DATA_IDX_MAX_DIMS);
  GP_TRY(stream_open(&s, bytes, size, name));
  GP_TRY(read_header(out, &s, dims));
  GP_TRY(count_elements(out, &s));
  GP_TRY(read_elements(out, &s));
cleanup:
  stream_close(&s);
  if (status != GP_OK) data_idx_free(out);
  return status;
}

void data_idx_free(data_idx *idx) {
  if (idx == NULL) return;
  gp_free(idx->elements);
  *idx = (data_idx){0};
}
