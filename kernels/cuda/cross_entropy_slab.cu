/*
 * Linear + cross-entropy whose head U (V,C) comes in slabs of rows: neither U nor a row of logits is ever whole. Two
 * passes over the slabs, U_i the S rows from `first` on:
 *
 *   pass 1   z = h U_i^T   ce_slab_fwd: each row's counts go on            then ce_slab_loss: lse, loss
 *   pass 2   z = h U_i^T   ce_slab_bwd: dz in place of z                   linear_bwd_slab: dh += dz U_i
 *
 * The logits are made again in pass 2: kept, they would take M V elements, and where those are few the product hides
 * behind the slabs' way over the link.
 *
 * Forward.   s, lse, loss and e as in cross_entropy.cu. A running maximum m with l = sum exp(s - m) over the columns so
 *            far goes on to more columns by m' = max(m, s),  l' = l exp(m - m') + sum exp(s - m'):  at the end
 *            lse = m + log l, whatever the slabs were.
 * Backward.  dz_v = inv_count logit_scale (exp(s_v - lse) - (1-e) [v = y] - e/V) (1 - (s_v/c)^2): it needs of the other
 *            columns lse alone, so a slab's part dz_i U_i of dh = dz U is whole when the slab is there.
 * Shapes.    z (M,S) T, rows S apart   targets (M) i32, a label or -100   counts (M,3,THREADS) f32: a thread's maximum,
 *            sum and total, set when first = 0, else gone on with   picked (M) f32, the target's s, written by the
 *            slab that holds it   loss, lse (M) f32, overwritten. `first` is a multiple of PACK. A row with -100 has
 *            loss 0 and dz 0, a label outside 0 .. V-1 loss NaN and dz 0.
 * Memory.    fwd reads 2 S and reads and writes 24 THREADS bytes a row, bwd reads and writes 2 S. counts: 3 KiB a row.
 * Rounding.  f32; dz rounded once. Threads keep their columns of whole rows (cross_entropy.cuh) and dh's sum stays in
 *            f32 from slab to slab: loss and dz have the bits of cross_entropy.cu for the same z.
 * Mirrors.   src/main/c/cross_entropy.c (row_loss) - cross_entropy.cu - SlabCrossEntropyTest
 */
// tiers: sm_75 sm_80
// entry: hone_ce_slab_fwd_{T} op=ce_slab_fwd block=256 consts=ROWS:1
// entry: hone_ce_slab_loss_{T} op=ce_slab_loss block=256 consts=ROWS:1
// entry: hone_ce_slab_bwd_{T} op=ce_slab_bwd block=256 consts=ROWS:1
#include "cross_entropy.cuh"

/* The first column inside a slab of the thread that takes pack t, t + THREADS, ... of the whole row. */
__device__ __forceinline__ int own_column(int first) {
  return (threadIdx.x + THREADS - first / PACK % THREADS) % THREADS * PACK;
}

__device__ __forceinline__ bool is_counted(int target, int V) { return target >= 0 && target < V; }

HONE_KERNEL HONE_ENTRY(ce_slab_fwd)(const T *z, const int32_t *targets, float *counts, float *picked, int M, int S,
                                    int first, int V, float logit_scale, float softcap) {
  const int64_t row = blockIdx.x;
  if (row >= M || !is_counted(targets[row], V)) return;
  z += row * S;
  float *kept = counts + row * 3 * THREADS + threadIdx.x;
  const bool vector = S % PACK == 0 && aligned(z);
  const Scale scaled(logit_scale, softcap);
  Counts own;
  if (first > 0) {
    own.r.max = kept[0];
    own.r.sum = kept[THREADS];
    own.total = kept[2 * THREADS];
  }
  for (int c = own_column(first); c < S; c += THREADS * PACK) {
    float v[PACK];
    load(v, z + c, S - c, vector);
    own.add(scaled, v, S - c);
  }
  kept[0] = own.r.max;
  kept[THREADS] = own.r.sum;
  kept[2 * THREADS] = own.total;
  const int target = targets[row] - first;
  if (threadIdx.x == 0 && target >= 0 && target < S) picked[row] = scaled(to_f32(z[target]));
}

HONE_KERNEL HONE_ENTRY(ce_slab_loss)(float *loss, float *lse, const float *counts, const float *picked,
                                     const int32_t *targets, int M, int V, float label_smoothing) {
  const int64_t row = blockIdx.x;
  if (row >= M) return;
  const int32_t target = targets[row];
  if (!is_counted(target, V)) {
    if (threadIdx.x == 0) loss[row] = target == IGNORED ? 0.0f : __int_as_float(0x7fffffff);
    return;
  }
  const float *kept = counts + row * 3 * THREADS + threadIdx.x;
  Counts own;
  own.r.max = kept[0];
  own.r.sum = kept[THREADS];
  own.total = kept[2 * THREADS];
  const float whole = own.finish(label_smoothing > 0.0f), uniform = label_smoothing / static_cast<float>(V);
  if (threadIdx.x == 0) {
    lse[row] = whole;
    loss[row] = row_loss(whole, picked[row], own.total, label_smoothing, uniform);
  }
}

HONE_KERNEL HONE_ENTRY(ce_slab_bwd)(T *z, const int32_t *targets, const float *lse, const float *picked, int M, int S,
                                    int first, int V, float logit_scale, float softcap, float inv_count,
                                    float label_smoothing) {
  const int64_t row = blockIdx.x;
  if (row >= M) return;
  z += row * S;
  const bool counted = is_counted(targets[row], V), vector = S % PACK == 0 && aligned(z);
  const int target = targets[row] - first;
  const Scale scaled(logit_scale, softcap);
  const float uniform = label_smoothing / static_cast<float>(V);
  const Gradient gradient(scaled, counted ? lse[row] : 0.0f, counted ? picked[row] : 0.0f, inv_count * logit_scale,
                          label_smoothing, uniform);
  for (int c = threadIdx.x * PACK; c < S; c += THREADS * PACK) {
    float v[PACK];
    load(v, z + c, S - c, vector);
#pragma unroll
    for (int i = 0; i < PACK; i++) v[i] = counted ? gradient(v[i], c + i == target) : 0.0f;
    store(z + c, v, S - c, vector);
  }
}
