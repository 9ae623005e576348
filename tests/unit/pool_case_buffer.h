/* Random numbers and guarded buffers for the tests of pooling. */
#ifndef POOL_CASE_BUFFER_H
#define POOL_CASE_BUFFER_H

#include "pool/params.h"

/* SplitMix64, seeded by the test: a failing case can be named by its seed. */
typedef struct test_random {
  uint64_t state;
} test_random;

uint64_t random_word(test_random *random);
int64_t random_below(test_random *random, int64_t bound); /* [0, bound) */
bool random_one_in(test_random *random, int64_t n);
double random_unit(test_random *random); /* [0, 1) */
double random_normal(test_random *random);

/* An array between guard bytes, which AddressSanitizer and Valgrind take for no memory at all, at a random multiple of its element size. */
typedef struct test_buffer {
  unsigned char *memory;
  void *data;
  size_t elements, bytes;
  gp_dtype dtype;
} test_buffer;

void test_buffer_make(test_buffer *buffer, gp_dtype dtype, size_t elements, test_random *random);
void test_buffer_align(test_buffer *buffer);    /* to 64 bytes, with what is in it */
void test_buffer_poison(test_buffer *buffer);   /* every byte 0xFF: NaN in each dtype */
void test_buffer_undefine(test_buffer *buffer); /* poisoned, and to Valgrind not written yet */
void test_buffer_free(test_buffer *buffer);
bool test_buffer_guards_hold(const test_buffer *buffer);
double test_buffer_get(const test_buffer *buffer, int64_t i);
void test_buffer_set(test_buffer *buffer, int64_t i, double value);
void *test_buffer_or_null(const test_buffer *buffer); /* NULL when it has no elements */

/* The same numbers in another dtype; every NaN is the poison's. */
void test_buffer_convert(test_buffer *copy, const test_buffer *buffer, gp_dtype dtype, test_random *random);

#endif
