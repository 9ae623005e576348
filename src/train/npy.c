#include "train/npy.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/atomic_file.h"

#include <stdio.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the files are little-endian, and written without swapping bytes"
#endif

/* The header, its preamble included, fills a multiple of 64 bytes with spaces and ends with a newline. */
enum { PREAMBLE = 10, HEADER_SIZE = 128 };

gp_status npy_write_float32(const char *path, const float *data, int64_t rows, int64_t columns) {
  gp_status status = GP_OK;
  atomic_file *file = NULL;
  size_t count = 0, bytes = 0;
  unsigned char header[HEADER_SIZE] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, HEADER_SIZE - PREAMBLE, 0};
  char text[HEADER_SIZE - PREAMBLE];
  if (rows < 0 || columns < 0)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "cannot write %s: expected a shape of 0 or more, found (%lld, %lld)",
                   path, (long long)rows, (long long)columns);
  GP_TRY(gp_mul_size(&count, (size_t)rows, (size_t)columns));
  GP_TRY(gp_mul_size(&bytes, count, sizeof *data));
  int length = snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }",
                        (long long)rows, (long long)columns);
  memset(header + PREAMBLE, ' ', HEADER_SIZE - PREAMBLE - 1);
  memcpy(header + PREAMBLE, text, (size_t)length);
  header[HEADER_SIZE - 1] = '\n';
  GP_TRY(atomic_file_create(&file, path, HEADER_SIZE + (uint64_t)bytes));
  GP_TRY(atomic_file_write(file, header, sizeof header));
  GP_TRY(atomic_file_write(file, data, bytes));
  GP_TRY(atomic_file_commit(file));
cleanup:
  atomic_file_destroy(&file);
  return status;
}
