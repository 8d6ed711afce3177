/*
 * rows_body.h - the text of rows.h's passes; included once by each of rows.c, rows_avx2.c, rows_avx512.c, which define
 *   ROWS       name of the table
 *   ROWS_SIMD  `_Pragma("omp simd ...")`, or nothing for the plain reference. The pragma says that iterations do not
 *              depend on each other, which holds for rows that are equal or apart, and lets f64 sums use lanes.
 *   ROWS_EXP, ROWS_TANH, ROWS_LOGISTIC
 * The formulas are derived in the op's own file.
 */
#include <math.h>

#include "rows.h"

static void load_bf16(float *out, const uint16_t *in, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) out[i] = hone_bf16_to_f32(in[i]);
}

/* As hone_f32_to_bf16, without the branch. */
static inline uint32_t bf16_bits(float f) {
  uint32_t u = hone_f32_to_bits(f), nan = (u >> 16) | 0x40u, rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return (u & 0x7fffffffu) > 0x7f800000u ? nan : rounded;
}

static void store_bf16(uint16_t *out, const float *in, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) out[i] = (uint16_t)bf16_bits(in[i]);
}

/* ---- scale, add, sum --------------------------------------------------------------------------------------------- */

static void scale(float *y, const float *x, float a, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) y[i] = a * x[i];
}

static void add_scaled(float *y, const float *x, const float *r, float a, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) y[i] = x[i] + a * r[i];
}

static double sum_squares(const float *x, int64_t n) {
  double sum = 0;
  ROWS_SIMD(reduction(+ : sum))
  for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
  return sum;
}

/* ---- RMSNorm ----------------------------------------------------------------------------------------------------- */

static void norm(float *y, const float *x, const float *g, float rstd, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) y[i] = x[i] * rstd * g[i];
}

static double dot3(const float *a, const float *b, const float *c, int64_t n) {
  double sum = 0;
  ROWS_SIMD(reduction(+ : sum))
  for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i] * (double)c[i];
  return sum;
}

static void norm_backward(float *dx, const float *base, const float *dy, const float *x, const float *g, float rstd,
                          float k, int64_t n) {
  if (base) {
    ROWS_SIMD()
    for (int64_t i = 0; i < n; i++) dx[i] = base[i] + (rstd * (dy[i] * g[i]) - k * x[i]);
  } else {
    ROWS_SIMD()
    for (int64_t i = 0; i < n; i++) dx[i] = rstd * (dy[i] * g[i]) - k * x[i];
  }
}

static void norm_weight(double *sum, const float *dy, const float *x, float rstd, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) sum[i] += (double)dy[i] * (double)(x[i] * rstd);
}

/* ---- RoPE -------------------------------------------------------------------------------------------------------- */

static void turn(float *x1, float *x2, const float *cos, const float *sin, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) {
    float a = x1[i], b = x2[i];
    x1[i] = a * cos[i] - b * sin[i];
    x2[i] = b * cos[i] + a * sin[i];
  }
}

static void turn_back(float *x1, float *x2, const float *cos, const float *sin, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) {
    float a = x1[i], b = x2[i];
    x1[i] = a * cos[i] + b * sin[i];
    x2[i] = b * cos[i] - a * sin[i];
  }
}

/* ---- gated activations ------------------------------------------------------------------------------------------- */

static void silu(float *y, const float *gate, const float *up, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) y[i] = gate[i] * ROWS_LOGISTIC(gate[i]) * up[i];
}

static void silu_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) {
    float g = gate[i], u = up[i], d = dy[i], s = ROWS_LOGISTIC(g);
    dgate[i] = d * u * (s * (1.0f + g * (1.0f - s)));
    dup[i] = d * (g * s);
  }
}

/* 2 sqrt(2/pi) and the cubic coefficient of the tanh form (Hendrycks, Gimpel 2016, arXiv 1606.08415) */
#define GELU_SLOPE 1.5957691216057308f
#define GELU_CUBIC 0.044715f

static void gelu_tanh(float *y, const float *gate, const float *up, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) {
    float g = gate[i];
    y[i] = g * ROWS_LOGISTIC(GELU_SLOPE * (g + GELU_CUBIC * (g * g * g))) * up[i];
  }
}

static void gelu_tanh_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                               int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) {
    float g = gate[i], u = up[i], d = dy[i], s = ROWS_LOGISTIC(GELU_SLOPE * (g + GELU_CUBIC * (g * g * g)));
    float slope = GELU_SLOPE * (1.0f + 3.0f * GELU_CUBIC * (g * g));
    dgate[i] = d * u * (s + g * (s * (1.0f - s)) * slope);
    dup[i] = d * (g * s);
  }
}

#define ROOT_HALF 0.70710678118654752f
#define INVERSE_ROOT_TWO_PI 0.39894228040143268f

/* erfcf is a call: these two loops stay scalar. It keeps the negative tail, where 1 + erf would cancel. */
static void gelu_erf(float *y, const float *gate, const float *up, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = 0.5f * gate[i] * erfcf(-gate[i] * ROOT_HALF) * up[i];
}

