/*
 * tile_product.h - the small matrix product of tiles that lie in caches, and transposition; compiled once per instruction
 * set. The including file defines, by vectors_avx2.h or vectors_avx512.h,
 *   VEC, LANES        a vector of f32 and how many it holds
 *   WIDE              vectors of a row that one register block spans
 *   BLOCK_ROWS(nv)    rows of a register block nv vectors wide: accumulators, operands and a broadcast fit the registers
 *   LOAD STORE ZERO SPLAT FMA   unaligned; FMA(a, b, c) = a b + c
 */
#include <stdint.h>

/* What a product does to C; TILE_RESCALE multiplies column n of C by factor[n] before adding. */
enum { TILE_SET, TILE_ADD, TILE_RESCALE };

/*
 * One register block: C[r][n] = A[r][k] B[k][n], rows x (nv LANES), A[r][k] at a + r row_step + k depth_step. B's rows are
 * read in vectors, A's elements are broadcast, so that neither has to be rearranged: rows and depth of A change places by
 * their steps alone.
 */
static inline __attribute__((always_inline)) void tile_block(const int rows, const int nv, float *c, int64_t ldc,
                                                             const float *a, int64_t row_step, int64_t depth_step,
                                                             const float *b, int64_t ldb, int64_t depth, int mode,
                                                             const float *factor) {
  VEC sum[12][4];
#pragma GCC unroll 12
  for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
    for (int n = 0; n < nv; n++) sum[r][n] = ZERO();
  }
  /* One pointer for every three rows: base, base + step, base + 2 step are addressing modes. */
  const float *a0 = a, *a3 = a + 3 * row_step, *a6 = a + 6 * row_step, *a9 = a + 9 * row_step;
  for (int64_t k = 0; k < depth; k++) {
    VEC wide[4];
#pragma GCC unroll 4
    for (int n = 0; n < nv; n++) wide[n] = LOAD(b + n * LANES);
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
      const float *base = r < 3 ? a0 : r < 6 ? a3 : r < 9 ? a6 : a9;
      VEC left = SPLAT(base[(r % 3) * row_step]);
#pragma GCC unroll 4
      for (int n = 0; n < nv; n++) sum[r][n] = FMA(left, wide[n], sum[r][n]);
    }
    a0 += depth_step, a3 += depth_step, a6 += depth_step, a9 += depth_step, b += ldb;
  }
#pragma GCC unroll 12
  for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
    for (int n = 0; n < nv; n++) {
      float *at = c + r * ldc + n * LANES;
      VEC out = sum[r][n];
      if (mode == TILE_ADD) out = out + LOAD(at);
      if (mode == TILE_RESCALE) out = FMA(LOAD(at), LOAD(factor + n * LANES), out);
      STORE(at, out);
    }
  }
}

/* A column of blocks nv vectors wide: full blocks, then 8, 4, 2 and 1 rows. */
static inline __attribute__((always_inline)) void tile_column(const int nv, int64_t rows, float *c, int64_t ldc,
                                                              const float *a, int64_t row_step, int64_t depth_step,
                                                              const float *b, int64_t ldb, int64_t depth, int mode,
                                                              const float *factor) {
  const int full = BLOCK_ROWS(nv);
  int64_t r = 0;
#define TILE_BLOCK(count)                                                                                        \
  do {                                                                                                           \
    tile_block(count, nv, c + r * ldc, ldc, a + r * row_step, row_step, depth_step, b, ldb, depth, mode, factor); \
    r += count;                                                                                                  \
  } while (0)
  while (rows - r >= full) TILE_BLOCK(full);
  if (full > 8 && rows - r >= 8) TILE_BLOCK(8);
  if (full > 4 && rows - r >= 4) TILE_BLOCK(4);
  if (rows - r >= 2) TILE_BLOCK(2);
  if (rows - r >= 1) TILE_BLOCK(1);
#undef TILE_BLOCK
}

/* C (rows, columns) = or += A B for `columns` a multiple of LANES; mode and factor as above. */
static void tile_product(int64_t rows, int64_t columns, float *c, int64_t ldc, const float *a, int64_t row_step,
                         int64_t depth_step, const float *b, int64_t ldb, int64_t depth, int mode, const float *factor) {
  int64_t vectors = columns / LANES, spans = (vectors + WIDE - 1) / WIDE, n = 0;
  for (int64_t s = 0; s < spans; s++) {
    int64_t take = (vectors - n + (spans - s) - 1) / (spans - s); /* as even as possible: 6 vectors are 3 + 3 */
    float *cn = c + n * LANES;
    const float *bn = b + n * LANES, *fn = factor ? factor + n * LANES : cn;
    switch (take) {
      case 1: tile_column(1, rows, cn, ldc, a, row_step, depth_step, bn, ldb, depth, mode, fn); break;
      case 2: tile_column(2, rows, cn, ldc, a, row_step, depth_step, bn, ldb, depth, mode, fn); break;
#if WIDE > 2
      case 3: tile_column(3, rows, cn, ldc, a, row_step, depth_step, bn, ldb, depth, mode, fn); break;
      case 4: tile_column(4, rows, cn, ldc, a, row_step, depth_step, bn, ldb, depth, mode, fn); break;
#endif
      default: break;
    }
    n += take;
  }
}

/* out[c][r] = in[r][c] for c < columns, r < rows; blocks of 8 x 8 in registers, the rest one by one. */
static __attribute__((noipa)) void transpose(float *out, int64_t ldo, const float *in, int64_t ldi, int64_t rows, int64_t columns) {
  int64_t r = 0;
  for (; r + 8 <= rows; r += 8) {
    int64_t c = 0;
    for (; c + 8 <= columns; c += 8) {
      __m256 x[8], y[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) x[i] = _mm256_loadu_ps(in + (r + i) * ldi + c);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        y[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        y[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; i++) {
        x[4 * i] = _mm256_shuffle_ps(y[4 * i], y[4 * i + 2], 0x44);
        x[4 * i + 1] = _mm256_shuffle_ps(y[4 * i], y[4 * i + 2], 0xee);
        x[4 * i + 2] = _mm256_shuffle_ps(y[4 * i + 1], y[4 * i + 3], 0x44);
        x[4 * i + 3] = _mm256_shuffle_ps(y[4 * i + 1], y[4 * i + 3], 0xee);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + (c + i) * ldo + r, _mm256_permute2f128_ps(x[i], x[i + 4], 0x20));
        _mm256_storeu_ps(out + (c + i + 4) * ldo + r, _mm256_permute2f128_ps(x[i], x[i + 4], 0x31));
      }
    }
    for (; c < columns; c++) {
      for (int i = 0; i < 8; i++) out[c * ldo + r + i] = in[(r + i) * ldi + c];
    }
  }
  for (; r < rows; r++) {
    for (int64_t c = 0; c < columns; c++) out[c * ldo + r] = in[r * ldi + c];
  }
}
