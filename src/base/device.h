/* Functions that a CUDA kernel calls too. */
#ifndef GP_BASE_DEVICE_H
#define GP_BASE_DEVICE_H

/* For host and device where nvcc compiles, nothing elsewhere. */
#if defined(__CUDACC__)
#define GP_HD __host__ __device__
#else
#define GP_HD
#endif

/* Before a loop of a kernel over a thread's registers, which only exist once it is unrolled; or over more than that. */
#if defined(__CUDACC__)
#define GP_UNROLL    _Pragma("unroll")
#define GP_NO_UNROLL _Pragma("unroll 1")
#define GP_NOINLINE  __noinline__
#else
#define GP_UNROLL
#define GP_NO_UNROLL
#define GP_NOINLINE __attribute__((noinline))
#endif

#endif
