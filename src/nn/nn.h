/* The engine. Three things, made in this order:
 *
 *   graph  what the net is: nodes added by the functions below, shapes per sample, no batch size, no device.
 *   net    its state on a device: parameters, their gradients and momenta (one arena each), running statistics.
 *   plan   the net compiled for one batch size and mode: layouts, fusions, an activation arena laid out by lifetime.
 *
 *     nn_graph *g;
 *     GP_TRY(nn_graph_create(&g));
 *     nn_ref x = nn_input(g, 3, 224, 224);
 *     x = nn_conv(g, x, &(nn_conv_desc){.name = "conv1", .out = 64, .kernel = 7, .stride = 2, .padding = 3});
 *     x = nn_relu(g, nn_batch_norm(g, x, &(nn_batch_norm_desc){.name = "bn1"}));
 *     x = nn_linear(g, nn_global_avg_pool(g, x), &(nn_linear_desc){.name = "fc", .out = 1000});
 *     nn_cross_entropy(g, x, &(nn_cross_entropy_desc){0});
 *     GP_TRY(nn_net_create(&net, &g, &(nn_net_desc){.batch = 32, .trainable = true}));
 *     GP_TRY(nn_net_init(net, seed));
 *     GP_TRY(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = 32, .mode = NN_TRAIN}));
 *
 * Building errors are sticky: after the first, every function returns a negative reference and nn_net_create() reports
 * the first one. A plan's steps allocate nothing. Plans of one net share the activation arena: run one at a time, and
 * read a plan's output before the next plan runs. */
#ifndef GP_NN_NN_H
#define GP_NN_NN_H

#include <gausspool/gausspool.h>

typedef struct nn_graph nn_graph;
typedef struct nn_net nn_net;
typedef struct nn_plan nn_plan;

/* A node of the graph, and the tensor [channels][height][width] per sample that it makes. Negative after an error. */
typedef int32_t nn_ref;

/* ---- Graph ---------------------------------------------------------------------------------- */

GP_NODISCARD gp_status nn_graph_create(nn_graph **out);
void nn_graph_destroy(nn_graph **graph);

/* Names of nodes are the prefix of their parameters' names in a state dict. Between push and pop, names are put
 * behind the formatted scope and a dot: "layer1.0" + "conv1" = "layer1.0.conv1". */
