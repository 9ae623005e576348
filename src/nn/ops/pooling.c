/* Poolings: the operator's, and the averages over fixed numbers of cells. */
#include "nn/graph.h"

nn_ref nn_global_avg_pool(nn_graph *g, nn_ref x) {
  if (!nn_graph_check(g, NN_OP_GLOBAL_AVG_POOL, &x, 1)) return -1;
  nn_shape shape = {nn_shape_of(g, x).channels, 1, 1};
  return nn_graph_add(g, NN_OP_GLOBAL_AVG_POOL, NULL, &x, 1, shape) ? g->count - 1 : -1;
}

nn_ref nn_adaptive_avg_pool(nn_graph *g, nn_ref x, int64_t height, int64_t width) {
  if (!nn_graph_check(g, NN_OP_ADAPTIVE_AVG_POOL, &x, 1)) return -1;
  if (height < 1 || width < 1)
    return nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "adaptive_avg_pool: %lldx%lld cells, each must be at least 1",
                         (long long)height, (long long)width);
  if (height == 1 && width == 1) return nn_global_avg_pool(g, x);
  nn_shape shape = nn_shape_of(g, x);
  if (shape.height == height && shape.width == width) return x; /* every cell is one element */
  shape.height = height;
  shape.width = width;
  return nn_graph_add(g, NN_OP_ADAPTIVE_AVG_POOL, NULL, &x, 1, shape) ? g->count - 1 : -1;
}

enum { MOST_INPUTS = 3 };

/* The inputs a kind takes; returns how many. */
static int32_t pool_inputs(const nn_pool_desc *d, nn_ref x, nn_ref inputs[MOST_INPUTS]) {
  nn_pool_places at = nn_pool_places_of(d);
  inputs[0] = x;
  if (at.mu > 0) inputs[at.mu] = d->mu;
  if (at.sigma > 0) inputs[at.sigma] = d->sigma;
  if (at.weight > 0) inputs[at.weight] = d->weight;
  return at.count;
}

static bool check_guides(nn_graph *g, const char *name, const nn_ref *inputs, int32_t count) {
  nn_shape in = nn_shape_of(g, inputs[0]);
  for (int32_t i = 1; i < count; ++i) {
    nn_shape s = nn_shape_of(g, inputs[i]);
    if (inputs[i] == 0)
      nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "pool '%s%s': guiding tensor %d is missing (or the input)", g->scope,
                    name, i);
    else if (s.channels != in.channels || s.height != 1 || s.width != 1)
      nn_graph_fail(g, GP_ERROR_INVALID_ARGUMENT, "pool '%s': guiding tensor %d is %lldx%lldx%lld, expected %lldx1x1",
                    name, i, (long long)s.channels, (long long)s.height, (long long)s.width, (long long)in.channels);
    else
      continue;
    return false;
  }
  return true;
}

/* The parameter of a kind that has one of its own. */
static void declare_parameter(nn_node *node, const nn_pool_desc *d) {
  nn_param weight = {.suffix = "weight", .is_parameter = true, .rank = 1, .shape = {1}, .fill_value = 0.5};
  nn_param mask = {.suffix = "mask", .is_parameter = true, .rank = 2, .shape = {d->kernel, d->kernel}};
  if (d->kind == GP_POOL_MIXED) nn_node_declare(node, weight);
  if (d->kind == GP_POOL_GATED) nn_node_declare(node, mask);
}

gp_pool_desc nn_pool_operation(const nn_pool_desc *d, nn_shape in) {
  return (gp_pool_desc){
      .kind = d->kind,
      .batch = 1,
      .channels = in.channels,
      .height = in.height,
      .width = in.width,
      .kernel = {d->kernel, d->kernel},
      .stride = {d->stride, d->stride},
      .padding = {d->padding, d->padding},
      .ceil_mode = d->ceil_mode,
      .pad_count = d->pad_count,
      .eps = d->eps,
      .norm = d->norm,
      .param_shape = d->kind == GP_POOL_MIXED || d->kind == GP_POOL_GATED ? GP_SHAPE_ONE : GP_SHAPE_NC,
      .stochasticity = d->stochasticity};
}

nn_ref nn_pool(nn_graph *g, nn_ref x, const nn_pool_desc *desc) {
  nn_pool_desc d = *desc;
  const char *name = d.name == NULL ? "" : d.name;
  nn_ref inputs[MOST_INPUTS];
  int32_t count = pool_inputs(&d, x, inputs);
  if (!nn_graph_check(g, NN_OP_POOL, inputs, count) || !check_guides(g, name, inputs, count)) return -1;
  nn_shape in = nn_shape_of(g, x);
  gp_pool_desc operation = nn_pool_operation(&d, in);
  nn_shape out = {in.channels, 0, 0};
  gp_status status = gp_pool_output_size(&operation, &out.height, &out.width);
  if (status != GP_OK) return nn_graph_fail(g, status, "pool '%s%s': %s", g->scope, name, gp_last_error());
  nn_node *node = nn_graph_add(g, NN_OP_POOL, name, inputs, count, out);
  if (node == NULL) return -1;
  declare_parameter(node, &d);
  d.name = NULL;
  node->as.pool = d;
  return g->count - 1;
}
