#include "nn/net.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"

nn_tensor nn_net_tensor(const nn_net *net, nn_ref x, int64_t batch) {
  return net->device_class->tensor(net->device, nn_shape_of(net->graph, x), batch);
}

gp_status nn_net_reserve_activations(nn_net *net, size_t bytes) {
  if (bytes <= net->activation_bytes) return GP_OK;
  /* The old one goes first: nothing in it is kept, and both together would be the peak of memory. */
  gp_free(net->activations);
  net->activation_bytes = 0;
  ++net->activation_generation;
  gp_status status = gp_alloc(&net->activations, bytes, 1);
  if (status != GP_OK)
    return gp_fail_in(status, "activations of %.1f MiB; a smaller batch size needs less", (double)bytes / 1048576.0);
  net->activation_bytes = bytes;
  return GP_OK;
}

static const nn_param *param_of(const nn_net *net, const nn_slot *slot) {
  return &net->graph->nodes[slot->node]->params[slot->place];
}

static gp_status name_slot(nn_slot *slot, const nn_node *node, const nn_param *param) {
  char name[512];
  snprintf(name, sizeof name, "%s.%s", node->name, param->suffix);
  return gp_strdup(&slot->name, name);
}

/* Gives each state tensor its name and storage; counts what the arenas need. */
static gp_status place_slots(nn_net *net, int64_t batch, size_t *counters) {
  const nn_graph *g = net->graph;
  gp_status status = GP_OK;
  int32_t s = 0;
  for (int32_t i = 0; i < g->count; ++i) {
    const nn_node *node = g->nodes[i];
    net->first_slot[i] = s;
    for (int32_t p = 0; p < node->param_count; ++p) {
      const nn_param *param = &node->params[p];
      nn_slot *slot = &net->slots[s];
      net->slot_count = ++s;
      slot->node = i;
      slot->place = p;
      slot->elements = 1;
      for (int32_t r = 0; r < param->rank; ++r) slot->elements *= param->shape[r];
      GP_TRY(name_slot(slot, node, param));
      if (param->is_int64) {
        slot->offset = (*counters)++;
        continue;
      }
      slot->floats = (size_t)slot->elements;
      if (node->op == NN_OP_CONV && p == NN_WEIGHT) {
        nn_tensor in = nn_net_tensor(net, node->inputs[0], batch), out = nn_net_tensor(net, i, batch);
        GP_TRY(net->device_class->weight_layout(net->device, node, &in, &out, &slot->layout, &slot->floats));
      }
      size_t *used = param->is_parameter ? &net->arenas.count : &net->arenas.statistics_count;
      slot->offset = *used;
      *used += gp_align_up(slot->floats * sizeof(float)) / sizeof(float);
    }
  }
cleanup:
  return status;
}

/* Two nodes of one name would fall on the same entry of a state dict. */
static gp_status check_names(const nn_net *net) {
  for (int32_t i = 0; i < net->slot_count; ++i)
    for (int32_t j = i + 1; j < net->slot_count; ++j)
      if (strcmp(net->slots[i].name, net->slots[j].name) == 0)
        return gp_fail(GP_ERROR_INVALID_ARGUMENT, "two nodes of the net have a state tensor '%s'", net->slots[i].name);
  return GP_OK;
}

static gp_status check_graph(const nn_graph *g) {
  gp_status status = nn_graph_status(g);
  if (status != GP_OK) return status;
  if (g->logits < 0) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "the graph has no loss: end it with nn_cross_entropy");
  if (g->scope_depth != 0) return gp_fail(GP_ERROR_INVALID_ARGUMENT, "scope '%s' was not popped", g->scope);
  return GP_OK;
}

