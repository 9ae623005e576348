/* A pooling with its buffers, for tests: random descriptors, sliced, guarded and misaligned tensors, poisoned outputs. */
#ifndef POOL_CASE_H
#define POOL_CASE_H

#include "base/cpu.h"
#include "pool_case_buffer.h"

/* The tensors, then the small arrays. */
enum pool_output {
  POOL_Y,
  POOL_GRAD_X,
  POOL_GRAD_WEIGHT,
  POOL_GRAD_MU,
  POOL_GRAD_SIGMA,
  POOL_AVERAGE_Y,
  POOL_GRAD_SCALE,
  POOL_GRAD_SHIFT,
  POOL_OUTPUTS
};
enum pool_input {
  POOL_X,
  POOL_GRAD_Y,
  POOL_BEFORE, /* grad_x ahead of the call, when it is added to */
  POOL_WEIGHT,
  POOL_MU,
  POOL_SIGMA,
  POOL_SCALE,
  POOL_SHIFT,
  POOL_GRAD_AVERAGE_Y,
  POOL_GRAD_AVERAGE_X,
  POOL_INPUTS
};
extern const char *const pool_output_names[POOL_OUTPUTS];

/* A buffer without elements is passed as NULL. */
typedef struct pool_case {
  uint64_t seed;
  gp_pool_plan plan;
  bool accumulate;
  bool no_grad_x;  /* only the parameters' gradients are asked for; grad_x then is zeros */
  bool seed_apart; /* calls get the seed through the arguments' pointer, and a wrong one in the descriptor */
  test_buffer in[POOL_INPUTS], out[POOL_OUTPUTS];
} pool_case;

/* What a case has besides the descriptor's. */
typedef enum pool_extras {
  POOL_PLAIN = 0,
  POOL_SCALED = 1,    /* scale and shift */
  POOL_AVERAGES = 2,  /* average_y and the gradients of both averages */
  POOL_ADDING = 4,    /* accumulate */
  POOL_NO_GRAD_X = 8, /* grad_x is not wanted */
  POOL_SEED = 16,     /* the seed's pointer */
} pool_extras;

/* A descriptor that passes validation: any kind, dtype, layout, window and parameters; some with sliced tensors. A
 * large one's x has 20,000 to 200,000 elements: more than the kernels take in one go. */
gp_pool_desc pool_random_desc(test_random *random, bool large);
unsigned pool_random_extras(test_random *random);

/* Strides of a tensor of the layout that is a slice of a larger one. */
gp_strides pool_random_slice(test_random *random, gp_layout layout, int64_t channels, int64_t height, int64_t width);

/* Buffers for the descriptor, inputs random. Padding lanes and the gaps of sliced tensors are NaN. With a scale, x has
 * few bits, so that scale·x is exact in float and the sign of scale·x + shift is what it is in double. */
void pool_case_make(pool_case *pool, const gp_pool_desc *desc, unsigned extras, uint64_t seed);
void pool_case_free(pool_case *pool);

/* What runs a case: the library's calls, or others of the same meaning. */
typedef struct pool_calls {
  gp_status (*forward_workspace)(const gp_pool_desc *desc, size_t *bytes);
  gp_status (*forward)(const gp_pool_desc *desc, const gp_pool_forward_args *args);
  gp_status (*backward_workspace)(const gp_pool_desc *desc, size_t *bytes);
  gp_status (*backward)(const gp_pool_desc *desc, const gp_pool_backward_args *args);
  bool always_workspace; /* forward takes some without average_y, too */
} pool_calls;
extern const pool_calls pool_cpu_calls;

/* Poisons the outputs, runs forward and backward on the instruction set and checks guards, gaps and padding lanes. */
void pool_case_run(pool_case *pool, gp_isa isa);
void pool_case_run_by(pool_case *pool, const pool_calls *calls);

/* The forward call alone, into the outputs as they are. */
void pool_case_forward(pool_case *pool);
void pool_case_forward_by(pool_case *pool, const pool_calls *calls);

/* The arguments of the forward call. */
gp_pool_forward_args pool_case_args(const pool_case *pool);

/* The same case with all its numbers, and outputs, in float64; its draws are the same. */
void pool_case_exact(pool_case *exact, const pool_case *pool);

/* Moves the outputs out of the case, which gets new ones. */
void pool_case_take(pool_case *pool, test_buffer taken[POOL_OUTPUTS]);
void pool_outputs_free(test_buffer outputs[POOL_OUTPUTS]);

/* One line that names the case, for messages. */
void pool_case_print(const pool_case *pool);

/* Fails with the case's line unless `holds`. */
void pool_case_check(const pool_case *pool, bool holds, const char *what);

/* The planes of the tensors of sample n and channel c, which may be a padding lane. */
gp_pool_plane pool_case_plane_in(const pool_case *pool, enum pool_input which, int64_t n, int64_t c);
gp_pool_plane pool_case_plane_out(const pool_case *pool, enum pool_output which, int64_t n, int64_t c);

static inline int64_t pool_at(gp_pool_plane plane, int64_t h, int64_t w) {
  return plane.base + h * plane.row + w * plane.pixel;
}

/* Places of logical elements of x and y in memory. */
static inline int64_t pool_x_at(const pool_case *pool, int64_t n, int64_t c, int64_t h, int64_t w) {
  return pool_at(gp_pool_x_plane(&pool->plan, n, c), h, w);
}
static inline int64_t pool_y_at(const pool_case *pool, int64_t n, int64_t c, int64_t h, int64_t w) {
  return pool_at(gp_pool_y_plane(&pool->plan, n, c), h, w);
}
static inline int64_t pool_grad_x_at(const pool_case *pool, int64_t n, int64_t c, int64_t h, int64_t w) {
  return pool_at(gp_pool_grad_x_plane(&pool->plan, n, c), h, w);
}
static inline int64_t pool_grad_y_at(const pool_case *pool, int64_t n, int64_t c, int64_t h, int64_t w) {
  return pool_at(gp_pool_grad_y_plane(&pool->plan, n, c), h, w);
}

/* How many cases a random test runs: `usual`, or a twentieth of it in builds with sanitizers. The environment variable
 * GAUSSPOOL_TEST_CASES=N makes it usual·N/20000 in either. */
uint64_t pool_test_cases(uint64_t usual);

#endif
