/* Elements of the tensors' type, which this file is compiled for, to and from vectors of floats. GP_STORAGE is the
 * gp_dtype: 0, GP_FLOAT32, or one of the 16-bit types. As base/half.h, bit for bit. */
#ifndef GP_POOL_CPU_STORAGE_H
#define GP_POOL_CPU_STORAGE_H

#include "base/half.h"
#include "pool/cpu/simd.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "elements of 16 bits are read and written in pairs and fours, in little-endian order"
#endif

#define GP_STORAGE_FLOAT32  0
#define GP_STORAGE_BFLOAT16 2
#define GP_STORAGE_FLOAT16  3
_Static_assert(GP_STORAGE_BFLOAT16 == GP_BFLOAT16 && GP_STORAGE_FLOAT16 == GP_FLOAT16, "as in gausspool.h");

#if GP_STORAGE == GP_STORAGE_FLOAT32

typedef float gp_element;
GP_INLINE vf vf_load_element(const gp_element *from, int count) { return vf_load(from, count); }
GP_INLINE void vf_store_element(gp_element *to, vf value, int count) { vf_store(to, value, count); }
GP_INLINE void vf_stream_element(gp_element *to, vf value) { vf_stream(to, value); }
GP_INLINE float gp_float_of_element(gp_element element) { return element; }
GP_INLINE gp_element gp_element_of_float(float value) { return value; }

#else

typedef uint16_t gp_element;
typedef uint16_t vh __attribute__((vector_size(GP_VECTOR_BYTES / 2)));
typedef uint16_t vh_memory __attribute__((vector_size(GP_VECTOR_BYTES / 2), aligned(sizeof(uint16_t))));

#if GP_STORAGE == GP_STORAGE_BFLOAT16

GP_INLINE float gp_float_of_element(gp_element element) { return gp_float_of_bfloat16(element); }
GP_INLINE gp_element gp_element_of_float(float value) { return gp_bfloat16_of_float(value); }
GP_INLINE vf vf_of_vh(vh half) {
#if defined(__AVX512F__)
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
#elif defined(__AVX2__)
  return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)half), 16);
#else
  return (vf)(__builtin_convertvector(half, vu) << 16);
#endif
}
/* In the upper halves; what is in the lower ones is not meant. */
GP_INLINE vu vu_of_bfloat16(vf value) {
  vu bits = (vu)value;
  vu rounded = bits + (bits >> 16 & 1u) + 0x7FFFu;
  return (vu)vf_select(value != value, (vf)((vu){0} + 0x7FC00000u), (vf)rounded);
}
GP_INLINE vh vh_of_vf(vf value) {
  vu rounded = vu_of_bfloat16(value) >> 16;
#if defined(__AVX512F__)
  return (vh)_mm512_cvtepi32_epi16((__m512i)rounded);
#elif defined(__AVX2__)
  __m256i packed = _mm256_packus_epi32((__m256i)rounded, (__m256i)rounded);
  return (vh)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
  return __builtin_convertvector(rounded, vh);
#endif
}

#else

GP_INLINE float gp_float_of_element(gp_element element) { return gp_float_of_float16(element); }
GP_INLINE gp_element gp_element_of_float(float value) { return gp_float16_of_float(value); }
#if defined(__AVX512F__)
GP_INLINE vf vf_of_vh(vh half) { return (vf)_mm512_cvtph_ps((__m256i)half); }
GP_INLINE vh vh_of_vf(vf value) { return (vh)_mm512_cvtps_ph((__m512)value, _MM_FROUND_TO_NEAREST_INT); }
#elif defined(__F16C__)
GP_INLINE vf vf_of_vh(vh half) { return (vf)_mm256_cvtph_ps((__m128i)half); }
GP_INLINE vh vh_of_vf(vf value) { return (vh)_mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT); }
#elif defined(__aarch64__)
GP_INLINE vf vf_of_vh(vh half) { return (vf)vcvt_f32_f16((float16x4_t)half); }
GP_INLINE vh vh_of_vf(vf value) { return (vh)vcvt_f16_f32((float32x4_t)value); }
#else
GP_INLINE vf vf_of_vh(vh half) {
  vf value = {0};
  for (int i = 0; i < GP_LANES; ++i) value[i] = gp_float_of_float16(half[i]);
  return value;
}
GP_INLINE vh vh_of_vf(vf value) {
  vh half = {0};
  for (int i = 0; i < GP_LANES; ++i) half[i] = gp_float16_of_float(value[i]);
  return half;
}
#endif
#endif

#if !defined(__AVX512F__)
/* The first `count` of four elements, zeros in the others. By way of an integer: a vector loaded from what was stored in
 * pieces would wait for them. */
GP_INLINE uint64_t gp_load_first(const gp_element *from, int count) {
  uint64_t word = 0;
  uint32_t two;
  if (count >= 4) {
    memcpy(&word, from, sizeof word);
    return word;
  }
  if (count & 1) word = (uint64_t)from[count - 1] << 16 * (count - 1);
  if (count & 2) {
    memcpy(&two, from, sizeof two);
    word |= two;
  }
  return word;
}

/* The first `bytes` of a vector, an even number, in pieces. */
GP_INLINE void gp_store_pieces(void *to, const void *from, int bytes) {
  char *target = to;
  const char *source = from;
  for (int piece = GP_VECTOR_BYTES / 2; piece >= 2; piece /= 2) {
    if ((bytes & piece) == 0) continue;
    memcpy(target, source, (size_t)piece);
    target += piece;
    source += piece;
  }
}
#endif

GP_INLINE vf vf_load_element(const gp_element *from, int count) {
  if (count == GP_LANES) return vf_of_vh(*(const vh_memory *)from);
#if defined(__AVX512F__)
  return vf_of_vh((vh)_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1), from));
#else
  uint64_t words[GP_LANES / 4] = {gp_load_first(from, count)};
  if (count > 4) words[GP_LANES / 4 - 1] = gp_load_first(from + 4, count - 4);
  vh half;
  memcpy(&half, words, sizeof half);
  return vf_of_vh(half);
#endif
}
GP_INLINE void vf_store_element(gp_element *to, vf value, int count) {
  vh half = vh_of_vf(value);
  if (count == GP_LANES) {
    *(vh_memory *)to = half;
    return;
  }
#if defined(__AVX512F__)
  _mm256_mask_storeu_epi16(to, (__mmask16)((1u << count) - 1), (__m256i)half);
#else
  gp_store_pieces(to, &half, count * (int)sizeof(gp_element));
#endif
}
GP_INLINE void vf_stream_element(gp_element *to, vf value) {
  vh half = vh_of_vf(value);
#if defined(__AVX512F__)
  _mm256_stream_si256((__m256i *)to, (__m256i)half);
#elif defined(__AVX2__)
  _mm_stream_si128((__m128i *)to, (__m128i)half);
#else
  *(vh_memory *)to = half;
#endif
}

#endif

#endif
