/* One pooling made ready to be timed: the operator's, or another's as a peer. */
#ifndef GP_BENCH_OPERATOR_H
#define GP_BENCH_OPERATOR_H

#include "bench/tensors.h"

typedef enum bench_pass {
  BENCH_FORWARD = 0, /* as in training */
  BENCH_BACKWARD,
  BENCH_INFERENCE,
  BENCH_PASSES,
} bench_pass;

/* What every one has; the rest is behind it. */
typedef struct bench_operator bench_operator;
struct bench_operator {
  /* Backward gives the gradients of x and of the parameters, and comes after forward. `turn` picks the set of tensors. */
  gp_status (*run)(bench_operator *op, bench_pass pass, int64_t turn);
  void (*destroy)(bench_operator *op);
};

typedef struct bench_operator_desc {
  gp_pool_desc pool;            /* parameters of GP_SHAPE_NC, the gate's of GP_SHAPE_ONE */
  const bench_tensors *tensors; /* for the life of the operator */
} bench_operator_desc;

/* GP_ERROR_UNSUPPORTED where there is no such pooling. */
typedef gp_status (*bench_operator_maker)(bench_operator **out, const bench_operator_desc *desc);

/* Ours, on the tensors' device. */
GP_NODISCARD gp_status bench_operator_create(bench_operator **out, const bench_operator_desc *desc);

/* NULL is fine. */
void bench_operator_destroy(bench_operator **op);

#endif
