/*
 * The row sums that attention's backward needs: delta = sum_d dout * o.
 *
 * Forward.   None.
 * Backward.  ds_ij = p_ij (dp_ij - delta_i) with delta_i = do_i . o_i, derived in src/main/c/attention.c.
 * Shapes.    delta (H,M) f32, overwritten   dout, o (M,H,D) T. rows = M H; eight lanes share a row, ROWS = 32.
 * Memory.    reads 4 M H D bytes, writes 4 M H.
 * Rounding.  f32.
 * Mirrors.   src/main/c/attention_reference.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_attention_delta_{T} op=attention_delta block=256 consts=ROWS:32
#include "hone.cuh"

constexpr int LANES = 8, ROWS = THREADS / LANES;

HONE_KERNEL HONE_ENTRY(attention_delta)(float *__restrict__ delta, const T *__restrict__ dout, const T *__restrict__ o,
                                        int M, int H, int D) {
  const int64_t rows = static_cast<int64_t>(M) * H, row = static_cast<int64_t>(blockIdx.x) * ROWS + threadIdx.x / LANES;
  const bool vector = D % PACK == 0 && aligned(dout, o);
  float sum = 0.0f;
  for (int d = threadIdx.x % LANES * PACK; row < rows && d < D; d += LANES * PACK) {
    float a[PACK], b[PACK];
    load(a, dout + row * D + d, D - d, vector);
    load(b, o + row * D + d, D - d, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) sum += a[i] * b[i];
  }
  sum = lanes_sum<LANES>(sum); /* by every lane of the warp, those past the last row too */
  if (row < rows && threadIdx.x % LANES == 0) delta[row % H * M + row / H] = sum;
}
