#include "pool/kinds.h"

static const gp_pool_kind_info kinds[] = {
    [GP_POOL_ISP_GAUSSIAN] = {"iSP-Gaussian", GP_BODY_GAUSSIAN, GP_LINK_SOFTPLUS},
    [GP_POOL_WEIGHTED] = {"weighted", GP_BODY_GAUSSIAN, GP_LINK_GIVEN},
    [GP_POOL_AVERAGE] = {"average", GP_BODY_MEAN, GP_LINK_NONE},
    [GP_POOL_MAX] = {"max", GP_BODY_MAX, GP_LINK_NONE},
};

const gp_pool_kind_info *gp_pool_kind_find(gp_pool_kind kind) {
  return (size_t)kind < sizeof kinds / sizeof kinds[0] ? &kinds[kind] : NULL;
}
