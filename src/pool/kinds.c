#include "pool/kinds.h"

static const gp_pool_kind_info kinds[] = {
    [GP_POOL_ISP_GAUSSIAN] = {"isp_gaussian", GP_BODY_GAUSSIAN, GP_LINK_SOFTPLUS, GP_DRAWS_NORMAL},
    [GP_POOL_WEIGHTED] = {"weighted", GP_BODY_GAUSSIAN, GP_LINK_GIVEN, GP_DRAWS_NOTHING},
    [GP_POOL_AVERAGE] = {"average", GP_BODY_MEAN, GP_LINK_NONE, GP_DRAWS_NOTHING},
    [GP_POOL_MAX] = {"max", GP_BODY_MAX, GP_LINK_NONE, GP_DRAWS_NOTHING},
    [GP_POOL_GAUSSIAN] = {"gaussian", GP_BODY_GAUSSIAN, GP_LINK_IDENTITY, GP_DRAWS_NORMAL},
    [GP_POOL_HALF_GAUSSIAN] = {"half_gaussian", GP_BODY_GAUSSIAN, GP_LINK_ABSOLUTE, GP_DRAWS_NORMAL},
    [GP_POOL_MAX_ENTROPY] = {"max_entropy", GP_BODY_SOFTMAX, GP_LINK_GIVEN, GP_DRAWS_NOTHING},
    [GP_POOL_SOFTPOOL] = {"softpool", GP_BODY_SOFTMAX, GP_LINK_ONE, GP_DRAWS_NOTHING},
    [GP_POOL_STOCHASTIC] = {"stochastic", GP_BODY_STOCHASTIC, GP_LINK_NONE, GP_DRAWS_UNIFORM},
    [GP_POOL_MIXED] = {"mixed", GP_BODY_MIXED, GP_LINK_GIVEN, GP_DRAWS_NOTHING},
    [GP_POOL_GATED] = {"gated", GP_BODY_MIXED, GP_LINK_GATE, GP_DRAWS_NOTHING},
    [GP_POOL_LP] = {"lp", GP_BODY_LP, GP_LINK_NONE, GP_DRAWS_NOTHING},
};

const gp_pool_kind_info *gp_pool_kind_find(gp_pool_kind kind) {
  return (size_t)kind < sizeof kinds / sizeof kinds[0] ? &kinds[kind] : NULL;
}

const char *gp_pool_kind_name(gp_pool_kind kind) {
  const gp_pool_kind_info *info = gp_pool_kind_find(kind);
  return info != NULL ? info->name : NULL;
}
