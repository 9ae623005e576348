#include "train/model_tensors.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 512, LISTED = 3 };

static const char momentum_prefix[] = "optimizer.momentum.";
static const char optimizer_prefix[] = "optimizer.";

static safetensors_dtype dtype_of(const nn_state_info *state) {
  return state->is_int64 ? SAFETENSORS_I64 : SAFETENSORS_F32;
}

static size_t bytes_of(const nn_state_info *state) {
  return (size_t)state->elements * safetensors_dtype_size(dtype_of(state));
}

static gp_status part_name(char out[NAME_SIZE], const nn_state_info *state, nn_state_part part) {
  const int length = snprintf(out, NAME_SIZE, "%s%s", part == NN_MOMENTUM ? momentum_prefix : "", state->name);
  if (length >= NAME_SIZE) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "a tensor's name is too long: %s", state->name);
  return GP_OK;
}

/* ---- Writing ---- */

size_t model_tensors_bytes(const nn_net *net, bool momenta) {
  size_t bytes = 0;
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    bytes += bytes_of(&state) * (momenta && state.is_parameter ? 2 : 1) + 2 * sizeof(int64_t);
  }
  return bytes;
}

static gp_status add_part(safetensors_writer *writer, const nn_net *net, nn_state_part part, char **cursor) {
  gp_status status = GP_OK;
  char name[NAME_SIZE];
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (part == NN_MOMENTUM && !state.is_parameter) continue;
    GP_TRY(part_name(name, &state, part));
    GP_TRY(nn_net_state_read(net, i, part, *cursor));
    GP_TRY(safetensors_writer_add(writer, name, dtype_of(&state), state.shape, state.rank, *cursor));
    /* Every tensor begins where an int64_t may. */
    *cursor += (bytes_of(&state) + sizeof(int64_t) - 1) / sizeof(int64_t) * sizeof(int64_t);
  }
cleanup:
  return status;
}

gp_status model_tensors_add(safetensors_writer *writer, const nn_net *net, bool momenta, void *buffer) {
  char *cursor = buffer;
  gp_status status = add_part(writer, net, NN_VALUE, &cursor);
  if (status == GP_OK && momenta) status = add_part(writer, net, NN_MOMENTUM, &cursor);
  return status;
}

/* ---- Loading ---- */

/* The first few offenders of one sort, and how many there are. */
typedef struct offenders {
  const char *sort;
  int64_t count;
  char names[192];
} offenders;

static void add_offender(offenders *list, const char *text) {
  const size_t used = strlen(list->names);
  list->count += 1;
  if (list->count <= LISTED)
    snprintf(list->names + used, sizeof list->names - used, "%s%s", used > 0 ? ", " : "", text);
  else if (list->count == LISTED + 1)
    snprintf(list->names + used, sizeof list->names - used, ", …");
}

typedef struct mismatch {
  offenders missing, unexpected, different;
} mismatch;

static bool may_be_missing(const char *name) {
  static const char suffix[] = ".num_batches_tracked";
  const size_t length = strlen(name);
  return length > sizeof suffix - 1 && strcmp(name + length - (sizeof suffix - 1), suffix) == 0;
}

static bool same_shape(const safetensors_info *tensor, const nn_state_info *state) {
  bool same = tensor->rank == state->rank;
  for (int d = 0; same && d < state->rank; ++d) same = tensor->shape[d] == state->shape[d];
  return same;
}

static void compare_tensor(mismatch *found, const safetensors_info *tensor, const nn_state_info *state) {
  if (tensor->dtype == dtype_of(state) && same_shape(tensor, state)) return;
  char of_file[64], of_net[64], text[192];
  snprintf(text, sizeof text, "%.60s: found %s %s, expected %s %s", tensor->name, safetensors_dtype_name(tensor->dtype),
           safetensors_shape_text(tensor->shape, tensor->rank, of_file, sizeof of_file),
           safetensors_dtype_name(dtype_of(state)),
           safetensors_shape_text(state->shape, state->rank, of_net, sizeof of_net));
  add_offender(&found->different, text);
}

