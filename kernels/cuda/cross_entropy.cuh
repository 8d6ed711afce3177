/*
 * cross_entropy.cuh - what a row of logits is to the cross-entropy, for whole rows and for rows that come in slabs. Both
 * go through it in one order, so that they give the same bits: thread t of a row's block takes the packs of columns
 * t, t + THREADS, t + 2 THREADS, ..., and threads are joined last.
 */
#pragma once

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

/* What a thread keeps of its columns of a row. */
struct Counts {
  Running r = {LEAST, 0.0f};
  float total = 0.0f; /* of s, for the smoothing */

  /* A pack of raw logits, of which `left` exist. */
  __device__ __forceinline__ void add(const Scale &scaled, float (&v)[PACK], int left) {
    float max = r.max;
#pragma unroll
    for (int i = 0; i < PACK; i++) {
      v[i] = scaled(v[i]);
      if (i < left) {
        max = fmaxf(max, v[i]);
        total += v[i];
      }
    }
    r.sum *= expf(r.max - max);
    r.max = max;
#pragma unroll
    for (int i = 0; i < PACK; i++) {
      if (i < left) r.sum += expf(v[i] - max);
    }
  }

  /* Joins the block's threads: returns the row's log-sum-exp; total becomes the row's where it is wanted. */
  __device__ __forceinline__ float finish(bool with_total) {
    r = block_joined(r);
    if (with_total) total = block_sum(total);
    return r.max + logf(r.sum);
  }
};

/* e = label_smoothing, uniform = e / V. */
__device__ __forceinline__ float row_loss(float lse, float s_target, float total, float label_smoothing,
                                          float uniform) {
  return (1.0f - label_smoothing) * (lse - s_target) + (label_smoothing * lse - uniform * total);
}

/* dz of a raw logit. The target's is formed from expm1(s_y - lse), where p_y - 1 would cancel. */
struct Gradient {
  Scale scaled;
  float lse, factor, uniform, d_target;

  __device__ __forceinline__ Gradient(const Scale &scaled, float lse, float s_target, float factor,
                                      float label_smoothing, float uniform)
      : scaled(scaled), lse(lse), factor(factor), uniform(uniform),
        d_target(factor * (expm1f(s_target - lse) + label_smoothing - uniform) * scaled.slope(s_target)) {}

  __device__ __forceinline__ float operator()(float z, bool is_target) const {
    const float s = scaled(z);
    return is_target ? d_target : factor * (expf(s - lse) - uniform) * scaled.slope(s);
  }
};
