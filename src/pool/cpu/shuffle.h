/* Shuffles of two vectors' lanes within quarters of four lanes, which cost one instruction each. */
#ifndef GP_POOL_CPU_SHUFFLE_H
#define GP_POOL_CPU_SHUFFLE_H

#include "pool/cpu/simd.h"

#if defined(__clang__) || __GNUC__ >= 12
#define GP_SHUFFLE(a, b, ...) (vf) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define GP_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

GP_INLINE vf gp_low_singles(vf a, vf b) {
#if defined(__AVX512F__)
  return GP_SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
#elif defined(__AVX2__)
  return GP_SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
#else
  return GP_SHUFFLE(a, b, 0, 4, 1, 5);
#endif
}
GP_INLINE vf gp_high_singles(vf a, vf b) {
#if defined(__AVX512F__)
  return GP_SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
#elif defined(__AVX2__)
  return GP_SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
#else
  return GP_SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}
GP_INLINE vf gp_low_pairs(vf a, vf b) {
#if defined(__AVX512F__)
  return GP_SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
#elif defined(__AVX2__)
  return GP_SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
#else
  return GP_SHUFFLE(a, b, 0, 1, 4, 5);
#endif
}
GP_INLINE vf gp_high_pairs(vf a, vf b) {
#if defined(__AVX512F__)
  return GP_SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
#elif defined(__AVX2__)
  return GP_SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
#else
  return GP_SHUFFLE(a, b, 2, 3, 6, 7);
#endif
}

#endif
