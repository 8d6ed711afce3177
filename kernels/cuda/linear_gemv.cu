/*
 * Products of a few rows with a weight, for generation: W is read once and nothing else matters.
 *
 * Forward.   y[m,n] = sum_k x[m,k] w[n,k] + bias[n], or with `accumulate` += that.
 * Backward.  None: generation only.
 * Shapes.    y (M,N) T, or f32 (linear_gemv_f32, for logits)   x (M,K) T   w (N,K) T, or NF4 as in nf4.cuh, or I8 with
 *            scale (N) f32   bias (N) f32 or null. M <= 8. A warp computes one n for all rows: ROWS = 8.
 * Memory.    reads 2 K N bytes of W, K N with I8, or 0.5 + 1/16 with NF4 (1/64 with nested scales), in 16-, 8- and
 *            4-byte pieces a lane, four in flight with M = 1; x comes from L1.
 * Rounding.  operands T (an NF4 or I8 weight decodes to f32 and rounds to T, as for the tiles), products and sums in
 *            f32 with bias and old value, rounded once.
 * Mirrors.   src/main/c/linear.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_linear_gemv_{T} op=linear_gemv block=256 consts=ROWS:8
// entry: hone_linear_gemv_{T}_f32 op=linear_gemv_f32 block=256 consts=ROWS:8
// entry: hone_gemv_nf4_{T} op=gemv_nf4 block=256 consts=ROWS:8
// entry: hone_gemv_int8_{T} op=gemv_int8 block=256 consts=ROWS:8
#include "int8.cuh"
#include "nf4.cuh"

constexpr int MOST_ROWS = 8;

/* Where elements k .. k+7 of row n of W come from: pack() when packs are aligned, else element(). */
struct HalfWeight {
  const T *w;

  __device__ __forceinline__ bool packed() const { return aligned(w); }
  __device__ __forceinline__ void pack(float (&v)[PACK], int64_t e) const { load(v, w + e, PACK, true); }
  __device__ __forceinline__ float element(int64_t e) const { return to_f32(w[e]); }
};

struct Nf4Weight {
  const Nf4 w;
  const Nf4Books &books;

  __device__ __forceinline__ bool packed() const { return reinterpret_cast<uintptr_t>(w.codes) % 4 == 0; }
  __device__ __forceinline__ void pack(float (&v)[PACK], int64_t e) const {
    nf4_pack(v, w, books, e);
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] = rounded(v[i]);
  }
  __device__ __forceinline__ float element(int64_t e) const { return rounded(nf4_element(w, books, e)); }
};

struct Int8Weight {
  const int8_t *codes;
  const float *scale;
  const int K;

  __device__ __forceinline__ bool packed() const { return int8_packed(codes); }
  __device__ __forceinline__ void pack(float (&v)[PACK], int64_t e) const {
    int8_pack(v, codes + e, scale[e / K]);
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] = rounded(v[i]);
  }
  __device__ __forceinline__ float element(int64_t e) const {
    return rounded(static_cast<float>(codes[e]) * scale[e / K]);
  }
};

/* y[0..M) of column n from the lanes' sums */
template <int ROWS, typename Y>
__device__ __forceinline__ void finish(Y *y, const float (&sum)[ROWS], const float *bias, int M, int N, int n,
                                       int accumulate) {
  const float shift = bias ? bias[n] : 0.0f;
#pragma unroll
  for (int m = 0; m < ROWS; m++) {
    const float total = lanes_sum(sum[m]);
    if (m >= M || threadIdx.x % WARP != 0) continue;
    Y *at = y + static_cast<int64_t>(m) * N + n;
    *at = from_f32<Y>(total + shift + (accumulate ? to_f32(*at) : 0.0f));
  }
}

