#include "cli/bench_peer.h"

#include "base/memory.h"
#include "base/status.h"
#include "nn/onednn/peer_pooling.h"

typedef struct peer_operator {
  bench_operator base;
  nn_peer_pool *peer;
} peer_operator;

/* The host has one set of tensors. */
static gp_status run(bench_operator *base, bench_pass pass, int64_t turn) {
  nn_peer_pool *peer = ((peer_operator *)base)->peer;
  (void)turn;
  return pass == BENCH_FORWARD    ? nn_peer_pool_forward(peer)
         : pass == BENCH_BACKWARD ? nn_peer_pool_backward(peer)
                                  : nn_peer_pool_infer(peer);
}

static void destroy(bench_operator *base) {
  nn_peer_pool_destroy(&((peer_operator *)base)->peer);
  gp_free(base);
}

static gp_status create(bench_operator **out, const bench_operator_desc *desc) {
  gp_status status = GP_OK;
  peer_operator *op = NULL;
  const bench_set set = bench_tensors_at(desc->tensors, 0);
  *out = NULL;
  GP_TRY(GP_ALLOC(&op, 1));
  op->base = (bench_operator){.run = run, .destroy = destroy};
  GP_TRY(nn_peer_pool_create(
      &op->peer,
      &(nn_peer_pool_desc){.pool = &desc->pool, .x = set.x, .grad_y = set.grad_y, .y = set.y, .grad_x = set.grad_x}));
  *out = &op->base;
  op = NULL;
cleanup:
  if (op != NULL) destroy(&op->base);
  return status;
}

const bench_subject bench_peers[BENCH_PEERS] = {
    {.name = "onednn_average", .kind = GP_POOL_AVERAGE, .create = create},
    {.name = "onednn_max", .kind = GP_POOL_MAX, .create = create},
};
