/* oneDNN's own average and max pooling: what `gausspool bench pool` measures the operator beside. The engine does not use
 * them. */
#ifndef GP_NN_ONEDNN_PEER_POOLING_H
#define GP_NN_ONEDNN_PEER_POOLING_H

#include <gausspool/gausspool.h>

typedef struct nn_peer_pool nn_peer_pool;

typedef struct nn_peer_pool_desc {
  const gp_pool_desc *pool; /* GP_POOL_AVERAGE or GP_POOL_MAX; dense tensors, no ceil_mode, not adaptive */
  const void *x, *grad_y;   /* the caller's, in the pool's layout and dtype, for the life of the peer */
  void *y, *grad_x;
} nn_peer_pool_desc;

/* GP_ERROR_UNSUPPORTED where oneDNN has no such pooling. */
GP_NODISCARD gp_status nn_peer_pool_create(nn_peer_pool **out, const nn_peer_pool_desc *desc);
void nn_peer_pool_destroy(nn_peer_pool **peer);

/* In training the maximum keeps its places for the backward pass, which comes after it. */
GP_NODISCARD gp_status nn_peer_pool_forward(nn_peer_pool *peer);
GP_NODISCARD gp_status nn_peer_pool_backward(nn_peer_pool *peer);
GP_NODISCARD gp_status nn_peer_pool_infer(nn_peer_pool *peer);

#endif
