/*
 * Logit scale and soft cap in place: what generation needs after a plain linear. Training: cross_entropy.cu.
 *
 * Forward.   z = c tanh(logit_scale z / c) with c = softcap > 0;  z = logit_scale z with softcap 0.
 * Backward.  In cross_entropy.cu: with y the result, dz = logit_scale (1 - (y/c)^2) dy.
 * Shapes.    z (n) f32, in place
 * Memory.    8 bytes an element.
 * Rounding.  f32.
 * Mirrors.   src/main/c/softcap.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_softcap_fwd_f32 op=softcap_fwd dtype=f32 block=256 consts=PER_BLOCK:2048
#include "hone.cuh"

HONE_KERNEL hone_softcap_fwd_f32(float *z, int64_t n, float logit_scale, float softcap) {
  const bool vector = aligned(z), capped = softcap > 0.0f;
  const float inner = capped ? logit_scale / softcap : logit_scale;
#pragma unroll
  for (int quad = 0; quad < 2; quad++) {
    const int64_t at = flat_quad<2>(quad);
    if (at >= n) return;
    float v[QUAD];
    load(v, z + at, n - at, vector);
#pragma unroll
    for (int i = 0; i < QUAD; i++) v[i] = capped ? softcap * tanhf(inner * v[i]) : inner * v[i];
    store(z + at, v, n - at, vector);
  }
}
