#include "base/memory.h"

#include "base/status.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t allocations;
static _Atomic uint64_t fail_at; /* value of `allocations` at which to fail; 0: never */

uint64_t gp_alloc_count(void) { return allocations; }

void gp_alloc_fail_after(uint64_t n) { fail_at = n == 0 ? 0 : allocations + n; }

gp_status gp_mul_size(size_t *out, size_t a, size_t b) {
  if (__builtin_mul_overflow(a, b, out))
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "a size of %zu x %zu bytes does not fit the address space", a, b);
  return GP_OK;
}

gp_status gp_alloc(void **out, size_t count, size_t size) {
  *out = NULL;
  size_t bytes = 0;
  gp_status status = gp_mul_size(&bytes, count, size);
  if (status != GP_OK) return status;
  uint64_t serial = atomic_fetch_add(&allocations, 1) + 1;
  void *pointer = NULL;
  if (bytes <= SIZE_MAX - GP_ALIGNMENT && serial != fail_at)
    pointer = aligned_alloc(GP_ALIGNMENT, gp_align_up(bytes == 0 ? 1 : bytes));
  if (pointer == NULL) return gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory: %zu bytes were asked for", bytes);
  memset(pointer, 0, bytes);
  *out = pointer;
  return GP_OK;
}

void gp_free(void *pointer) { free(pointer); }

gp_status gp_strdup(char **out, const char *text) {
  if (text == NULL) text = "";
  size_t bytes = strlen(text) + 1;
  gp_status status = gp_alloc((void **)out, bytes, 1);
  if (status == GP_OK) memcpy(*out, text, bytes);
  return status;
}
