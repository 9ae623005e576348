/* Nets on the ranks that a launcher starts: made alike by rank 0, and found out where they are not. Prints nothing when all is well. */
#include "base/status.h"
#include "nn/nn.h"
#include "ranks_expect.h"
#include "train/ranks.h"

#include <string.h>

static nn_net *make_net(dist_comm *comm, uint64_t seed) {
  nn_graph *g = NULL;
  nn_net *net = NULL;
  EXPECT(nn_graph_create(&g) == GP_OK);
  nn_ref x = nn_input(g, 3, 8, 8);
  x = nn_relu(g, nn_batch_norm(g, nn_conv(g, x, &(nn_conv_desc){.name = "conv", .out = 20, .kernel = 3, .padding = 1}),
                               &(nn_batch_norm_desc){.name = "bn"}));
  nn_cross_entropy(g, nn_linear(g, nn_global_avg_pool(g, x), &(nn_linear_desc){.name = "fc", .out = 5}),
                   &(nn_cross_entropy_desc){0});
  EXPECT(nn_net_create(&net, &g, &(nn_net_desc){.batch = 4, .trainable = true, .averaged = true}) == GP_OK);
  EXPECT(nn_net_init(net, seed) == GP_OK);
  return net;
}

static void expect_other_than_rank_0(train_ranks *ranks, const nn_net *net, const char *named) {
  dist_comm *comm = ranks->comm;
  EXPECT(train_ranks_check_replicas(ranks, net) == GP_ERROR_LIBRARY);
  EXPECT(strstr(gp_last_error(), named) != NULL && dist_agreed(comm));
}

static void replicas_are_made_and_checked(train_ranks *ranks) {
  dist_comm *comm = ranks->comm;
  const int32_t rank = dist_rank(comm), last = dist_size(comm) - 1;
  nn_net *net = make_net(comm, (uint64_t)rank), *first = make_net(comm, 0);
  const nn_arenas own = nn_net_arenas(net), expected = nn_net_arenas(first);
  own.momentum[1] = own.average[2] = own.statistics[3] = (float)rank;
  expect_other_than_rank_0(ranks, net, "rank 1 ");
  EXPECT(train_ranks_broadcast_net(ranks, net) == GP_OK);
  EXPECT(train_ranks_check_replicas(ranks, net) == GP_OK);
  EXPECT(memcmp(own.value, expected.value, own.count * sizeof(float)) == 0);
  EXPECT(own.momentum[1] == 0 && own.average[2] == 0 && own.statistics[3] == 0);
  if (rank == last) own.statistics[0] += 1e-6f;
  expect_other_than_rank_0(ranks, net, last == 1 ? "rank 1 " : "rank 2 ");
  nn_net_destroy(&net);
  nn_net_destroy(&first);
}

static void the_same_is_the_same(train_ranks *ranks) {
  dist_comm *comm = ranks->comm;
  uint64_t bytes = 100 + (uint64_t)dist_rank(comm);
  EXPECT(train_ranks_check_alike(ranks, "weather", "fair") == GP_OK);
  EXPECT(train_ranks_check_alike(ranks, "weather", dist_rank(comm) == 1 ? "rain" : "fair") ==
         GP_ERROR_INVALID_ARGUMENT);
  EXPECT(strstr(gp_last_error(), "weather: expected as on rank 0, fair, found rain") != NULL);
  EXPECT(strstr(gp_last_error(), "rank 1 of") != NULL);
  EXPECT(train_ranks_most(ranks, &bytes) == GP_OK && bytes == 99 + (uint64_t)dist_size(comm));
}

int main(void) {
  dist_comm *comm = NULL;
  train_ranks ranks = {0};
  if (dist_comm_open(&comm) != GP_OK) {
    fprintf(stderr, "%s\n", gp_last_error());
    return 1;
  }
  EXPECT(dist_size(comm) == 2 || dist_size(comm) == 3);
  EXPECT(train_ranks_open(&ranks, comm, false) == GP_OK);
  replicas_are_made_and_checked(&ranks);
  the_same_is_the_same(&ranks);
  train_ranks_close(&ranks);
  dist_comm_close(&comm);
  return 0;
}
