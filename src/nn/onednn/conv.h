/* What a convolution's kernel and the storage of its weight share. */
#ifndef GP_NN_ONEDNN_CONV_H
#define GP_NN_ONEDNN_CONV_H

#include "nn/onednn/primitive.h"

/* How a weight is stored: nn_device_class's weight layout. Always float32. */
typedef struct od_weight {
  od_md md;
  /* The library has only a scalar loop for groups of fewer channels than a block has. So many of them are joined into one
   * group of a block's channels, with zeros between channels of different groups; 1: each is on its own. */
  int32_t joined;
  /* Float i, unless it is padding, belongs to output channel i / run · block + i % block; 0: to none so regular. */
  int64_t block, run;
} od_weight;

/* dst = stored with each output channel times its factor; `factors` has as many as there are channels. Needs a weight with
 * regular channels. */
void od_weight_scale(const od_weight *weight, int64_t channels, const float *factors, const float *stored, float *dst);

/* What both passes start from. Zero-initialise; od_conv_shapes_clear() releases it. */
typedef struct od_conv_shapes {
  od_md src, dst, bias;
  od_md any_weights, any_gradient; /* in any order; the weight of the type of src and dst, its gradient float32 */
  od_window window;
} od_conv_shapes;
/* in and out are of one type. */
GP_NODISCARD gp_status od_conv_shapes_create(od_conv_shapes *s, const nn_node *node, int32_t joined,
                                             const nn_tensor *in, const nn_tensor *out);
void od_conv_shapes_clear(od_conv_shapes *s);

/* For a weight of joined groups: 1 where a value of the weight is stored, 0 elsewhere, `floats` of them. gp_free() it. */
GP_NODISCARD gp_status od_weight_mask(nn_device *device, const nn_node *node, const od_weight *stored, float **mask,
                                      size_t *floats);

#endif
