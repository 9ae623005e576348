/* Prints what state a net has, for comparison with PyTorch's: a line for each tensor, "state NAME SIZE…", and for each
 * pooling "pool NODE NAME", whose number keys its draws.
 *
 *   net_state ARCH POOL CHANNELS SIDE CLASSES */
#include <stdio.h>
#include <stdlib.h>

#include "models/models.h"
#include "nn/graph.h"

static void print(const nn_graph *g) {
  for (int32_t i = 0; i < g->count; ++i) {
    const nn_node *node = g->nodes[i];
    if (node->op == NN_OP_POOL) printf("pool %d %s\n", i, node->name);
    for (int32_t p = 0; p < node->param_count; ++p) {
      printf("state %s.%s", node->name, node->params[p].suffix);
      for (int32_t r = 0; r < node->params[p].rank; ++r) printf(" %lld", (long long)node->params[p].shape[r]);
      putchar('\n');
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: net_state ARCH POOL CHANNELS SIDE CLASSES\n");
    return 2;
  }
  nn_graph *graph = NULL;
  model_desc desc = {.arch = argv[1], .pool = argv[2], .channels = atoll(argv[3]), .classes = atoll(argv[5])};
  desc.height = desc.width = atoll(argv[4]);
  if (model_build(&graph, &desc) != GP_OK) {
    fprintf(stderr, "net_state: %s\n", gp_last_error());
    return 1;
  }
  print(graph);
  nn_graph_destroy(&graph);
  return 0;
}
