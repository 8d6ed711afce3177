/*
 * RoPE, half-split (the layout of transformers): element i of a head's first 2 half dims pairs with element i + half.
 *
 * Forward.   (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin) with cos, sin of the token's position, in place.
 *            The tables hold a cos and a sin, a the attention factor of the scaling (1 without).
 * Backward.  The map is a R(angle), R a rotation; its transpose is a R(-angle):
 *            (d1, d2) -> (d1 cos + d2 sin, d2 cos - d1 sin).   R(-angle) R(angle) = 1: with a = 1 it undoes forward.
 * Shapes.    q, dq (M,H,D), k, dk (M,KV,D) T, in place   cos, sin (P, half) f32, 2 half <= D   positions (M) i32, 0 .. P-1
 *            Dims 2 half .. D-1 are not touched. A pair is one unit of the flat grid: n = M (H + KV) half.
 * Memory.    reads and writes M (H + KV) 2 half T: 8 bytes a pair; tables from cache. No scratch.
 * Rounding.  f32, rounded once.
 * Mirrors.   src/main/c/rope.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_rope_fwd_{T} op=rope_fwd block=256 consts=PER_BLOCK:2048
// entry: hone_rope_bwd_{T} op=rope_bwd block=256 consts=PER_BLOCK:2048
#include "hone.cuh"

__device__ __forceinline__ void turn(T *q, T *k, const float *cos, const float *sin, const int32_t *positions, int M,
                                     int H, int KV, int D, int half, float direction) {
  const int heads = H + KV;
  const int64_t pairs = static_cast<int64_t>(M) * heads * half, first = flat_pack();
  if (first >= pairs) return;
  const bool vector = half % PACK == 0 && D % PACK == 0 && aligned(q, k, cos, sin);
  /* A pack lies within one head when half is a multiple of PACK; else pair by pair. */
  const int width = half % PACK == 0 ? PACK : 1;
  for (int64_t pair = first; pair < pairs && pair < first + PACK; pair += width) {
    const int64_t head = pair / half, i = pair - head * half, token = head / heads;
    const int64_t of_token = head - token * heads, at = positions[token] * static_cast<int64_t>(half) + i;
    T *x = of_token < H ? q + (token * H + of_token) * D : k + (token * KV + of_token - H) * D;
    T *x1 = x + i, *x2 = x1 + half;
    float a[PACK], b[PACK], c[PACK], s[PACK], out[PACK];
    load(a, x1, width, vector);
    load(b, x2, width, vector);
    load(c, cos + at, width, vector);
    load(s, sin + at, width, vector);
#pragma unroll
    for (int j = 0; j < PACK; j++) {
      s[j] *= direction;
      out[j] = a[j] * c[j] - b[j] * s[j];
      b[j] = b[j] * c[j] + a[j] * s[j];
    }
    store(x1, out, width, vector);
    store(x2, b, width, vector);
  }
}

HONE_KERNEL HONE_ENTRY(rope_fwd)(T *q, T *k, const float *cos, const float *sin, const int32_t *positions, int M, int H,
                                 int KV, int D, int half) {
  turn(q, k, cos, sin, positions, M, H, KV, D, half, 1.0f);
}

HONE_KERNEL HONE_ENTRY(rope_bwd)(T *dq, T *dk, const float *cos, const float *sin, const int32_t *positions, int M,
                                 int H, int KV, int D, int half) {
  turn(dq, dk, cos, sin, positions, M, H, KV, D, half, -1.0f);
}
