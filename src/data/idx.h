/* IDX, the format of MNIST and its successors (http://yann.lecun.com/exdb/mnist/): two zero bytes, the element type,
 * the number of dimensions, the sizes as big-endian 32-bit numbers, then the elements; often compressed with gzip. */
#ifndef GP_DATA_IDX_H
#define GP_DATA_IDX_H

#include "data/source_impl.h"

enum { DATA_IDX_MAX_DIMS = 4 };

/* An array of bytes. Zero-initialise; data_idx_free() when done. */
typedef struct data_idx {
  int32_t dims;
  uint32_t size[DATA_IDX_MAX_DIMS]; /* of each dimension, slowest first */
  uint8_t *elements;
  size_t count; /* product of the sizes */
} data_idx;

/* Reads an IDX file's content, gzip or plain (told by its first bytes). `dims` is the number of dimensions expected;
 * `name` stands in messages. Allocates no more than such a file can hold, whatever its header says.
 * Errors: GP_ERROR_CORRUPT naming the offending number, GP_ERROR_OUT_OF_MEMORY. On failure *out is empty. */
GP_NODISCARD gp_status data_idx_parse(data_idx *out, const uint8_t *bytes, size_t size, int32_t dims, const char *name);

void data_idx_free(data_idx *idx);

/* Opens `train-` or `t10k-images-idx3-ubyte` and `…-labels-idx1-ubyte`, with or without .gz. For the table of data sets. */
GP_NODISCARD gp_status data_idx_open(data_source **out, const data_set *set, const data_source_desc *desc);

#endif
