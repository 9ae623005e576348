/* Runs a net over given weights, images and labels and writes down what it computed, for comparison with PyTorch:
 *
 *   parity_net state.safetensors inputs.safetensors output.safetensors KEY=VALUE…
 *
 * Inputs: images [steps·batch][c][h][w] float32, labels [steps·batch] int32. Keys: arch, pool, classes, batch, steps,
 * lr, momentum, weight-decay, nesterov, label-smoothing, seed, lean, bfloat16.
 * Output: loaded.NAME, the state as it was taken in; inference_logits of the first batch; then `steps` steps of SGD, each
 * on its own batch: losses [steps] float64, logits and gradient.NAME of the first; state.NAME at the end. With lean=1
 * without loaded and state, which take much memory in large nets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "models/models.h"
#include "train/model_file.h"
#include "train/safetensors.h"
#include "train/sgd.h"

typedef struct settings {
  const char *arch, *pool;
  int64_t classes, batch, steps;
  double lr, momentum, weight_decay, label_smoothing;
  bool nesterov, lean, bfloat16;
  uint64_t seed;
} settings;

static bool set(settings *s, const char *key, const char *value) {
  if (strcmp(key, "arch") == 0) return (s->arch = value) != NULL;
  if (strcmp(key, "pool") == 0) return (s->pool = value) != NULL;
  double number = strtod(value, NULL);
  if (strcmp(key, "classes") == 0) return (s->classes = (int64_t)number) > 0;
  if (strcmp(key, "batch") == 0) return (s->batch = (int64_t)number) > 0;
  if (strcmp(key, "steps") == 0) return (s->steps = (int64_t)number) > 0;
  if (strcmp(key, "lr") == 0) return (s->lr = number) >= 0;
  if (strcmp(key, "momentum") == 0) return (s->momentum = number) >= 0;
  if (strcmp(key, "weight-decay") == 0) return (s->weight_decay = number) >= 0;
  if (strcmp(key, "label-smoothing") == 0) return (s->label_smoothing = number) >= 0;
  if (strcmp(key, "nesterov") == 0) return (s->nesterov = number != 0) || number == 0;
  if (strcmp(key, "lean") == 0) return (s->lean = number != 0) || number == 0;
  if (strcmp(key, "bfloat16") == 0) return (s->bfloat16 = number != 0) || number == 0;
  if (strcmp(key, "seed") == 0) return (s->seed = strtoull(value, NULL, 10)) || strcmp(value, "0") == 0;
  return false;
}

/* A growing output file: copies of what is to be written, alive until the end. */
typedef struct record {
  safetensors_writer *writer;
  void **copies;
  size_t count, capacity;
} record;

static gp_status add(record *r, const char *prefix, const char *name, safetensors_dtype dtype, const int64_t *shape,
                     int rank, const void *data) {
  gp_status status = GP_OK;
  char full[512];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  size_t bytes = safetensors_dtype_size(dtype);
  for (int i = 0; i < rank; ++i) bytes *= (size_t)shape[i];
  if (r->count == r->capacity) return gp_fail(GP_ERROR_OUT_OF_MEMORY, "more than %zu tensors", r->capacity);
  GP_TRY(gp_alloc(&r->copies[r->count], bytes, 1));
  memcpy(r->copies[r->count], data, bytes);
  GP_TRY(safetensors_writer_add(r->writer, full, dtype, shape, rank, r->copies[r->count++]));
cleanup:
  return status;
}

/* One part of the net's whole state. */
static gp_status add_state(record *r, const char *prefix, const nn_net *net, nn_state_part part) {
  gp_status status = GP_OK;
  void *values = NULL;
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    nn_state_info info = nn_net_state(net, i);
    if (part != NN_VALUE && !info.is_parameter) continue;
    GP_TRY(gp_alloc(&values, (size_t)info.elements, 8));
    GP_TRY(nn_net_state_read(net, i, part, values));
    GP_TRY(add(r, prefix, info.name, info.is_int64 ? SAFETENSORS_I64 : SAFETENSORS_F32, info.shape, info.rank, values));
    gp_free(values);
    values = NULL;
  }
cleanup:
  gp_free(values);
  return status;
}

