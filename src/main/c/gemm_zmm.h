/* gemm_zmm.h - 512-bit vectors for gemm_lanes.h: tiles of 14 x 32 leave four registers for B and the broadcasts. */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define VEC __m512
#define WIDTH 16
#define ROWS 14
#define VLOAD(p) _mm512_load_ps(p)
#define VLOADU(p) _mm512_loadu_ps(p)
#define VSTORE(p, v) _mm512_store_ps(p, v)
#define VSTOREU(p, v) _mm512_storeu_ps(p, v)
#define VZERO() _mm512_setzero_ps()
#define VADD(a, b) _mm512_add_ps(a, b)
#define VBROADCAST(p) _mm512_set1_ps(*(p))
#define VFMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define VSUM(v) _mm512_reduce_add_ps(v)
#define VBF16(p) \
  _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))), 16))
#define VHALF(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))

/* Finite values to the nearest bf16, ties to even. */
static inline __m512 round_vector(__m512 v) {
  __m512i u = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  u = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  return _mm512_castsi512_ps(_mm512_and_si512(u, _mm512_set1_epi32(-0x10000)));
}

static inline void store_bf16(uint16_t *out, __m512 v) {
  const __m512i u = _mm512_castps_si512(v), high = _mm512_srli_epi32(u, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i halves = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), high, _mm512_set1_epi32(0x40));
  _mm256_storeu_si256((__m256i *)out, _mm512_cvtepi32_epi16(halves));
}
#define VSTORE_BF16(p, v) store_bf16(p, v)

#define NF4_TABLE __m512
static inline __m512 nf4_round(__m512 table) { return round_vector(table); }
static inline __m512 nf4_table(const float *code, float absmax) {
  return _mm512_mul_ps(_mm512_loadu_ps(code), _mm512_set1_ps(absmax));
}
/* Byte j becomes lanes 2j (its high nibble) and 2j+1; vpermps looks at the low four bits only. */
static inline __m512 nf4_values(__m512 table, const uint8_t *codes) {
  __m512i bytes = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)codes));
  __m512i both = _mm512_shuffle_epi32(bytes, _MM_PERM_CCAA);
  __m512i index = _mm512_srlv_epi32(both, _mm512_set1_epi64(4));
  return _mm512_permutexvar_ps(index, table);
}
#define VNF4(table, p) nf4_values(table, p)
/* 16 bytes are 32 weights; these are the 16 even ones (high nibbles), the 16 odd ones. */
#define NF4_BYTES __m512i
#define VBYTES(p) _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(p)))
#define VEVEN(table, bytes) _mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table)
#define VODD(table, bytes) _mm512_permutexvar_ps(bytes, table)

static inline void transpose16(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

static inline __attribute__((always_inline)) void transpose_of(uint32_t *out, int64_t width, const char *in,
                                                               int64_t stride, int32_t rows, int32_t fill,
                                                               int64_t steps, const bool halves) {
  const __mmask16 kept = (__mmask16)((1u << fill) - 1);
  for (int64_t s = 0; s < steps; s += 16) {
    const int count = steps - s < 16 ? (int)(steps - s) : 16;
    const __mmask16 present = (__mmask16)((1u << count) - 1);
    __m512i r[16];
    for (int i = 0; i < 16; i++) {
      _mm_prefetch(in + (i + rows) * stride + (halves ? 2 : 4) * s, _MM_HINT_T0); /* the next strip */
      const char *lanes = in + i * stride + (halves ? 2 : 4) * s;
      if (i >= rows) {
        r[i] = _mm512_setzero_si512();
      } else if (halves) {
        r[i] = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(present, lanes)), 16);
      } else {
        r[i] = _mm512_maskz_loadu_epi32(present, lanes);
      }
    }
    transpose16(r);
    if (count == 16) {
      for (int i = 0; i < 16; i++) _mm512_mask_storeu_epi32(out + (s + i) * width, kept, r[i]);
    } else {
      for (int i = 0; i < count; i++) _mm512_mask_storeu_epi32(out + (s + i) * width, kept, r[i]);
    }
  }
}

static void transpose(uint32_t *out, int64_t width, const void *in, int64_t stride, int32_t rows, int32_t fill,
                      int64_t steps) {
  transpose_of(out, width, in, stride, rows, fill, steps, false);
}
