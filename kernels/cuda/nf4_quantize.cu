/*
 * NF4 encoding: 4-bit codes in blocks with one absmax each, and the second level over the absmaxes.
 *
 * Forward.   nf4_quantize:         a = max |w| of the block,  q = #{t : w (1/a) > threshold[t]},
 *                                  byte j = q[2j] << 4 | q[2j+1]
 *            nf4_absmax_mean:      offset = mean(a), in the order of torch's contiguous f32 sum (below)
 *            nf4_quantize_absmax:  a - offset in blocks of 256 with the dynamic map:  c = max |a - offset|,
 *                                  u = #{i : (a - offset) (1/c) > (map[i] + map[i+1]) / 2}
 * Backward.  None: a frozen weight has no gradient.
 * Shapes.    w (n) f32|bf16|f16   codes u8 (ceil(n/2))   absmax (ceil(n/block)) f32; block even; an odd last nibble is
 *            code(0)   offset (1) f32   quantised u8 (B)   nested_absmax (ceil(B/256)) f32   dynamic (256) f32
 *            nf4_quantize: a warp takes a block, whatever the grid; the mean: one warp.
 * Memory.    reads w once (its second time from L1), writes n/2 + 4 n/block bytes.
 * Rounding.  every step in f32 without contraction, 1/a rounded before it multiplies; a zero block divides by 1e-38.
 *            The bits of the C code, and so of bitsandbytes.
 * Mirrors.   src/main/c/nf4.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_nf4_quantize_f32 op=nf4_quantize dtype=f32 block=256 consts=PER_BLOCK:2048
// entry: hone_nf4_quantize_bf16 op=nf4_quantize dtype=bf16 block=256 consts=PER_BLOCK:2048
// entry: hone_nf4_quantize_f16 op=nf4_quantize dtype=f16 block=256 consts=PER_BLOCK:2048
// entry: hone_nf4_absmax_mean_f32 op=nf4_absmax_mean dtype=f32 block=32
// entry: hone_nf4_quantize_absmax_f32 op=nf4_quantize_absmax dtype=f32 block=256 consts=PER_BLOCK:256
#include "dynamic.cuh"
#include "nf4.cuh"

/* A scaled weight above threshold i has a code above i. */
__constant__ const float THRESHOLD[15] = {
    -0.8480964004993439f, -0.6106329262256622f, -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
    -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f, 0.2035212516784668f,
    0.2920137718319893f, 0.3893125355243683f, 0.5016634166240692f, 0.6427869200706482f, 0.8614784178118011f};

enum { ZERO_CODE = 7 };

__device__ __forceinline__ float inverse(float absmax) { return 1.0f / (absmax > 1e-38f ? absmax : 1e-38f); }

__device__ __forceinline__ int code_of(float scaled) {
  int q = 0;
#pragma unroll
  for (int t = 0; t < 15; t++) q += scaled > THRESHOLD[t];
  return q;
}

template <typename E>
__device__ __forceinline__ void quantize(uint8_t *__restrict__ codes, float *__restrict__ absmax, const E *__restrict__ w,
                                         int64_t n, int block) {
  const int lane = threadIdx.x % WARP;
  const int64_t blocks = (n + block - 1) / block, stride = static_cast<int64_t>(gridDim.x) * WARPS;
  for (int64_t b = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / WARP; b < blocks; b += stride) {
    const E *values = w + b * block;
    const int count = static_cast<int>(n - b * block < block ? n - b * block : block);
    float max = 0.0f;
    for (int i = 2 * lane; i < count; i += 2 * WARP) {
      max = fmaxf(max, fabsf(to_f32(values[i])));
      if (i + 1 < count) max = fmaxf(max, fabsf(to_f32(values[i + 1])));
    }
    max = lanes_max(max);
    if (lane == 0) absmax[b] = max;
    const float scale = inverse(max);
    for (int i = 2 * lane; i < count; i += 2 * WARP) {
      const int high = code_of(to_f32(values[i]) * scale);
      const int low = i + 1 < count ? code_of(to_f32(values[i + 1]) * scale) : ZERO_CODE;
      codes[(b * block + i) / 2] = static_cast<uint8_t>(high << 4 | low);
    }
  }
}

