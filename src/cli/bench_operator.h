/* One pooling made ready to be timed: the operator's, or oneDNN's as a peer. */
#ifndef GP_CLI_BENCH_OPERATOR_H
#define GP_CLI_BENCH_OPERATOR_H

#include <gausspool/gausspool.h>

typedef enum bench_pass {
  BENCH_FORWARD = 0, /* as in training */
  BENCH_BACKWARD,
  BENCH_INFERENCE,
  BENCH_PASSES,
} bench_pass;

/* The tensors of a place, which all its poolings share. Zero-initialise. */
typedef struct bench_tensors {
  void *x, *y, *grad_y, *grad_x;
  size_t x_bytes, y_bytes; /* also of grad_x and grad_y */
} bench_tensors;

/* Allocates and fills them, x and grad_y with random numbers. GP_ERROR_OUT_OF_MEMORY, also when they exceed the memory of
 * the machine. */
GP_NODISCARD gp_status bench_tensors_create(bench_tensors *out, const gp_pool_desc *pool);
void bench_tensors_clear(bench_tensors *tensors);

typedef struct bench_operator bench_operator;

typedef struct bench_operator_desc {
  gp_pool_desc pool;            /* parameters of GP_SHAPE_NC, the gate's of GP_SHAPE_ONE */
  const bench_tensors *tensors; /* for the life of the operator */
  bool peer;                    /* oneDNN's: of the average and the maximum only */
} bench_operator_desc;

/* GP_ERROR_UNSUPPORTED where the peer has no such pooling. */
GP_NODISCARD gp_status bench_operator_create(bench_operator **out, const bench_operator_desc *desc);
void bench_operator_destroy(bench_operator **op);

/* Backward gives the gradients of x and of the parameters. It comes after forward. */
GP_NODISCARD gp_status bench_operator_run(bench_operator *op, bench_pass pass);

#endif
