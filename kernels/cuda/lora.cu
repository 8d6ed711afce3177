/*
 * The three skinny products of LoRA, s (d(x) A^T) B^T, f16 on the tensor cores of Turing (sm_75).
 *
 * Forward.   d[m,k] = keep[m,k] x[m,k] / (1-p),   keep[m,k] = uniform(seed, m K + k) >= p
 *            u = d(x) A^T                         lora_down  alpha = 1/(1-p)
 *            y = s u B^T                          lora_up    alpha = s, no dropout; the frozen product is added to it
 * Backward.  y = s u B^T, so e := dL/du = s dy B, which is lora_down of dy by B transposed (alpha = s, no dropout),
 *            and dB = s dy^T u, which is lora_grad of (u, dy): part (R,N), added up and transposed by lora_reduce.
 *            u = d A^T, so dA = e^T d: lora_grad of (e, x) with dropout;  dL/dd = e A, and d is linear in x:
 *            dx += keep / (1-p) (e A), which is lora_up of e by A transposed with dropout, alpha = 1/(1-p).
 * Shapes.    lora_down  x (M,K)  a (R,K), transposed (K,R), f32, rows lda apart  u (M,R), rows ldu apart, overwritten
 *            lora_up    u (M,R)  b (N,R), transposed (R,N), f32                  y (M,N), rows ldy apart
 *                       = or, with `accumulate`, +=
 *            lora_grad  e (M,R)  x (M,K)   part (splits,R,K) f32, overwritten: split s sums rows_per_split rows
 *            Any M, N, K and, for lora_up, any R; R <= the entry's R in the other two.
 * Memory.    x or y (read too where it accumulates) once through; the factors come from the second-level cache. Nothing of
 *            the mask is stored.
 * Rounding.  the factors are rounded to f16, products summed in f32 and multiplied by alpha there; u and y
 *            rounded once, after an addition, part stays f32. The mask zeroes elements; 1/(1-p) multiplies sums.
 * Mirrors.   src/main/c/lora.c - kernels/triton/lora.py (sm_80)
 */
// tiers: sm_75
// entry: hone_lora_down_{T}_r16 op=lora_down block=128 consts=BM:32,R:16
// entry: hone_lora_down_{T}_r32 op=lora_down block=128 consts=BM:32,R:32
// entry: hone_lora_down_{T}_r64 op=lora_down block=128 consts=BM:32,R:64
// entry: hone_lora_down_{T}_r128 op=lora_down block=128 consts=BM:32,R:128
// entry: hone_lora_up_{T}_t64x128 op=lora_up block=128 consts=BM:64,BN:128
// entry: hone_lora_up_{T}_t16x64 op=lora_up block=64 consts=BM:16,BN:64
// entry: hone_lora_grad_{T}_r16 op=lora_grad block=128 consts=R:16,BN:128
// entry: hone_lora_grad_{T}_r32 op=lora_grad block=128 consts=R:32,BN:128
// entry: hone_lora_grad_{T}_r64 op=lora_grad block=128 consts=R:64,BN:128
// entry: hone_lora_grad_{T}_r128 op=lora_grad block=128 consts=R:128,BN:64
#include "product.cuh"

using namespace hone;

/* ---- the mask and the f32 factors as operands ------------------------------------------------------------------- */

/* Uniform in [0,1) of one element, bit for bit hone_uniform of src/main/c/internal.h: splitmix64. */
__device__ __forceinline__ float uniform(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return (float)(uint32_t)(z >> 40) * 0x1p-24f;
}

/* Which elements of a matrix of rows of `cols` live. */
struct Mask {
  uint64_t seed, first; /* first: the index of element (0,0) of what is masked */
  int cols;
  float dropout;

  __device__ __forceinline__ Mask(uint64_t seed, float dropout, int cols, int row, int col)
      : seed(seed), first((uint64_t)row * cols + col), cols(cols), dropout(dropout) {}

  /* Bit i says whether (row, column(i)) lives. A loop: eight hashes side by side would fill the registers. */
  template <class COLUMN>
  __device__ __forceinline__ uint32_t of_eight(int row, COLUMN column) const {
    uint32_t kept = 0;
#pragma unroll 1
    for (int i = 0; i < CHUNK; i++) {
      kept |= (uint32_t)(uniform(seed, first + (uint64_t)row * cols + column(i)) >= dropout) << i;
    }
    return kept;
  }
};

