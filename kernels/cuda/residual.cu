/*
 * Residual add with a multiplier.
 *
 * Forward.   y = x + multiplier r      (Granite's residual_multiplier, else 1)
 * Backward.  dx = dy, which needs no op;  dr = multiplier dy.
 * Shapes.    all (n) T; y and dr overwritten. y may be x or r, dr may be dy.
 * Memory.    6 bytes an element forward, 4 backward. No scratch.
 * Rounding.  product and sum in f32, rounded once.
 * Mirrors.   src/main/c/residual.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_residual_fwd_{T} op=residual_fwd block=256 consts=PER_BLOCK:2048
// entry: hone_residual_bwd_{T} op=residual_bwd block=256 consts=PER_BLOCK:2048
#include "hone.cuh"

HONE_KERNEL HONE_ENTRY(residual_fwd)(T *y, const T *x, const T *r, int64_t n, float multiplier) {
  const int64_t at = flat_pack();
  if (at >= n) return;
  const bool vector = aligned(y, x, r);
  float a[PACK], b[PACK];
  load(a, x + at, n - at, vector);
  load(b, r + at, n - at, vector);
#pragma unroll
  for (int i = 0; i < PACK; i++) a[i] += multiplier * b[i];
  store(y + at, a, n - at, vector);
}

HONE_KERNEL HONE_ENTRY(residual_bwd)(T *dr, const T *dy, int64_t n, float multiplier) {
  const int64_t at = flat_pack();
  if (at >= n) return;
  const bool vector = aligned(dr, dy);
  float a[PACK];
  load(a, dy + at, n - at, vector);
#pragma unroll
  for (int i = 0; i < PACK; i++) a[i] *= multiplier;
  store(dr + at, a, n - at, vector);
}
