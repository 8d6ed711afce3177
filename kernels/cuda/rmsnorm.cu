/*
 * RMSNorm: rows divided by their root mean square.
 *
 * Forward.   x = a + multiplier b where a residual addition comes before it, rounded to T.
 *            r_m = 1 / sqrt(mean_c x_mc^2 + eps),   y_mc = x_mc r_m g_c,   g = offset + w
 * Backward.  With r a function of x:  dr/dx_c = -r^3 x_c / C.   Let s = sum_k dy_k g_k x_k.
 *              dx_c = r g_c dy_c + s dr/dx_c = r g_c dy_c - x_c r^3 s / C
 *            w is frozen: no dw.
 * Shapes.    y, x, a, b, dy, dx (rows,C) T   w (C) f32   rstd (rows) f32, saved. dx is overwritten, or accumulated into by
 *            the argument. y may be x, x may be a or b; dx may be dy. For a norm over heads rows = M H and C = D.
 * Memory.    forward reads x, writes y; with the addition reads a and b, writes x and y; backward reads dy and x, writes
 *            dx: 4, 8 and 6 bytes an element, w from cache. A row is read twice, the second time from L1. ROWS 1: a block
 *            for each row; ROWS 8 (_warp): a warp for each row, for C up to about 1024.
 * Rounding.  Sums and everything else in f32; y and dx are rounded once. (transformers rounds x r to T before it multiplies
 *            by w in Llama's kind of norm, not in Gemma's: docs/numerics.md has what that costs the gradients.)
 * Mirrors.   src/main/c/rmsnorm.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_rmsnorm_fwd_{T} op=rmsnorm_fwd block=256 consts=ROWS:1
// entry: hone_rmsnorm_fwd_{T}_warp op=rmsnorm_fwd block=256 consts=ROWS:8
// entry: hone_residual_rmsnorm_fwd_{T} op=residual_rmsnorm_fwd block=256 consts=ROWS:1
// entry: hone_residual_rmsnorm_fwd_{T}_warp op=residual_rmsnorm_fwd block=256 consts=ROWS:8
// entry: hone_rmsnorm_bwd_{T} op=rmsnorm_bwd block=256 consts=ROWS:1
// entry: hone_rmsnorm_bwd_{T}_warp op=rmsnorm_bwd block=256 consts=ROWS:8
#include "hone.cuh"

/* LANES threads share a row: WARP or THREADS. */
template <int LANES> __device__ __forceinline__ int64_t row_of_thread() {
  return static_cast<int64_t>(blockIdx.x) * (THREADS / LANES) + threadIdx.x / LANES;
}

template <int LANES> __device__ __forceinline__ float row_sum(float v) {
  if constexpr (LANES == WARP) {
    return lanes_sum(v);
  } else {
    return block_sum(v);
  }
}

/* y of the row of x whose squares add up to the lanes' sums. */
template <int LANES>
__device__ __forceinline__ void scale_row(T *y, float *rstd, const T *x, const float *w, int64_t row, int C, float sum,
                                          float eps, float offset, bool vector) {
  const int first = threadIdx.x % LANES * PACK;
  float xs[PACK], ws[PACK];
  const float r = 1.0f / sqrtf(row_sum<LANES>(sum) / static_cast<float>(C) + eps);
  if (threadIdx.x % LANES == 0) rstd[row] = r;
  for (int c = first; c < C; c += LANES * PACK) {
    load(xs, x + c, C - c, vector);
    load(ws, w + c, C - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) xs[i] = xs[i] * r * (offset + ws[i]);
    store(y + c, xs, C - c, vector);
  }
}

template <int LANES>
__device__ __forceinline__ void forward(T *y, float *rstd, const T *x, const float *w, int rows, int C, float eps,
                                        float offset) {
  const int64_t row = row_of_thread<LANES>();
  if (row >= rows) return; /* of whole warps; with LANES = THREADS the grid has no such block */
  x += row * C;
  y += row * C;
  const bool vector = C % PACK == 0 && aligned(x, y, w);
  float xs[PACK], sum = 0.0f;
  for (int c = threadIdx.x % LANES * PACK; c < C; c += LANES * PACK) {
    load(xs, x + c, C - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) sum += xs[i] * xs[i];
  }
  scale_row<LANES>(y, rstd, x, w, row, C, sum, eps, offset, vector);
}

