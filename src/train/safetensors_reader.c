#include "base/memory.h"
#include "base/status.h"
#include "train/file.h"
#include "train/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_SIZE = 96, SHAPE_TEXT_SIZE = 160 };

struct safetensors_file {
  char *path;
  void *owned;               /* what safetensors_open() read */
  const unsigned char *data; /* first tensor's first byte */
  size_t data_bytes;
  json_t *header;
  const json_t *metadata; /* in header, or NULL */
  safetensors_info *infos;
  size_t count;
};

/* A name out of a file, fit for a one-line message. */
static const char *printable(const char *name, char label[LABEL_SIZE]) {
  size_t length = 0;
  for (; name[length] != '\0' && length < LABEL_SIZE - 1; ++length)
    label[length] = (unsigned char)name[length] < ' ' || name[length] == 0x7f ? '?' : name[length];
  label[length] = '\0';
  return label;
}

/* ---- One tensor ---- */

#define FAIL_TENSOR(...) gp_fail_in(gp_fail(GP_ERROR_CORRUPT, __VA_ARGS__), "%s: tensor %s", path, label)

static gp_status read_shape(const char *path, const char *label, const json_t *shape, safetensors_info *info) {
  if (!json_is_array(shape)) return FAIL_TENSOR("expected a list as shape");
  size_t rank = json_array_size(shape);
  if (rank > SAFETENSORS_MAX_RANK)
    return FAIL_TENSOR("expected a rank of at most %d, found %zu", SAFETENSORS_MAX_RANK, rank);
  info->rank = (int)rank;
  info->bytes = safetensors_dtype_size(info->dtype);
  for (size_t i = 0; i < rank; ++i) {
    const json_t *side = json_array_get(shape, i);
    json_int_t value = json_integer_value(side);
    if (!json_is_integer(side) || value < 0) return FAIL_TENSOR("expected whole numbers of 0 or more as shape");
    if (__builtin_mul_overflow(info->bytes, value, &info->bytes))
      return FAIL_TENSOR("its shape times its dtype overflows the address space");
    info->shape[i] = value;
  }
  return GP_OK;
}

static gp_status read_tensor(const safetensors_file *file, const char *name, const json_t *object,
                             safetensors_info *info) {
  char text[LABEL_SIZE], dtype_text[LABEL_SIZE];
  const char *path = file->path, *label = printable(name, text);
  if (!json_is_object(object)) return FAIL_TENSOR("expected an object with dtype, shape and data_offsets");
  const char *dtype = json_string_value(json_object_get(object, "dtype"));
  if (dtype == NULL) return FAIL_TENSOR("expected a dtype, found none");
  if (!safetensors_dtype_from_name(dtype, &info->dtype))
    return FAIL_TENSOR("expected a dtype such as F32, found \"%s\"", printable(dtype, dtype_text));
  gp_status status = read_shape(path, label, json_object_get(object, "shape"), info);
  if (status != GP_OK) return status;
  const json_t *offsets = json_object_get(object, "data_offsets");
  const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
  if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
    return FAIL_TENSOR("expected data_offsets of two whole numbers");
  json_int_t begin = json_integer_value(first), end = json_integer_value(last);
  if (begin < 0 || end < begin || (unsigned long long)end > file->data_bytes)
    return FAIL_TENSOR("expected data_offsets within the file's %zu bytes of data, found [%lld, %lld]",
                       file->data_bytes, (long long)begin, (long long)end);
  if ((size_t)(end - begin) != info->bytes)
    return FAIL_TENSOR("expected %zu bytes by its shape and dtype, found %lld by its data_offsets", info->bytes,
                       (long long)(end - begin));
  info->name = name;
  info->data = file->data + begin;
  return GP_OK;
}

/* ---- The header ---- */

static int by_position(const void *a, const void *b) {
  const safetensors_info *x = a, *y = b;
  const unsigned char *x_data = x->data, *y_data = y->data;
  if (x_data != y_data) return x_data < y_data ? -1 : 1;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1; /* an empty tensor before the one that begins there */
  return strcmp(x->name, y->name);
}

/* The tensors must fill the data from its first byte to its last, without holes or overlap. */
static gp_status check_coverage(const safetensors_file *file) {
  char text[LABEL_SIZE];
  const char *path = file->path;
  size_t at = 0;
  for (size_t i = 0; i < file->count; ++i) {
    const safetensors_info *info = &file->infos[i];
    size_t begin = (size_t)((const unsigned char *)info->data - file->data);
    const char *label = printable(info->name, text);
    if (begin < at) return FAIL_TENSOR("its data at %zu overlaps another tensor's, which ends at %zu", begin, at);
    if (begin > at)
      return FAIL_TENSOR("expected its data at %zu, right after the tensor before, found it at %zu", at, begin);
    at = begin + info->bytes;
  }
  if (at == file->data_bytes) return GP_OK;
  return gp_fail(GP_ERROR_CORRUPT, "%s: expected %zu bytes of data by the header, found %zu", path, at,
                 file->data_bytes);
}

static gp_status check_metadata(const safetensors_file *file, json_t *metadata) {
  char text[LABEL_SIZE];
  const char *key = NULL;
  json_t *value = NULL;
  if (!json_is_object(metadata))
    return gp_fail(GP_ERROR_CORRUPT, "%s: expected an object of strings as __metadata__", file->path);
  json_object_foreach(metadata, key, value) {
    if (!json_is_string(value))
      return gp_fail(GP_ERROR_CORRUPT, "%s: expected a string as metadata %s", file->path, printable(key, text));
  }
  return GP_OK;
}

