/* Inside of the models floor: a family is a table of nets and one builder. */
#ifndef GP_MODELS_REGISTRY_H
#define GP_MODELS_REGISTRY_H

#include "models/models.h"

/* A choice of pooling (spec: "Pooling choices of a net"). */
typedef struct model_pooling {
  const char *name;
  bool skip;   /* no pooling: the strided convolution does it */
  bool guided; /* a GFGP head gives mu and sigma */
  gp_pool_kind kind;
  gp_stochasticity stochasticity;
} model_pooling;

/* What a builder works on. */
typedef struct model_context {
  nn_graph *graph;
  const model_desc *desc;
  const model_pooling *pooling;
} model_context;

typedef struct model_family {
  const char *arch;
  int32_t depth; /* what the builder makes of it is the family's matter */
  nn_ref (*build)(const model_context *m, nn_ref x, int32_t depth); /* images to logits */
} model_family;

nn_ref model_cifar_resnet(const model_context *m, nn_ref x, int32_t depth);

/* The chosen pooling, its guiding head included, under `name` within the current scope. Not for `skip`. */
nn_ref model_pool(const model_context *m, nn_ref x, const char *name, int32_t kernel, int32_t stride, int32_t padding);

#endif
