#include "models/registry.h"

#include <stdio.h>
#include <string.h>

#include "base/status.h"

static const model_family *const families[] = {&model_cifar_resnet, &model_resnet, &model_resnet_p, &model_vgg,
                                               &model_densenet};

static const model_pooling poolings[] = {
    {.name = "skip", .skip = true},
    {.name = "max", .kind = GP_POOL_MAX},
    {.name = "avg", .kind = GP_POOL_AVERAGE},
    {.name = "gauss_CN", .kind = GP_POOL_ISP_GAUSSIAN, .stochasticity = GP_STOCHASTIC_CN},
    {.name = "gauss_HWCN", .kind = GP_POOL_ISP_GAUSSIAN, .stochasticity = GP_STOCHASTIC_HWCN},
    {.name = "half_gauss_CN", .kind = GP_POOL_HALF_GAUSSIAN, .stochasticity = GP_STOCHASTIC_CN},
    {.name = "half_gauss_HWCN", .kind = GP_POOL_HALF_GAUSSIAN, .stochasticity = GP_STOCHASTIC_HWCN},
    {.name = "gaussian_CN", .kind = GP_POOL_GAUSSIAN, .stochasticity = GP_STOCHASTIC_CN},
    {.name = "gaussian_HWCN", .kind = GP_POOL_GAUSSIAN, .stochasticity = GP_STOCHASTIC_HWCN},
    {.name = "max_ent", .kind = GP_POOL_MAX_ENTROPY},
    {.name = "softpool", .kind = GP_POOL_SOFTPOOL},
    {.name = "stochastic", .kind = GP_POOL_STOCHASTIC, .stochasticity = GP_STOCHASTIC_HWCN},
    {.name = "mixed", .kind = GP_POOL_MIXED},
    {.name = "gated", .kind = GP_POOL_GATED},
    {.name = "lp", .kind = GP_POOL_LP},
    /* The names of the published code, where the device was part of the name. */
    {.name = "gauss_cuda_CN", .kind = GP_POOL_ISP_GAUSSIAN, .stochasticity = GP_STOCHASTIC_CN, .plain = "gauss_CN"},
    {.name = "gauss_cuda_HWCN",
     .kind = GP_POOL_ISP_GAUSSIAN,
     .stochasticity = GP_STOCHASTIC_HWCN,
     .plain = "gauss_HWCN"},
};

enum { FAMILIES = sizeof families / sizeof families[0], POOLINGS = sizeof poolings / sizeof poolings[0] };

/* A line of a family's table. */
typedef struct place {
  const model_family *family;
  int32_t net;
} place;

/* Net `index` of all families one behind the other; no family past the end. */
static place place_of(int32_t index) {
  for (int32_t f = 0; f < FAMILIES && index >= 0; ++f) {
    int32_t nets = 0;
    while (nets <= index && families[f]->arch(nets) != NULL) ++nets;
    if (nets > index) return (place){families[f], index};
    index -= nets;
  }
  return (place){NULL, 0};
}

const char *model_arch_name(int32_t index) {
  place at = place_of(index);
  return at.family != NULL ? at.family->arch(at.net) : NULL;
}

const char *model_pool_name(int32_t index) { return index >= 0 && index < POOLINGS ? poolings[index].name : NULL; }

const char *model_pool_plain_name(const char *pool) {
  for (int32_t i = 0; i < POOLINGS; ++i)
    if (poolings[i].plain != NULL && strcmp(poolings[i].name, pool) == 0) return poolings[i].plain;
  return pool;
}

/* "a, b, c", cut where it does not fit. */
static void join(char *out, size_t size, const char *(*name)(int32_t)) {
  size_t used = 0;
  out[0] = '\0';
  for (int32_t i = 0; name(i) != NULL && used < size; ++i)
    used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : ", ", name(i));
}

static gp_status unknown(const char *what, const char *found, const char *(*name)(int32_t)) {
  char known[1024];
  join(known, sizeof known, name);
  return gp_fail(GP_ERROR_NOT_FOUND, "unknown %s '%s'; known: %s", what, found, known);
}

bool model_arch_hint(const char *arch, char text[MODEL_HINT_SIZE]) {
  for (int32_t f = 0; f < FAMILIES; ++f)
    if (families[f]->hint != NULL && families[f]->hint(arch, text)) return true;
  return false;
}

static gp_status find_arch(place *out, const char *arch) {
  for (int32_t i = 0; model_arch_name(i) != NULL; ++i)
    if (strcmp(model_arch_name(i), arch) == 0) {
      *out = place_of(i);
      return GP_OK;
    }
  char hint[MODEL_HINT_SIZE];
  if (model_arch_hint(arch, hint)) return gp_fail(GP_ERROR_NOT_FOUND, "unknown net '%s'; %s", arch, hint);
  return unknown("net", arch, model_arch_name);
}

static gp_status find_pooling(const model_pooling **out, const char *pool) {
  for (int32_t i = 0; i < POOLINGS; ++i)
    if (strcmp(poolings[i].name, pool) == 0) {
      *out = &poolings[i];
      return GP_OK;
    }
  return unknown("pooling", pool, model_pool_name);
}

gp_status model_usual_of(model_usual *out, const char *arch) {
  place at = {NULL, 0};
  gp_status status = find_arch(&at, arch);
  if (status == GP_OK) *out = at.family->usual;
  return status;
}

static gp_status check(const model_context *m) {
  if (m->desc->classes < 1)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%lld classes, expected at least 1", (long long)m->desc->classes);
  if (m->pooling->skip && m->family->needs_pooling)
    return gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "%s has no pooling '%s': there is no strided convolution that could take its place", m->desc->arch,
                   m->pooling->name);
  return GP_OK;
}

gp_status model_build(nn_graph **out, const model_desc *desc) {
  place at = {NULL, 0};
  model_context m = {.desc = desc};
  gp_status status = GP_OK;
  *out = NULL;
  GP_TRY(find_arch(&at, desc->arch));
  GP_TRY(find_pooling(&m.pooling, desc->pool));
  m.family = at.family;
  GP_TRY(check(&m));
  GP_TRY(nn_graph_create(&m.graph));
  nn_ref images = nn_input(m.graph, desc->channels, desc->height, desc->width);
  nn_ref logits = at.family->build(&m, images, at.net);
  nn_cross_entropy(m.graph, logits, &(nn_cross_entropy_desc){.label_smoothing = desc->label_smoothing});
  status = nn_graph_status(m.graph);
  if (status != GP_OK)
    GP_TRY(gp_fail_in(status, "%s with pooling '%s' for images of %lldx%lld", desc->arch, desc->pool,
                      (long long)desc->height, (long long)desc->width));
  *out = m.graph;
  m.graph = NULL;
cleanup:
  nn_graph_destroy(&m.graph);
  return status;
}