/* All bits of the elements of a pair whose bits 0 and 1 are set. */
__device__ __forceinline__ uint32_t pair_mask(uint32_t kept) {
  return (kept & 1 ? 0x0000ffffu : 0) | (kept & 2 ? 0xffff0000u : 0);
}

/* A matrix behind a mask, not divided by 1 - dropout. */
template <class T>
struct Masked : Matrix<T> {
  Mask mask;

  __device__ __forceinline__ Masked(const Matrix<T> &matrix, const Mask &mask) : Matrix<T>(matrix), mask(mask) {}

  __device__ __forceinline__ uint4 finish(const uint4 &raw, int row, int col) const {
    if (mask.dropout <= 0) return raw;
    const uint32_t kept = mask.of_eight(row, [=](int i) { return col + i; });
    return make_uint4(raw.x & pair_mask(kept), raw.y & pair_mask(kept >> 2), raw.z & pair_mask(kept >> 4),
                      raw.w & pair_mask(kept >> 6));
  }
};

/* ---- u = alpha d(x) a^T ----------------------------------------------------------------------------------------- */

/*
 * T       f16
 * BM, BK  rows of a block and depth of a stage
 * RP       padded rank: the columns of a block
 * WN, WK  warps along the rank and sets of warps along the depth
 */
template <class T, int BM, int RP, int BK, int WN, int WK>
__device__ __forceinline__ void lora_down(T *u, const T *x, const float *a, int M, int K, int R, int ldu, int lda,
                                          float alpha, int transposed, float dropout, uint64_t seed) {
  using Tiles = Product<T, BM, RP, BK, 1, WN, WK>;
  __shared__ typename Tiles::Shared shared;
  const int row = blockIdx.x * BM, g = threadIdx.x % WARP / 4, t = threadIdx.x & 3;
  Tiles product;
  product.run(shared, Masked<T>(Matrix<T>(x, K, M, K).from(row, 0), Mask(seed, dropout, K, row, 0)),
              Factor<T>(a, lda, R, K, transposed != 0), K, M - row);
  if (WK > 1) product.add_parts(shared);
  if (product.part > 0) return;
#pragma unroll
  for (int i = 0; i < 2 * Tiles::MT; i++) {
    const int m = row + product.first_row + 8 * i + g;
#pragma unroll
    for (int j = 0; j < 2 * Tiles::NT; j++) {
      const int r = product.first_col + j / 2 * 8 + 2 * t + j % 2;
      const float value = alpha * product.sum[i / 2][j / 2][i % 2 * 2 + j % 2];
      if (m < M && r < R) ((uint16_t *)u)[(int64_t)m * ldu + r] = (uint16_t)pack<T>(value, 0);
    }
  }
}

/* ---- y = or += alpha keep (u b^T) ------------------------------------------------------------------------------- */

/*
 * T       f16
 * BM, BN  tile of y
 * WM, WN  warps along M and N
 */
template <class T, int BM, int BN, int WM, int WN>
__device__ __forceinline__ void lora_up(T *y, const T *u, const float *b, int M, int N, int R, int ldy, int ldu,
                                        int ldb, float alpha, int transposed, int accumulate, float dropout,
                                        uint64_t seed) {
  using Tiles = Product<T, BM, BN, 16, WM, WN>;
  __shared__ typename Tiles::Shared shared;
  const TilePlace at(blockIdx.x, M, N, BM, BN);
  const int g = threadIdx.x % WARP / 4, t = threadIdx.x & 3;
  Tiles product;
  product.run(shared, Matrix<T>(u, ldu, M, R).from(at.row, 0),
              Factor<T>(b, ldb, N, R, transposed != 0).from(at.col), R, M - at.row);
  const Result<T> out(y + (int64_t)at.row * ldy + at.col, ldy, M - at.row, N - at.col);
  const Mask mask(seed, dropout, N, at.row, at.col);
#pragma unroll
  for (int i = 0; i < 2 * Tiles::MT; i++) {
    const int m = product.first_row + 8 * i + g;
#pragma unroll
    for (int j = 0; j < Tiles::NT; j += 4) {
      const int n = product.first_col + CHUNK * j;
      const uint32_t kept =
          dropout > 0 ? mask.of_eight(m, [=](int i) { return n + CHUNK * (i / 2) + 2 * t + i % 2; }) : 0xff;
      float value[8];
#pragma unroll
      for (int e = 0; e < 8; e++) {
        value[e] = kept >> e & 1 ? alpha * product.sum[i / 2][j + e / 2][i % 2 * 2 + e % 2] : 0;
      }
      out.write(m, n, value, accumulate != 0);
    }
  }
}

