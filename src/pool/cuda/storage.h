/* The types of tensors on the device, and packs: runs of elements as a thread holds them, read and written as wide as they lie. */
#ifndef GP_POOL_CUDA_STORAGE_H
#define GP_POOL_CUDA_STORAGE_H

#include "base/half.h"
#include "base/normal.h"

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

/* N elements side by side, as they lie in memory: registers of 32 bits that hold EACH of them. */
template <typename T, int N>
struct Pack {
  static constexpr int EACH = (int)(4 / sizeof(T)), WORDS = (N + EACH - 1) / EACH;
  uint32_t word[WORDS];
};

/* The element of a word at `place`, below EACH. */
GP_HD inline float element(float, uint32_t word, int) { return gp_float_of_bits(word); }
GP_HD inline float element(bfloat16, uint32_t word, int place) {
  return gp_float_of_bits(place == 0 ? word << 16 : word & 0xFFFF0000u);
}
GP_HD inline float element(float16, uint32_t word, int place) {
  return real_of(float16{(uint16_t)(place == 0 ? word : word >> 16)});
}

/* A word from as many elements as it holds: two 16-bit ones are rounded by one instruction where there is one. */
GP_HD inline uint32_t word_of(float, const float (&value)[1]) { return gp_bits_of_float(value[0]); }
GP_HD inline uint32_t word_of(bfloat16, const float (&value)[2]) {
#if defined(__CUDA_ARCH__)
  __nv_bfloat162 both = __floats2bfloat162_rn(value[0], value[1]);
  return __bfloat16_as_ushort(both.x) | (uint32_t)__bfloat16_as_ushort(both.y) << 16;
#else
  return gp_bfloat16_of_float(value[0]) | (uint32_t)gp_bfloat16_of_float(value[1]) << 16;
#endif
}
GP_HD inline uint32_t word_of(float16, const float (&value)[2]) {
#if defined(__CUDA_ARCH__)
  __half2 both = __floats2half2_rn(value[0], value[1]);
  return __half_as_ushort(both.x) | (uint32_t)__half_as_ushort(both.y) << 16;
#else
  return gp_float16_of_float(value[0]) | (uint32_t)gp_float16_of_float(value[1]) << 16;
#endif
}

/* Elements of one access to a run of N. */
template <typename T, int N>
GP_HD constexpr int access_of() {
  return N * sizeof(T) < 16 ? N : (int)(16 / sizeof(T));
}

/* One element as the bits of a word. */
GP_HD inline uint32_t load_bits(const float *place) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(__ldg(place));
#else
  return gp_bits_of_float(*place);
#endif
}
template <typename T>
GP_HD inline uint32_t load_bits(const T *place) {
#if defined(__CUDA_ARCH__)
  return __ldg(&place->bits);
#else
  return place->bits;
#endif
}

/* One element from the low bits of a word. Typed: a copy of bytes would be stored byte by byte on the device. */
GP_HD inline void store_bits(float *place, uint32_t bits) { *place = gp_float_of_bits(bits); }
template <typename T>
GP_HD inline void store_bits(T *place, uint32_t bits) {
  place->bits = (uint16_t)bits;
}

/* `BYTES` (4, 8 or 16, aligned to as many) to or from `word` by one instruction. The loads are for what no thread of the kernel
 * writes. The stores are intrinsics, too: assigned, the words would be stored one by one. */
template <size_t BYTES>
GP_HD inline void load_words(uint32_t *word, const void *place) {
#if defined(__CUDA_ARCH__)
  if constexpr (BYTES == 16) {
    uint4 words = __ldg((const uint4 *)place);
    word[0] = words.x;
    word[1] = words.y;
    word[2] = words.z;
    word[3] = words.w;
  } else if constexpr (BYTES == 8) {
    uint2 words = __ldg((const uint2 *)place);
    word[0] = words.x;
    word[1] = words.y;
  } else {
    word[0] = __ldg((const uint32_t *)place);
  }
#else
  memcpy(word, place, BYTES);
#endif
}

template <size_t BYTES>
GP_HD inline void store_words(void *place, const uint32_t *word) {
#if defined(__CUDA_ARCH__)
  if constexpr (BYTES == 16)
    __stwb((uint4 *)place, make_uint4(word[0], word[1], word[2], word[3]));
  else if constexpr (BYTES == 8)
    __stwb((uint2 *)place, make_uint2(word[0], word[1]));
  else
    __stwb((uint32_t *)place, word[0]);
#else
  memcpy(place, word, BYTES);
#endif
}

/* A pack from elements that lie side by side, aligned to an access. */
template <typename T, int N>
GP_HD inline void load_pack(Pack<T, N> &pack, const T *place) {
  constexpr int count = access_of<T, N>();
  constexpr size_t bytes = count * sizeof(T);
  GP_UNROLL
  for (int i = 0; i < N / count; ++i) load_words<bytes>(pack.word + i * (bytes / 4), place + i * count);
}

template <typename T, int N>
GP_HD inline void store_pack(T *place, const Pack<T, N> &pack) {
  constexpr int count = access_of<T, N>();
  constexpr size_t bytes = count * sizeof(T);
  GP_UNROLL
  for (int i = 0; i < N / count; ++i) store_words<bytes>(place + i * count, pack.word + i * (bytes / 4));
}

}  // namespace gausspool

#endif
