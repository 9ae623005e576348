/* Global feature guided parameters: z = ReLU(BN(Linear(GAP(x)))), mu = BN(Linear(z)), sigma = sigmoid(BN(Linear(z))); for
 * maximum-entropy pooling λ = sigmoid(BN(Linear(z))), as in its published nets. The linear layers are 1×1 convolutions on
 * the 1×1 map in the published code, hence their weights' shape and names. */
#include "models/registry.h"

/* Linear and batch norm. */
static nn_ref linear_norm(const model_context *m, nn_ref x, int64_t out, const char *linear, const char *norm) {
  nn_graph *g = m->graph;
  nn_ref y = nn_linear(
      g, x, &(nn_linear_desc){.name = linear, .out = out, .conv_shape = true, .init = m->family->convolution_init});
  return nn_batch_norm(g, y, &(nn_batch_norm_desc){.name = norm});
}

static int64_t hidden_width(int64_t channels) { return channels / 2 > 0 ? channels / 2 : 1; }

static nn_ref to_hidden(const model_context *m, nn_ref x) {
  nn_graph *g = m->graph;
  int64_t channels = nn_shape_of(g, x).channels;
  nn_push_scope(g, "ToHidden");
  nn_ref z = nn_relu(g, linear_norm(m, nn_global_avg_pool(g, x), hidden_width(channels), "1", "2"));
  nn_pop_scope(g);
  return z;
}

static nn_ref to_mean(const model_context *m, nn_ref z, int64_t channels) {
  nn_push_scope(m->graph, "ToMean");
  nn_ref mu = linear_norm(m, z, channels, "0", "1");
  nn_pop_scope(m->graph);
  return mu;
}

static nn_ref to_sigma(const model_context *m, nn_ref z, int64_t channels) {
  nn_push_scope(m->graph, "ToSigma");
  nn_ref sigma = nn_sigmoid(m->graph, linear_norm(m, z, channels, "0", "1"));
  nn_pop_scope(m->graph);
  return sigma;
}

static nn_ref to_param(const model_context *m, nn_ref x) {
  nn_graph *g = m->graph;
  int64_t channels = nn_shape_of(g, x).channels;
  nn_push_scope(g, "ToParam");
  nn_ref z = nn_relu(g, linear_norm(m, nn_global_avg_pool(g, x), hidden_width(channels), "1", "2"));
  nn_ref lambda = nn_sigmoid(g, linear_norm(m, z, channels, "4", "5"));
  nn_pop_scope(g);
  return lambda;
}

/* Gives the pooling what its kind is guided by, if it is. */
static void guide(const model_context *m, nn_ref x, nn_pool_desc *pool) {
  int64_t channels = nn_shape_of(m->graph, x).channels;
  nn_ref z;
  switch (pool->kind) {
    case GP_POOL_ISP_GAUSSIAN:
    case GP_POOL_GAUSSIAN:
      z = to_hidden(m, x);
      pool->mu = to_mean(m, z, channels);
      pool->sigma = to_sigma(m, z, channels);
      return;
    case GP_POOL_HALF_GAUSSIAN: pool->sigma = to_sigma(m, to_hidden(m, x), channels); return;
    case GP_POOL_MAX_ENTROPY: pool->weight = to_param(m, x); return;
    default: return;
  }
}

nn_ref model_pool(const model_context *m, nn_ref x, const char *name, model_window window) {
  nn_pool_desc desc = {.name = name,
                       .kind = m->pooling->kind,
                       .kernel = window.kernel,
                       .stride = window.stride,
                       .padding = window.padding,
                       .stochasticity = m->pooling->stochasticity};
  nn_push_scope(m->graph, "%s", name);
  guide(m, x, &desc);
  nn_pop_scope(m->graph);
  return nn_pool(m->graph, x, &desc);
}

nn_ref model_max_pool(const model_context *m, nn_ref x, const char *name, model_window window) {
  return nn_pool(m->graph, x,
                 &(nn_pool_desc){.name = name,
                                 .kind = GP_POOL_MAX,
                                 .kernel = window.kernel,
                                 .stride = window.stride,
                                 .padding = window.padding});
}
