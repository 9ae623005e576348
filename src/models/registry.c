#include "models/registry.h"

#include <stdio.h>
#include <string.h>

#include "base/status.h"

static const model_family families[] = {
    {"resnet8", 8, model_cifar_resnet},   {"resnet20", 20, model_cifar_resnet}, {"resnet32", 32, model_cifar_resnet},
    {"resnet44", 44, model_cifar_resnet}, {"resnet56", 56, model_cifar_resnet},
};

static const model_pooling poolings[] = {
    {.name = "skip", .skip = true},
    {.name = "max", .kind = GP_POOL_MAX},
    {.name = "avg", .kind = GP_POOL_AVERAGE},
    {.name = "gauss_CN", .guided = true, .kind = GP_POOL_ISP_GAUSSIAN, .stochasticity = GP_STOCHASTIC_CN},
    {.name = "gauss_HWCN", .guided = true, .kind = GP_POOL_ISP_GAUSSIAN, .stochasticity = GP_STOCHASTIC_HWCN},
    /* The names of the published code, where the device was part of the name. */
    {.name = "gauss_cuda_CN", .guided = true, .kind = GP_POOL_ISP_GAUSSIAN, .stochasticity = GP_STOCHASTIC_CN},
    {.name = "gauss_cuda_HWCN", .guided = true, .kind = GP_POOL_ISP_GAUSSIAN, .stochasticity = GP_STOCHASTIC_HWCN},
};

enum { FAMILIES = sizeof families / sizeof families[0], POOLINGS = sizeof poolings / sizeof poolings[0] };

const char *model_arch_name(int32_t index) { return index >= 0 && index < FAMILIES ? families[index].arch : NULL; }

const char *model_pool_name(int32_t index) { return index >= 0 && index < POOLINGS ? poolings[index].name : NULL; }

/* "a, b, c", cut where it does not fit. */
static void join(char *out, size_t size, const char *(*name)(int32_t)) {
  size_t used = 0;
  out[0] = '\0';
  for (int32_t i = 0; name(i) != NULL && used < size; ++i)
    used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : ", ", name(i));
}

static gp_status unknown(const char *what, const char *found, const char *(*name)(int32_t)) {
  char known[512];
  join(known, sizeof known, name);
  return gp_fail(GP_ERROR_NOT_FOUND, "unknown %s '%s'; known: %s", what, found, known);
}

gp_status model_build(nn_graph **out, const model_desc *desc) {
  const model_family *family = NULL;
  model_context m = {.desc = desc};
  gp_status status = GP_OK;
  *out = NULL;
  for (int32_t i = 0; i < FAMILIES; ++i)
    if (strcmp(families[i].arch, desc->arch) == 0) family = &families[i];
  for (int32_t i = 0; i < POOLINGS; ++i)
    if (strcmp(poolings[i].name, desc->pool) == 0) m.pooling = &poolings[i];
  if (family == NULL) GP_TRY(unknown("net", desc->arch, model_arch_name));
  if (m.pooling == NULL) GP_TRY(unknown("pooling", desc->pool, model_pool_name));
  if (desc->classes < 1)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "%lld classes, expected at least 1", (long long)desc->classes));
  GP_TRY(nn_graph_create(&m.graph));
  nn_ref images = nn_input(m.graph, desc->channels, desc->height, desc->width);
  nn_ref logits = family->build(&m, images, family->depth);
  nn_cross_entropy(m.graph, logits, &(nn_cross_entropy_desc){.label_smoothing = desc->label_smoothing});
  *out = m.graph; /* its own errors are reported when a net is made of it */
cleanup:
  return status;
}
