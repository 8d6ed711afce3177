/*
 * Products with a frozen weight, f16 on the tensor cores of Turing (sm_75).
 *
 * Forward.   y[m,n] = sum_k x[m,k] w[n,k] + bias[n]                                          linear_fwd
 *            overwrites, or with `accumulate` adds to what is there.
 * Backward.  y is linear in x: dy_mn/dx_mk = w[n,k], so dx[m,k] = sum_n dy[m,n] w[n,k]       linear_bwd_input
 *            w is frozen: no dW. dx overwrites, or with `accumulate` adds to what is there (several linears read one
 *            x). w's tile is the forward's, read across: no transposed copy of w.
 * Adapter.   R > 0 adds alpha u B^T, forward, or alpha u A, backward, where u there is e = alpha dy B (lora.cu): sums begin
 *            with it, so that y and dx are neither written nor read for the branch's sake. R = 0: u and b are not read.
 * Slabs.     linear_bwd_slab: w comes as slabs of its rows, dy as the columns that belong to them. The sum of the slabs so
 *            far lies in `sums` and is what the next slab's begins with: the order and the bits of one product over all
 *            rows. begin != 0 in the first slab, which reads no sums; end != 0 in the last, which writes dx instead.
 * Shapes.    x (M,K)  w (N,K)  sums (M,K) f32  bias (N) f32 or null  y (M,N), rows ldy apart.  dy (M,N) lddy, w ldw, dx (M,K) lddx.
 *            u (M,R), rows ldu apart   b f32, rows ldb apart: B (N,R) forward, A (R,K) backward.
 *            Any M, N, K: edges are zeros. Rows of whole aligned 16 bytes are read and written so, others by element.
 * Memory.    a tile BM x BN reads (BM + BN) K elements and writes BM BN; shared 2 (BM + BN) BK elements.
 * Rounding.  b rounded to f16, products of f16 summed in f32, bias and an old value added in f32, rounded once; beyond
 *            65504 infinite.
 * Mirrors.   src/main/c/linear.c - kernels/triton/linear.py (sm_80)
 */
// tiers: sm_75
// entry: hone_linear_fwd_{T}_t128x128x32 op=linear_fwd block=256 consts=BM:128,BN:128,BK:32
// entry: hone_linear_bwd_input_{T}_t128x128x32 op=linear_bwd_input block=256 consts=BM:128,BN:128,BK:32
// entry: hone_linear_bwd_slab_{T}_t128x128x32 op=linear_bwd_slab block=256 consts=BM:128,BN:128,BK:32
// entry: hone_linear_fwd_{T}_t32x64x32 op=linear_fwd block=128 consts=BM:32,BN:64,BK:32
// entry: hone_linear_bwd_input_{T}_t32x64x32 op=linear_bwd_input block=128 consts=BM:32,BN:64,BK:32
// entry: hone_linear_bwd_slab_{T}_t32x64x32 op=linear_bwd_slab block=128 consts=BM:32,BN:64,BK:32
// entry: hone_linear_fwd_{T}_t16x64x64 op=linear_fwd block=64 consts=BM:16,BN:64,BK:64
// entry: hone_linear_bwd_input_{T}_t16x64x64 op=linear_bwd_input block=64 consts=BM:16,BN:64,BK:64
// entry: hone_linear_bwd_slab_{T}_t16x64x64 op=linear_bwd_slab block=64 consts=BM:16,BN:64,BK:64
#include "product.cuh"

using namespace hone;

template <class T, class PRODUCT>
__device__ __forceinline__ void write_result(const Result<T> &y, const PRODUCT &product, bool accumulate) {
#pragma unroll
  for (int j = 0; j < PRODUCT::NT; j += 4) {
#pragma unroll
    for (int i = 0; i < 2 * PRODUCT::MT; i++) {
      float value[8];
#pragma unroll
      for (int e = 0; e < 8; e++) value[e] = product.sum[i / 2][j + e / 2][i % 2 * 2 + e % 2];
      y.write(product.first_row + 8 * i + threadIdx.x % WARP / 4, product.first_col + CHUNK * j, value, accumulate);
    }
  }
}

/* Visits the lane's sums: visit(row, column, sum) for what lies inside `rows` x `cols` of the tile. */
template <class PRODUCT, class VISIT>
__device__ __forceinline__ void each_sum(PRODUCT &product, int rows, int cols, VISIT visit) {
  const int g = threadIdx.x % WARP / 4, t = threadIdx.x & 3;
#pragma unroll
  for (int i = 0; i < PRODUCT::MT; i++) {
#pragma unroll
    for (int j = 0; j < PRODUCT::NT; j++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int row = product.first_row + 16 * i + e / 2 * 8 + g, col = product.first_col + 8 * j + 2 * t + e % 2;
        if (row < rows && col < cols) visit(row, col, product.sum[i][j][e]);
      }
    }
  }
}

/* sum = alpha u b: what the branch of an adapter gives to the tile, for a product to go on from. */
template <class PRODUCT, class T, class B>
__device__ __forceinline__ void begin_with_branch(PRODUCT &product, typename PRODUCT::Shared &shared, const Matrix<T> &u,
                                                  const B &b, int R, float alpha, int rows) {
  product.run_short(shared, u, b, R, rows);
#pragma unroll
  for (int i = 0; i < PRODUCT::MT * PRODUCT::NT * 4; i++) {
    product.sum[i / 4 / PRODUCT::NT][i / 4 % PRODUCT::NT][i % 4] *= alpha;
  }
}

/*
 * T           f16
 * BM, BN, BK  tile of y and depth of a stage
 * WM, WN      warps along M and N
 */
