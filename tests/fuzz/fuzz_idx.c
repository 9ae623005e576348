/* The IDX reader, plain and gzip, on any bytes. */
#include "data/idx.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  for (int32_t dims = 1; dims <= 3; dims += 2) {
    data_idx idx;
    gp_status status = data_idx_parse(&idx, bytes, size, dims, "fuzz");
    size_t count = 1;
    for (int32_t i = 0; i < dims; ++i) count *= idx.size[i];
    if (status == GP_OK && count != idx.count) abort();
    if (status == GP_OK && count > 0) {
      /* Read to the last byte, for the sanitizers. */
      volatile uint8_t last = idx.elements[count - 1];
      (void)last;
    }
    data_idx_free(&idx);
  }
  return 0;
}
