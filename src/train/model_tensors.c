#include "train/model_tensors.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/average.h"
#include "train/name_list.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 512 };

static const char momentum_prefix[] = "optimizer.momentum.";
static const char optimizer_prefix[] = "optimizer.";
static const char average_prefix[] = MODEL_AVERAGE_PREFIX;

/* Tensors of the net and under which names they are in a file. */
typedef struct tensor_set {
  nn_state_part part;
  const char *prefix;
  bool counters; /* num_batches_tracked too, which has no momentum and no average: always under its own name */
} tensor_set;

/* What a file holds: always the state; the others in checkpoints. */
static const tensor_set state_set = {NN_VALUE, "", true}, momentum_set = {NN_MOMENTUM, momentum_prefix, false},
                        average_set = {NN_AVERAGE, average_prefix, false};
/* The average as the state: written so, read so. */
static const tensor_set average_as_state = {NN_AVERAGE, "", true},
                        state_from_average = {NN_VALUE, average_prefix, true};

static bool is_in(const tensor_set *set, const nn_state_info *state) {
  return set->part == NN_MOMENTUM ? state->is_parameter : set->counters || !state->is_int64;
}

static nn_state_part part_of(const tensor_set *set, const nn_state_info *state) {
  return state->is_int64 ? NN_VALUE : set->part;
}

static safetensors_dtype dtype_of(const nn_state_info *state) {
  return state->is_int64 ? SAFETENSORS_I64 : SAFETENSORS_F32;
}

static size_t bytes_of(const nn_state_info *state) {
  return (size_t)state->elements * safetensors_dtype_size(dtype_of(state));
}

static gp_status set_name(char out[NAME_SIZE], const tensor_set *set, const nn_state_info *state) {
  const int length = snprintf(out, NAME_SIZE, "%s%s", state->is_int64 ? "" : set->prefix, state->name);
  if (length >= NAME_SIZE) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "a tensor's name is too long: %s", state->name);
  return GP_OK;
}

/* ---- Writing ---- */

static bool is_averaged(const nn_net *net) { return nn_net_arenas(net).average != NULL; }

size_t model_tensors_bytes(const nn_net *net, bool checkpoint) {
  size_t bytes = 0;
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    const size_t copies = 1 + (checkpoint && state.is_parameter) + (checkpoint && is_averaged(net));
    bytes += copies * (bytes_of(&state) + sizeof(int64_t));
  }
  return bytes;
}

static gp_status add_set(safetensors_writer *writer, const nn_net *net, const tensor_set *set, char **cursor) {
  gp_status status = GP_OK;
  char name[NAME_SIZE];
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (!is_in(set, &state)) continue;
    GP_TRY(set_name(name, set, &state));
    GP_TRY(nn_net_state_read(net, i, part_of(set, &state), *cursor));
    GP_TRY(safetensors_writer_add(writer, name, dtype_of(&state), state.shape, state.rank, *cursor));
    /* Every tensor begins where an int64_t may. */
    *cursor += (bytes_of(&state) + sizeof(int64_t) - 1) / sizeof(int64_t) * sizeof(int64_t);
  }
cleanup:
  return status;
}

gp_status model_tensors_add(safetensors_writer *writer, const nn_net *net, bool checkpoint, void *buffer) {
  gp_status status = GP_OK;
  char *cursor = buffer;
  GP_TRY(add_set(writer, net, !checkpoint && is_averaged(net) ? &average_as_state : &state_set, &cursor));
  if (checkpoint) GP_TRY(add_set(writer, net, &momentum_set, &cursor));
  if (checkpoint && is_averaged(net)) GP_TRY(add_set(writer, net, &average_set, &cursor));
cleanup:
  return status;
}

/* ---- Loading ---- */

/* Tensors that do not fit, by sort. */
typedef struct mismatch {
  name_list missing, unexpected, different;
} mismatch;

bool model_tensor_may_be_missing(const char *name) {
  static const char suffix[] = ".num_batches_tracked";
  const size_t length = strlen(name);
  return length > sizeof suffix - 1 && strcmp(name + length - (sizeof suffix - 1), suffix) == 0;
}

bool model_tensor_fits(const safetensors_info *tensor, const nn_state_info *state) {
  bool same = tensor->dtype == dtype_of(state) && tensor->rank == state->rank;
  for (int d = 0; same && d < state->rank; ++d) same = tensor->shape[d] == state->shape[d];
  return same;
}

const char *model_tensor_difference(const safetensors_info *tensor, const nn_state_info *state,
                                    char text[MODEL_DIFFERENCE_SIZE]) {
  char of_file[64], of_net[64];
  snprintf(text, MODEL_DIFFERENCE_SIZE, "%.60s: found %s %s, expected %s %s", tensor->name,
           safetensors_dtype_name(tensor->dtype),
           safetensors_shape_text(tensor->shape, tensor->rank, of_file, sizeof of_file),
           safetensors_dtype_name(dtype_of(state)),
           safetensors_shape_text(state->shape, state->rank, of_net, sizeof of_net));
  return text;
}

