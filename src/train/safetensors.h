/* safetensors, the file format of named tensors (https://github.com/huggingface/safetensors): 8 bytes little-endian
 * length of a JSON header, the header, padded with spaces to a multiple of 8, and the tensors one after the other. */
#ifndef GP_TRAIN_SAFETENSORS_H
#define GP_TRAIN_SAFETENSORS_H

#include <gausspool/gausspool.h>

typedef enum safetensors_dtype {
  SAFETENSORS_F64 = 0,
  SAFETENSORS_I64,
  SAFETENSORS_U64,
  SAFETENSORS_F32,
  SAFETENSORS_I32,
  SAFETENSORS_U32,
  SAFETENSORS_F16,
  SAFETENSORS_BF16,
  SAFETENSORS_I16,
  SAFETENSORS_U16,
  SAFETENSORS_F8_E4M3,
  SAFETENSORS_F8_E5M2,
  SAFETENSORS_I8,
  SAFETENSORS_U8,
  SAFETENSORS_BOOL,
} safetensors_dtype;

enum { SAFETENSORS_MAX_RANK = 8, SAFETENSORS_MAX_HEADER = 100000000 };

/* "F32", …, and bytes per element. */
const char *safetensors_dtype_name(safetensors_dtype dtype);
size_t safetensors_dtype_size(safetensors_dtype dtype);

/* False for a name the format does not know. */
bool safetensors_dtype_from_name(const char *name, safetensors_dtype *dtype);

/* ---- Writing ---- */

typedef struct safetensors_writer safetensors_writer;

GP_NODISCARD gp_status safetensors_writer_create(safetensors_writer **out);
void safetensors_writer_destroy(safetensors_writer **writer);

/* Adds a tensor, dense and row-major. The name is copied; `data` is only pointed to and must stay as it is until
 * commit. Rank 0 is a scalar. GP_ERROR_INVALID_ARGUMENT for a name twice, a name that is empty, "__metadata__" or
 * not UTF-8, or a bad shape. */
GP_NODISCARD gp_status safetensors_writer_add(safetensors_writer *writer, const char *name, safetensors_dtype dtype,
                                              const int64_t *shape, int rank, const void *data);

/* Adds a string to the header's __metadata__. Both are copied, both must be UTF-8; a key twice is an error. */
GP_NODISCARD gp_status safetensors_writer_metadata(safetensors_writer *writer, const char *key, const char *value);

/* Writes the file, atomically (train/atomic_file.h): an older file at the path survives every failure. The bytes
 * depend on nothing but what was added: wider element types first (so that each tensor is aligned, as PyTorch's
 * loader needs), else the order of adding. May be called again, e.g. with another path. */
GP_NODISCARD gp_status safetensors_writer_commit(safetensors_writer *writer, const char *path);

/* ---- Reading ---- */

typedef struct safetensors_file safetensors_file;

typedef struct safetensors_info {
  const char *name;
  safetensors_dtype dtype;
  int64_t shape[SAFETENSORS_MAX_RANK];
  int rank;
  size_t bytes;
  const void *data; /* in the file's memory, valid until close; may be unaligned in files by others: memcpy it */
} safetensors_info;

/* Reads the file into memory and checks it whole. GP_ERROR_NOT_FOUND, GP_ERROR_IO, or GP_ERROR_CORRUPT with a
 * message that names file and tensor. */
GP_NODISCARD gp_status safetensors_open(safetensors_file **out, const char *path);

/* As safetensors_open(), of bytes that stay the caller's until close; `name` stands for the path in messages. */
GP_NODISCARD gp_status safetensors_parse(safetensors_file **out, const void *data, size_t bytes, const char *name);

void safetensors_close(safetensors_file **file);

/* Path or name, for messages. */
const char *safetensors_path(const safetensors_file *file);

/* Tensors in the order of their data. */
size_t safetensors_count(const safetensors_file *file);
const safetensors_info *safetensors_at(const safetensors_file *file, size_t index);

/* NULL if there is none. */
const safetensors_info *safetensors_find(const safetensors_file *file, const char *name);
const char *safetensors_metadata(const safetensors_file *file, const char *key);

/* Copies a tensor that must have this dtype and shape. GP_ERROR_NOT_FOUND if it is missing,
 * GP_ERROR_INVALID_ARGUMENT if dtype or shape differ; messages name file, tensor, expected and found. */
GP_NODISCARD gp_status safetensors_load(const safetensors_file *file, const char *name, safetensors_dtype dtype,
                                        const int64_t *shape, int rank, void *out);

/* As safetensors_find() with the message of a missing entry. */
GP_NODISCARD gp_status safetensors_require_metadata(const safetensors_file *file, const char *key, const char **value);

/* Writes "[64, 3, 3, 3]" into the buffer, cut if need be; returns it. */
const char *safetensors_shape_text(const int64_t *shape, int rank, char *buffer, size_t size);

#endif
