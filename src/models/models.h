/* Nets by name. */
#ifndef GP_MODELS_MODELS_H
#define GP_MODELS_MODELS_H

#include "nn/nn.h"

typedef struct model_desc {
  const char *arch; /* e.g. "resnet20" */
  const char *pool; /* e.g. "gauss_CN"; "skip" leaves the reduction to strided convolutions */
  int64_t classes;
  int64_t channels, height, width; /* of the images */
  bool zero_init_residual;         /* last batch norm of each residual block starts at zero */
  double label_smoothing;
} model_desc;

/* Builds the graph, loss included. Errors: GP_ERROR_NOT_FOUND for an unknown arch or pool, naming the known ones;
 * GP_ERROR_INVALID_ARGUMENT for a pooling that the net cannot have and for an image too small for the net. */
GP_NODISCARD gp_status model_build(nn_graph **out, const model_desc *desc);

/* Whether the name is that of torchvision's form of a net that is here under another name; writes one sentence that tells
 * which, and in what they differ. */
enum { MODEL_HINT_SIZE = 192 };
bool model_arch_hint(const char *arch, char text[MODEL_HINT_SIZE]);

/* The known names, for help texts: index from 0, NULL past the end. Nets of one family follow each other. */
const char *model_arch_name(int32_t index);
const char *model_pool_name(int32_t index);

/* The name under which a pooling is stored and compared: where it has two, the plainer one; others as they are. */
const char *model_pool_plain_name(const char *pool);

/* What a net was published for. */
typedef struct model_usual {
  const char *family;     /* e.g. "ResNet" */
  int64_t channels, side; /* of the images */
  int64_t classes;
} model_usual;

/* GP_ERROR_NOT_FOUND for an unknown arch, naming the known ones. */
GP_NODISCARD gp_status model_usual_of(model_usual *out, const char *arch);

#endif
