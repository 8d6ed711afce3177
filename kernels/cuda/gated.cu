/*
 * Gated activation: y = act(gate) * up.
 *
 * Forward.   0 SILU       act(g) = g s,     s = 1 / (1 + e^-g)
 *            1 GELU_TANH  act(g) = g/2 (1 + tanh t) = g s,  s = 1 / (1 + e^-2t),  t = sqrt(2/pi) (g + 0.044715 g^3)
 *            2 GELU_ERF   act(g) = g P(g),  P(g) = (1 + erf(g / sqrt 2)) / 2 = erfc(-g / sqrt 2) / 2
 * Backward.  dup = dy act(gate);   dgate = dy up act'(gate), where with s' = s (1-s) of its argument
 *            SILU       act' = s + g s (1-s) = s (1 + g (1-s))
 *            GELU_TANH  act' = s + g s (1-s) 2t',   2t' = 2 sqrt(2/pi) (1 + 3 * 0.044715 g^2)
 *            GELU_ERF   act' = P + g e^(-g^2/2) / sqrt(2 pi)
 * Shapes.    y, gate, up, dy, dgate, dup (n) T; y, dgate, dup overwritten. y may be gate or up; dgate may be gate, dup
 *            may be up or dy: a thread reads its pack of every input before it writes.
 * Memory.    6 bytes an element forward, 10 backward. No scratch.
 * Rounding.  f32, rounded once.
 * Mirrors.   src/main/c/gated.c - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_gated_fwd_{T} op=gated_fwd block=256 consts=PER_BLOCK:2048
// entry: hone_gated_bwd_{T} op=gated_bwd block=256 consts=PER_BLOCK:2048
#include "hone.cuh"

enum { SILU = 0, GELU_TANH = 1, GELU_ERF = 2 };

/* 2 sqrt(2/pi) and the cubic coefficient of the tanh form (Hendrycks, Gimpel 2016, arXiv 1606.08415) */
constexpr float GELU_SLOPE = 1.5957691216057308f, GELU_CUBIC = 0.044715f;
constexpr float ROOT_HALF = 0.70710678118654752f, INVERSE_ROOT_TWO_PI = 0.39894228040143268f;

__device__ __forceinline__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

/* act(g) = g * cdf, act'(g) = slope */
struct Gate {
  float cdf, slope;
};

template <int ACTIVATION> __device__ __forceinline__ Gate gate_at(float g) {
  if constexpr (ACTIVATION == SILU) {
    const float s = logistic(g);
    return {s, s * (1.0f + g * (1.0f - s))};
  } else if constexpr (ACTIVATION == GELU_TANH) {
    const float s = logistic(GELU_SLOPE * (g + GELU_CUBIC * (g * g * g)));
    return {s, s + g * (s * (1.0f - s)) * (GELU_SLOPE * (1.0f + 3.0f * GELU_CUBIC * (g * g)))};
  } else { /* erfc keeps the negative tail, where 1 + erf would cancel */
    const float cdf = 0.5f * erfcf(-g * ROOT_HALF);
    return {cdf, cdf + g * (INVERSE_ROOT_TWO_PI * expf(-0.5f * g * g))};
  }
}

template <int ACTIVATION> __device__ __forceinline__ void forward(float (&u)[PACK], const float (&g)[PACK]) {
#pragma unroll
  for (int i = 0; i < PACK; i++) u[i] *= g[i] * gate_at<ACTIVATION>(g[i]).cdf;
}

/* u and g become dgate and dup. */
template <int ACTIVATION>
__device__ __forceinline__ void backward(float (&u)[PACK], float (&g)[PACK], const float (&d)[PACK]) {
#pragma unroll
  for (int i = 0; i < PACK; i++) {
    const Gate a = gate_at<ACTIVATION>(g[i]);
    g[i] = d[i] * (g[i] * a.cdf);
    u[i] = d[i] * u[i] * a.slope;
  }
}

HONE_KERNEL HONE_ENTRY(gated_fwd)(T *y, const T *gate, const T *up, int64_t n, int activation) {
  const int64_t at = flat_pack();
  if (at >= n) return;
  const bool vector = aligned(y, gate, up);
  float g[PACK], u[PACK];
  load(g, gate + at, n - at, vector);
  load(u, up + at, n - at, vector);
  switch (activation) {
    case SILU: forward<SILU>(u, g); break;
    case GELU_TANH: forward<GELU_TANH>(u, g); break;
    default: forward<GELU_ERF>(u, g);
  }
  store(y + at, u, n - at, vector);
}

HONE_KERNEL HONE_ENTRY(gated_bwd)(T *dgate, T *dup, const T *dy, const T *gate, const T *up, int64_t n, int activation) {
  const int64_t at = flat_pack();
  if (at >= n) return;
  const bool vector = aligned(dgate, dup, dy, gate, up);
  float g[PACK], u[PACK], d[PACK];
  load(g, gate + at, n - at, vector);
  load(u, up + at, n - at, vector);
  load(d, dy + at, n - at, vector);
  switch (activation) {
    case SILU: backward<SILU>(u, g, d); break;
    case GELU_TANH: backward<GELU_TANH>(u, g, d); break;
    default: backward<GELU_ERF>(u, g, d);
  }
  store(dgate + at, u, n - at, vector);
  store(dup + at, g, n - at, vector);
}
