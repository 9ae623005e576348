/* Weight and bias of convolutions and linear layers, and how they start. */
#include <math.h>

#include "nn/graph.h"

void nn_node_declare_weights(nn_node *node, nn_init_rule rule, int32_t rank, const int64_t *shape, bool bias) {
  int64_t window = rank == 4 ? shape[2] * shape[3] : 1;
  double fan_in = (double)(shape[1] * window), fan_out = (double)(shape[0] * window);
  nn_param weight = {.suffix = "weight", .is_parameter = true, .rank = rank};
  for (int32_t i = 0; i < rank; ++i) weight.shape[i] = shape[i];
  switch (rule) {
    case NN_INIT_TORCH:
    case NN_INIT_TORCH_ZERO_BIAS: /* Kaiming uniform with a = sqrt(5): bound sqrt(6 / (6·fan_in)) */
      weight.fill = NN_FILL_UNIFORM;
      weight.fill_value = 1.0 / sqrt(fan_in);
      break;
    case NN_INIT_KAIMING_NORMAL_FAN_OUT:
      weight.fill = NN_FILL_NORMAL;
      weight.fill_value = sqrt(2.0 / fan_out);
      break;
    case NN_INIT_KAIMING_NORMAL_FAN_IN:
      weight.fill = NN_FILL_NORMAL;
      weight.fill_value = sqrt(2.0 / fan_in);
      break;
    case NN_INIT_NORMAL_001:
      weight.fill = NN_FILL_NORMAL;
      weight.fill_value = 0.01;
      break;
  }
  nn_node_declare(node, weight);
  if (!bias) return;
  nn_param b = {.suffix = "bias", .is_parameter = true, .rank = 1, .shape = {shape[0]}};
  if (rule != NN_INIT_NORMAL_001 && rule != NN_INIT_TORCH_ZERO_BIAS) {
    b.fill = NN_FILL_UNIFORM;
    b.fill_value = 1.0 / sqrt(fan_in);
  }
  nn_node_declare(node, b);
}