/* ---- part[s] = e^T d(x) over the rows of split s ---------------------------------------------------------------- */

/*
 * T       f16
 * RP       padded rank: the rows of a block
 * BN      columns of a block
 * WM, WN  warps along the rank and along K
 */
template <class T, int RP, int BN, int WM, int WN>
__device__ __forceinline__ void lora_grad(float *part, const T *e, const T *x, int M, int K, int R, int lde,
                                          int rows_per_split, float dropout, uint64_t seed) {
  using Tiles = Product<T, RP, BN, 32, WM, WN, 1, true, true>;
  __shared__ typename Tiles::Shared shared;
  const int col = blockIdx.x * BN, g = threadIdx.x % WARP / 4, t = threadIdx.x & 3;
  const int row = min((int64_t)M, (int64_t)blockIdx.y * rows_per_split), end = row + min(rows_per_split, M - row);
  Tiles product;
  product.run(shared, Matrix<T>(e, lde, end, R).from(row, 0),
              Masked<T>(Matrix<T>(x, K, end, K).from(row, col), Mask(seed, dropout, K, row, col)), end - row, R);
  part += (int64_t)blockIdx.y * R * K;
#pragma unroll
  for (int i = 0; i < 2 * Tiles::MT; i++) {
    const int r = product.first_row + 8 * i + g;
#pragma unroll
    for (int j = 0; j < 2 * Tiles::NT; j++) {
      const int k = col + product.first_col + j / 2 * 8 + 2 * t + j % 2;
      if (r < R && k < K) part[(int64_t)r * K + k] = product.sum[i / 2][j / 2][i % 2 * 2 + j % 2];
    }
  }
}

/* ---- entries ---------------------------------------------------------------------------------------------------- */

#define HONE_LORA_DOWN(RANK, BK, WN, WK)                                                                               \
  extern "C" __global__ void __launch_bounds__(128, 3) hone_lora_down_f16_r##RANK(                                     \
      __half *u, const __half *x, const float *a, int M, int K, int R, int ldu, int lda, float alpha,                  \
      int transposed, float dropout, uint64_t seed) {                                                                  \
    lora_down<__half, 32, RANK, BK, WN, WK>(u, x, a, M, K, R, ldu, lda, alpha, transposed, dropout, seed);             \
  }
#define HONE_LORA_UP(BM, BN, WM, WN)                                                                                   \
  extern "C" __global__ void __launch_bounds__(WM *WN *WARP, 3) hone_lora_up_f16_t##BM##x##BN(                         \
      __half *y, const __half *u, const float *b, int M, int N, int R, int ldy, int ldu, int ldb, float alpha,         \
      int transposed, int accumulate, float dropout, uint64_t seed) {                                                  \
    lora_up<__half, BM, BN, WM, WN>(y, u, b, M, N, R, ldy, ldu, ldb, alpha, transposed, accumulate, dropout, seed);    \
  }
#define HONE_LORA_GRAD(RANK, BN, WM, WN)                                                                               \
  extern "C" __global__ void __launch_bounds__(128, 3) hone_lora_grad_f16_r##RANK(                                     \
      float *part, const __half *e, const __half *x, int M, int K, int R, int lde, int rows_per_split,                 \
      float dropout, uint64_t seed) {                                                                                  \
    lora_grad<__half, RANK, BN, WM, WN>(part, e, x, M, K, R, lde, rows_per_split, dropout, seed);                      \
  }

HONE_LORA_DOWN(16, 64, 1, 4)
HONE_LORA_DOWN(32, 64, 1, 4)
HONE_LORA_DOWN(64, 64, 2, 2)
HONE_LORA_DOWN(128, 32, 4, 1)
HONE_LORA_UP(64, 128, 2, 2)
HONE_LORA_UP(16, 64, 1, 2)
HONE_LORA_GRAD(16, 128, 1, 4)
HONE_LORA_GRAD(32, 128, 1, 4)
HONE_LORA_GRAD(64, 128, 2, 2)
HONE_LORA_GRAD(128, 64, 4, 1)
