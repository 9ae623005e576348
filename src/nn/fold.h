/* Folding: at inference a batch norm is a scale and a shift for each channel, which the convolution or linear layer in
 * front of it can hold in its weight and bias, if nobody else reads that layer. */
#ifndef GP_NN_FOLD_H
#define GP_NN_FOLD_H

#include "nn/nn.h"

/* Leaves out such batch norms and gives the layers in front of them a bias: the graph of a folded net. */
void nn_graph_fold_batch_norms(nn_graph *g);

/* How many batch norms nn_graph_fold_batch_norms() would leave out of this net's graph. */
int32_t nn_net_foldable_batch_norms(const nn_net *net);

/* Fills `folded`, whose graph is that of `net` after nn_graph_fold_batch_norms(), with the values that make it compute
 * what `net` does at inference, but for rounding. Both stay the caller's.
 * Errors: GP_ERROR_INVALID_ARGUMENT for other graphs, and for statistics without a finite scale, naming the batch norm;
 * GP_ERROR_OUT_OF_MEMORY. */
GP_NODISCARD gp_status nn_net_fold(nn_net *folded, const nn_net *net);

#endif
