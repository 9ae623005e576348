/* The types of tensors on the device, and runs of elements read and written as wide as they lie. */
#ifndef GP_POOL_CUDA_STORAGE_H
#define GP_POOL_CUDA_STORAGE_H

#include "base/half.h"

#include <string.h>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace gausspool {

struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};

/* What a type is computed in, which also is the type of mu, sigma and other small arrays. */
template <typename T>
struct Computing {
  using Real = float;
};
template <>
struct Computing<double> {
  using Real = double;
};

GP_HD inline float real_of(float value) { return value; }
GP_HD inline double real_of(double value) { return value; }
GP_HD inline float real_of(bfloat16 value) { return gp_float_of_bfloat16(value.bits); }
GP_HD inline float real_of(float16 value) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(value.bits));
#else
  return gp_float_of_float16(value.bits);
#endif
}

/* Rounds to nearest even. */
GP_HD inline void put(float &place, float value) { place = value; }
GP_HD inline void put(float &place, double value) { place = (float)value; }
GP_HD inline void put(double &place, double value) { place = value; }
GP_HD inline void put(bfloat16 &place, float value) {
#if defined(__CUDA_ARCH__)
  place.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
  place.bits = gp_bfloat16_of_float(value);
#endif
}
GP_HD inline void put(float16 &place, float value) {
#if defined(__CUDA_ARCH__)
  place.bits = __half_as_ushort(__float2half_rn(value));
#else
  place.bits = gp_float16_of_float(value);
#endif
}

/* Words of 2, 4, 8 and 16 bytes, which a thread loads or stores by one instruction. */
template <size_t BYTES>
struct Word;
#if defined(__CUDACC__)
template <>
struct Word<16> {
  using type = uint4;
};
template <>
struct Word<8> {
  using type = uint2;
};
#else
struct alignas(16) Word16 {
  uint32_t of[4];
};
template <>
struct Word<16> {
  using type = Word16;
};
template <>
struct Word<8> {
  using type = uint64_t;
};
#endif
template <>
struct Word<4> {
  using type = uint32_t;
};
template <>
struct Word<2> {
  using type = uint16_t;
};

/* Bytes of one access to a run of that many bytes. */
GP_HD constexpr size_t access_bytes(size_t run) { return run < 16 ? run : 16; }

/* How a run is read: by the read-only path, which is for what no thread of the kernel writes, or plainly. */
enum Reading { READ_ONLY, READ_PLAIN };

template <Reading HOW, typename W>
GP_HD inline W read_word(const W *word) {
#if defined(__CUDA_ARCH__)
  if (HOW == READ_ONLY) return __ldg(word);
#endif
  return *word;
}

/* `N` elements from `place`, `stride` apart; with `whole` they lie side by side, aligned to the access. Those from `count` on
 * are not read, and are 0. */
template <Reading HOW = READ_ONLY, typename T, int N, typename Real>
GP_HD inline void load_run(Real (&out)[N], const T *place, int64_t stride, int count, bool whole) {
  constexpr size_t bytes = access_bytes(N * sizeof(T));
  constexpr int each = (int)(bytes / sizeof(T));
  using W = typename Word<bytes>::type;
  if (whole && count >= N) {
    T values[N];
    GP_UNROLL
    for (int i = 0; i < N / each; ++i) {
      W word = read_word<HOW>((const W *)(const void *)(place + i * each));
      memcpy(values + i * each, &word, bytes);
    }
    GP_UNROLL
    for (int i = 0; i < N; ++i) out[i] = real_of(values[i]);
  } else {
    GP_UNROLL
    for (int i = 0; i < N; ++i) out[i] = i < count ? (Real)real_of(place[i * stride]) : (Real)0;
  }
}

/* Stores those before `count`. */
template <typename T, int N, typename Real>
GP_HD inline void store_run(T *place, const Real (&values)[N], int64_t stride, int count, bool whole) {
  constexpr size_t bytes = access_bytes(N * sizeof(T));
  constexpr int each = (int)(bytes / sizeof(T));
  using W = typename Word<bytes>::type;
  if (whole && count >= N) {
    T rounded[N];
    GP_UNROLL
    for (int i = 0; i < N; ++i) put(rounded[i], values[i]);
    GP_UNROLL
    for (int i = 0; i < N / each; ++i) {
      W word;
      memcpy(&word, rounded + i * each, bytes);
      *(W *)(void *)(place + i * each) = word;
    }
  } else {
    GP_UNROLL
    for (int i = 0; i < N; ++i)
      if (i < count) put(place[i * stride], values[i]);
  }
}

/* V channels that lie side by side and aligned (V = 1: always); zeros where there is nothing `inside`. */
template <Reading HOW = READ_ONLY, typename T, int V>
GP_HD inline void load_channels(float (&out)[V], const T *place, bool inside) {
  T values[V] = {};
  using W = typename Word<V * sizeof(T)>::type;
  if (inside) {
    W word = read_word<HOW>((const W *)(const void *)place);
    memcpy(values, &word, sizeof word);
  }
  GP_UNROLL
  for (int v = 0; v < V; ++v) out[v] = real_of(values[v]);
}

template <typename T, int V>
GP_HD inline void store_channels(T *place, const float (&values)[V]) {
  T rounded[V];
  using W = typename Word<V * sizeof(T)>::type;
  GP_UNROLL
  for (int v = 0; v < V; ++v) put(rounded[v], values[v]);
  W word;
  memcpy(&word, rounded, sizeof word);
  *(W *)(void *)place = word;
}

}  // namespace gausspool

#endif
