/* Moving channels between layouts and types. */
#ifndef GP_NN_LAYOUT_H
#define GP_NN_LAYOUT_H

#include "nn/device.h"

/* Copies `channels` channels of src, from src_first on, over those of dst from dst_first on. The two tensors agree in
 * batch, height and width, not in layout and type. Padding lanes are left as they are. */
void nn_copy_channels(const nn_tensor *src_desc, const void *src, int64_t src_first, const nn_tensor *dst_desc,
                      void *dst, int64_t dst_first, int64_t channels);

/* The whole tensor into one of the same shape, of which the padding lanes become zero. */
void nn_copy_tensor(const nn_tensor *src_desc, const void *src, const nn_tensor *dst_desc, void *dst);

/* Puts zeros into the padding lanes behind the last channel: what is in them ends up in the gradients of weights'
 * padding, and so in the weights'. */
void nn_clear_padding(const nn_tensor *desc, void *data);

/* True when the two hold the same bytes for the same values. */
bool nn_same_order(const nn_tensor *a, const nn_tensor *b);

#endif
