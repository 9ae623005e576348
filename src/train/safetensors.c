#include "train/safetensors.h"

#include <stdio.h>
#include <string.h>

/* Widest first: the writer puts data into the order of this enum's sizes. */
static const struct {
  const char *name;
  size_t size;
} dtypes[] = {
    [SAFETENSORS_F64] = {"F64", 8}, [SAFETENSORS_I64] = {"I64", 8},         [SAFETENSORS_U64] = {"U64", 8},
    [SAFETENSORS_F32] = {"F32", 4}, [SAFETENSORS_I32] = {"I32", 4},         [SAFETENSORS_U32] = {"U32", 4},
    [SAFETENSORS_F16] = {"F16", 2}, [SAFETENSORS_BF16] = {"BF16", 2},       [SAFETENSORS_I16] = {"I16", 2},
    [SAFETENSORS_U16] = {"U16", 2}, [SAFETENSORS_F8_E4M3] = {"F8_E4M3", 1}, [SAFETENSORS_F8_E5M2] = {"F8_E5M2", 1},
    [SAFETENSORS_I8] = {"I8", 1},   [SAFETENSORS_U8] = {"U8", 1},           [SAFETENSORS_BOOL] = {"BOOL", 1},
};
enum { DTYPE_COUNT = sizeof dtypes / sizeof *dtypes };

const char *safetensors_dtype_name(safetensors_dtype dtype) {
  return (unsigned)dtype < DTYPE_COUNT ? dtypes[dtype].name : "unknown";
}

size_t safetensors_dtype_size(safetensors_dtype dtype) {
  return (unsigned)dtype < DTYPE_COUNT ? dtypes[dtype].size : 0;
}

bool safetensors_dtype_from_name(const char *name, safetensors_dtype *dtype) {
  for (unsigned i = 0; i < DTYPE_COUNT; ++i) {
    if (strcmp(dtypes[i].name, name) != 0) continue;
    *dtype = (safetensors_dtype)i;
    return true;
  }
  return false;
}

const char *safetensors_shape_text(const int64_t *shape, int rank, char *buffer, size_t size) {
  size_t used = 0;
  for (int i = 0; i < rank && used < size; ++i) {
    int count = snprintf(buffer + used, size - used, "%s%lld", i == 0 ? "[" : ", ", (long long)shape[i]);
    used += count < 0 ? 0 : (size_t)count;
  }
  if (used < size) snprintf(buffer + used, size - used, rank == 0 ? "[]" : "]");
  return buffer;
}
