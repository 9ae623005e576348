/* Inside of the models floor: a family is a table of nets and one builder. */
#ifndef GP_MODELS_REGISTRY_H
#define GP_MODELS_REGISTRY_H

#include "models/models.h"

/* A choice of pooling (spec: "Pooling choices of a net"). */
typedef struct model_pooling {
  const char *name;
  bool skip; /* no pooling: the strided convolution does it */
  gp_pool_kind kind;
  gp_stochasticity stochasticity;
  const char *plain; /* another name of the same, which is the one to be stored; NULL: `name` is */
} model_pooling;

typedef struct model_context model_context;

typedef struct model_family {
  model_usual usual;
  nn_init_rule convolution_init;    /* of every convolution, those that guide poolings included */
  bool needs_pooling;               /* without a strided convolution to take over, `skip` is refused */
  const char *(*arch)(int32_t net); /* name of a line of the family's table; NULL past its end */
  nn_ref (*build)(const model_context *m, nn_ref x, int32_t net); /* images to logits */
  bool (*hint)(const char *arch, char text[MODEL_HINT_SIZE]);     /* model_arch_hint() for its nets; NULL: never */
} model_family;

extern const model_family model_resnet, model_resnet_p, model_cifar_resnet, model_vgg, model_densenet;

/* What a builder works on. */
struct model_context {
  nn_graph *graph;
  const model_desc *desc;
  const model_family *family;
  const model_pooling *pooling;
};

/* A window of a pooling. */
typedef struct model_window {
  int32_t kernel, stride, padding;
} model_window;

/* The chosen pooling, its guiding head included, under `name` within the current scope. Not for `skip`. */
nn_ref model_pool(const model_context *m, nn_ref x, const char *name, model_window window);

/* Max pooling, whatever was chosen. */
nn_ref model_max_pool(const model_context *m, nn_ref x, const char *name, model_window window);

#endif