static gp_status compare_set(mismatch *found, const safetensors_file *file, const nn_net *net, const tensor_set *set) {
  char name[NAME_SIZE];
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (!is_in(set, &state)) continue;
    gp_status status = set_name(name, set, &state);
    if (status != GP_OK) return status;
    const safetensors_info *tensor = safetensors_find(file, name);
    char text[MODEL_DIFFERENCE_SIZE];
    if (tensor == NULL && !model_tensor_may_be_missing(name)) name_list_add(&found->missing, name);
    if (tensor != NULL && !model_tensor_fits(tensor, &state))
      name_list_add(&found->different, model_tensor_difference(tensor, &state, text));
  }
  return GP_OK;
}

static bool net_has(const nn_net *net, const char *name) {
  for (int32_t i = 0; i < nn_net_state_count(net); ++i)
    if (strcmp(nn_net_state(net, i).name, name) == 0) return true;
  return false;
}

static bool begins_with(const char *name, const char *prefix) { return strncmp(name, prefix, strlen(prefix)) == 0; }

bool model_tensor_is_of_training(const char *name) {
  return begins_with(name, optimizer_prefix) || begins_with(name, average_prefix);
}

static gp_status compare(const safetensors_file *file, const nn_net *net, const tensor_set *const *sets, int count) {
  gp_status status = GP_OK;
  mismatch found = {0};
  for (int i = 0; i < count; ++i) GP_TRY(compare_set(&found, file, net, sets[i]));
  for (size_t i = 0; i < safetensors_count(file); ++i) {
    const char *name = safetensors_at(file, i)->name;
    if (!model_tensor_is_of_training(name) && !net_has(net, name)) name_list_add(&found.unexpected, name);
  }
  char text[1700] = "";
  static const char *const sorts[] = {"missing", "unexpected", "of another shape or type"};
  const name_list *lists[] = {&found.missing, &found.unexpected, &found.different};
  for (int i = 0; i < 3; ++i) {
    const size_t used = strlen(text);
    if (lists[i]->count > 0)
      snprintf(text + used, sizeof text - used, "%s%lld %s (%s)", used > 0 ? ", " : "", (long long)lists[i]->count,
               sorts[i], lists[i]->names);
  }
  if (text[0] != '\0')
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s does not hold this net's tensors: %s", safetensors_path(file), text));
cleanup:
  return status;
}

gp_status model_tensor_check_finite(const safetensors_file *file, const safetensors_info *tensor) {
  if (tensor->dtype != SAFETENSORS_F32) return GP_OK;
  for (size_t at = 0; at < tensor->bytes; at += sizeof(float)) {
    float value;
    memcpy(&value, (const char *)tensor->data + at, sizeof value);
    if (!isfinite(value))
      return gp_fail(GP_ERROR_CORRUPT,
                     "%s: %s: expected finite numbers, found %g at element %zu: the training has diverged",
                     safetensors_path(file), tensor->name, (double)value, at / sizeof value);
  }
  return GP_OK;
}

/* Of the tensors that will be loaded; before the net is changed. */
static gp_status check_values(const safetensors_file *file, const nn_net *net, const tensor_set *set) {
  gp_status status = GP_OK;
  char name[NAME_SIZE];
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (!is_in(set, &state)) continue;
    GP_TRY(set_name(name, set, &state));
    const safetensors_info *tensor = safetensors_find(file, name);
    if (tensor != NULL) GP_TRY(model_tensor_check_finite(file, tensor));
  }
cleanup:
  return status;
}

static gp_status load_set(const safetensors_file *file, nn_net *net, const tensor_set *set, void *buffer) {
  gp_status status = GP_OK;
  char name[NAME_SIZE];
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (!is_in(set, &state)) continue;
    GP_TRY(set_name(name, set, &state));
    const safetensors_info *tensor = safetensors_find(file, name);
    if (tensor == NULL) continue; /* num_batches_tracked: compare() let nothing else through */
    memcpy(buffer, tensor->data, tensor->bytes);
    GP_TRY(nn_net_state_write(net, i, part_of(set, &state), buffer));
  }
cleanup:
  return status;
}

bool model_tensors_averaged(const safetensors_file *file) {
  for (size_t i = 0; i < safetensors_count(file); ++i)
    if (begins_with(safetensors_at(file, i)->name, average_prefix)) return true;
  return false;
}

/* Which sets to load, three at most; gives how many. */
static int choose_sets(const tensor_set *sets[3], const safetensors_file *file, const nn_net *net, bool training) {
  int count = 0;
  const bool averaged = model_tensors_averaged(file);
  sets[count++] = averaged && !training ? &state_from_average : &state_set;
  if (training) sets[count++] = &momentum_set;
  if (training && averaged && is_averaged(net)) sets[count++] = &average_set;
  return count;
}

gp_status model_tensors_load(const safetensors_file *file, nn_net *net, bool training) {
  gp_status status = GP_OK;
  char *buffer = NULL; /* tensors in files by others may be unaligned */
  size_t largest = 0;
  const tensor_set *sets[3];
  const int count = choose_sets(sets, file, net, training);
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (bytes_of(&state) > largest) largest = bytes_of(&state);
  }
  GP_TRY(compare(file, net, sets, count));
  for (int i = 0; i < count; ++i) GP_TRY(check_values(file, net, sets[i]));
  GP_TRY(GP_ALLOC(&buffer, largest));
  for (int i = 0; i < count; ++i) GP_TRY(load_set(file, net, sets[i], buffer));
  if (is_averaged(net) && sets[count - 1] != &average_set) {
    const nn_arenas arenas = nn_net_arenas(net);
    weight_average_start(&arenas);
  }
cleanup:
  gp_free(buffer);
  return status;
}
