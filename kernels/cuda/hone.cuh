/*
 * hone.cuh - what the CUDA kernels share: the 16-bit type T, conversions, packs of eight, sums in a fixed order.
 *
 * Tiers.     One text, two targets: sm_80 makes T bf16, sm_75 makes T f16 (HONE_SM, from kernels/build.py).
 *            HONE_ENTRY(op) names an entry of T, hone_<op>_bf16 or hone_<op>_f16; HONE_VARIANT(op, variant) adds
 *            _<variant>.
 * Packs.     Rows and flat tensors go through registers eight elements at a time: 16 bytes of T, 32 of f32; tensors of f32
 *            alone four at a time, a quad, so that neighbouring lanes read neighbouring 16 bytes. A pack is one or two
 *            16-byte accesses where its address allows, else single ones; past the end it reads 0 and writes nothing.
 *            Callers say whether addresses are aligned once for a whole tensor.
 * Sums.      Butterflies over lanes, then warps in order: the same bits on every run and in every lane. No atomics.
 */
#ifndef HONE_CUH
#define HONE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

using bf16 = __nv_bfloat16;
using f16 = __half;

#if HONE_SM >= 80
using T = bf16;
#define HONE_ENTRY(op) hone_##op##_bf16
#define HONE_VARIANT(op, variant) hone_##op##_bf16_##variant
#else
using T = f16;
#define HONE_ENTRY(op) hone_##op##_f16
#define HONE_VARIANT(op, variant) hone_##op##_f16_##variant
#endif

/* Threads of a block, in every kernel that does not say otherwise. */
constexpr int THREADS = 256, WARP = 32, WARPS = THREADS / WARP, PACK = 8, QUAD = 4;

#define HONE_KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

/* ---- conversions: to nearest even -------------------------------------------------------------------------------- */

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_f32(f16 x) { return __half2float(x); }

template <typename E> __device__ __forceinline__ E from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ f16 from_f32<f16>(float x) { return __float2half_rn(x); }

/* What x becomes when it is stored as T. */
__device__ __forceinline__ float rounded(float x) { return to_f32(from_f32<T>(x)); }

/* ---- packs ------------------------------------------------------------------------------------------------------- */

/* N elements of at most 16 bytes, for one vector access. */
template <typename E, int N = 16 / sizeof(E)> struct alignas(N * sizeof(E)) Vector {
  E at[N];
};

/* Whether packs may be read and written at these addresses and, by the caller's choice of offsets, at all others. */
template <typename... P> __device__ __forceinline__ bool aligned(const P *...address) {
  return ((reinterpret_cast<uintptr_t>(address) | ...) & 15) == 0;
}

/* v = the pack at p, of P elements, of which `left` exist. */
template <typename E, int P>
__device__ __forceinline__ void load(float (&v)[P], const E *p, int64_t left, bool vector) {
  constexpr int N = P < 16 / sizeof(E) ? P : 16 / sizeof(E);
  if (vector && left >= P) {
#pragma unroll
    for (int i = 0; i < P; i += N) {
      const Vector<E, N> part = *reinterpret_cast<const Vector<E, N> *>(p + i);
#pragma unroll
      for (int j = 0; j < N; j++) v[i + j] = to_f32(part.at[j]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < P; i++) v[i] = i < left ? to_f32(p[i]) : 0.0f;
  }
}

/* The pack at p = v, each element rounded once. */
template <typename E, int P>
__device__ __forceinline__ void store(E *p, const float (&v)[P], int64_t left, bool vector) {
  constexpr int N = P < 16 / sizeof(E) ? P : 16 / sizeof(E);
  if (vector && left >= P) {
#pragma unroll
    for (int i = 0; i < P; i += N) {
      Vector<E, N> part;
#pragma unroll
      for (int j = 0; j < N; j++) part.at[j] = from_f32<E>(v[i + j]);
      *reinterpret_cast<Vector<E, N> *>(p + i) = part;
    }
  } else {
#pragma unroll
    for (int i = 0; i < P; i++) {
      if (i < left) p[i] = from_f32<E>(v[i]);
    }
  }
}

/* First element of this thread's pack in a flat kernel of PACK elements a thread. */
__device__ __forceinline__ int64_t flat_pack() {
  return (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) * PACK;
}

/* The same of this thread's quad i of QUADS, which lie THREADS quads apart. */
template <int QUADS> __device__ __forceinline__ int64_t flat_quad(int i) {
  return ((static_cast<int64_t>(blockIdx.x) * QUADS + i) * THREADS + threadIdx.x) * QUAD;
}

/* ---- sums and maxima --------------------------------------------------------------------------------------------- */

constexpr unsigned ALL_LANES = 0xffffffffu;

/* Sum over each run of LANES neighbouring lanes (a power of two), in all of them. F: float or double. */
template <int LANES = WARP, typename F> __device__ __forceinline__ F lanes_sum(F v) {
#pragma unroll
  for (int o = LANES / 2; o > 0; o /= 2) v += __shfl_xor_sync(ALL_LANES, v, o);
  return v;
}

template <int LANES = WARP> __device__ __forceinline__ float lanes_max(float v) {
#pragma unroll
  for (int o = LANES / 2; o > 0; o /= 2) v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, o));
  return v;
}

/* Sum over the block, in every thread. All threads call it. */
template <typename F> __device__ __forceinline__ F block_sum(F v) {
  __shared__ F part[WARPS];
  v = lanes_sum(v);
  if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = v;
  __syncthreads();
  F sum = part[0];
#pragma unroll
  for (int w = 1; w < WARPS; w++) sum += part[w];
  __syncthreads(); /* part may be written again */
  return sum;
}

/* Maximum over the block, in every thread. All threads call it. */
__device__ __forceinline__ float block_max(float v) {
  __shared__ float part[WARPS];
  v = lanes_max(v);
  if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = v;
  __syncthreads();
  float max = part[0];
#pragma unroll
  for (int w = 1; w < WARPS; w++) max = fmaxf(max, part[w]);
  __syncthreads();
  return max;
}

#endif
