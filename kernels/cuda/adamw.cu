/*
 * AdamW with decoupled decay (Loshchilov, Hutter 2019, arXiv 1711.05101), in the order of torch's unfused CPU step.
 *
 * Forward.   g = grad_scale grad
 *            p *= 1 - lr wd
 *            m += (1 - b1) (g - m)                      torch's lerp; the same as b1 m + (1 - b1) g
 *            v = b2 v + (1 - b2) g g
 *            p += (-lr / bias1) m / (sqrt(v) / sqrt(bias2) + eps),   bias_i = 1 - b_i^t from the caller
 * Backward.  None.
 * Shapes.    p, m, v, grad (n) f32; p, m, v overwritten in place, grad not changed.
 * Memory.    reads p, m, v, grad, writes p, m, v: 28 bytes an element.
 * Rounding.  Constants in f64, rounded once to f32; elements in f32, every operation rounded. m and v have the bits of
 *            the C step; p too, up to the caller's rounding of bias1 and bias2 to f32 (an ulp of the update).
 * Mirrors.   src/main/c/adamw.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_adamw_f32 op=adamw_f32 dtype=f32 block=256 consts=PER_BLOCK:8192
#include "adamw.cuh"

constexpr int QUADS = 8; /* of a thread, so that a block's constants cost little: PER_BLOCK = THREADS * QUADS * QUAD */

struct Constants {
  float keep, one_minus_beta1, beta2, one_minus_beta2, root_correction, minus_step;
};

HONE_KERNEL hone_adamw_f32(float *__restrict__ p, float *__restrict__ m, float *__restrict__ v,
                           const float *__restrict__ grad, int64_t n, float lr, float beta1, float beta2, float eps,
                           float weight_decay, float grad_scale, float bias1, float bias2) {
  __shared__ Constants shared;
  if (threadIdx.x == 0) {
    const double b1 = as_written(beta1), b2 = as_written(beta2), rate = lr;
    shared.keep = static_cast<float>(1.0 - rate * static_cast<double>(weight_decay));
    shared.one_minus_beta1 = static_cast<float>(1.0 - b1);
    shared.beta2 = static_cast<float>(b2);
    shared.one_minus_beta2 = static_cast<float>(1.0 - b2);
    shared.root_correction = static_cast<float>(__dsqrt_rn(bias2));
    shared.minus_step = static_cast<float>(__ddiv_rn(-rate, bias1));
  }
  __syncthreads();
  const Constants c = shared;
  const bool vector = aligned(p, m, v, grad);
  for (int quad = 0; quad < QUADS; quad++) {
    const int64_t at = flat_quad<QUADS>(quad);
    if (at >= n) return;
    float ps[QUAD], ms[QUAD], vs[QUAD], gs[QUAD];
    load(ps, p + at, n - at, vector);
    load(ms, m + at, n - at, vector);
    load(vs, v + at, n - at, vector);
    load(gs, grad + at, n - at, vector);
#pragma unroll
    for (int i = 0; i < QUAD; i++) {
      const float g = __fmul_rn(grad_scale, gs[i]);
      ms[i] = __fadd_rn(ms[i], __fmul_rn(c.one_minus_beta1, __fsub_rn(g, ms[i])));
      vs[i] = __fadd_rn(__fmul_rn(vs[i], c.beta2), __fmul_rn(__fmul_rn(c.one_minus_beta2, g), g));
      const float denominator = __fadd_rn(__fdiv_rn(__fsqrt_rn(vs[i]), c.root_correction), eps);
      ps[i] = __fadd_rn(__fmul_rn(ps[i], c.keep), __fdiv_rn(__fmul_rn(c.minus_step, ms[i]), denominator));
    }
    store(p + at, ps, n - at, vector);
    store(m + at, ms, n - at, vector);
    store(v + at, vs, n - at, vector);
  }
}
