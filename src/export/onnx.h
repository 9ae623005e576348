/* ONNX files (https://onnx.ai): a net at inference, in standard operators that others can run. */
#ifndef GP_EXPORT_ONNX_H
#define GP_EXPORT_ONNX_H

#include "train/model_file.h"

enum { ONNX_OPSET = 13 };
#define ONNX_INPUT  "input"
#define ONNX_OUTPUT "logits"

typedef struct onnx_summary {
  int64_t nodes, initializers;
  int64_t bytes; /* of the file */
} onnx_summary;

/* GP_ERROR_UNSUPPORTED, naming the packages to install, where the program was built without what writes ONNX. */
GP_NODISCARD gp_status onnx_available(void);

/* Writes the net, built of `info` and filled, atomically (train/atomic_file.h). Input "input" [batch][channels][height][width]
 * float32, normalised as the model file says; output "logits" [batch][classes]; any batch size. Weights stand under their names
 * in the state dict; what describes model and images is in metadata_props under the model file's keys. `summary` may be NULL.
 * Errors: GP_ERROR_UNSUPPORTED as above, for what has no form in these operators, and for a model of 2 GiB or more, which
 * is protobuf's limit; those of the atomic file. */
GP_NODISCARD gp_status onnx_write(const char *path, const nn_net *net, const model_info *info, onnx_summary *summary);

#endif
