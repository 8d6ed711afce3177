/*
 * vecmath.h - exp, tanh and logistic of f32 without branches, calls or tables, so that a loop over them vectorises.
 *
 * The plain reference of an op uses libm; its fast paths (files _avx2.c, _avx512.c) use these.
 *
 * exp.    Cody-Waite: n = round(x / ln 2), r = x - n hi - n lo with hi + lo = ln 2, hi of 15 bits so that n hi is exact
 *         for |n| < 512; then |r| <= ln 2 / 2 (1 + 2^-20) and exp(x) = 2^n (1 + r + r^2 q(r)). q is the degree-4
 *         weighted minimax fit of (e^r - 1 - r) / r^2 (Lawson iteration over 400 Chebyshev nodes, weight r^2 / e^r,
 *         computed for this file): its error is 0.06 * 2^-24 of the result. 2^n is applied as two factors, so that
 *         subnormal results are rounded once and overflow gives infinity.
 * tanh.   tanh|x| = m / (m + 2), m = expm1(2|x|) = 2^n p + (2^n - 1), p = r + r^2 q(r). As |x| >= 0, n >= 0, and
 *         nothing worse than 2^n p = -0.29 2^n against 2^n - 1 cancels; n = 0 keeps small x relatively exact.
 * Errors. Over all 2^32 arguments, against f64, in ulp of the result, with and without fused multiply-add: exp 1.0,
 *         tanh 2.7, logistic 2.5 at most; a logistic below 2^-126 may be 0. NaN stays NaN; exp(-inf) = 0,
 *         exp(inf) = inf, tanh(+-inf) = +-1.
 */
#ifndef HONE_VECMATH_H
#define HONE_VECMATH_H

#include "internal.h"

/* Fused where the file's instruction set has it, so that it stays one instruction and never a call. */
#if defined(__FMA__)
#define HONE_MULADD(a, b, c) __builtin_fmaf(a, b, c)
#else
#define HONE_MULADD(a, b, c) ((a) * (b) + (c))
#endif

/* Adding 1.5 * 2^23 leaves round(t) in the low bits of the sum for |t| < 2^22; no float-to-int conversion, which would
 * be undefined for NaN. */
#define HONE_ROUND_MAGIC 12582912.0f

/* n = round(x / ln 2) into *power, r^2 q(r) + r = e^r - 1 into the result. */
static inline float hone_exp_reduced(float x, int32_t *power) {
  float shifted = HONE_MULADD(x, 0x1.715476p+0f, HONE_ROUND_MAGIC);
  float n = shifted - HONE_ROUND_MAGIC;
  float r = HONE_MULADD(n, -0x1.62e4p-1f, x);
  r = HONE_MULADD(n, -0x1.7f7d1cp-20f, r);
  float q = HONE_MULADD(0x1.6a2352p-10f, r, 0x1.123a6cp-7f);
  q = HONE_MULADD(q, r, 0x1.5558f4p-5f);
  q = HONE_MULADD(q, r, 0x1.55549p-3f);
  q = HONE_MULADD(q, r, 0x1.fffffcp-2f);
  *power = (int32_t)(hone_f32_to_bits(shifted) - hone_f32_to_bits(HONE_ROUND_MAGIC));
  return HONE_MULADD(r * r, q, r);
}

/* 2^n for -126 <= n <= 127. */
static inline float hone_power_of_two(int32_t n) { return hone_bits_to_f32(((uint32_t)n + 127u) << 23); }

static inline float hone_exp(float x) {
  x = x > 89.0f ? 89.0f : x;     /* e^89 > FLT_MAX */
  x = x < -104.0f ? -104.0f : x; /* e^-104 < 2^-150, half the smallest subnormal */
  int32_t n;
  float p = hone_exp_reduced(x, &n) + 1.0f;
  int32_t half = n >> 1;
  return p * hone_power_of_two(half) * hone_power_of_two(n - half);
}

/* exp(x) for x <= 88, 0 below e^-80. Against a row's largest, 1 or its share of 1, what is dropped is beyond f32; and no
 * masked or far score costs the hundred cycles of a subnormal result. NaN stays NaN. */
static inline float hone_exp_flushed(float x) {
  int32_t n;
  float p = hone_exp_reduced(x, &n) + 1.0f;
  return x < -80.0f ? 0.0f : p * hone_power_of_two(n);
}

static inline float hone_tanh(float x) {
  uint32_t bits = hone_f32_to_bits(x), sign = bits & 0x80000000u;
  float y = 2.0f * hone_bits_to_f32(bits ^ sign);
  y = y > 20.0f ? 20.0f : y; /* e^20 + 2 rounds to e^20: the quotient is 1 */
  int32_t n;
  float p = hone_exp_reduced(y, &n), scale = hone_power_of_two(n);
  float m = HONE_MULADD(scale, p, scale - 1.0f);
  return hone_bits_to_f32(hone_f32_to_bits(m / (m + 2.0f)) | sign);
}

/* 1 / (1 + e^-x) */
static inline float hone_logistic(float x) { return 1.0f / (1.0f + hone_exp(-x)); }

#endif
