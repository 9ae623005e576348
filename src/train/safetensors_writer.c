#include "base/memory.h"
#include "base/status.h"
#include "train/atomic_file.h"
#include "train/safetensors.h"

#include <jansson.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the format is little-endian, and written without swapping bytes"
#endif

typedef struct writer_entry {
  char *name;
  safetensors_dtype dtype;
  int64_t shape[SAFETENSORS_MAX_RANK];
  int rank;
  size_t bytes;
  const void *data;
} writer_entry;

struct safetensors_writer {
  writer_entry *entries;
  size_t count, capacity;
  json_t *names; /* the names so far, as keys */
  json_t *metadata;
};

static gp_status out_of_memory(void) {
  return gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory while a safetensors header is made");
}

gp_status safetensors_writer_create(safetensors_writer **out) {
  gp_status status = GP_OK;
  safetensors_writer *writer = NULL;
  *out = NULL;
  GP_TRY(GP_ALLOC(&writer, 1));
  writer->names = json_object();
  writer->metadata = json_object();
  if (writer->names == NULL || writer->metadata == NULL) GP_TRY(out_of_memory());
  *out = writer;
  writer = NULL;
cleanup:
  safetensors_writer_destroy(&writer);
  return status;
}

void safetensors_writer_destroy(safetensors_writer **out) {
  safetensors_writer *writer = *out;
  if (writer == NULL) return;
  for (size_t i = 0; i < writer->count; ++i) gp_free(writer->entries[i].name);
  gp_free(writer->entries);
  json_decref(writer->names);
  json_decref(writer->metadata);
  gp_free(writer);
  *out = NULL;
}

/* ---- Adding ---- */

/* RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. jansson checks too, but does not tell that from a
 * want of memory. */
static bool is_utf8(const char *text) {
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  for (const unsigned char *at = (const unsigned char *)text; *at != 0;) {
    int more = *at < 0x80 ? 0 : *at >> 5 == 6 ? 1 : *at >> 4 == 14 ? 2 : *at >> 3 == 30 ? 3 : -1;
    if (more < 0) return false;
    uint32_t code = more == 0 ? *at : *at & (0x3fu >> more);
    ++at;
    for (int i = 0; i < more; ++i, ++at) {
      if (*at >> 6 != 2) return false;
      code = code << 6 | (*at & 0x3fu);
    }
    if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
  }
  return true;
}

static gp_status check_utf8(const char *what, const char *text) {
  if (is_utf8(text)) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: expected UTF-8, found other bytes", what);
}

static gp_status check_name(const safetensors_writer *writer, const char *name) {
  if (name[0] == '\0' || strcmp(name, "__metadata__") == 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected a tensor's name, found \"%s\"", name);
  gp_status status = check_utf8("a tensor's name", name);
  if (status == GP_OK && json_object_get(writer->names, name) != NULL)
    status = gp_fail(GP_ERROR_INVALID_ARGUMENT, "tensor %s: added twice", name);
  return status;
}

static gp_status count_bytes(const char *name, safetensors_dtype dtype, const int64_t *shape, int rank, size_t *bytes) {
  *bytes = safetensors_dtype_size(dtype);
  if (*bytes == 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "tensor %s: expected a known dtype, found %d", name, (int)dtype);
  if (rank < 0 || rank > SAFETENSORS_MAX_RANK)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "tensor %s: expected a rank of 0 to %d, found %d", name,
                   SAFETENSORS_MAX_RANK, rank);
  for (int i = 0; i < rank; ++i) {
    if (shape[i] < 0)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "tensor %s: expected sides of 0 or more, found %lld", name,
                     (long long)shape[i]);
    gp_status status = gp_mul_size(bytes, *bytes, (size_t)shape[i]);
    if (status != GP_OK) return gp_fail_in(status, "tensor %s", name);
  }
  return GP_OK;
}

static gp_status make_room(safetensors_writer *writer) {
  if (writer->count < writer->capacity) return GP_OK;
  size_t capacity = writer->capacity == 0 ? 64 : 2 * writer->capacity;
  writer_entry *entries = NULL;
  gp_status status = GP_ALLOC(&entries, capacity);
  if (status != GP_OK) return status;
  if (writer->count > 0) memcpy(entries, writer->entries, writer->count * sizeof *entries);
  gp_free(writer->entries);
  writer->entries = entries;
  writer->capacity = capacity;
  return GP_OK;
}

gp_status safetensors_writer_add(safetensors_writer *writer, const char *name, safetensors_dtype dtype,
                                 const int64_t *shape, int rank, const void *data) {
  gp_status status = GP_OK;
  writer_entry entry = {.dtype = dtype, .rank = rank, .data = data};
  GP_TRY(check_name(writer, name));
  GP_TRY(count_bytes(name, dtype, shape, rank, &entry.bytes));
  if (entry.bytes > 0 && data == NULL)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "tensor %s: expected %zu bytes of data, found NULL", name, entry.bytes));
  for (int i = 0; i < rank; ++i) entry.shape[i] = shape[i];
  GP_TRY(make_room(writer));
  GP_TRY(gp_strdup(&entry.name, name));
  if (json_object_set_new(writer->names, name, json_true()) != 0) GP_TRY(out_of_memory());
  writer->entries[writer->count++] = entry;
  entry.name = NULL;
