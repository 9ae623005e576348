/* The CIFAR-style residual nets (He et al. 2016, section 4.2): 3×3 stem, three stages of n basic blocks with 16, 32
 * and 64 channels, depth 6n + 2; shortcuts that change shape by 1×1 convolution. Names as torchvision's ResNet. */
#include "models/registry.h"

static nn_ref conv_norm(const model_context *m, nn_ref x, const char *conv, const char *norm, int64_t out,
                        int32_t kernel, int32_t stride, bool zero_init) {
  x = nn_conv(m->graph, x,
              &(nn_conv_desc){.name = conv,
                              .out = out,
                              .kernel = kernel,
                              .stride = stride,
                              .padding = kernel / 2,
                              .init = NN_INIT_KAIMING_NORMAL_FAN_OUT});
  return nn_batch_norm(m->graph, x, &(nn_batch_norm_desc){.name = norm, .zero_init = zero_init});
}

/* `halve`: the block's output has half the sides, by stride with `skip`, else by the pooling behind the last ReLU. */
static nn_ref basic_block(const model_context *m, nn_ref x, int64_t out, bool halve) {
  nn_graph *g = m->graph;
  int32_t stride = halve && m->pooling->skip ? 2 : 1;
  nn_ref y = nn_relu(g, conv_norm(m, x, "conv1", "bn1", out, 3, stride, false));
  y = conv_norm(m, y, "conv2", "bn2", out, 3, 1, m->desc->zero_init_residual);
  if (stride != 1 || nn_shape_of(g, x).channels != out)
    x = conv_norm(m, x, "downsample.0", "downsample.1", out, 1, stride, false);
  y = nn_relu(g, nn_add(g, y, x));
  return halve && !m->pooling->skip ? model_pool(m, y, "pooling", 2, 2, 0) : y;
}

nn_ref model_cifar_resnet(const model_context *m, nn_ref x, int32_t depth) {
  nn_graph *g = m->graph;
  x = nn_relu(g, conv_norm(m, x, "conv1", "bn1", 16, 3, 1, false));
  for (int32_t stage = 0; stage < 3; ++stage)
    for (int32_t block = 0; block < (depth - 2) / 6; ++block) {
      nn_push_scope(g, "layer%d.%d", stage + 1, block);
      x = basic_block(m, x, (int64_t)16 << stage, stage > 0 && block == 0);
      nn_pop_scope(g);
    }
  return nn_linear(g, nn_global_avg_pool(g, x), &(nn_linear_desc){.name = "fc", .out = m->desc->classes});
}
