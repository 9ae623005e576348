/* Poolings at inference in ONNX's operators. Private to this floor. */
#ifndef GP_EXPORT_ONNX_POOL_H
#define GP_EXPORT_ONNX_POOL_H

#include "export/onnx_model.h"

/* What a pooling reads: x [n][c][h][w]; mu, sigma and weight as guides [n][c][1][1], or its own weight: [1] of mixed, the mask
 * [kernel][kernel] of gated. NULL for those that its kind has not. */
typedef struct onnx_pool_inputs {
  onnx_value x, mu, sigma, weight;
} onnx_pool_inputs;

/* [n][c][h'][w']. `operation` tells kind, windows, and the shape of x. */
onnx_value onnx_pool(onnx_model *m, const gp_pool_desc *operation, const onnx_pool_inputs *in);

/* Averages over height × width cells, as torch.nn.AdaptiveAvgPool2d, of x [n][c][from[0]][from[1]]. */
onnx_value onnx_adaptive_average(onnx_model *m, onnx_value x, const int64_t from[2], const int64_t to[2]);

#endif
