/*
 * Attention of new tokens against a cache, for generation: one block for each query row and head.
 *
 * Forward.   For query row m at position i = start + m, the keys j <= i with j > i - window (window > 0):
 *              x_j = scale q . k_j      s_j = c tanh(x_j / c), or x_j without a cap
 *              o = sum_j exp(s_j - t) v_j / sum_j exp(s_j - t),   t = max_j s_j
 *            GROUP lanes share a key, its head dim along the lanes, eight elements each; a block has THREADS / GROUP
 *            groups, which take every so many-th key and keep a running maximum, sum and output. These are joined in
 *            the groups' order at the end.
 * Backward.  None: generation only.
 * Shapes.    o, q (M,H,D) T   kcache, vcache (P,KV,D) T with positions 0 .. start+M-1   D even, at most 256
 *            Query head h uses key and value head h / (H / KV). grid = (M, H).
 * Memory.    reads each key and value once a query head: 4 D bytes a key; 8.4 KiB shared.
 * Rounding.  f32, rounded once.
 * Mirrors.   src/main/c/attention_reference.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_attention_decode_{T} op=attention_decode block=256
#include "hone.cuh"

constexpr float LEAST = -1e30f; /* a running maximum's start: finite, so that LEAST - LEAST is 0 */

/* What the groups of a block leave for the join; output i of a thread is at out[i][thread]. Rows four banks apart: what a
 * warp reads of the join, eight outputs of each of four threads, lies in 32 banks. */
struct Groups {
  float max[THREADS / 8], sum[THREADS / 8], out[PACK][THREADS + 4];
};

/*
 * One query row against the keys first .. last of one head; rows of the cache lie `stride` apart.
 *
 * GROUP   lanes of a key
 * KEYS    of a group in flight
 * VECTOR  rows are whole aligned packs. Then lanes past D and keys past the last read ones that exist, and count
 * nothing.
 */
template <int GROUP, int KEYS, bool VECTOR>
__device__ __forceinline__ void decode(Groups &groups, T *o, const T *q, const T *k, const T *v, int64_t stride,
                                       int64_t first, int64_t last, int D, float scale, float softcap) {
  constexpr int GROUPS = THREADS / GROUP;
  const int group = threadIdx.x / GROUP, lane_d = threadIdx.x % GROUP * PACK;
  const int d = VECTOR && lane_d >= D ? 0 : lane_d, left = VECTOR ? PACK : D - d;
  float query[PACK], out[PACK] = {}, max = LEAST, sum = 0.0f;
  load(query, q + d, left, VECTOR);
  if (d != lane_d) {
#pragma unroll
    for (int i = 0; i < PACK; i++) query[i] = 0.0f;
  }
  for (int64_t from = first; from <= last; from += GROUPS * KEYS) {
    float s[KEYS], top = max, row[PACK];
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
      const int64_t key = from + j * GROUPS + group;
      const bool live = key <= last;
      load(row, k + (live ? key : last) * stride + d, left, VECTOR);
      float dot = 0.0f;
#pragma unroll
      for (int i = 0; i < PACK; i++) dot += query[i] * row[i];
      const float x = scale * lanes_sum<GROUP>(dot);
      s[j] = !live ? LEAST : softcap > 0.0f ? softcap * tanhf(x / softcap) : x;
      top = fmaxf(top, s[j]);
    }
    const float shrink = expf(max - top);
    max = top;
    sum *= shrink;
#pragma unroll
    for (int i = 0; i < PACK; i++) out[i] *= shrink;
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
      const int64_t key = from + j * GROUPS + group;
      const bool live = key <= last;
      load(row, v + (live ? key : last) * stride + d, left, VECTOR);
      const float p = live ? expf(s[j] - max) : 0.0f;
      sum += p;
#pragma unroll
      for (int i = 0; i < PACK; i++) out[i] += p * row[i];
    }
  }

  if (threadIdx.x % GROUP == 0) {
    groups.max[group] = max;
    groups.sum[group] = sum;
  }
#pragma unroll
  for (int i = 0; i < PACK; i++) groups.out[i][threadIdx.x] = out[i];
  __syncthreads();
  if (static_cast<int>(threadIdx.x) >= D) return;
  const int place = threadIdx.x / PACK, output = threadIdx.x % PACK;
  float top = groups.max[0], total = 0.0f, result = 0.0f;
  for (int g = 1; g < GROUPS; g++) top = fmaxf(top, groups.max[g]);
  for (int g = 0; g < GROUPS; g++) {
    const float factor = expf(groups.max[g] - top);
    total += factor * groups.sum[g];
    result += factor * groups.out[output][g * GROUP + place];
  }
  o[threadIdx.x] = from_f32<T>(result / total);
}

HONE_KERNEL HONE_ENTRY(attention_decode)(T *__restrict__ o, const T *__restrict__ q, const T *__restrict__ kcache,
                                         const T *__restrict__ vcache, int64_t start, int M, int H, int KV, int D,
                                         float scale, int window, float softcap) {
  __shared__ Groups groups;
  const int64_t m = blockIdx.x, head = blockIdx.y, last = start + m, stride = static_cast<int64_t>(KV) * D;
  if (m >= M) return;
  const int64_t first = window > 0 && last - window + 1 > 0 ? last - window + 1 : 0;
  o += (m * H + head) * D;
  q += (m * H + head) * D;
  kcache += head / (H / KV) * D;
  vcache += head / (H / KV) * D;
  if (D % PACK != 0 || !aligned(q, kcache, vcache)) {
    decode<32, 1, false>(groups, o, q, kcache, vcache, stride, first, last, D, scale, softcap);
  } else if (D <= 8 * PACK) {
    decode<8, 4, true>(groups, o, q, kcache, vcache, stride, first, last, D, scale, softcap);
  } else if (D <= 16 * PACK) {
    decode<16, 4, true>(groups, o, q, kcache, vcache, stride, first, last, D, scale, softcap);
  } else {
    decode<32, 4, true>(groups, o, q, kcache, vcache, stride, first, last, D, scale, softcap);
  }
}