/* M <= ROWS rows; rows past M repeat the last one, so that no branch stands between the loads. */
template <int ROWS, typename Y, typename W>
__device__ __forceinline__ void packed_rows(Y *y, const T *x, const W &w, const float *bias, int M, int N, int K,
                                            int n, int accumulate) {
  float sum[ROWS] = {};
  const int64_t row = static_cast<int64_t>(n) * K;
#pragma unroll (ROWS == 1 ? 4 : 1)
  for (int k = threadIdx.x % WARP * PACK; k < K; k += WARP * PACK) {
    float ws[PACK], xs[PACK];
    w.pack(ws, row + k);
#pragma unroll
    for (int m = 0; m < ROWS; m++) {
      load(xs, x + static_cast<int64_t>(m < M ? m : M - 1) * K + k, PACK, true);
#pragma unroll
      for (int i = 0; i < PACK; i++) sum[m] += xs[i] * ws[i];
    }
  }
  finish(y, sum, bias, M, N, n, accumulate);
}

template <typename Y, typename W>
__device__ __forceinline__ void single_elements(Y *y, const T *x, const W &w, const float *bias, int M, int N, int K,
                                                int n, int accumulate) {
  float sum[MOST_ROWS] = {};
  for (int k = threadIdx.x % WARP; k < K; k += WARP) {
    const float wk = w.element(static_cast<int64_t>(n) * K + k);
#pragma unroll
    for (int m = 0; m < MOST_ROWS; m++) {
      if (m < M) sum[m] += to_f32(x[static_cast<int64_t>(m) * K + k]) * wk;
    }
  }
  finish(y, sum, bias, M, N, n, accumulate);
}

template <typename Y, typename W>
__device__ __forceinline__ void gemv(Y *y, const T *x, const W &w, const float *bias, int M, int N, int K,
                                     int accumulate) {
  const int n = blockIdx.x * WARPS + threadIdx.x / WARP;
  if (n >= N) return;
  if (K % PACK != 0 || !aligned(x) || !w.packed()) {
    single_elements(y, x, w, bias, M, N, K, n, accumulate);
  } else if (M == 1) {
    packed_rows<1>(y, x, w, bias, M, N, K, n, accumulate);
  } else {
    packed_rows<MOST_ROWS>(y, x, w, bias, M, N, K, n, accumulate);
  }
}

HONE_KERNEL HONE_ENTRY(linear_gemv)(T *__restrict__ y, const T *__restrict__ x, const T *__restrict__ w,
                                    const float *__restrict__ bias, int M, int N, int K, int accumulate) {
  gemv(y, x, HalfWeight{w}, bias, M, N, K, accumulate);
}

HONE_KERNEL HONE_VARIANT(linear_gemv, f32)(float *__restrict__ y, const T *__restrict__ x, const T *__restrict__ w,
                                           const float *__restrict__ bias, int M, int N, int K, int accumulate) {
  gemv(y, x, HalfWeight{w}, bias, M, N, K, accumulate);
}

HONE_KERNEL HONE_ENTRY(gemv_nf4)(T *__restrict__ y, const T *__restrict__ x, const uint8_t *__restrict__ codes,
                                 const float *__restrict__ absmax, const uint8_t *__restrict__ absmax_u8,
                                 const float *__restrict__ nested_code, const float *__restrict__ nested_absmax,
                                 float offset, const float *__restrict__ code, const float *__restrict__ bias, int M,
                                 int N, int K, int accumulate) {
  __shared__ Nf4Books books;
  books.copy(code, absmax_u8 ? nested_code : nullptr);
  __syncthreads();
  gemv(y, x, Nf4Weight{{codes, absmax, absmax_u8, nested_code, nested_absmax, offset}, books}, bias, M, N, K, accumulate);
}

HONE_KERNEL HONE_ENTRY(gemv_int8)(T *__restrict__ y, const T *__restrict__ x, const int8_t *__restrict__ codes,
                                  const float *__restrict__ scale, const float *__restrict__ bias, int M, int N,
                                  int K, int accumulate) {
  gemv(y, x, Int8Weight{codes, scale, K}, bias, M, N, K, accumulate);
}
