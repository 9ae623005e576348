#include "train/pretrained.h"

#include "base/memory.h"
#include "base/status.h"
#include "train/model_tensors.h"
#include "train/name_list.h"
#include "train/pass.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct findings {
  int64_t taken, parameters; /* tensors of the net that are in the file; of these, parameters */
  name_list missing, different, unused;
} findings;

/* The file's tensor for a state of the net, or NULL. */
static const safetensors_info *find_tensor(const safetensors_file *file, const nn_state_info *state, bool averaged) {
  char name[512];
  if (!averaged || state->is_int64) return safetensors_find(file, state->name);
  snprintf(name, sizeof name, "%s%s", MODEL_AVERAGE_PREFIX, state->name);
  return safetensors_find(file, name);
}

static gp_status look_at(findings *found, const safetensors_file *file, const nn_state_info *state,
                         const safetensors_info *tensor) {
  char text[MODEL_DIFFERENCE_SIZE];
  if (tensor == NULL) {
    if (!model_tensor_may_be_missing(state->name)) name_list_add(&found->missing, state->name);
    return GP_OK;
  }
  if (!model_tensor_fits(tensor, state)) {
    name_list_add(&found->different, model_tensor_difference(tensor, state, text));
    return GP_OK;
  }
  found->taken += 1;
  found->parameters += state->is_parameter;
  return model_tensor_check_finite(file, tensor);
}

static bool net_has(const nn_net *net, const char *name) {
  for (int32_t i = 0; i < nn_net_state_count(net); ++i)
    if (strcmp(nn_net_state(net, i).name, name) == 0) return true;
  return false;
}

static gp_status compare(findings *found, const safetensors_file *file, const nn_net *net, bool averaged) {
  gp_status status = GP_OK;
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    GP_TRY(look_at(found, file, &state, find_tensor(file, &state, averaged)));
  }
  for (size_t i = 0; i < safetensors_count(file); ++i) {
    const char *name = safetensors_at(file, i)->name;
    if (!model_tensor_is_of_training(name) && !net_has(net, name)) name_list_add(&found->unused, name);
  }
  if (found->parameters == 0)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "pretrained: %s holds none of this net's parameters: expected such as %s, found %s",
                   safetensors_path(file), found->missing.count > 0 ? found->missing.names : found->different.names,
                   found->unused.count > 0 ? found->unused.names : "others"));
cleanup:
  return status;
}

static gp_status take(const safetensors_file *file, nn_net *net, bool averaged) {
  gp_status status = GP_OK;
  char *buffer = NULL; /* tensors in the file may be unaligned */
  for (int32_t i = 0; i < nn_net_state_count(net); ++i) {
    const nn_state_info state = nn_net_state(net, i);
    const safetensors_info *tensor = find_tensor(file, &state, averaged);
    if (tensor == NULL || !model_tensor_fits(tensor, &state)) continue;
    gp_free(buffer);
    GP_TRY(GP_ALLOC(&buffer, tensor->bytes));
    memcpy(buffer, tensor->data, tensor->bytes);
    GP_TRY(nn_net_state_write(net, i, NN_VALUE, buffer));
  }
cleanup:
  gp_free(buffer);
  return status;
}

static void tell(const findings *found, const char *path, const train_observer *observer) {
  const struct {
    const name_list *list;
    const char *text;
  } parts[] = {{&found->missing, "left as they begin, since the file has none"},
               {&found->different, "left as they begin, since the file has another shape"},
               {&found->unused, "of the file not used, since the net has none"}};
  train_message(observer, "pretrained: %" PRId64 " tensors taken from %s", found->taken, path);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i)
    if (parts[i].list->count > 0)
      train_message(observer, "pretrained: %" PRId64 " %s: %s", parts[i].list->count, parts[i].text,
                    parts[i].list->names);
}

gp_status pretrained_load(const char *path, nn_net *net, const train_observer *observer) {
  gp_status status = GP_OK;
  safetensors_file *file = NULL;
  findings found = {0};
  GP_TRY(safetensors_open(&file, path));
  if (safetensors_metadata(file, MODEL_BATCH_NORMS) != NULL)
    GP_TRY(gp_fail(
        GP_ERROR_INVALID_ARGUMENT,
        "pretrained: %s: expected a model with its batch norms, found one whose batch norms are folded into its "
        "weights, which is for inference; start from the file that it was exported from",
        path));
  const bool averaged = model_tensors_averaged(file);
  GP_TRY(compare(&found, file, net, averaged));
  GP_TRY(take(file, net, averaged));
  tell(&found, path, observer);
cleanup:
  safetensors_close(&file);
  return status;
}
