/* Checks of a call's arguments, the same for every device. */
#ifndef GP_POOL_ARGUMENTS_H
#define GP_POOL_ARGUMENTS_H

#include "pool/shape.h"

/* How a query of scratch memory and a call begin: the descriptor's checks, and that there is something to write to or to read.
 * *bytes becomes 0. Errors: GP_ERROR_INVALID_ARGUMENT. */
GP_NODISCARD gp_status gp_pool_begin_query(gp_pool_plan *plan, const gp_pool_desc *desc, size_t *bytes);
GP_NODISCARD gp_status gp_pool_begin_call(gp_pool_plan *plan, const gp_pool_desc *desc, const void *args);

/* Whether all pointers are there that the plan's kind needs, aligned to their elements. Errors: GP_ERROR_INVALID_ARGUMENT. */
GP_NODISCARD gp_status gp_pool_check_forward(const gp_pool_plan *plan, const gp_pool_forward_args *args);
GP_NODISCARD gp_status gp_pool_check_backward(const gp_pool_plan *plan, const gp_pool_backward_args *args);

/* What a backward call has of the forward call's inputs. */
gp_pool_forward_args gp_pool_inputs(const gp_pool_backward_args *args);

/* The mean's gradient is the same for every x, but for a ReLU's. */
bool gp_pool_backward_reads_x(const gp_pool_plan *plan, const gp_pool_backward_args *args);

/* The gradients a kind has, the others set to NULL: the kernels look at nothing else. */
gp_pool_backward_args gp_pool_wanted_gradients(const gp_pool_plan *plan, const gp_pool_backward_args *args);

#endif