/* The same of x = a + multiplier b. A thread reads again what it wrote itself. */
template <int LANES>
__device__ __forceinline__ void forward_of_sum(T *y, float *rstd, T *x, const T *a, const T *b, float multiplier,
                                               const float *w, int rows, int C, float eps, float offset) {
  const int64_t row = row_of_thread<LANES>();
  if (row >= rows) return;
  a += row * C;
  b += row * C;
  x += row * C;
  y += row * C;
  const bool vector = C % PACK == 0 && aligned(a, b, x, y, w);
  float xs[PACK], bs[PACK], sum = 0.0f;
  for (int c = threadIdx.x % LANES * PACK; c < C; c += LANES * PACK) {
    load(xs, a + c, C - c, vector);
    load(bs, b + c, C - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) xs[i] = rounded(xs[i] + multiplier * bs[i]);
    store(x + c, xs, C - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) sum += xs[i] * xs[i];
  }
  scale_row<LANES>(y, rstd, x, w, row, C, sum, eps, offset, vector);
}

template <int LANES>
__device__ __forceinline__ void backward(T *dx, const T *dy, const T *x, const float *w, const float *rstd,
                                                int rows, int C, float offset, int accumulate) {
  int64_t row = row_of_thread<LANES>();
  if (row >= rows) return;
  x += row * C;
  dy += row * C;
  dx += row * C;
  const bool vector = C % PACK == 0 && aligned(x, dy, dx, w);
  const int first = threadIdx.x % LANES * PACK;
  float xs[PACK], ds[PACK], ws[PACK], base[PACK] = {}, sum = 0.0f;
  for (int c = first; c < C; c += LANES * PACK) {
    load(xs, x + c, C - c, vector);
    load(ds, dy + c, C - c, vector);
    load(ws, w + c, C - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) sum += ds[i] * (offset + ws[i]) * xs[i];
  }
  const float r = rstd[row], k = r * r * r * row_sum<LANES>(sum) / static_cast<float>(C);
  for (int c = first; c < C; c += LANES * PACK) {
    load(xs, x + c, C - c, vector);
    load(ds, dy + c, C - c, vector);
    load(ws, w + c, C - c, vector);
    if (accumulate) load(base, dx + c, C - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) ds[i] = base[i] + (r * (ds[i] * (offset + ws[i])) - k * xs[i]);
    store(dx + c, ds, C - c, vector);
  }
}

HONE_KERNEL HONE_ENTRY(rmsnorm_fwd)(T *y, float *rstd, const T *x, const float *w, int rows, int C, float eps,
                                    float offset) {
  forward<THREADS>(y, rstd, x, w, rows, C, eps, offset);
}

HONE_KERNEL HONE_ENTRY(residual_rmsnorm_fwd)(T *y, float *rstd, T *x, const T *a, const T *b, float multiplier,
                                             const float *w, int rows, int C, float eps, float offset) {
  forward_of_sum<THREADS>(y, rstd, x, a, b, multiplier, w, rows, C, eps, offset);
}

HONE_KERNEL HONE_VARIANT(residual_rmsnorm_fwd, warp)(T *y, float *rstd, T *x, const T *a, const T *b, float multiplier,
                                                     const float *w, int rows, int C, float eps, float offset) {
  forward_of_sum<WARP>(y, rstd, x, a, b, multiplier, w, rows, C, eps, offset);
}

HONE_KERNEL HONE_ENTRY(rmsnorm_bwd)(T *dx, const T *dy, const T *x, const float *w, const float *rstd, int rows, int C,
                                    float offset, int accumulate) {
  backward<THREADS>(dx, dy, x, w, rstd, rows, C, offset, accumulate);
}

HONE_KERNEL HONE_VARIANT(rmsnorm_fwd, warp)(T *y, float *rstd, const T *x, const float *w, int rows, int C, float eps,
                                            float offset) {
  forward<WARP>(y, rstd, x, w, rows, C, eps, offset);
}

HONE_KERNEL HONE_VARIANT(rmsnorm_bwd, warp)(T *dx, const T *dy, const T *x, const float *w, const float *rstd, int rows,
                                            int C, float offset, int accumulate) {
  backward<WARP>(dx, dy, x, w, rstd, rows, C, offset, accumulate);
}
