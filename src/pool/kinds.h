/* The table of pooling kinds: what each is called, what it takes and which body computes it. A new kind is a line in
 * kinds.c, and a body or link only if it is a new formula. */
#ifndef GP_POOL_KINDS_H
#define GP_POOL_KINDS_H

#include <gausspool/gausspool.h>

/* What is computed over a window. */
typedef enum gp_pool_body {
  GP_BODY_GAUSSIAN, /* m + W·s */
  GP_BODY_MEAN,     /* m */
  GP_BODY_MAX,      /* max x_i */
} gp_pool_body;

/* Where the weight W of GP_BODY_GAUSSIAN comes from. */
typedef enum gp_pool_link {
  GP_LINK_NONE,     /* there is no W */
  GP_LINK_SOFTPLUS, /* W = softplus(mu + sigma·e) */
  GP_LINK_GIVEN,    /* W is the caller's array */
} gp_pool_link;

typedef struct gp_pool_kind_info {
  const char *name;
  gp_pool_body body;
  gp_pool_link link;
} gp_pool_kind_info;

/* The kind's line of the table, or NULL when there is no such kind. */
const gp_pool_kind_info *gp_pool_kind_find(gp_pool_kind kind);

/* True when W is made from mu and sigma, so that the kind may draw. */
static inline bool gp_pool_kind_draws(const gp_pool_kind_info *kind) { return kind->link == GP_LINK_SOFTPLUS; }

#endif