HONE_KERNEL hone_nf4_quantize_f32(uint8_t *codes, float *absmax, const float *w, int64_t n, int block) {
  quantize(codes, absmax, w, n, block);
}
HONE_KERNEL hone_nf4_quantize_bf16(uint8_t *codes, float *absmax, const bf16 *w, int64_t n, int block) {
  quantize(codes, absmax, w, n, block);
}
HONE_KERNEL hone_nf4_quantize_f16(uint8_t *codes, float *absmax, const f16 *w, int64_t n, int block) {
  quantize(codes, absmax, w, n, block);
}

/* ---- the second level -------------------------------------------------------------------------------------------- */

/*
 * Torch's order for a contiguous f32 row: strips of 4 chains x 8 lanes go into 32 running sums, one in each lane of the
 * warp; each level of running sums is emptied into the next after 2^power strips of the level below; what is left is
 * added last. Strips are read BATCH at a time, which divides every 2^power.
 */
constexpr int CHAIN = 8, CHAINS = WARP / CHAIN, LEVELS = 4, BATCH = 16;

extern "C" __global__ void __launch_bounds__(WARP)
hone_nf4_absmax_mean_f32(float *__restrict__ offset, const float *__restrict__ absmax, int64_t B) {
  const int lane = threadIdx.x;
  const int64_t strips = B / WARP, vectors = B / CHAIN;
  int log = 0;
  while (int64_t{1} << log < strips) log++;
  const int power = log / LEVELS > 4 ? log / LEVELS : 4;
  const int64_t step = int64_t{1} << power, whole = strips / step * step;

  float level[LEVELS] = {};
  int64_t s = 0;
  for (; s + BATCH <= strips; s += BATCH) {
    float v[BATCH];
#pragma unroll
    for (int i = 0; i < BATCH; i++) v[i] = absmax[(s + i) * WARP + lane];
#pragma unroll
    for (int i = 0; i < BATCH; i++) level[0] += v[i];
    const int64_t done = s + BATCH;
    if (done > whole || done % step) continue;
#pragma unroll
    for (int l = 1; l < LEVELS; l++) {
      level[l] += level[l - 1];
      level[l - 1] = 0.0f;
      if (done & ((step - 1) << (l * power))) break;
    }
  }
  for (; s < strips; s++) level[0] += absmax[s * WARP + lane];
#pragma unroll
  for (int l = 1; l < LEVELS; l++) level[0] += level[l];

  float sum = level[0];
  for (int64_t v = strips * CHAINS; v < vectors; v++) {
    if (lane < CHAIN) sum += absmax[v * CHAIN + lane];
  }
#pragma unroll
  for (int c = 1; c < CHAINS; c++) sum += __shfl_down_sync(ALL_LANES, level[0], c * CHAIN);
  float total = 0.0f;
  for (int64_t i = vectors * CHAIN; i < B; i++) total += absmax[i];
#pragma unroll
  for (int i = 0; i < CHAIN; i++) total += __shfl_sync(ALL_LANES, sum, i);
  if (lane == 0) *offset = B ? total / static_cast<float>(B) : 0.0f;
}

HONE_KERNEL hone_nf4_quantize_absmax_f32(uint8_t *__restrict__ quantised, float *__restrict__ nested_absmax,
                                         const float *__restrict__ offset, const float *__restrict__ absmax,
                                         const float *__restrict__ dynamic, int64_t B) {
  static_assert(THREADS == NF4_NESTED_BLOCK, "a thread for each absmax of a nested block");
  __shared__ DynamicMap map;
  map.copy(dynamic);
  const int64_t at = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
  const float centred = at < B ? absmax[at] - *offset : 0.0f, max = block_max(fabsf(centred));
  if (threadIdx.x == 0) nested_absmax[blockIdx.x] = max;
  if (at < B) quantised[at] = static_cast<uint8_t>(map.nearest(fminf(fmaxf(centred * inverse(max), -1.0f), 1.0f)));
}