cleanup:
  gp_free(entry.name);
  return status;
}

gp_status safetensors_writer_metadata(safetensors_writer *writer, const char *key, const char *value) {
  gp_status status = GP_OK;
  GP_TRY(check_utf8("a metadata key", key));
  GP_TRY(check_utf8(key, value));
  if (json_object_get(writer->metadata, key) != NULL)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "metadata %s: added twice", key));
  if (json_object_set_new(writer->metadata, key, json_string(value)) != 0) GP_TRY(out_of_memory());
cleanup:
  return status;
}

/* ---- Writing ---- */

/* Entries in the order of the data: each pass takes one element size. Returns how many bytes they hold together. */
static gp_status order_entries(const safetensors_writer *writer, const writer_entry **order, uint64_t *bytes) {
  size_t count = 0;
  *bytes = 0;
  for (size_t size = 8; size > 0; size /= 2)
    for (size_t i = 0; i < writer->count; ++i)
      if (safetensors_dtype_size(writer->entries[i].dtype) == size) order[count++] = &writer->entries[i];
  for (size_t i = 0; i < count; ++i)
    if (__builtin_add_overflow(*bytes, order[i]->bytes, bytes) || *bytes > INT64_MAX)
      return gp_fail(GP_ERROR_INVALID_ARGUMENT, "the tensors' sizes do not fit a file");
  return GP_OK;
}

static json_t *describe_entry(const writer_entry *entry, uint64_t begin) {
  json_t *shape = json_array();
  for (int i = 0; shape != NULL && i < entry->rank; ++i) {
    if (json_array_append_new(shape, json_integer(entry->shape[i])) == 0) continue;
    json_decref(shape);
    shape = NULL;
  }
  if (shape == NULL) return NULL;
  json_t *object = json_pack("{s:s, s:O, s:[I, I]}", "dtype", safetensors_dtype_name(entry->dtype), "shape", shape,
                             "data_offsets", (json_int_t)begin, (json_int_t)(begin + entry->bytes));
  json_decref(shape); /* "O" took its own reference */
  return object;
}

static gp_status make_header(const safetensors_writer *writer, const writer_entry *const *order, json_t **out) {
  gp_status status = GP_OK;
  uint64_t begin = 0;
  json_t *header = json_object();
  *out = NULL;
  if (header == NULL) GP_TRY(out_of_memory());
  if (json_object_size(writer->metadata) > 0 && json_object_set(header, "__metadata__", writer->metadata) != 0)
    GP_TRY(out_of_memory());
  for (size_t i = 0; i < writer->count; ++i) {
    if (json_object_set_new(header, order[i]->name, describe_entry(order[i], begin)) != 0) GP_TRY(out_of_memory());
    begin += order[i]->bytes;
  }
  *out = header;
  header = NULL;
cleanup:
  json_decref(header);
  return status;
}

/* The header's text, padded with spaces so that the data begins at a multiple of 8. For gp_free(). */
static gp_status print_header(const json_t *header, char **text, size_t *length) {
  size_t used = json_dumpb(header, NULL, 0, JSON_COMPACT);
  *length = (used + 7) & ~(size_t)7;
  *text = NULL;
  if (used == 0) return out_of_memory();
  if (*length > SAFETENSORS_MAX_HEADER)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "expected a header of at most %d bytes, found %zu",
                   SAFETENSORS_MAX_HEADER, *length);
  gp_status status = GP_ALLOC(text, *length);
  if (status != GP_OK) return status;
  memset(*text, ' ', *length);
  return json_dumpb(header, *text, used, JSON_COMPACT) == used ? GP_OK : out_of_memory();
}

gp_status safetensors_writer_commit(safetensors_writer *writer, const char *path) {
  gp_status status = GP_OK;
  const writer_entry **order = NULL;
  json_t *header = NULL;
  char *text = NULL;
  size_t length = 0;
  uint64_t data_bytes = 0;
  atomic_file *file = NULL;
  unsigned char prefix[8];
  GP_TRY(GP_ALLOC(&order, writer->count));
  GP_TRY(order_entries(writer, order, &data_bytes));
  GP_TRY(make_header(writer, order, &header));
  GP_TRY(print_header(header, &text, &length));
  for (int i = 0; i < 8; ++i) prefix[i] = (unsigned char)((uint64_t)length >> (8 * i));
  GP_TRY(atomic_file_create(&file, path, 8 + length + data_bytes));
  GP_TRY(atomic_file_write(file, prefix, sizeof prefix));
  GP_TRY(atomic_file_write(file, text, length));
  for (size_t i = 0; i < writer->count; ++i) GP_TRY(atomic_file_write(file, order[i]->data, order[i]->bytes));
  GP_TRY(atomic_file_commit(file));
cleanup:
  atomic_file_destroy(&file);
  gp_free(text);
  json_decref(header);
  gp_free(order);
  return status;
}
