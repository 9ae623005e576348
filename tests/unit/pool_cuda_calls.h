/* How test_pool_cuda calls the CUDA library: with its kernels on the host (pool_cuda_on_host.c) or on a device
 * (pool_cuda_on_device.c). */
#ifndef POOL_CUDA_CALLS_H
#define POOL_CUDA_CALLS_H

#include "pool_case.h"

enum { POOL_CUDA_SKIP = 77 }; /* exit status of a test that could not run */

extern const pool_calls pool_cuda_calls;

/* Whether the kernels work on the test's own memory. */
extern const bool pool_cuda_in_place;

/* Whether there is what the calls need; says what is missing otherwise. */
bool pool_cuda_ready(void);

#endif
