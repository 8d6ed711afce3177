/*
 * The last step of a LoRA weight gradient: the partial sums over splits of the tokens become one gradient.
 *
 * Forward.   None.
 * Backward.  dA = e^T d(x) and dB = s dy^T u are sums over tokens, which lora_grad cuts into `splits` runs:
 *            g[r,k] += alpha sum_s part[s,r,k],  or transposed  g[k,r] += the same
 * Shapes.    g (R,K), or (K,R) transposed, f32, rows ldg apart, accumulated   part (splits,R,K) f32. Flat over R K.
 * Memory.    reads 4 splits bytes an element, reads and writes g.
 * Rounding.  f32, s = 0, 1, ... in order.
 * Mirrors.   src/main/c/lora.c (hone_lora_backward) - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_lora_reduce_f32 op=lora_reduce dtype=f32 block=256 consts=PER_BLOCK:256
#include "hone.cuh"

HONE_KERNEL hone_lora_reduce_f32(float *g, const float *__restrict__ part, int splits, int K, int R, int ldg, float alpha,
                                 int transposed) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x, size = static_cast<int64_t>(R) * K;
  if (at >= size) return;
  float sum = 0.0f;
#pragma unroll 4
  for (int s = 0; s < splits; s++) sum += part[s * size + at];
  const int64_t r = at / K, k = at - r * K;
  g[transposed ? k * ldg + r : r * ldg + k] += alpha * sum;
}
