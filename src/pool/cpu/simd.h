/* Vectors of GP_LANES floats, as wide as the instruction set this file is compiled for. Arithmetic is the compiler's
 * vector extension (+ - * / and comparisons, which give masks of all ones); here is what that lacks, and loads and stores
 * of floats. Tensors of other types: storage.h. */
#ifndef GP_POOL_CPU_SIMD_H
#define GP_POOL_CPU_SIMD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
enum { GP_LANES = 16 };
#define GP_LANES_LOG    4
#define GP_VECTOR_BYTES 64
#elif defined(__AVX2__)
enum { GP_LANES = 8 };
#define GP_LANES_LOG    3
#define GP_VECTOR_BYTES 32
#else
enum { GP_LANES = 4 };
#define GP_LANES_LOG    2
#define GP_VECTOR_BYTES 16
#endif

#define GP_INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(GP_VECTOR_BYTES)));
typedef int32_t vi __attribute__((vector_size(GP_VECTOR_BYTES)));
typedef uint32_t vu __attribute__((vector_size(GP_VECTOR_BYTES)));
typedef uint64_t vu64 __attribute__((vector_size(GP_VECTOR_BYTES)));
/* In memory: at any float. Accesses alias floats only, so that the loops' integers stay in registers. */
typedef float vf_memory __attribute__((vector_size(GP_VECTOR_BYTES), aligned(sizeof(float))));

/* x - 0 rather than 0 + x keeps the sign of -0. */
GP_INLINE vf vf_set(float value) { return value - (vf){0}; }

GP_INLINE vf vf_select(vi mask, vf yes, vf no) {
#if defined(__AVX512F__)
  return (vf)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)mask), (__m512)no, (__m512)yes);
#elif defined(__AVX2__)
  return (vf)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)mask);
#elif defined(__aarch64__)
  return (vf)vbslq_f32((uint32x4_t)mask, (float32x4_t)yes, (float32x4_t)no);
#else
  return (vf)((mask & (vi)yes) | (~mask & (vi)no));
#endif
}

/* The larger; b where one of them is NaN. */
GP_INLINE vf vf_larger(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
  return vf_select(a > b, a, b);
#endif
}

GP_INLINE vf vf_absolute(vf a) { return (vf)((vi)a & 0x7FFFFFFF); }

#if defined(__AVX2__) && !defined(__AVX512F__)
/* Mask of the first `count` lanes. */
GP_INLINE __m256i vi_first(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

/* The first `count` lanes from memory, zeros in the others. count is GP_LANES in all but a run's last vector, and a
 * constant there once inlined. */
GP_INLINE vf vf_load(const float *from, int count) {
  if (count == GP_LANES) return *(const vf_memory *)from;
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#elif defined(__AVX2__)
  return (vf)_mm256_maskload_ps(from, vi_first(count));
#else
  vf value = {0};
  for (int i = 0; i < count; ++i) value[i] = from[i];
  return value;
#endif
}

#if defined(__SSE2__) && !defined(__AVX512F__)
/* In pieces: stores under a mask are slow on some processors. */
GP_INLINE void vf_store_first(float *to, vf value, int count) {
#if defined(__AVX2__)
  __m128 rest = _mm256_castps256_ps128((__m256)value);
  if (count & 4) {
    _mm_storeu_ps(to, rest);
    rest = _mm256_extractf128_ps((__m256)value, 1);
    to += 4;
  }
#else
  __m128 rest = (__m128)value;
#endif
  if (count & 2) {
    _mm_storel_pi((__m64 *)(void *)to, rest);
    rest = _mm_movehl_ps(rest, rest);
    to += 2;
  }
  if (count & 1) _mm_store_ss(to, rest);
}
#endif

/* The first `count` lanes to memory. */
GP_INLINE void vf_store(float *to, vf value, int count) {
  if (count == GP_LANES) {
    *(vf_memory *)to = value;
    return;
  }
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)value);
#elif defined(__SSE2__)
  vf_store_first(to, value, count);
#else
  for (int i = 0; i < count; ++i) to[i] = value[i];
