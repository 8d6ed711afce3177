/*
 * Sums over whole tensors in f64: the global gradient norm, the loss of a micro-batch, the count of NaN and infinity.
 *
 * Forward.   sum_squares:      partial[b] = sum of x^2 over block b's share
 *            count_nonfinite:  partial[b] = how many elements of block b's share are NaN or infinite
 *            sum_partials:     out += sum_b partial[b], one block
 *            sum_rows:         out += sum_m loss[m], one block
 *            A block's share are the packs (f32: quads) b THREADS + t, (b + PARTS) THREADS + t, ...: thread t adds its own
 *            in order.
 * Backward.  None.
 * Shapes.    x (n) f32, or bf16 and f16 for the count   partial (PARTS) f64, overwritten   loss (M) f32
 *            out (1) f64, accumulated. grid.x = PARTS = consts.PARTS, whatever n.
 * Memory.    reads x once; PARTS f64.
 * Rounding.  f64 throughout, in an order that depends on n and PARTS alone.
 * Mirrors.   src/main/c/sum_squares.c, cast.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_sum_squares_f32 op=sum_squares dtype=f32 block=256 consts=PARTS:256
// entry: hone_count_nonfinite_f32 op=count_nonfinite dtype=f32 block=256 consts=PARTS:256
// entry: hone_count_nonfinite_bf16 op=count_nonfinite dtype=bf16 block=256 consts=PARTS:256
// entry: hone_count_nonfinite_f16 op=count_nonfinite dtype=f16 block=256 consts=PARTS:256
// entry: hone_sum_partials_f64 op=sum_partials dtype=f64 block=256
// entry: hone_sum_rows_f32 op=sum_rows dtype=f32 block=256
#include "hone.cuh"

/* partial[block] = the sum of term(v) over this block's share. Past the end v is 0, whose term is 0. */
template <typename E, typename Term>
__device__ __forceinline__ void partial_sum(double *partial, const E *x, int64_t n, Term term) {
  constexpr int WIDTH = sizeof(E) == 4 ? QUAD : PACK;
  const bool vector = aligned(x);
  double sum = 0.0;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * THREADS * WIDTH;
  for (int64_t at = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) * WIDTH; at < n; at += stride) {
    float v[WIDTH];
    load(v, x + at, n - at, vector);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) sum += term(v[i]);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__device__ __forceinline__ double square(float v) { return static_cast<double>(v) * static_cast<double>(v); }

__device__ __forceinline__ double nonfinite(float v) {
  return (__float_as_uint(v) & 0x7f800000u) == 0x7f800000u ? 1.0 : 0.0;
}

template <typename E> __device__ __forceinline__ void add_all(double *out, const E *x, int n) {
  double sum = 0.0;
  for (int i = threadIdx.x; i < n; i += THREADS) sum += static_cast<double>(x[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) *out += sum;
}

HONE_KERNEL hone_sum_squares_f32(double *partial, const float *x, int64_t n) { partial_sum(partial, x, n, square); }

HONE_KERNEL hone_count_nonfinite_f32(double *partial, const float *x, int64_t n) {
  partial_sum(partial, x, n, nonfinite);
}
HONE_KERNEL hone_count_nonfinite_bf16(double *partial, const bf16 *x, int64_t n) {
  partial_sum(partial, x, n, nonfinite);
}
HONE_KERNEL hone_count_nonfinite_f16(double *partial, const f16 *x, int64_t n) {
  partial_sum(partial, x, n, nonfinite);
}

HONE_KERNEL hone_sum_partials_f64(double *out, const double *partial, int parts) { add_all(out, partial, parts); }

HONE_KERNEL hone_sum_rows_f32(double *out, const float *loss, int M) { add_all(out, loss, M); }