void nn_push_scope(nn_graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void nn_pop_scope(nn_graph *g);

/* Makes the graph fail with a message of the caller's, for builders' own checks; returns -1. */
nn_ref nn_graph_fail(nn_graph *g, gp_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The first error so far, or GP_OK. */
GP_NODISCARD gp_status nn_graph_status(const nn_graph *g);

/* Shape of a tensor per sample: channels, height, width; zeros for a negative reference. */
typedef struct nn_shape {
  int64_t channels, height, width;
} nn_shape;
nn_shape nn_shape_of(const nn_graph *g, nn_ref x);

/* How a weight is drawn at first. Biases follow torch.nn, uniform ±1/sqrt(fan_in), where nothing else is said. */
typedef enum nn_init_rule {
  NN_INIT_TORCH = 0,              /* torch.nn.Conv2d's and Linear's default: uniform ±1/sqrt(fan_in) */
  NN_INIT_KAIMING_NORMAL_FAN_OUT, /* normal, std sqrt(2/fan_out) (He et al. 2015) */
  NN_INIT_KAIMING_NORMAL_FAN_IN,  /* normal, std sqrt(2/fan_in) */
  NN_INIT_NORMAL_001,             /* normal, std 0.01, bias 0 */
  NN_INIT_TORCH_ZERO_BIAS,        /* as NN_INIT_TORCH, bias 0 */
} nn_init_rule;

/* The picture: [n][channels][height][width]. Exactly one per graph. */
nn_ref nn_input(nn_graph *g, int64_t channels, int64_t height, int64_t width);

/* torch.nn.Conv2d, square kernels. 0 means 1 for kernel, stride, dilation and groups. */
typedef struct nn_conv_desc {
  const char *name;
  int64_t out; /* channels made */
  int32_t kernel, stride, padding, dilation, groups;
  bool bias;
  nn_init_rule init;
} nn_conv_desc;
nn_ref nn_conv(nn_graph *g, nn_ref x, const nn_conv_desc *desc);

/* torch.nn.BatchNorm2d (BatchNorm1d on 1×1 maps). eps 0 means 1e-5, momentum 0 means 0.1. */
typedef struct nn_batch_norm_desc {
  const char *name;
  double eps, momentum;
  bool zero_init; /* weight starts at 0 instead of 1 */
} nn_batch_norm_desc;
nn_ref nn_batch_norm(nn_graph *g, nn_ref x, const nn_batch_norm_desc *desc);

nn_ref nn_relu(nn_graph *g, nn_ref x);
nn_ref nn_sigmoid(nn_graph *g, nn_ref x);

/* Inverted dropout as torch.nn.Dropout; each call is a stream of draws of its own. */
nn_ref nn_dropout(nn_graph *g, nn_ref x, double probability);

nn_ref nn_add(nn_graph *g, nn_ref a, nn_ref b);

/* Joins along the channels, in the order given; at most NN_MAX_INPUTS. */
enum { NN_MAX_INPUTS = 64 };
nn_ref nn_concat(nn_graph *g, const nn_ref *inputs, int32_t count);

/* torch.nn.Linear over all of [channels][height][width], flattened in that order. */
typedef struct nn_linear_desc {
  const char *name;
  int64_t out;
  bool no_bias;
  bool conv_shape; /* state dict holds the weight as [out][in][1][1], as a 1×1 convolution's */
  nn_init_rule init;
} nn_linear_desc;
nn_ref nn_linear(nn_graph *g, nn_ref x, const nn_linear_desc *desc);

nn_ref nn_global_avg_pool(nn_graph *g, nn_ref x);
nn_ref nn_adaptive_avg_pool(nn_graph *g, nn_ref x, int64_t height, int64_t width);

/* Any pooling of libgausspool. The guiding tensors are [C][1][1] per sample (parameter shape N×C), and not the graph's
 * input. GP_POOL_MIXED and GP_POOL_GATED have a parameter of their own, one for the layer: `weight`, from 0.5 on, and
 * `mask` [kernel][kernel], from zeros on, where maximum and average begin as equals. */
typedef struct nn_pool_desc {
  const char *name;
  gp_pool_kind kind;
  int32_t kernel, stride, padding; /* stride 0: as kernel */
  bool ceil_mode;
  gp_pad_count pad_count;
  double eps, norm;
  gp_stochasticity stochasticity; /* in training; plans for inference use GP_STOCHASTIC_NONE */
  nn_ref mu;                      /* GP_POOL_ISP_GAUSSIAN, GP_POOL_GAUSSIAN */
  nn_ref sigma;                   /* those, with stochasticity only; GP_POOL_HALF_GAUSSIAN */
  nn_ref weight;                  /* GP_POOL_WEIGHTED, GP_POOL_MAX_ENTROPY */
} nn_pool_desc;
nn_ref nn_pool(nn_graph *g, nn_ref x, const nn_pool_desc *desc);

/* Softmax cross-entropy, mean over the batch, label smoothing as torch.nn.CrossEntropyLoss. Makes x the net's output
 * (logits [n][classes]; x must be 1×1 maps) and ends the graph. */
typedef struct nn_cross_entropy_desc {
  double label_smoothing; /* [0, 1) */
} nn_cross_entropy_desc;
nn_ref nn_cross_entropy(nn_graph *g, nn_ref x, const nn_cross_entropy_desc *desc);

/* ---- Net ------------------------------------------------------------------------------------ */

/* How numbers are stored and multiplied. With NN_BFLOAT16 activations and their gradients are stored, and convolutions run, in
 * bfloat16, with sums in float32. Parameters and their gradients, momenta, statistics, the loss, and all that is computed on
 * maps of one position (guiding heads, linear layers) stay float32. As torch.autocast does it. */
typedef enum nn_precision { NN_FLOAT32 = 0, NN_BFLOAT16 } nn_precision;

/* As an option's choices, in order. */
#define NN_PRECISION_NAMES "float32|bfloat16"

typedef struct nn_net_desc {
  int64_t batch;  /* the usual batch size; weight layouts are chosen for it. At least 1 */
  bool trainable; /* with gradients and momenta */
  bool averaged;  /* with room for a running average of parameters and running statistics, which the caller makes */
  nn_precision precision;
} nn_net_desc;

/* Takes the graph over (*graph becomes NULL, also on failure). Errors: the graph's first; GP_ERROR_UNSUPPORTED where this
 * machine cannot compute with the precision; GP_ERROR_LIBRARY. */
GP_NODISCARD gp_status nn_net_create(nn_net **out, nn_graph **graph, const nn_net_desc *desc);
void nn_net_destroy(nn_net **net);

/* Draws all parameters from the seed (each by its name, so that the order of nodes does not matter), resets running
 * statistics and momenta. */
GP_NODISCARD gp_status nn_net_init(nn_net *net, uint64_t seed);

/* One tensor of the state dict: its PyTorch name and shape. */
typedef struct nn_state_info {
  const char *name;  /* owned by the net */
  bool is_parameter; /* has a gradient and a momentum; otherwise a buffer */
  bool is_int64;     /* num_batches_tracked; everything else is float32 */
  int32_t rank;      /* 0 to 4 */
  int64_t shape[4];
  int64_t elements;
  size_t arena_offset, arena_count; /* of a parameter: its place in the arenas, in floats */
} nn_state_info;

/* NN_AVERAGE: of averaged nets, of everything that is float32. */
typedef enum nn_state_part { NN_VALUE = 0, NN_GRADIENT, NN_MOMENTUM, NN_AVERAGE } nn_state_part;

/* `index` from 0 to count - 1, here and below. */
int32_t nn_net_state_count(const nn_net *net);
nn_state_info nn_net_state(const nn_net *net, int32_t index);

/* Copies a tensor out or in, dense in PyTorch's order (float or int64_t). Gradients and momenta exist for parameters
 * of trainable nets only, averages for float32 tensors of averaged nets. Errors: GP_ERROR_INVALID_ARGUMENT, GP_ERROR_LIBRARY. */
GP_NODISCARD gp_status nn_net_state_read(const nn_net *net, int32_t index, nn_state_part part, void *out);
GP_NODISCARD gp_status nn_net_state_write(nn_net *net, int32_t index, nn_state_part part, const void *in);

/* The parameter arenas, `count` floats each, same order in all three; for the optimizer and all-reduce. Alignment gaps
 * and padding lanes hold zeros in all of them. gradient and momentum are NULL unless trainable, the averages unless
 * averaged; these hold zeros until somebody fills them. */
typedef struct nn_arenas {
  float *value, *gradient, *momentum, *average;
  size_t count;
  float *statistics, *statistics_average; /* running statistics, `statistics_count` floats each */
  size_t statistics_count;
} nn_arenas;
nn_arenas nn_net_arenas(const nn_net *net);

/* For reports. */
typedef struct nn_layer_info {
  const char *name, *op; /* owned by the net; name may be "" */
  nn_shape output;
  int64_t parameters;
  int64_t macs;             /* multiply-adds per sample of convolutions and linear layers */
  int64_t activation_bytes; /* of the output, per sample */
  int64_t input_bytes;      /* of all inputs, per sample */
  bool of_images;           /* the first input is the net's, whose gradient nobody wants */
} nn_layer_info;
int32_t nn_net_layer_count(const nn_net *net);
nn_layer_info nn_net_layer(const nn_net *net, int32_t index);
int64_t nn_net_parameter_count(const nn_net *net);
int64_t nn_net_macs(const nn_net *net); /* per sample */
nn_shape nn_net_input_shape(const nn_net *net);
int64_t nn_net_classes(const nn_net *net);

/* ---- Plan ----------------------------------------------------------------------------------- */

typedef enum nn_mode { NN_INFER = 0, NN_TRAIN } nn_mode;

/* What several processes that train the same net do together. */
typedef struct nn_sync {
  /* values[i] ← its sum over the processes, the same on all of them. */
  gp_status (*sum)(void *context, double *values, int64_t count);
  void *context;
} nn_sync;

typedef struct nn_plan_desc {
  int64_t batch; /* at least 1 */
  nn_mode mode;
  /* In training, batch norms take the statistics of all processes' batches together, which all call forward and backward as often;
   * it must outlive the plan. NULL: each its own. */
  const nn_sync *sync;
  int64_t whole_batch; /* with it, samples of all their batches */
  /* For comparison: every activation is stored, and kept for the backward pass if that reads it. Otherwise batch norm and
   * ReLU in front of a pooling are applied as it reads, and those in front of convolutions made again going backward. */
  bool store_activations;
  bool
      reserve_later; /* the first forward call makes room for the activations, so that their size can be asked before */
} nn_plan_desc;

/* The net must outlive its plans. Errors: GP_ERROR_INVALID_ARGUMENT for a batch norm over one value per channel in
 * training, for NN_TRAIN on a net that is not trainable, for a batch too large; GP_ERROR_OUT_OF_MEMORY; of the library:
 * GP_ERROR_UNSUPPORTED, GP_ERROR_LIBRARY. */
GP_NODISCARD gp_status nn_plan_create(nn_plan **out, nn_net *net, const nn_plan_desc *desc);
void nn_plan_destroy(nn_plan **plan);

/* What the random parts of a step depend on, besides the node. */
typedef struct nn_step_desc {
  uint64_t seed;
  uint32_t step;
  int64_t first_sample; /* place of the first sample in the whole batch, of which others may have the rest */
  int64_t
      whole; /* samples of that: gradients are this batch's part of the gradient of its mean loss; 0: as many as here */
  bool absent; /* this process has none of it; images and labels stand in, so that it takes part in what the
                           others do. Gradients are 0, and batch norms with nn_sync do not count them */
} nn_step_desc;

/* Runs the plan over images [n][c][h][w] float32 and labels [n] in 0 … classes-1 (may be NULL: no loss is computed).
 * Both are read during the call only. In training this updates the running statistics.
 * Errors: GP_ERROR_INVALID_ARGUMENT for a label out of range. */
GP_NODISCARD gp_status nn_plan_forward(nn_plan *plan, const float *images, const int32_t *labels,
                                       const nn_step_desc *step);

/* Gradients of the mean loss of the forward call just made, overwriting the gradient arena. NN_TRAIN plans only.
 * Errors: GP_ERROR_INVALID_ARGUMENT without a forward call with labels, or when another plan has run or been made since. */
GP_NODISCARD gp_status nn_plan_backward(nn_plan *plan);

/* Called in each backward pass after every layer: gradients from `first` on, in floats of the arena, are final; from the end to 0.
 * When it fails the backward pass does, with its status. NULL: nobody is. */
typedef gp_status (*nn_gradients_fn)(void *context, size_t first);
void nn_plan_watch_gradients(nn_plan *plan, nn_gradients_fn watch, void *context);

/* Of the last forward call: logits [n][classes], valid until another plan of the net runs; and the mean loss. */
const float *nn_plan_logits(const nn_plan *plan);
double nn_plan_loss(const nn_plan *plan);

/* Makes room for the activations now (see reserve_later). GP_ERROR_OUT_OF_MEMORY. */
GP_NODISCARD gp_status nn_plan_reserve(nn_plan *plan);

/* Seconds in a layer's kernels, all calls together; the sum of its output's gradients counts as its backward pass. */
typedef struct nn_layer_time {
  double forward, backward;
} nn_layer_time;

/* Measures the layers' times from now on, each from zero. */
GP_NODISCARD gp_status nn_plan_time(nn_plan *plan);
nn_layer_time nn_plan_layer_time(const nn_plan *plan, int32_t index); /* index as nn_net_layer()'s */
int64_t nn_plan_timed_steps(const nn_plan *plan);                     /* forward calls since then */

/* For bounds: runs nothing but the layers of one op (nn_layer_info.op), forward and, in training, backward, over whatever lies in
 * the arenas. Overwrites activations and gradients. */
GP_NODISCARD gp_status nn_plan_run_op(nn_plan *plan, const char *op);

/* Bytes of the activation arena this plan uses, and what it would be without reuse by lifetime. */
size_t nn_plan_activation_bytes(const nn_plan *plan);
size_t nn_plan_activation_bytes_without_reuse(const nn_plan *plan);

/* What a user should know who computes with this precision on this machine, or NULL. */
const char *nn_precision_warning(nn_precision precision);

/* Name and version of the library the engine runs on, e.g. "oneDNN 2.6.3". */
const char *nn_backend(void);

#endif