#endif
}

GP_INLINE vf vf_sqrt(vf value) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)value);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)value);
#elif defined(__SSE2__)
  return (vf)_mm_sqrt_ps((__m128)value);
#elif defined(__aarch64__)
  return (vf)vsqrtq_f32((float32x4_t)value);
#else
  for (int i = 0; i < GP_LANES; ++i) value[i] = __builtin_sqrtf(value[i]);
  return value;
#endif
}

/* Whether any lane of a mask is set. */
GP_INLINE bool vi_any(vi mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)mask) != 0;
#elif defined(__aarch64__)
  return vmaxvq_u32((uint32x4_t)mask) != 0;
#else
  int32_t any = 0;
  for (int i = 0; i < GP_LANES; ++i) any |= mask[i];
  return any != 0;
#endif
}

/* Products of the even lanes (as pairs of words) with a constant below 2^32. */
GP_INLINE vu64 vu_multiply_even(vu a, uint32_t constant) {
#if defined(__AVX512F__)
  return (vu64)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi32((int)constant));
#elif defined(__AVX2__)
  return (vu64)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi32((int)constant));
#elif defined(__SSE2__)
  return (vu64)_mm_mul_epu32((__m128i)a, _mm_set1_epi32((int)constant));
#elif defined(__aarch64__)
  return (vu64)vmull_n_u32(vmovn_u64((uint64x2_t)a), constant);
#else
  return ((vu64)a & 0xFFFFFFFFu) * constant;
#endif
}

/* Stores past the caches, for outputs too large to stay there; `to` is aligned to the vector. What was stored so is seen by
 * other threads after gp_stream_end(). */
GP_INLINE void vf_stream(float *to, vf value) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)value);
#elif defined(__AVX2__)
  _mm256_stream_ps(to, (__m256)value);
#elif defined(__SSE2__)
  _mm_stream_ps(to, (__m128)value);
#else
  *(vf_memory *)to = value;
#endif
}
GP_INLINE void gp_stream_end(void) {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

/* Every lane of one half of `a`, at the even places, and the other half. Which lanes these are is vu_join's affair. */
GP_INLINE vu64 vu_lower(vu a) {
#if defined(__AVX512F__)
  return (vu64)_mm512_unpacklo_epi32((__m512i)a, (__m512i)a);
#elif defined(__AVX2__)
  return (vu64)_mm256_unpacklo_epi32((__m256i)a, (__m256i)a);
#elif defined(__SSE2__)
  return (vu64)_mm_unpacklo_epi32((__m128i)a, (__m128i)a);
#else
  return (vu64)(vu){a[0], a[0], a[1], a[1]};
#endif
}
GP_INLINE vu64 vu_upper(vu a) {
#if defined(__AVX512F__)
  return (vu64)_mm512_unpackhi_epi32((__m512i)a, (__m512i)a);
#elif defined(__AVX2__)
  return (vu64)_mm256_unpackhi_epi32((__m256i)a, (__m256i)a);
#elif defined(__SSE2__)
  return (vu64)_mm_unpackhi_epi32((__m128i)a, (__m128i)a);
#else
  return (vu64)(vu){a[2], a[2], a[3], a[3]};
#endif
}

/* The even places of both, in the order of before vu_lower and vu_upper. */
GP_INLINE vu vu_join(vu64 lower, vu64 upper) {
#if defined(__AVX512F__)
  return (vu)_mm512_shuffle_ps((__m512)lower, (__m512)upper, 0x88);
#elif defined(__AVX2__)
  return (vu)_mm256_shuffle_ps((__m256)lower, (__m256)upper, 0x88);
#elif defined(__SSE2__)
  return (vu)_mm_shuffle_ps((__m128)lower, (__m128)upper, 0x88);
#elif defined(__aarch64__)
  return (vu)vuzp1q_u32((uint32x4_t)lower, (uint32x4_t)upper);
#else
  vu a = (vu)lower, b = (vu)upper;
  return (vu){a[0], a[2], b[0], b[2]};
#endif
}

#endif