template <class T, int BM, int BN, int BK, int WM, int WN>
__device__ __forceinline__ void linear_fwd(T *y, const T *x, const T *w, const float *bias, const T *u,
                                           const float *b, int M, int N, int K, int R, int ldy, int ldu, int ldb,
                                           float alpha, int accumulate) {
  using Tiles = Product<T, BM, BN, BK, WM, WN>;
  __shared__ typename Tiles::Shared shared;
  const TilePlace at(blockIdx.x, M, N, BM, BN);
  Tiles product;
  if (R > 0) {
    begin_with_branch(product, shared, Matrix<T>(u, ldu, M, R).from(at.row, 0),
                      Factor<T>(b, ldb, N, R, false).from(at.col), R, alpha, M - at.row);
  }
  if (bias) { /* before the product: behind it would want registers beside the old values of y */
    bias += at.col;
    each_sum(product, M - at.row, N - at.col, [=](int, int col, float &sum) { sum += bias[col]; });
  }
  product.run(shared, Matrix<T>(x, K, M, K).from(at.row, 0), Matrix<T>(w, K, N, K).from(at.col, 0), K, M - at.row);
  const Result<T> out(y + (int64_t)at.row * ldy + at.col, ldy, M - at.row, N - at.col);
  write_result(out, product, accumulate != 0);
}

/* The same with tiles over (M, K) and N as the depth. */
template <class T, int BM, int BN, int BK, int WM, int WN>
__device__ __forceinline__ void linear_bwd_input(T *dx, const T *dy, const T *w, const T *u, const float *b,
                                                 int M, int N, int K, int R, int lddy, int lddx, int ldw, int ldu,
                                                 int ldb, float alpha, int accumulate) {
  using Tiles = Product<T, BM, BN, BK, WM, WN, 1, false, true>;
  __shared__ typename Tiles::Shared shared;
  const TilePlace at(blockIdx.x, M, K, BM, BN);
  Tiles product;
  if (R > 0) {
    begin_with_branch(product, shared, Matrix<T>(u, ldu, M, R).from(at.row, 0),
                      Factor<T>(b, ldb, R, K, false).from_column(at.col), R, alpha, M - at.row);
  }
  product.run(shared, Matrix<T>(dy, lddy, M, N).from(at.row, 0), Matrix<T>(w, ldw, N, K).from(0, at.col), N,
              M - at.row);
  const Result<T> out(dx + (int64_t)at.row * lddx + at.col, lddx, M - at.row, K - at.col);
  write_result(out, product, accumulate != 0);
}

/* dx over slabs of w's rows; everything is packed. */
template <class T, int BM, int BN, int BK, int WM, int WN>
__device__ __forceinline__ void linear_bwd_slab(T *dx, float *sums, const T *dy, const T *w, int M, int N, int K,
                                                int begin, int end) {
  using Tiles = Product<T, BM, BN, BK, WM, WN, 1, false, true>;
  __shared__ typename Tiles::Shared shared;
  const TilePlace at(blockIdx.x, M, K, BM, BN);
  Tiles product;
  float *tile = sums + (int64_t)at.row * K + at.col;
  if (begin == 0) {
    each_sum(product, M - at.row, K - at.col, [=](int row, int col, float &sum) { sum = tile[(int64_t)row * K + col]; });
  }
  product.run(shared, Matrix<T>(dy, N, M, N).from(at.row, 0), Matrix<T>(w, K, N, K).from(0, at.col), N, M - at.row);
  if (end != 0) {
    write_result(Result<T>(dx + (int64_t)at.row * K + at.col, K, M - at.row, K - at.col), product, false);
  } else {
    each_sum(product, M - at.row, K - at.col, [=](int row, int col, float &sum) { tile[(int64_t)row * K + col] = sum; });
  }
}

/* Two blocks of 256 threads share a multiprocessor's 64 Ki registers, or more of the small ones. */
#define HONE_LINEAR(BM, BN, BK, WM, WN, BLOCKS)                                                                        \
  extern "C" __global__ void __launch_bounds__(WM *WN *WARP, BLOCKS) hone_linear_fwd_f16_t##BM##x##BN##x##BK(          \
      __half *y, const __half *x, const __half *w, const float *bias, const __half *u, const float *b, int M, int N,   \
      int K, int R, int ldy, int ldu, int ldb, float alpha, int accumulate) {                                          \
    linear_fwd<__half, BM, BN, BK, WM, WN>(y, x, w, bias, u, b, M, N, K, R, ldy, ldu, ldb, alpha, accumulate);         \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(WM *WN *WARP, BLOCKS) hone_linear_bwd_input_f16_t##BM##x##BN##x##BK(    \
      __half *dx, const __half *dy, const __half *w, const __half *u, const float *b, int M, int N, int K, int R,      \
      int lddy, int lddx, int ldw, int ldu, int ldb, float alpha, int accumulate) {                                    \
    linear_bwd_input<__half, BM, BN, BK, WM, WN>(dx, dy, w, u, b, M, N, K, R, lddy, lddx, ldw, ldu, ldb, alpha,        \
                                                 accumulate);                                                          \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(WM *WN *WARP, BLOCKS) hone_linear_bwd_slab_f16_t##BM##x##BN##x##BK(     \
      __half *dx, float *sums, const __half *dy, const __half *w, int M, int N, int K, int begin, int end) {           \
    linear_bwd_slab<__half, BM, BN, BK, WM, WN>(dx, sums, dy, w, M, N, K, begin, end);                                 \
  }

HONE_LINEAR(128, 128, 32, 2, 4, 2)
HONE_LINEAR(32, 64, 32, 2, 2, 4)
HONE_LINEAR(16, 64, 64, 1, 2, 4)
