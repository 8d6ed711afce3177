/* vectors_avx512.h - vectors of 512 bits for the tiles of tile_product.h. */
#include <immintrin.h>

#define VEC __m512
#define LANES 16
#define WIDE 4
/* 32 registers: 6 x 4, 8 x 3 or 12 x 2 accumulators, nv operands, one broadcast; 12 x 1 hides the latency of 4. */
#define BLOCK_ROWS(nv) ((nv) == 4 ? 6 : (nv) == 3 ? 8 : 12)
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define ZERO() _mm512_setzero_ps()
#define SPLAT(x) _mm512_set1_ps(x)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define SUM(v) _mm512_reduce_add_ps(v)
#define LOAD_BF16(p) \
  _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))), 16))