static void gelu_erf_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                              int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float g = gate[i], u = up[i], d = dy[i], cdf = 0.5f * erfcf(-g * ROOT_HALF);
    dgate[i] = d * u * (cdf + g * (INVERSE_ROOT_TWO_PI * ROWS_EXP(-0.5f * g * g)));
    dup[i] = d * (g * cdf);
  }
}

/* ---- soft cap and cross-entropy ---------------------------------------------------------------------------------- */

static void softcap(float *z, float logit_scale, float cap, int64_t n) {
  float inner = logit_scale / cap;
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) z[i] = cap * ROWS_TANH(inner * z[i]);
}

static float max(const float *z, int64_t n) {
  float m = -INFINITY;
  ROWS_SIMD(reduction(max : m))
  for (int64_t i = 0; i < n; i++) m = z[i] > m ? z[i] : m;
  return m;
}

static double sum(const float *z, int64_t n) {
  double s = 0;
  ROWS_SIMD(reduction(+ : s))
  for (int64_t i = 0; i < n; i++) s += (double)z[i];
  return s;
}

static double sum_exp(const float *z, float m, int64_t n) {
  double s = 0;
  ROWS_SIMD(reduction(+ : s))
  for (int64_t i = 0; i < n; i++) s += (double)ROWS_EXP(z[i] - m);
  return s;
}

static double into_exp(float *z, float m, int64_t n) {
  double s = 0;
  ROWS_SIMD(reduction(+ : s))
  for (int64_t i = 0; i < n; i++) {
    float e = ROWS_EXP(z[i] - m);
    z[i] = e;
    s += (double)e;
  }
  return s;
}

static void affine(float *z, float a, float b, int64_t n) {
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) z[i] = a * z[i] - b;
}

static void capped_gradient(float *z, float m, float a, float b, float cap, int64_t n) {
  float inverse = 1.0f / cap;
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) {
    float t = z[i] * inverse;
    z[i] = (a * ROWS_EXP(z[i] - m) - b) * (1.0f - t * t);
  }
}

/* ---- AdamW ------------------------------------------------------------------------------------------------------- */

static void adamw(float *p, float *m, float *v, const float *grad, const hone_adamw *constants, int64_t n) {
  const hone_adamw c = *constants;
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) {
    float g = c.grad_scale * grad[i];
    float mi = m[i] + c.one_minus_beta1 * (g - m[i]);
    float vi = v[i] * c.beta2 + c.one_minus_beta2 * g * g;
    float denominator = sqrtf(vi) / c.root_correction + c.eps;
    p[i] = p[i] * c.keep + c.minus_step * mi / denominator;
    m[i] = mi;
    v[i] = vi;
  }
}

static void adamw8(float *p, uint8_t *m, uint8_t *v, float *m_absmax, float *v_absmax, const float *grad,
                   const hone_adamw8 *c, int64_t n) {
  float ms[HONE_ADAMW8_BLOCK], vs[HONE_ADAMW8_BLOCK], m_was = *m_absmax, v_was = *v_absmax, m_max = 0, v_max = 0;
  ROWS_SIMD(reduction(max : m_max, v_max))
  for (int64_t i = 0; i < n; i++) {
    float g = c->grad_scale * grad[i];
    ms[i] = c->m_map[m[i]] * m_was * c->beta1 + c->one_minus_beta1 * g;
    vs[i] = c->v_map[v[i]] * v_was * c->beta2 + c->one_minus_beta2 * g * g;
    p[i] = (p[i] + c->step * (ms[i] / (sqrtf(vs[i]) + c->eps))) * c->keep;
    m_max = fabsf(ms[i]) > m_max ? fabsf(ms[i]) : m_max;
    v_max = vs[i] > v_max ? vs[i] : v_max;
  }
  *m_absmax = m_max;
  *v_absmax = v_max;
  float m_of = m_max > 0 ? m_max : 1, v_of = v_max > 0 ? v_max : 1; /* a block of zeros has the code of 0 */
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) {
    int32_t code = hone_dynamic_code(c->m_boundary, ms[i] / m_of);
    m[i] = (uint8_t)(ms[i] < 0 && code == HONE_DYNAMIC_ZERO ? code - 1 : code);
  }
  ROWS_SIMD()
  for (int64_t i = 0; i < n; i++) v[i] = (uint8_t)hone_dynamic_code(c->v_boundary, vs[i] / v_of);
}

const hone_rows ROWS = {
    .load_bf16 = load_bf16,
    .store_bf16 = store_bf16,
    .scale = scale,
    .add_scaled = add_scaled,
    .sum_squares = sum_squares,
    .norm = norm,
    .dot3 = dot3,
    .norm_backward = norm_backward,
    .norm_weight = norm_weight,
    .turn = turn,
    .turn_back = turn_back,
    .gated = {silu, gelu_tanh, gelu_erf},
    .gated_backward = {silu_backward, gelu_tanh_backward, gelu_erf_backward},
    .softcap = softcap,
    .max = max,
    .sum = sum,
    .sum_exp = sum_exp,
    .into_exp = into_exp,
    .affine = affine,
    .capped_gradient = capped_gradient,
    .adamw = adamw,
    .adamw8 = adamw8,
};
