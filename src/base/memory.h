/* Checked allocation. Everything the project allocates itself goes through here. */
#ifndef GP_BASE_MEMORY_H
#define GP_BASE_MEMORY_H

#include <gausspool/gausspool.h>

enum { GP_ALIGNMENT = 64 }; /* a cache line, and the widest vector */

/* count·size zeroed bytes, aligned to GP_ALIGNMENT. *out is NULL on failure; a request of 0 bytes succeeds with a
 * pointer that gp_free() takes. The product is checked for overflow. Errors: GP_ERROR_OUT_OF_MEMORY. */
GP_NODISCARD gp_status gp_alloc(void **out, size_t count, size_t size);

/* As gp_alloc, for typed pointers: GP_TRY(GP_ALLOC(&array, count)). */
#define GP_ALLOC(out, count) gp_alloc((void **)(out), (count), sizeof **(out))

/* Releases what gp_alloc gave; NULL is fine. */
void gp_free(void *pointer);

/* A copy of the string, for gp_free(). NULL copies as "". */
GP_NODISCARD gp_status gp_strdup(char **out, const char *text);

/* a·b into *out; GP_ERROR_INVALID_ARGUMENT when it does not fit. */
GP_NODISCARD gp_status gp_mul_size(size_t *out, size_t a, size_t b);

/* Rounds up to a multiple of GP_ALIGNMENT. */
static inline size_t gp_align_up(size_t bytes) { return (bytes + GP_ALIGNMENT - 1) & ~(size_t)(GP_ALIGNMENT - 1); }

/* Allocations made since the program started; and a hook for tests: the n-th next allocation fails (0: never). */
uint64_t gp_alloc_count(void);
void gp_alloc_fail_after(uint64_t n);

#endif
