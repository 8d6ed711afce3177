/*
 * Cross-entropy over rows of raw logits, in place: the middle of linear + cross-entropy in chunks of tokens. The
 * products z = h U^T before it and dh = dz U after it are linear_fwd and linear_bwd_input.
 *
 * Forward.   a = logit_scale z,   s = a, or c tanh(a / c) with softcap c > 0
 *            lse = max + log sum_v exp(s_v - max),   y the target,   e the label smoothing
 *            loss = (1-e) (lse - s_y) + e mean_v (lse - s_v) = lse - (1-e) s_y - e mean_v s_v
 * Backward.  of loss * inv_count, with p_v = exp(s_v - lse):
 *            ds_v = inv_count (p_v - (1-e) [v = y] - e/V)
 *            through the cap, ds/da = 1 - tanh^2 = 1 - (s/c)^2;  dz = logit_scale da, which overwrites z
 * Shapes.    z (M,V) T, overwritten by dz when want_grad, else unchanged   targets (M) i32, a label or -100
 *            loss (M) f32, overwritten. A row with -100 has loss 0 and dz 0. A label outside 0 .. V-1 gives loss NaN
 *            and dz 0.
 * Memory.    a block reads its row once for max and sum together (a running maximum, the sum rescaled when it grows)
 *            and once more, from L2, to write dz: 2 bytes an element, 6 with the gradient. No scratch.
 * Rounding.  f32; dz rounded once. The target's dz is formed from expm1(s_y - lse), where p_y - 1 would cancel.
 * Mirrors.   src/main/c/cross_entropy.c (row_loss) - cross_entropy_slab.cu - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_ce_rows_{T} op=ce_rows block=256 consts=ROWS:1
#include "cross_entropy.cuh"

HONE_KERNEL HONE_ENTRY(ce_rows)(T *z, const int32_t *targets, float *loss, int M, int V, float logit_scale,
                                float softcap, float inv_count, float label_smoothing, int want_grad) {
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
  Counts counts;
  for (int c = threadIdx.x * PACK; c < V; c += THREADS * PACK) {
    load(v, z + c, V - c, vector);
    counts.add(scaled, v, V - c);
  }
  const float s_target = scaled(to_f32(z[target])); /* read before anything is overwritten */
  const float lse = counts.finish(label_smoothing > 0.0f), uniform = label_smoothing / static_cast<float>(V);
  if (threadIdx.x == 0) loss[row] = row_loss(lse, s_target, counts.total, label_smoothing, uniform);
  if (!want_grad) return;

  const Gradient gradient(scaled, lse, s_target, inv_count * logit_scale, label_smoothing, uniform);
  for (int c = threadIdx.x * PACK; c < V; c += THREADS * PACK) {
    load(v, z + c, V - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] = gradient(v[i], c + i == target);
    store(z + c, v, V - c, vector);
  }
}
