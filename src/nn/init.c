/* First values of a net's state. */
#include <string.h>

#include "base/memory.h"
#include "base/normal.h"
#include "base/philox.h"
#include "base/status.h"
#include "nn/net.h"

/* FNV-1a: the stream of a tensor's draws is its name, so that nets that share layers start alike. */
static uint64_t hash_name(const char *name) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (; *name != '\0'; ++name) hash = (hash ^ (uint8_t)*name) * 0x100000001B3u;
  return hash;
}

static void fill(float *out, int64_t elements, const nn_param *param, uint64_t key) {
  for (int64_t i = 0; i < elements; i += 4) {
    float draws[4] = {0};
    gp_philox_block block = gp_philox(key, (uint32_t)(i / 4), (uint32_t)((i / 4) >> 32), 0, 0);
    if (param->fill == NN_FILL_NORMAL) gp_normal4(block, draws);
    for (int64_t j = 0; j < 4 && i + j < elements; ++j) {
      if (param->fill == NN_FILL_CONSTANT) out[i + j] = (float)param->fill_value;
      if (param->fill == NN_FILL_NORMAL) out[i + j] = draws[j] * (float)param->fill_value;
      if (param->fill == NN_FILL_UNIFORM)
        out[i + j] = (2 * gp_unit_float(block.word[j]) - 1) * (float)param->fill_value;
    }
  }
}

gp_status nn_net_init(nn_net *net, uint64_t seed) {
  gp_status status = GP_OK;
  float *values = NULL;
  int64_t largest = 0;
  for (int32_t i = 0; i < net->slot_count; ++i)
    if (net->slots[i].elements > largest) largest = net->slots[i].elements;
  GP_TRY(GP_ALLOC(&values, (size_t)largest));
  for (int32_t i = 0; i < net->slot_count; ++i) {
    const nn_slot *slot = &net->slots[i];
    const nn_param *param = &net->graph->nodes[slot->node]->params[slot->place];
    if (param->is_int64) {
      net->counters[slot->offset] = 0;
      continue;
    }
    fill(values, slot->elements, param, gp_mix_seed(seed, hash_name(slot->name)));
    GP_TRY(nn_net_state_write(net, i, NN_VALUE, values));
  }
  if (net->arenas.momentum != NULL) memset(net->arenas.momentum, 0, net->arenas.count * sizeof(float));
cleanup:
  gp_free(values);
  return status;
}