gp_status nn_net_create(nn_net **out, nn_graph **graph, const nn_net_desc *desc) {
  gp_status status = GP_OK;
  nn_net *net = NULL;
  size_t counters = 0, slots = 0;
  *out = NULL;
  GP_TRY(check_graph(*graph));
  if (desc->batch < 1)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "batch size %lld, expected at least 1", (long long)desc->batch));
  GP_TRY(GP_ALLOC(&net, 1));
  net->graph = *graph;
  *graph = NULL;
  net->device_class = &nn_device_onednn;
  GP_TRY(net->device_class->create(&net->device, desc->precision == NN_BFLOAT16 ? GP_BFLOAT16 : GP_FLOAT32));
  for (int32_t i = 0; i < net->graph->count; ++i) slots += (size_t)net->graph->nodes[i]->param_count;
  GP_TRY(GP_ALLOC(&net->slots, slots));
  GP_TRY(GP_ALLOC(&net->first_slot, (size_t)net->graph->count));
  GP_TRY(place_slots(net, desc->batch, &counters));
  GP_TRY(check_names(net));
  GP_TRY(GP_ALLOC(&net->arenas.value, net->arenas.count));
  GP_TRY(GP_ALLOC(&net->arenas.statistics, net->arenas.statistics_count));
  GP_TRY(GP_ALLOC(&net->counters, counters));
  if (desc->trainable) {
    GP_TRY(GP_ALLOC(&net->arenas.gradient, net->arenas.count));
    GP_TRY(GP_ALLOC(&net->arenas.momentum, net->arenas.count));
  }
  if (desc->averaged) {
    GP_TRY(GP_ALLOC(&net->arenas.average, net->arenas.count));
    GP_TRY(GP_ALLOC(&net->arenas.statistics_average, net->arenas.statistics_count));
  }
  *out = net;
  net = NULL;
cleanup:
  nn_graph_destroy(graph);
  nn_net_destroy(&net);
  return status;
}

void nn_net_destroy(nn_net **net_pointer) {
  nn_net *net = *net_pointer;
  if (net == NULL) return;
  for (int32_t i = 0; i < net->slot_count; ++i) {
    gp_free(net->slots[i].name);
    net->device_class->free_layout(net->slots[i].layout);
  }
  gp_free(net->slots);
  gp_free(net->first_slot);
  gp_free(net->arenas.value);
  gp_free(net->arenas.gradient);
  gp_free(net->arenas.momentum);
  gp_free(net->arenas.average);
  gp_free(net->arenas.statistics);
  gp_free(net->arenas.statistics_average);
  gp_free(net->counters);
  gp_free(net->activations);
  if (net->device_class != NULL) net->device_class->destroy(&net->device);
  nn_graph_destroy(&net->graph);
  gp_free(net);
  *net_pointer = NULL;
}

int32_t nn_net_state_count(const nn_net *net) { return net->slot_count; }

nn_state_info nn_net_state(const nn_net *net, int32_t index) {
  const nn_slot *slot = &net->slots[index];
  const nn_param *param = param_of(net, slot);
  nn_state_info info = {.name = slot->name,
                        .is_parameter = param->is_parameter,
                        .is_int64 = param->is_int64,
                        .rank = param->rank,
                        .elements = slot->elements,
                        .arena_offset = param->is_parameter ? slot->offset : 0,
                        .arena_count = param->is_parameter ? slot->floats : 0};
  memcpy(info.shape, param->shape, sizeof info.shape);
  return info;
}

/* The stored tensor, or NULL where this part of it does not exist. */
static float *stored(const nn_net *net, const nn_slot *slot, nn_state_part part) {
  const nn_arenas *a = &net->arenas;
  float *const of_parameters[] = {a->value, a->gradient, a->momentum, a->average};
  float *const of_statistics[] = {a->statistics, NULL, NULL, a->statistics_average};
  float *arena = (param_of(net, slot)->is_parameter ? of_parameters : of_statistics)[part];
  return arena == NULL ? NULL : arena + slot->offset;
}

