/* Global feature guided parameters: z = ReLU(BN(Linear(GAP(x)))), mu = BN(Linear(z)), sigma = sigmoid(BN(Linear(z))).
 * The linear layers are 1×1 convolutions on the 1×1 map in the published code, hence their weights' shape and names. */
#include "models/registry.h"

/* Linear and batch norm, `scope`.first and `scope`.(first + 1). */
static nn_ref linear_norm(const model_context *m, nn_ref x, const char *scope, int64_t out, const char *linear,
                          const char *norm) {
  nn_graph *g = m->graph;
  nn_push_scope(g, "%s", scope);
  nn_ref y = nn_linear(
      g, x, &(nn_linear_desc){.name = linear, .out = out, .conv_shape = true, .init = m->family->convolution_init});
  y = nn_batch_norm(g, y, &(nn_batch_norm_desc){.name = norm});
  nn_pop_scope(g);
  return y;
}

static void guide(const model_context *m, nn_ref x, nn_pool_desc *pool) {
  nn_graph *g = m->graph;
  int64_t channels = nn_shape_of(g, x).channels;
  int64_t hidden = channels / 2 > 0 ? channels / 2 : 1;
  nn_ref z = nn_global_avg_pool(g, x);
  z = nn_relu(g, linear_norm(m, z, "ToHidden", hidden, "1", "2"));
  pool->mu = linear_norm(m, z, "ToMean", channels, "0", "1");
  pool->sigma = nn_sigmoid(g, linear_norm(m, z, "ToSigma", channels, "0", "1"));
}

nn_ref model_pool(const model_context *m, nn_ref x, const char *name, model_window window) {
  nn_graph *g = m->graph;
  nn_pool_desc desc = {.name = name,
                       .kind = m->pooling->kind,
                       .kernel = window.kernel,
                       .stride = window.stride,
                       .padding = window.padding,
                       .stochasticity = m->pooling->stochasticity};
  if (desc.kind == GP_POOL_ISP_GAUSSIAN) {
    nn_push_scope(g, "%s", name);
    guide(m, x, &desc);
    nn_pop_scope(g);
  }
  return nn_pool(g, x, &desc);
}

nn_ref model_max_pool(const model_context *m, nn_ref x, const char *name, model_window window) {
  return nn_pool(m->graph, x,
                 &(nn_pool_desc){.name = name,
                                 .kind = GP_POOL_MAX,
                                 .kernel = window.kernel,
                                 .stride = window.stride,
                                 .padding = window.padding});
}
