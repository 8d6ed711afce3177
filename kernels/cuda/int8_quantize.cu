/*
 * I8 encoding: signed bytes with one scale a row.
 *
 * Forward.   a = max |w| of the row,  q = round(w (127 / a)) within -127 .. 127,  scale = a / 127
 * Backward.  None: a frozen weight has no gradient.
 * Shapes.    w (N,K) f32|bf16|f16   codes i8 (N K)   scale (N) f32. A block a row.
 * Memory.    reads w once (its second time from the caches), writes N K + 4 N bytes.
 * Rounding.  127 / a, a / 127 and the product each rounded to f32, q to nearest even: the bits of the C code. A row of
 *            zeros has scale 0 and codes 0; -128 is never written.
 * Mirrors.   src/main/c/int8.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_int8_quantize_f32 op=int8_quantize dtype=f32 block=256 consts=ROWS:1
// entry: hone_int8_quantize_bf16 op=int8_quantize dtype=bf16 block=256 consts=ROWS:1
// entry: hone_int8_quantize_f16 op=int8_quantize dtype=f16 block=256 consts=ROWS:1
#include "hone.cuh"

template <typename E>
__device__ __forceinline__ void quantize(int8_t *__restrict__ codes, float *__restrict__ scale,
                                         const E *__restrict__ w, int N, int K) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * K;
  float max = 0.0f;
  for (int k = threadIdx.x; k < K; k += THREADS) max = fmaxf(max, fabsf(to_f32(w[row + k])));
  max = block_max(max);
  if (threadIdx.x == 0) scale[blockIdx.x] = __fdiv_rn(max, 127.0f);
  const float inverse = max > 0.0f ? __fdiv_rn(127.0f, max) : 0.0f;
  for (int k = threadIdx.x; k < K; k += THREADS) {
    const float q = rintf(__fmul_rn(to_f32(w[row + k]), inverse));
    codes[row + k] = static_cast<int8_t>(fminf(fmaxf(q, -127.0f), 127.0f));
  }
}

HONE_KERNEL hone_int8_quantize_f32(int8_t *codes, float *scale, const float *w, int N, int K) {
  quantize(codes, scale, w, N, K);
}
HONE_KERNEL hone_int8_quantize_bf16(int8_t *codes, float *scale, const bf16 *w, int N, int K) {
  quantize(codes, scale, w, N, K);
}
HONE_KERNEL hone_int8_quantize_f16(int8_t *codes, float *scale, const f16 *w, int N, int K) {
  quantize(codes, scale, w, N, K);
}
