/* gemm_avx2.c - f32 tiles of 6 x 16 with AVX2 and FMA. */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define VEC __m256
#define WIDTH 8
#define ROWS 6
#define VLOAD(p) _mm256_load_ps(p)
#define VLOADU(p) _mm256_loadu_ps(p)
#define VSTORE(p, v) _mm256_store_ps(p, v)
#define VSTOREU(p, v) _mm256_storeu_ps(p, v)
#define VZERO() _mm256_setzero_ps()
#define VADD(a, b) _mm256_add_ps(a, b)
#define VBROADCAST(p) _mm256_broadcast_ss(p)
#define VFMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define VTILE(x, b, c) _mm256_fmadd_ps(x, b, c)
#define VSUM(v) sum_lanes(v)
#define VHALF(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))

static inline float sum_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* Finite values to the nearest bf16, ties to even. */
static inline __m256 round_vector(__m256 v) {
  __m256i u = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  u = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  return _mm256_castsi256_ps(_mm256_and_si256(u, _mm256_set1_epi32(-0x10000)));
}

static inline void store_bf16(uint16_t *out, __m256 v) {
  const __m256i u = _mm256_castps_si256(v), high = _mm256_srli_epi32(u, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i halves = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(halves, halves), 0xd8);
  _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(packed));
}
#define VSTORE_BF16(p, v) store_bf16(p, v)

/* vpermps chooses among eight: the low and the high half of the code book, told apart by bit 3. */
typedef struct nf4_halves {
  __m256 low, high;
} nf4_halves;
#define NF4_TABLE nf4_halves
static inline nf4_halves nf4_table(const float *code, float absmax) {
  const __m256 a = _mm256_set1_ps(absmax);
  return (nf4_halves){_mm256_mul_ps(_mm256_loadu_ps(code), a), _mm256_mul_ps(_mm256_loadu_ps(code + 8), a)};
}
static inline nf4_halves nf4_round(nf4_halves table) {
  return (nf4_halves){round_vector(table.low), round_vector(table.high)};
}
static inline __m256 nf4_choose(nf4_halves table, __m256i index) {
  __m256 low = _mm256_permutevar8x32_ps(table.low, index), high = _mm256_permutevar8x32_ps(table.high, index);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}
/* Byte j becomes lanes 2j (its high nibble) and 2j+1. */
static inline __m256 nf4_values(nf4_halves table, const uint8_t *codes) {
  int32_t four;
  __builtin_memcpy(&four, codes, 4);
  __m256i bytes = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
  __m256i both = _mm256_shuffle_epi32(bytes, 0xa0);
  return nf4_choose(table, _mm256_srlv_epi32(both, _mm256_set1_epi64x(4)));
}
#define VNF4(table, p) nf4_values(table, p)
/* 8 bytes are 16 weights; these are the 8 even ones (high nibbles), the 8 odd ones. */
#define NF4_BYTES __m256i
#define VBYTES(p) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p)))
#define VEVEN(table, bytes) nf4_choose(table, _mm256_srli_epi32(bytes, 4))
#define VODD(table, bytes) nf4_choose(table, bytes)

static inline void transpose8(__m256 r[8]) {
  __m256 t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
  for (int i = 0; i < 8; i++) r[i] = t[i];
}

static inline __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline __m256 widen_bf16(const uint16_t *h) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)h)), 16));
}

/* `count` values of bf16 or f32 as lanes, zeros behind them. */
static inline __m256 lanes_of(const char *in, int64_t s, int count, const bool halves) {
  if (!halves) {
    const float *lane = (const float *)in + s;
    return count == 8 ? _mm256_loadu_ps(lane) : _mm256_maskload_ps(lane, first_lanes(count));
  }
  uint16_t last[8] = {0};
  const uint16_t *half = (const uint16_t *)in + s;
  if (count == 8) return widen_bf16(half);
  __builtin_memcpy(last, half, (size_t)count * sizeof *last);
  return widen_bf16(last);
}

/* Masked stores are many times slower than whole ones on some machines: only what needs them takes them. */
static inline __attribute__((always_inline)) void transpose_of(uint32_t *out, int64_t width, const char *in,
                                                               int64_t stride, int32_t rows, int32_t fill,
                                                               int64_t steps, const bool halves) {
  const __m256i kept = first_lanes(fill);
  for (int64_t s = 0; s < steps; s += 8) {
    const int count = steps - s < 8 ? (int)(steps - s) : 8;
    __m256 r[8];
    for (int i = 0; i < 8; i++) {
      __builtin_prefetch(in + (i + rows) * stride + (halves ? 2 : 4) * s); /* the next strip */
      r[i] = i < rows ? lanes_of(in + i * stride, s, count, halves) : _mm256_setzero_ps();
    }
    transpose8(r);
    float *lanes = (float *)out + s * width;
    if (count == 8 && fill == 8) {
      for (int i = 0; i < 8; i++) _mm256_storeu_ps(lanes + i * width, r[i]);
    } else {
      for (int i = 0; i < count; i++) _mm256_maskstore_ps(lanes + i * width, kept, r[i]);
    }
  }
}

static void transpose(uint32_t *out, int64_t width, const void *in, int64_t stride, int32_t rows, int32_t fill,
                      int64_t steps) {
  transpose_of(out, width, in, stride, rows, fill, steps, false);
}

static void transpose_bf16(uint32_t *out, int64_t width, const void *in, int64_t stride, int32_t rows, int32_t fill,
                           int64_t steps) {
  transpose_of(out, width, in, stride, rows, fill, steps, true);
}

#define VBF16(p) widen_bf16(p)
#define PAIRS 0
#include "gemm_lanes.h"

const hone_gemm_kernel hone_gemm_avx2 = {
    GEMM_COMMON, .transpose_bf16 = transpose_bf16, .gather = gather,
    .rows = ROWS, .pairs = false, .depth = 1, .stretch = 768};