static gp_status read_header(safetensors_file *file) {
  gp_status status = GP_OK;
  const char *name = NULL;
  json_t *value = NULL;
  GP_TRY(GP_ALLOC(&file->infos, json_object_size(file->header)));
  json_object_foreach(file->header, name, value) {
    if (strcmp(name, "__metadata__") == 0) {
      GP_TRY(check_metadata(file, value));
      file->metadata = value;
      continue;
    }
    GP_TRY(read_tensor(file, name, value, &file->infos[file->count]));
    ++file->count;
  }
  if (file->count > 1) qsort(file->infos, file->count, sizeof *file->infos, by_position);
  GP_TRY(check_coverage(file));
cleanup:
  return status;
}

static gp_status parse_json(safetensors_file *file, const char *text, size_t length) {
  json_error_t error = {0};
  char message[LABEL_SIZE];
  if (length == 0 || text[0] != '{')
    return gp_fail(GP_ERROR_CORRUPT, "%s: expected a safetensors file, found no JSON header (is it another format?)",
                   file->path);
  file->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
  if (file->header != NULL) return GP_OK;
  /* Where an allocation fails jansson often leaves the text empty. */
  if (json_error_code(&error) == json_error_out_of_memory || error.text[0] == '\0')
    return gp_fail(GP_ERROR_OUT_OF_MEMORY, "%s: out of memory while its header is read", file->path);
  return gp_fail(GP_ERROR_CORRUPT, "%s: its JSON header is broken at byte %d: %s", file->path, error.position,
                 printable(error.text, message));
}

gp_status safetensors_parse(safetensors_file **out, const void *data, size_t bytes, const char *name) {
  gp_status status = GP_OK;
  safetensors_file *file = NULL;
  const unsigned char *start = data;
  uint64_t length = 0;
  *out = NULL;
  GP_TRY(GP_ALLOC(&file, 1));
  GP_TRY(gp_strdup(&file->path, name));
  if (bytes < 8)
    GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: expected a safetensors file of at least 8 bytes, found %zu", name, bytes));
  for (int i = 0; i < 8; ++i) length |= (uint64_t)start[i] << (8 * i);
  if (length > SAFETENSORS_MAX_HEADER)
    GP_TRY(gp_fail(GP_ERROR_CORRUPT,
                   "%s: expected a header of at most %d bytes, found a length of %llu (is it another format?)", name,
                   SAFETENSORS_MAX_HEADER, (unsigned long long)length));
  if (length > bytes - 8)
    GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: expected a header of %llu bytes, found the file's end after %zu (cut off?)",
                   name, (unsigned long long)length, bytes - 8));
  file->data = start + 8 + length;
  file->data_bytes = bytes - 8 - (size_t)length;
  GP_TRY(parse_json(file, (const char *)start + 8, (size_t)length));
  GP_TRY(read_header(file));
  *out = file;
  file = NULL;
cleanup:
  safetensors_close(&file);
  return status;
}

gp_status safetensors_open(safetensors_file **out, const char *path) {
  void *data = NULL;
  size_t bytes = 0;
  *out = NULL;
  /* Into memory rather than mapped: a mapped file that somebody cuts short would kill the process. */
  gp_status status = file_read_whole(path, 0, &data, &bytes);
  if (status == GP_OK) status = safetensors_parse(out, data, bytes, path);
  if (status == GP_OK)
    (*out)->owned = data;
  else
    gp_free(data);
  return status;
}

void safetensors_close(safetensors_file **out) {
  safetensors_file *file = *out;
  if (file == NULL) return;
  json_decref(file->header);
  gp_free(file->infos);
  gp_free(file->path);
  gp_free(file->owned);
  gp_free(file);
  *out = NULL;
}

/* ---- Asking ---- */

const char *safetensors_path(const safetensors_file *file) { return file->path; }

size_t safetensors_count(const safetensors_file *file) { return file->count; }

const safetensors_info *safetensors_at(const safetensors_file *file, size_t index) {
  return index < file->count ? &file->infos[index] : NULL;
}

const safetensors_info *safetensors_find(const safetensors_file *file, const char *name) {
  for (size_t i = 0; i < file->count; ++i)
    if (strcmp(file->infos[i].name, name) == 0) return &file->infos[i];
  return NULL;
}

const char *safetensors_metadata(const safetensors_file *file, const char *key) {
  return json_string_value(json_object_get(file->metadata, key));
}

gp_status safetensors_require_metadata(const safetensors_file *file, const char *key, const char **value) {
  *value = safetensors_metadata(file, key);
  if (*value != NULL) return GP_OK;
  return gp_fail(GP_ERROR_NOT_FOUND, "%s: expected metadata %s, found none (was it written by gausspool?)", file->path,
                 key);
}

gp_status safetensors_load(const safetensors_file *file, const char *name, safetensors_dtype dtype,
                           const int64_t *shape, int rank, void *out) {
  char expected[SHAPE_TEXT_SIZE], found[SHAPE_TEXT_SIZE];
  const safetensors_info *info = safetensors_find(file, name);
  if (info == NULL)
    return gp_fail(GP_ERROR_NOT_FOUND, "%s: expected a tensor %s, found none of that name", file->path, name);
  bool same = info->dtype == dtype && info->rank == rank;
  for (int i = 0; same && i < rank; ++i) same = info->shape[i] == shape[i];
  if (!same)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: tensor %s: expected %s %s, found %s %s", file->path, name,
                   safetensors_dtype_name(dtype), safetensors_shape_text(shape, rank, expected, sizeof expected),
                   safetensors_dtype_name(info->dtype),
                   safetensors_shape_text(info->shape, info->rank, found, sizeof found));
  if (info->bytes > 0) memcpy(out, info->data, info->bytes);
  return GP_OK;
}
