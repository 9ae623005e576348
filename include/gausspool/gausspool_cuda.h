/* gausspool on CUDA: the operator of gausspool.h on tensors in a GPU's memory.
 *
 * The kernels are in a library of their own, libgausspool_cuda, which libgausspool loads when one of these functions is first
 * called: from the path in the environment variable GAUSSPOOL_CUDA_LIBRARY, from the folder that libgausspool lies in, or from
 * where the system looks for libraries. So one build of everything else serves machines with and without a GPU. A program may
 * as well link libgausspool_cuda itself, which has all of these functions and needs nothing of libgausspool.
 *
 * Calls queue their kernels on the caller's stream and return: they neither allocate nor synchronise, use no other stream, and
 * can be captured into a CUDA graph. The device is the one that x lies on, or going backward grad_y; the thread's current
 * device is left as it was. A thread that has not set one has device 0, says CUDA, and setting that again makes a context on it
 * (since CUDA 12): for tensors on another device call cudaSetDevice beforehand.
 * Descriptors and arguments are those of gausspool.h, with pointers to device memory throughout, and so are the results: the
 * same draws bit for bit, sums in a fixed order, and no atomics; the same call gives the same bits, on tensors that are aligned
 * alike. `threads` is ignored. In a captured graph the descriptor's seed is that of every replay; `seed` of the arguments is
 * read on the device each time. */
#ifndef GAUSSPOOL_GAUSSPOOL_CUDA_H
#define GAUSSPOOL_GAUSSPOOL_CUDA_H

#include <gausspool/gausspool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether the calls below can work: GP_ERROR_NOT_FOUND without libgausspool_cuda, GP_ERROR_UNSUPPORTED without a driver or a
 * device, GP_ERROR_LIBRARY with CUDA's words for whatever else it reports. */
GP_API GP_NODISCARD gp_status gp_cuda_available(void);

/* Scratch memory on the device, in bytes, that the calls need; it need not be cleared. Unlike on the CPU, forward may need some
 * without average_y, too. */
GP_API GP_NODISCARD gp_status gp_cuda_pool_forward_workspace(const gp_pool_desc *desc, size_t *bytes);
GP_API GP_NODISCARD gp_status gp_cuda_pool_backward_workspace(const gp_pool_desc *desc, size_t *bytes);

/* As gp_pool_forward and gp_pool_backward, on `stream`, a cudaStream_t; NULL is CUDA's default stream. `workspace` must be of
 * the bytes above, aligned to 64, where these are not 0, and in use by nothing else until the stream is past the call.
 * Errors, besides theirs: GP_ERROR_INVALID_ARGUMENT where x (backward: grad_y) is not device memory, GP_ERROR_UNSUPPORTED for tensors beyond the
 * kernels' grids or without a device, GP_ERROR_LIBRARY where CUDA refuses a launch or reports an earlier kernel's
 * error. */
GP_API GP_NODISCARD gp_status gp_cuda_pool_forward(const gp_pool_desc *desc, const gp_pool_forward_args *args,
                                                   void *stream);
GP_API GP_NODISCARD gp_status gp_cuda_pool_backward(const gp_pool_desc *desc, const gp_pool_backward_args *args,
                                                    void *stream);

#ifdef __cplusplus
}
#endif

#endif
