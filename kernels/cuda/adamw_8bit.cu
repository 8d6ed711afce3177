/*
 * AdamW with 8-bit moments in blocks of 256 (Dettmers, Lewis, Shleifer, Zettlemoyer 2022, arXiv 2110.02861).
 *
 * Forward.   g = grad_scale grad;  for a block of 256 elements with codes cm, cv and the largest moments am, av:
 *            m = b1 signed[cm] am + (1 - b1) g              v = b2 unsigned[cv] av + (1 - b2) g g
 *            p = (p + (-lr sqrt(bias2) / bias1) m / (sqrt(v) + sqrt(bias2) eps)) (1 - lr wd),   bias_i = 1 - b_i^t
 *            am = max |m|,  av = max v;  cm, cv = codes of the map values nearest to m / am and v / av. A negative m
 *            never becomes the code of 0: it takes the one below, so its sign stays.
 * Backward.  None.
 * Shapes.    p, grad (n) f32   m, v u8 (n)   m_absmax, v_absmax (ceil(n/256)) f32   signed_map, unsigned_map (256) f32
 *            All but grad and the maps overwritten in place. Zeros are a fresh state.
 * Memory.    reads p, grad, m, v, writes p, m, v: 16 bytes an element. A warp takes a block of 256.
 * Rounding.  Constants in f64, rounded once to f32; elements in f32, every operation rounded: the bits of the C step.
 * Mirrors.   src/main/c/adamw.c (hone_adamw8_step) - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_adamw_8bit_f32 op=adamw_8bit dtype=f32 block=256 consts=PER_BLOCK:2048
#include "adamw.cuh"
#include "dynamic.cuh"

constexpr int BLOCK = 256;
static_assert(BLOCK == WARP * PACK, "a lane takes a pack of its warp's block");

struct Constants {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, keep;
};

/* The code of x = moment / absmax. */
__device__ __forceinline__ int code_of(const DynamicMap &map, float moment, float absmax) {
  return map.nearest(absmax > 0.0f ? __fdiv_rn(moment, absmax) : 0.0f);
}

/* Eight codes and back; `left` of them exist. */
__device__ __forceinline__ void load_codes(int (&code)[PACK], const uint8_t *p, int64_t left) {
#pragma unroll
  for (int i = 0; i < PACK; i++) code[i] = 0;
  if (left >= PACK && reinterpret_cast<uintptr_t>(p) % PACK == 0) {
    const uint2 word = *reinterpret_cast<const uint2 *>(p);
#pragma unroll
    for (int i = 0; i < PACK; i++) code[i] = (i < 4 ? word.x : word.y) >> i % 4 * 8 & 255;
  } else {
#pragma unroll
    for (int i = 0; i < PACK; i++) {
      if (i < left) code[i] = p[i];
    }
  }
}

__device__ __forceinline__ void store_codes(uint8_t *p, const int (&code)[PACK], int64_t left) {
  if (left >= PACK && reinterpret_cast<uintptr_t>(p) % PACK == 0) {
    *reinterpret_cast<uint2 *>(p) = make_uint2(code[0] | code[1] << 8 | code[2] << 16 | code[3] << 24,
                                               code[4] | code[5] << 8 | code[6] << 16 | code[7] << 24);
  } else {
#pragma unroll
    for (int i = 0; i < PACK; i++) {
      if (i < left) p[i] = static_cast<uint8_t>(code[i]);
    }
  }
}

HONE_KERNEL hone_adamw_8bit_f32(float *__restrict__ p, uint8_t *__restrict__ m, uint8_t *__restrict__ v,
                                float *__restrict__ m_absmax, float *__restrict__ v_absmax,
                                const float *__restrict__ grad, const float *__restrict__ signed_map,
                                const float *__restrict__ unsigned_map, int64_t n, float lr, float beta1, float beta2,
                                float eps, float weight_decay, float grad_scale, float bias1, float bias2) {
  __shared__ DynamicMap m_map, v_map;
  __shared__ Constants shared;
  m_map.copy(signed_map);
  v_map.copy(unsigned_map);
  if (threadIdx.x == 0) {
    const double b1 = as_written(beta1), b2 = as_written(beta2), rate = lr, root = __dsqrt_rn(bias2);
    shared.beta1 = static_cast<float>(b1);
    shared.one_minus_beta1 = static_cast<float>(1.0 - b1);
    shared.beta2 = static_cast<float>(b2);
    shared.one_minus_beta2 = static_cast<float>(1.0 - b2);
    shared.step = static_cast<float>(__ddiv_rn(__dmul_rn(-rate, root), bias1));
    shared.eps = static_cast<float>(__dmul_rn(root, eps));
    shared.keep = static_cast<float>(1.0 - rate * static_cast<double>(weight_decay));
  }
  __syncthreads();
  const Constants c = shared;
  const int64_t block = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / WARP, start = block * BLOCK;
  if (start >= n) return; /* of whole warps */
  const int64_t at = start + threadIdx.x % WARP * PACK, left = n - at; /* left may be below 1 in the last block */
  const bool vector = aligned(p, grad);
  float ps[PACK], gs[PACK], ms[PACK], vs[PACK];
  int cm[PACK], cv[PACK];
  load(gs, grad + at, left, vector);
  load(ps, p + at, left, vector);
  load_codes(cm, m + at, left);
  load_codes(cv, v + at, left);
  const float am = m_absmax[block], av = v_absmax[block];

  float m_max = 0.0f, v_max = 0.0f;
#pragma unroll
  for (int i = 0; i < PACK; i++) {
    const float g = __fmul_rn(grad_scale, gs[i]);
    ms[i] = __fadd_rn(__fmul_rn(__fmul_rn(m_map.value[cm[i]], am), c.beta1), __fmul_rn(c.one_minus_beta1, g));
    vs[i] = __fadd_rn(__fmul_rn(__fmul_rn(v_map.value[cv[i]], av), c.beta2),
                      __fmul_rn(__fmul_rn(c.one_minus_beta2, g), g));
    const float update = __fdiv_rn(ms[i], __fadd_rn(__fsqrt_rn(vs[i]), c.eps));
    ps[i] = __fmul_rn(__fadd_rn(ps[i], __fmul_rn(c.step, update)), c.keep);
    if (i < left) {
      m_max = fmaxf(m_max, fabsf(ms[i]));
      v_max = fmaxf(v_max, vs[i]);
    }
  }
  store(p + at, ps, left, vector);
  m_max = lanes_max(m_max);
  v_max = lanes_max(v_max);
  if (threadIdx.x % WARP == 0) {
    m_absmax[block] = m_max;
    v_absmax[block] = v_max;
  }
#pragma unroll
  for (int i = 0; i < PACK; i++) {
    cm[i] = code_of(m_map, ms[i], m_max);
    if (ms[i] < 0.0f && m_map.value[cm[i]] == 0.0f) cm[i]--;
    cv[i] = code_of(v_map, vs[i], v_max);
  }
  store_codes(m + at, cm, left);
  store_codes(v + at, cv, left);
}
