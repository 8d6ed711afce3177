/*
 * Casts between the dtypes of weights and activations.
 *
 * Forward.   out = round_to_nearest_even(in) in out's dtype. Entries cast_<in>_<out> for each pair of different dtypes,
 *            and for 16-bit ones with themselves, copies: a graph's kernel can be sent elsewhere, its copy cannot.
 * Backward.  None: nothing that trains passes through here.
 * Shapes.    in, out (n); they do not overlap.
 * Memory.    reads in once, writes out once.
 * Rounding.  one rounding, to nearest even; f16 overflow becomes infinity, as IEEE 754 says. NaN stays NaN, its payload
 *            does not.
 * Mirrors.   src/main/c/cast.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_cast_f32_bf16 op=cast_f32_bf16 dtype=bf16 block=256 consts=PER_BLOCK:2048
// entry: hone_cast_f32_f16 op=cast_f32_f16 dtype=f16 block=256 consts=PER_BLOCK:2048
// entry: hone_cast_bf16_f32 op=cast_bf16_f32 dtype=f32 block=256 consts=PER_BLOCK:2048
// entry: hone_cast_bf16_f16 op=cast_bf16_f16 dtype=f16 block=256 consts=PER_BLOCK:2048
// entry: hone_cast_bf16_bf16 op=cast_bf16_bf16 dtype=bf16 block=256 consts=PER_BLOCK:2048
// entry: hone_cast_f16_f16 op=cast_f16_f16 dtype=f16 block=256 consts=PER_BLOCK:2048
// entry: hone_cast_f16_f32 op=cast_f16_f32 dtype=f32 block=256 consts=PER_BLOCK:2048
// entry: hone_cast_f16_bf16 op=cast_f16_bf16 dtype=bf16 block=256 consts=PER_BLOCK:2048
#include "hone.cuh"

template <typename Out, typename In>
__device__ __forceinline__ void cast(Out *__restrict__ out, const In *__restrict__ in, int64_t n) {
  const bool vector = aligned(out, in);
  if constexpr (sizeof(In) == 4 || sizeof(Out) == 4) {
#pragma unroll
    for (int quad = 0; quad < 2; quad++) {
      const int64_t at = flat_quad<2>(quad);
      if (at >= n) return;
      float v[QUAD];
      load(v, in + at, n - at, vector);
      store(out + at, v, n - at, vector);
    }
  } else {
    const int64_t at = flat_pack();
    if (at >= n) return;
    float v[PACK];
    load(v, in + at, n - at, vector);
    store(out + at, v, n - at, vector);
  }
}

HONE_KERNEL hone_cast_f32_bf16(bf16 *out, const float *in, int64_t n) { cast(out, in, n); }
HONE_KERNEL hone_cast_f32_f16(f16 *out, const float *in, int64_t n) { cast(out, in, n); }
HONE_KERNEL hone_cast_bf16_f32(float *out, const bf16 *in, int64_t n) { cast(out, in, n); }
HONE_KERNEL hone_cast_bf16_f16(f16 *out, const bf16 *in, int64_t n) { cast(out, in, n); }
HONE_KERNEL hone_cast_bf16_bf16(bf16 *out, const bf16 *in, int64_t n) { cast(out, in, n); }
HONE_KERNEL hone_cast_f16_f16(f16 *out, const f16 *in, int64_t n) { cast(out, in, n); }
HONE_KERNEL hone_cast_f16_f32(float *out, const f16 *in, int64_t n) { cast(out, in, n); }
HONE_KERNEL hone_cast_f16_bf16(bf16 *out, const f16 *in, int64_t n) { cast(out, in, n); }