static gp_status compare_part(mismatch *found, const safetensors_file *file, const nn_net *net, nn_state_part part) {
  char name[NAME_SIZE];
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (part == NN_MOMENTUM && !state.is_parameter) continue;
    gp_status status = part_name(name, &state, part);
    if (status != GP_OK) return status;
    const safetensors_info *tensor = safetensors_find(file, name);
    if (tensor != NULL)
      compare_tensor(found, tensor, &state);
    else if (!may_be_missing(name))
      add_offender(&found->missing, name);
  }
  return GP_OK;
}

static bool net_has(const nn_net *net, const char *name) {
  for (int32_t i = 0; i < nn_net_state_count(net); ++i)
    if (strcmp(nn_net_state(net, i).name, name) == 0) return true;
  return false;
}

static gp_status compare(const safetensors_file *file, const nn_net *net, bool momenta) {
  gp_status status = GP_OK;
  mismatch found = {{.sort = "missing"}, {.sort = "unexpected"}, {.sort = "of another shape or type"}};
  GP_TRY(compare_part(&found, file, net, NN_VALUE));
  if (momenta) GP_TRY(compare_part(&found, file, net, NN_MOMENTUM));
  for (size_t i = 0; i < safetensors_count(file); ++i) {
    const char *name = safetensors_at(file, i)->name;
    if (strncmp(name, optimizer_prefix, sizeof optimizer_prefix - 1) != 0 && !net_has(net, name))
      add_offender(&found.unexpected, name);
  }
  char text[800] = "";
  const offenders *lists[] = {&found.missing, &found.unexpected, &found.different};
  for (int i = 0; i < 3; ++i) {
    const size_t used = strlen(text);
    if (lists[i]->count > 0)
      snprintf(text + used, sizeof text - used, "%s%lld %s (%s)", used > 0 ? ", " : "", (long long)lists[i]->count,
               lists[i]->sort, lists[i]->names);
  }
  if (text[0] != '\0')
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s does not hold this net's tensors: %s", safetensors_path(file), text));
cleanup:
  return status;
}

/* A net with such numbers computes nothing, and would not say so. */
static gp_status check_finite(const safetensors_file *file, const safetensors_info *tensor) {
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
static gp_status check_values(const safetensors_file *file, const nn_net *net, nn_state_part part) {
  gp_status status = GP_OK;
  char name[NAME_SIZE];
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (part == NN_MOMENTUM && !state.is_parameter) continue;
    GP_TRY(part_name(name, &state, part));
    const safetensors_info *tensor = safetensors_find(file, name);
    if (tensor != NULL) GP_TRY(check_finite(file, tensor));
  }
cleanup:
  return status;
}

static gp_status load_part(const safetensors_file *file, nn_net *net, nn_state_part part, void *buffer) {
  gp_status status = GP_OK;
  char name[NAME_SIZE];
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (part == NN_MOMENTUM && !state.is_parameter) continue;
    GP_TRY(part_name(name, &state, part));
    const safetensors_info *tensor = safetensors_find(file, name);
    if (tensor == NULL) continue; /* num_batches_tracked: compare() let nothing else through */
    memcpy(buffer, tensor->data, tensor->bytes);
    GP_TRY(nn_net_state_write(net, i, part, buffer));
  }
cleanup:
  return status;
}

gp_status model_tensors_load(const safetensors_file *file, nn_net *net, bool momenta) {
  gp_status status = GP_OK;
  char *buffer = NULL; /* tensors in files by others may be unaligned */
  size_t largest = 0;
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    if (bytes_of(&state) > largest) largest = bytes_of(&state);
  }
  GP_TRY(compare(file, net, momenta));
  GP_TRY(check_values(file, net, NN_VALUE));
  if (momenta) GP_TRY(check_values(file, net, NN_MOMENTUM));
  GP_TRY(GP_ALLOC(&buffer, largest));
  GP_TRY(load_part(file, net, NN_VALUE, buffer));
  if (momenta) GP_TRY(load_part(file, net, NN_MOMENTUM, buffer));
cleanup:
  gp_free(buffer);
  return status;
}
