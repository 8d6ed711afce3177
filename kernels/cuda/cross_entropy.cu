/*
 * Cross-entropy over rows of raw logits, in place: the middle of linear + cross-entropy in chunks of tokens. The products
 * z = h U^T before it and dh = dz U after it are linear_fwd and linear_bwd_input.
 *
 * Forward.   a = logit_scale z,   s = a, or c tanh(a / c) with softcap c > 0
 *            lse = max + log sum_v exp(s_v - max),   y the target,   e the label smoothing
 *            loss = (1-e) (lse - s_y) + e mean_v (lse - s_v) = lse - (1-e) s_y - e mean_v s_v
 * Backward.  of loss * inv_count, with p_v = exp(s_v - lse):
 *            ds_v = inv_count (p_v - (1-e) [v = y] - e/V)
 *            through the cap, ds/da = 1 - tanh^2 = 1 - (s/c)^2;  dz = logit_scale da, which overwrites z
 * Shapes.    z (M,V) T, overwritten by dz when want_grad, else unchanged   targets (M) i32, a label or -100
 *            loss (M) f32, overwritten. A row with -100 has loss 0 and dz 0. A label outside 0 .. V-1 gives loss NaN and
 *            dz 0.
 * Memory.    a block reads its row once for max and sum together (a running maximum, the sum rescaled when it grows) and
 *            once more, from L2, to write dz: 2 bytes an element, 6 with the gradient. No scratch.
 * Rounding.  f32; dz rounded once. The target's dz is formed from expm1(s_y - lse), where p_y - 1 would cancel.
 * Mirrors.   src/main/c/cross_entropy.c (row_loss) - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_ce_rows_{T} op=ce_rows block=256 consts=ROWS:1
#include "hone.cuh"

enum { IGNORED = -100 };
constexpr float LEAST = -1e30f; /* a running maximum's start: finite, so that LEAST - LEAST is 0 */

/* sum = sum of exp(s - max); a total of several is in the order of lanes, then warps. */
struct Running {
  float max, sum;
};

__device__ __forceinline__ Running joined(Running a, Running b) {
  const float max = fmaxf(a.max, b.max);
  return {max, a.sum * expf(a.max - max) + b.sum * expf(b.max - max)};
}

__device__ __forceinline__ Running block_joined(Running r) {
  __shared__ Running part[WARPS];
#pragma unroll
  for (int o = WARP / 2; o > 0; o /= 2) {
    const Running other = {__shfl_xor_sync(ALL_LANES, r.max, o), __shfl_xor_sync(ALL_LANES, r.sum, o)};
    r = threadIdx.x & o ? joined(other, r) : joined(r, other); /* the same order in both lanes: the same bits */
  }
  if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = r;
  __syncthreads();
  r = part[0];
#pragma unroll
  for (int w = 1; w < WARPS; w++) r = joined(r, part[w]);
  return r;
}

/* s of a raw logit: logit_scale z, capped. */
struct Scale {
  float factor, cap; /* cap 0: none */

  __device__ __forceinline__ Scale(float logit_scale, float softcap)
      : factor(softcap > 0.0f ? logit_scale / softcap : logit_scale), cap(softcap) {}
  __device__ __forceinline__ float operator()(float z) const {
    return cap > 0.0f ? cap * tanhf(factor * z) : factor * z;
  }
  __device__ __forceinline__ float slope(float s) const { return cap > 0.0f ? 1.0f - (s / cap) * (s / cap) : 1.0f; }
};

HONE_KERNEL HONE_ENTRY(ce_rows)(T *z, const int32_t *targets, float *loss, int M, int V, float logit_scale, float softcap,
                                float inv_count, float label_smoothing, int want_grad) {
  const int64_t row = blockIdx.x;
  if (row >= M) return;
  z += row * V;
  const int32_t target = targets[row];
  const bool counted = target >= 0 && target < V, vector = V % PACK == 0 && aligned(z);
  float v[PACK];
  if (!counted) {
    if (threadIdx.x == 0) loss[row] = target == IGNORED ? 0.0f : __int_as_float(0x7fffffff);
    if (!want_grad) return;
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] = 0.0f;
    for (int c = threadIdx.x * PACK; c < V; c += THREADS * PACK) store(z + c, v, V - c, vector);
    return;
  }

  const Scale scaled(logit_scale, softcap);
  Running r = {LEAST, 0.0f};
  float total = 0.0f; /* of s, for the smoothing */
  for (int c = threadIdx.x * PACK; c < V; c += THREADS * PACK) {
    load(v, z + c, V - c, vector);
    float max = r.max;
#pragma unroll
    for (int i = 0; i < PACK; i++) {
      v[i] = scaled(v[i]);
      if (c + i < V) {
        max = fmaxf(max, v[i]);
        total += v[i];
      }
    }
    r.sum *= expf(r.max - max);
    r.max = max;
#pragma unroll
    for (int i = 0; i < PACK; i++) {
      if (c + i < V) r.sum += expf(v[i] - max);
    }
  }
  const float s_target = scaled(to_f32(z[target])); /* read before anything is overwritten */
  r = block_joined(r);
  if (label_smoothing > 0.0f) total = block_sum(total);
  const float lse = r.max + logf(r.sum), uniform = label_smoothing / static_cast<float>(V);
  if (threadIdx.x == 0) loss[row] = (1.0f - label_smoothing) * (lse - s_target) + (label_smoothing * lse - uniform * total);
  if (!want_grad) return;

  const float factor = inv_count * logit_scale;
  const float d_target = factor * (expm1f(s_target - lse) + label_smoothing - uniform) * scaled.slope(s_target);
  for (int c = threadIdx.x * PACK; c < V; c += THREADS * PACK) {
    load(v, z + c, V - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) {
      const float s = scaled(v[i]);
      v[i] = c + i == target ? d_target : factor * (expf(s - lse) - uniform) * scaled.slope(s);
    }
    store(z + c, v, V - c, vector);
  }
}
