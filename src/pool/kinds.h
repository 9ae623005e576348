/* The table of pooling kinds: what each is called, what it takes and which body computes it. A new kind is a line in
 * kinds.c, and a body or link only if it is a new formula. */
#ifndef GP_POOL_KINDS_H
#define GP_POOL_KINDS_H

#include <gausspool/gausspool.h>

/* What is computed over a window. */
typedef enum gp_pool_body {
  GP_BODY_GAUSSIAN,   /* m + W·s */
  GP_BODY_MEAN,       /* m */
  GP_BODY_MAX,        /* max x_i */
  GP_BODY_SOFTMAX,    /* Σ p_i·x_i, p = softmax(W·x) */
  GP_BODY_STOCHASTIC, /* Σ p_i·x_i, p_i ∝ max(x_i, 0), or an x_i drawn from p */
  GP_BODY_MIXED,      /* W·max x_i + (1 - W)·m */
  GP_BODY_LP,         /* (K/R·Σ |x_i|^norm)^(1/norm) */
} gp_pool_body;

/* Where the weight W of a body comes from. */
typedef enum gp_pool_link {
  GP_LINK_NONE,     /* there is no W */
  GP_LINK_SOFTPLUS, /* softplus(mu + sigma·e) */
  GP_LINK_IDENTITY, /* mu + sigma·e */
  GP_LINK_ABSOLUTE, /* |sigma·e|, or sigma·sqrt(2/π) without a draw */
  GP_LINK_GIVEN,    /* the caller's array */
  GP_LINK_ONE,      /* 1 */
  GP_LINK_GATE,     /* sigmoid(Σ ω_i·x_i), ω the caller's array of the kernel's size */
} gp_pool_link;

typedef enum gp_pool_draw_kind {
  GP_DRAWS_NOTHING,
  GP_DRAWS_NORMAL,
  GP_DRAWS_UNIFORM,
} gp_pool_draw_kind;

typedef struct gp_pool_kind_info {
  const char *name;
  gp_pool_body body;
  gp_pool_link link;
  gp_pool_draw_kind draws;
} gp_pool_kind_info;

/* The kind's line of the table, or NULL when there is no such kind. */
const gp_pool_kind_info *gp_pool_kind_find(gp_pool_kind kind);

/* Which arrays a kind takes. */
static inline bool gp_pool_kind_has_mu(const gp_pool_kind_info *kind) {
  return kind->link == GP_LINK_SOFTPLUS || kind->link == GP_LINK_IDENTITY;
}
static inline bool gp_pool_kind_has_sigma(const gp_pool_kind_info *kind) { return kind->draws == GP_DRAWS_NORMAL; }
static inline bool gp_pool_kind_has_weight(const gp_pool_kind_info *kind) {
  return kind->link == GP_LINK_GIVEN || kind->link == GP_LINK_GATE;
}

#endif