static gp_status check_part(const nn_net *net, int32_t index, nn_state_part part) {
  if (index < 0 || index >= net->slot_count)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "state tensor %d of %d", index, net->slot_count);
  const nn_slot *slot = &net->slots[index];
  bool exists = param_of(net, slot)->is_int64 ? part == NN_VALUE : stored(net, slot, part) != NULL;
  if (exists) return GP_OK;
  static const char *const names[] = {"value", "gradient", "momentum", "average"};
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "'%s' has no %s here", slot->name, names[part]);
}

gp_status nn_net_state_read(const nn_net *net, int32_t index, nn_state_part part, void *out) {
  gp_status status = check_part(net, index, part);
  if (status != GP_OK) return status;
  const nn_slot *slot = &net->slots[index];
  if (param_of(net, slot)->is_int64) {
    memcpy(out, &net->counters[slot->offset], sizeof(int64_t));
    return GP_OK;
  }
  const float *from = stored(net, slot, part);
  if (slot->layout != NULL)
    return net->device_class->weight_read(net->device, net->graph->nodes[slot->node], slot->layout, from, out);
  memcpy(out, from, slot->floats * sizeof(float));
  return GP_OK;
}

gp_status nn_net_state_write(nn_net *net, int32_t index, nn_state_part part, const void *in) {
  gp_status status = check_part(net, index, part);
  if (status != GP_OK) return status;
  const nn_slot *slot = &net->slots[index];
  if (param_of(net, slot)->is_int64) {
    memcpy(&net->counters[slot->offset], in, sizeof(int64_t));
    return GP_OK;
  }
  float *to = stored(net, slot, part);
  if (slot->layout != NULL)
    return net->device_class->weight_write(net->device, net->graph->nodes[slot->node], slot->layout, in, to);
  memcpy(to, in, slot->floats * sizeof(float));
  return GP_OK;
}

nn_arenas nn_net_arenas(const nn_net *net) { return net->arenas; }

int32_t nn_net_layer_count(const nn_net *net) { return net->graph->count; }

nn_layer_info nn_net_layer(const nn_net *net, int32_t index) {
  const nn_node *node = net->graph->nodes[index];
  nn_layer_info info = {.name = node->name, .op = nn_op_name(node->op), .output = node->shape, .macs = node->macs};
  for (int32_t p = 0; p < node->param_count; ++p)
    if (node->params[p].is_parameter) info.parameters += net->slots[net->first_slot[index] + p].elements;
  nn_tensor tensor = nn_net_tensor(net, index, 1);
  info.activation_bytes = (int64_t)nn_tensor_bytes(&tensor);
  info.of_images = node->input_count > 0 && net->graph->nodes[node->inputs[0]]->op == NN_OP_INPUT;
  for (int32_t k = 0; k < node->input_count; ++k) {
    tensor = nn_net_tensor(net, node->inputs[k], 1);
    info.input_bytes += (int64_t)nn_tensor_bytes(&tensor);
  }
  return info;
}

const nn_node *nn_net_node(const nn_net *net, nn_ref x) { return net->graph->nodes[x]; }

nn_ref nn_net_logits(const nn_net *net) { return net->graph->logits; }

int32_t nn_net_first_state(const nn_net *net, nn_ref x) { return net->first_slot[x]; }

int64_t nn_net_parameter_count(const nn_net *net) {
  int64_t sum = 0;
  for (int32_t i = 0; i < net->slot_count; ++i)
    if (param_of(net, &net->slots[i])->is_parameter) sum += net->slots[i].elements;
  return sum;
}

int64_t nn_net_macs(const nn_net *net) {
  int64_t sum = 0;
  for (int32_t i = 0; i < net->graph->count; ++i) sum += net->graph->nodes[i]->macs;
  return sum;
}

nn_shape nn_net_input_shape(const nn_net *net) { return net->graph->nodes[0]->shape; }

int64_t nn_net_classes(const nn_net *net) { return nn_shape_of(net->graph, net->graph->logits).channels; }
