/* Inside of a net: state tensors in their arenas, and the activation arena that its plans share. */
#ifndef GP_NN_NET_H
#define GP_NN_NET_H

#include "nn/device.h"

/* Where a state tensor lies. */
typedef struct nn_slot {
  char *name;
  int32_t node, place; /* graph->nodes[node]->params[place] */
  int64_t elements;
  size_t offset, floats; /* within the parameter or the buffer arena; the counters for int64 */
  void *layout;          /* the device's storage layout; NULL: plain */
} nn_slot;

struct nn_net {
  nn_graph *graph;
  const nn_device_class *device_class;
  nn_device *device;
  nn_slot *slots;
  int32_t slot_count;
  int32_t *first_slot; /* of each node */
  nn_arenas arenas;    /* parameters and running statistics */
  int64_t *counters;
  void *activations; /* the arena of all plans, as large as the largest needs */
  size_t activation_bytes;
  uint32_t activation_generation; /* changes when it moves */
  const nn_plan *last_run;        /* whose values the arena holds; only compared */
};

/* How an activation lies on the net's device. */
nn_tensor nn_net_tensor(const nn_net *net, nn_ref x, int64_t batch);

/* Makes the activation arena at least this large. */
GP_NODISCARD gp_status nn_net_reserve_activations(nn_net *net, size_t bytes);

#endif