/* The steps, and what of them is wanted. */
static gp_status train(record *r, nn_net *net, const settings *s, const float *images, const int32_t *labels) {
  gp_status status = GP_OK;
  nn_plan *plan = NULL;
  double *losses = NULL;
  nn_shape shape = nn_net_input_shape(net);
  int64_t image = shape.channels * shape.height * shape.width;
  int64_t logits_shape[2] = {s->batch, s->classes};
  GP_TRY(GP_ALLOC(&losses, (size_t)s->steps));
  GP_TRY(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = s->batch, .mode = NN_TRAIN}));
  nn_arenas arenas = nn_net_arenas(net);
  sgd_desc sgd = {.lr = s->lr, .momentum = s->momentum, .weight_decay = s->weight_decay, .nesterov = s->nesterov};
  for (int64_t i = 0; i < s->steps; ++i) {
    nn_step_desc step = {.seed = s->seed, .step = (uint32_t)i, .first_sample = 0};
    GP_TRY(nn_plan_forward(plan, images + i * s->batch * image, labels + i * s->batch, &step));
    losses[i] = nn_plan_loss(plan);
    if (i == 0) GP_TRY(add(r, "", "logits", SAFETENSORS_F32, logits_shape, 2, nn_plan_logits(plan)));
    GP_TRY(nn_plan_backward(plan));
    if (i == 0) GP_TRY(add_state(r, "gradient.", net, NN_GRADIENT));
    sgd_step(&arenas, &sgd);
  }
  GP_TRY(add(r, "", "losses", SAFETENSORS_F64, (int64_t[1]){s->steps}, 1, losses));
cleanup:
  nn_plan_destroy(&plan);
  gp_free(losses);
  return status;
}

static gp_status infer(record *r, nn_net *net, const settings *s, const float *images) {
  gp_status status = GP_OK;
  nn_plan *plan = NULL;
  int64_t logits_shape[2] = {s->batch, s->classes};
  GP_TRY(nn_plan_create(&plan, net, &(nn_plan_desc){.batch = s->batch, .mode = NN_INFER}));
  GP_TRY(nn_plan_forward(plan, images, NULL, &(nn_step_desc){.seed = s->seed}));
  GP_TRY(add(r, "", "inference_logits", SAFETENSORS_F32, logits_shape, 2, nn_plan_logits(plan)));
cleanup:
  nn_plan_destroy(&plan);
  return status;
}

static gp_status run(const char *state_path, const char *inputs_path, const char *output_path, const settings *s) {
  gp_status status = GP_OK;
  safetensors_file *inputs = NULL;
  model_file *state = NULL;
  nn_net *net = NULL;
  nn_graph *graph = NULL;
  record r = {.capacity = 4096};
  GP_TRY(safetensors_writer_create(&r.writer));
  GP_TRY(GP_ALLOC(&r.copies, r.capacity));
  GP_TRY(safetensors_open(&inputs, inputs_path));
  const safetensors_info *images = safetensors_find(inputs, "images"), *labels = safetensors_find(inputs, "labels");
  if (images == NULL || labels == NULL || images->dtype != SAFETENSORS_F32 || labels->dtype != SAFETENSORS_I32 ||
      images->rank != 4 || labels->rank != 1 || images->shape[0] != s->batch * s->steps ||
      labels->shape[0] != images->shape[0])
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: expected images and labels of %lld samples", inputs_path,
                   (long long)(s->batch * s->steps)));
  model_desc desc = {.arch = s->arch,
                     .pool = s->pool,
                     .classes = s->classes,
                     .channels = images->shape[1],
                     .height = images->shape[2],
                     .width = images->shape[3],
                     .label_smoothing = s->label_smoothing};
  GP_TRY(model_build(&graph, &desc));
  GP_TRY(nn_net_create(
      &net, &graph,
      &(nn_net_desc){.batch = s->batch, .trainable = true, .precision = s->bfloat16 ? NN_BFLOAT16 : NN_FLOAT32}));
  GP_TRY(nn_net_init(net, s->seed));
  GP_TRY(model_file_open(&state, state_path));
  GP_TRY(model_file_load(state, net, false));
  if (!s->lean) GP_TRY(add_state(&r, "loaded.", net, NN_VALUE));
  GP_TRY(infer(&r, net, s, images->data));
  GP_TRY(train(&r, net, s, images->data, labels->data));
  if (!s->lean) GP_TRY(add_state(&r, "state.", net, NN_VALUE));
  GP_TRY(safetensors_writer_commit(r.writer, output_path));
cleanup:
  for (size_t i = 0; i < r.count; ++i) gp_free(r.copies[i]);
  gp_free(r.copies);
  safetensors_writer_destroy(&r.writer);
  model_file_close(&state);
  nn_graph_destroy(&graph);
  nn_net_destroy(&net);
  safetensors_close(&inputs);
  return status;
}

int main(int argc, char **argv) {
  settings s = {.arch = "resnet8", .pool = "gauss_CN", .classes = 10, .batch = 16, .steps = 10};
  if (argc < 4) {
    fprintf(stderr, "usage: parity_net state.safetensors inputs.safetensors output.safetensors KEY=VALUE...\n");
    return 2;
  }
  for (int i = 4; i < argc; ++i) {
    char *equals = strchr(argv[i], '=');
    if (equals != NULL) *equals = '\0';
    if (equals == NULL || !set(&s, argv[i], equals + 1)) {
      fprintf(stderr, "parity_net: bad setting '%s'\n", argv[i]);
      return 2;
    }
  }
  if (run(argv[1], argv[2], argv[3], &s) != GP_OK) {
    fprintf(stderr, "parity_net: %s\n", gp_last_error());
    return 1;
  }
  return 0;
}
