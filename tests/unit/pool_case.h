/* A pooling with its buffers, for tests: random descriptors, guarded and misaligned buffers, poisoned outputs. */
#ifndef POOL_CASE_H
#define POOL_CASE_H

#include "base/cpu.h"
#include "pool/params.h"

#include <stdio.h>

/* SplitMix64, seeded by the test: a failing case can be named by its seed. */
typedef struct test_random {
  uint64_t state;
} test_random;

uint64_t random_word(test_random *random);
int64_t random_below(test_random *random, int64_t bound); /* [0, bound) */
double random_unit(test_random *random);                  /* [0, 1) */
double random_normal(test_random *random);

/* A tensor of float or double between guard bytes, at a random multiple of its element size. */
typedef struct test_buffer {
  unsigned char *memory;
  void *data;
  size_t elements, bytes;
  gp_dtype dtype;
} test_buffer;

void test_buffer_make(test_buffer *buffer, gp_dtype dtype, size_t elements, test_random *random);
void test_buffer_poison(test_buffer *buffer); /* every byte 0xFF: NaN */
void test_buffer_free(test_buffer *buffer);
double test_buffer_get(const test_buffer *buffer, int64_t i);
void test_buffer_set(test_buffer *buffer, int64_t i, double value);

enum pool_output { POOL_Y, POOL_GRAD_X, POOL_GRAD_MU, POOL_GRAD_SIGMA, POOL_GRAD_WEIGHT, POOL_OUTPUTS };
extern const char *const pool_output_names[POOL_OUTPUTS];

typedef struct pool_case {
  uint64_t seed;
  gp_pool_plan plan;
  bool accumulate;
  bool no_grad_x; /* only the parameters' gradients are asked for; grad_x then is zeros */
  test_buffer x, mu, sigma, weight, grad_y, before; /* before: grad_x ahead of the call, when it is added to */
  test_buffer out[POOL_OUTPUTS];
} pool_case;

/* A descriptor that passes validation, of float32 or float64 in any layout. */
gp_pool_desc pool_random_desc(test_random *random);

/* Buffers for the descriptor, inputs random; padding lanes of inputs are NaN. */
void pool_case_make(pool_case *pool, const gp_pool_desc *desc, uint64_t seed);
void pool_case_free(pool_case *pool);

/* Poisons the outputs, runs forward and backward on the instruction set and checks guards and padding lanes. */
void pool_case_run(pool_case *pool, gp_isa isa);

/* Moves the outputs out of the case, which gets new ones. */
void pool_case_take(pool_case *pool, test_buffer taken[POOL_OUTPUTS]);

/* One line that names the case, for messages. */
void pool_case_print(const pool_case *pool);

/* Place of a logical element of y (`output`) or x in memory. */
int64_t pool_index(const pool_case *pool, bool output, int64_t n, int64_t c, int64_t h, int64_t w);

#endif
